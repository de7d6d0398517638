//go:build e2e

package e2e

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche/e2e/lab"
)

// swarmOfRuche is a Swarm of three managers and one worker: a control node on each manager, an agent on all, an edge on the last two.
type swarmOfRuche struct {
	*lab.Lab
	control, agents, edges []*lab.Ruche
	clients                []*lab.Client // of the edges
}

func newSwarmOfRuche(t *testing.T) *swarmOfRuche {
	t.Helper()
	return newSwarm(t, 2, func(*lab.Lab) []string { return nil })
}

// newSwarm makes such a Swarm with edges on all nodes but the first few. prepare gives flags of the control nodes, before any of them runs.
func newSwarm(t *testing.T, without int, prepare func(*lab.Lab) []string) *swarmOfRuche {
	t.Helper()
	s := &swarmOfRuche{Lab: lab.New(t, 4, lab.Options{})}
	s.JoinSwarmOf(3)
	more := prepare(s.Lab)
	dir := s.Dir("secrets")
	seal := []string{"--seal-key-file", s.File(dir, "seal", base64.StdEncoding.EncodeToString(make([]byte, 32)))}
	for i, n := range s.Nodes[:3] {
		flags := slices.Concat(seal, more, []string{"--join-token-file", dir + "/control"})
		if i == 0 {
			flags = append(flags, "--bootstrap")
		}
		s.control = append(s.control, n.Role("control", flags...))
	}
	s.control[0].Start()
	for _, role := range []string{"control", "edge,agent"} {
		token, err := s.control[0].Verb("nodes", "token", "--role", role)
		if err != nil {
			t.Fatal(err)
		}
		s.File(dir, role, token)
	}
	for _, n := range s.Nodes {
		s.agents = append(s.agents, n.Role("agent", "--join-token-file", dir+"/edge,agent"))
	}
	for _, n := range s.Nodes[without:] {
		s.edges = append(s.edges, n.Role("edge", "--join-token-file", dir+"/edge,agent", "--control", s.Nodes[0].Address))
		s.clients = append(s.clients, n.Client())
	}
	started := slices.Concat(s.control[1:], s.agents, s.edges)
	for _, r := range started {
		r.Launch()
	}
	for _, r := range started {
		r.AwaitReady()
	}
	return s
}

// hasMembers returns an error until a control node sees that many members of the state, all of them up.
func hasMembers(r *lab.Ruche, want int) error {
	s, err := r.State()
	if err != nil {
		return err
	}
	up := 0
	for _, m := range s.Members {
		if m.Healthy && !m.Learner {
			up++
		}
	}
	if !s.Quorum || up != want || len(s.Members) != want {
		return fmt.Errorf("quorum %v, %d members up of %d, want %d", s.Quorum, up, len(s.Members), want)
	}
	return nil
}

// powerOff ends all on a node without a word to anybody.
func powerOff(n *lab.Node) {
	n.Cut() // first, or the node's network would answer for its processes
	n.Kill()
}

// powerOn brings it back, with the control node and the agent that ran there.
func (s *swarmOfRuche) powerOn(i int) {
	s.Nodes[i].Heal()
	s.Nodes[i].Boot()
	s.control[i].Launch()
	s.agents[i].Launch()
}

// Managers die as by a power cut, first the one that leads, then two of three: what is served is served all the time, and all heals by itself when they are back.
func TestManagersDie(t *testing.T) {
	t.Parallel()
	s := newSwarmOfRuche(t)
	first := s.Nodes[0]
	first.CreateService(lab.SiteImage, "shop", "--mode", "global", "--constraint", "node.hostname!=n1", "--constraint", "node.hostname!=n2",
		"--publish", "mode=host,target=8080,published=8080", "--env", "VIRTUAL_HOST=shop.test", "--env", "VIRTUAL_PORT=8080")
	for _, c := range s.clients {
		lab.Eventually(t, aMinute, func() error { return servedByTasks(c, "http://shop.test/", 2) })
	}

	loads := s.load()
	powerOff(first)
	died := time.Now()
	last := s.Nodes[3]
	last.Run("fresh", "--env", "VIRTUAL_HOST=fresh.test", "--env", "VIRTUAL_PORT=8080")
	lab.Eventually(t, aMinute, func() error { return s.clients[1].IsServedBy("http://fresh.test/", "fresh") })
	t.Logf("a container that was started after the leading manager died was served %v after that", time.Since(died).Round(time.Millisecond))
	second := s.Nodes[1]
	create := []string{"service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", "later", "--env", "SITE_NAME=later", "--constraint", "node.hostname==n4",
		"--publish", "mode=host,target=8080,published=8081", "--env", "VIRTUAL_HOST=later.test", "--env", "VIRTUAL_PORT=8080", lab.SiteImage}
	lab.Eventually(t, aMinute, func() error {
		_, err := second.TryDocker(create...)
		return err
	})
	created := time.Now()
	for _, c := range s.clients {
		lab.Eventually(t, aMinute, func() error { return servedByTasks(c, "http://later.test/", 1) })
	}
	t.Logf("the Swarm took a service %v after its leader died, and both edges served it %v after that",
		created.Sub(died).Round(time.Millisecond), time.Since(created).Round(time.Millisecond))

	s.powerOn(0)
	s.control[0].AwaitReady()
	for _, c := range s.control {
		lab.Eventually(t, aMinute, func() error { return hasMembers(c, 3) })
	}
	for _, n := range s.Nodes[:3] {
		n.WaitManagers(3)
	}

	powerOff(first)
	powerOff(second)
	third := s.control[2]
	lab.Eventually(t, aMinute, func() error {
		state, err := third.State()
		if err == nil && state.Quorum {
			err = errors.New("it does not say that the majority is lost")
		}
		return err
	})
	if _, err := third.Verb("nodes", "token"); err == nil || !strings.Contains(err.Error(), "majority") {
		t.Errorf("a write without a majority: %v, want that it says why", err)
	}
	for i, c := range s.clients {
		if err := c.Answers("http://later.test/", http.StatusOK); err != nil {
			t.Errorf("with two of three managers dead, edge %d: %v", i, err)
		}
	}

	s.powerOn(0)
	s.powerOn(1)
	for _, c := range s.control {
		lab.Eventually(t, 2*time.Minute, func() error { return hasMembers(c, 3) })
	}
	s.Nodes[2].WaitManagers(3)
	create[6], create[8], create[14], create[12] = "after", "SITE_NAME=after", "VIRTUAL_HOST=after.test", "mode=host,target=8080,published=8082"
	lab.Eventually(t, aMinute, func() error {
		_, err := s.Nodes[2].TryDocker(create...)
		return err
	})
	for _, c := range s.clients {
		lab.Eventually(t, aMinute, func() error { return servedByTasks(c, "http://after.test/", 1) })
	}
	for i, err := range endAll(loads...) {
		if err != nil {
			t.Errorf("through the edge of %s: %v", s.Nodes[2+i].Name, err)
		}
		t.Logf("through the edge of %s: %v", s.Nodes[2+i].Name, loads[i])
	}
}

// load asks both edges, and waits until that is under way.
func (s *swarmOfRuche) load() []*lab.Load {
	var loads []*lab.Load
	for _, c := range s.clients {
		loads = append(loads, c.StartLoad("http://shop.test/", loadRate/2))
	}
	for _, load := range loads {
		<-load.UnderWay()
	}
	return loads
}
