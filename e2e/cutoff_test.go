//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche/e2e/lab"
)

// An edge is cut off from the control node alone, while services are updated. It serves what it knows as long as that lives, and the rest soon after the way is healed.
func TestEdgeIsCutOff(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 2, lab.Options{})
	l.JoinSwarmOf(1)
	first, cut := l.Nodes[0], l.Nodes[1]
	for _, n := range l.Nodes {
		n.LoadRuche()
	}
	first.StackDeploy(first.StackInit())
	const stays, moves = "http://stays.test/", "http://moves.test/"
	for _, name := range []string{"stays", "moves"} {
		first.CreateService(lab.SiteImage, name, "--replicas", "2", "--network", "public", "--env", "VIRTUAL_HOST="+name+".test", "--env", "VIRTUAL_PORT=8080",
			"--update-order", "start-first", "--update-monitor", "500ms", "--stop-grace-period", "5s")
	}
	near, far := first.Client(), cut.Client()
	for _, c := range []*lab.Client{near, far} {
		for _, url := range []string{stays, moves} {
			lab.Eventually(t, aMinute, func() error { return servedByTasks(c, url, 2) })
		}
	}

	length := 15 * time.Second
	if d, err := time.ParseDuration(os.Getenv("RUCHE_TEST_CUT")); err == nil {
		length = d
	}
	known := far.StartLoad(stays, loadRate/5)
	fresh := near.StartLoad(moves, loadRate/5)
	begin := time.Now()
	setControlPort(cut, "--insert")
	updates := 0
	for time.Since(begin) < length-aMoment {
		first.Docker("service", "update", "--detach", "--force", "moves")
		lab.Eventually(t, aMinute, func() error { return first.UpdateIsOver("moves") })
		updates++
	}
	<-time.After(length - time.Since(begin))
	lab.Eventually(t, aMinute, func() error { return notServed(far, moves) }) // else it says nothing that it is served later
	<-time.After(rand.N(time.Second))                                         // or it would always be at the same moment between two tries of the edge
	setControlPort(cut, "--delete")
	healed := time.Now()
	served := firstServed(t, far, moves)
	t.Logf("cut off for %v and %d updates; the new tasks were served %v after the way was healed", healed.Sub(begin).Round(time.Second), updates, served.Sub(healed).Round(time.Millisecond))
	if served.Sub(healed) > 5*converges {
		t.Errorf("the new tasks were served %v after the way was healed, want %v", served.Sub(healed), converges)
	}
	lab.Eventually(t, aMinute, func() error { return servedByTasks(far, moves, 2) })
	for _, err := range endAll(known, fresh) {
		if err != nil {
			t.Error(err)
		}
	}
	t.Logf("known: %v, fresh: %v", known, fresh)
}

const (
	// converges is how long an edge may take to know what it has missed. On a busy machine it may be several times as long.
	converges = 2 * time.Second
	// aMoment is what an update takes about.
	aMoment = 5 * time.Second
)

// setControlPort inserts or deletes the rules by which a node's containers do not reach the control node, nor it them.
func setControlPort(n *lab.Node, action string) {
	for _, direction := range []string{"--dport", "--sport"} {
		n.Exec("iptables", action, "FORWARD", "--protocol", "tcp", direction, "8901", "--jump", "DROP")
	}
}

func notServed(c *lab.Client, url string) error {
	answer, err := c.Get(url)
	if err == nil && answer.Status == http.StatusOK {
		err = fmt.Errorf("%s is served", url)
	} else if err != nil && strings.Contains(err.Error(), "Client.Timeout") {
		err = nil
	}
	return err
}

// firstServed gives the time when a URL was served first. It asks anew every 20 ms, whether or not the requests before were answered: those that meet tasks which are
// gone wait for them.
func firstServed(t *testing.T, c *lab.Client, url string) time.Time {
	t.Helper()
	served := make(chan time.Time, 1)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var askers sync.WaitGroup
	defer askers.Wait()
	for begin := time.Now(); ; {
		select {
		case at := <-served:
			return at
		case <-tick.C:
		}
		if time.Since(begin) > aMinute {
			t.Fatalf("%s is not served", url)
		}
		askers.Go(func() {
			if c.Answers(url, http.StatusOK) != nil {
				return
			}
			select {
			case served <- time.Now():
			default: // another one was first
			}
		})
	}
}
