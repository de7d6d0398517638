//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ruche-project/ruche/e2e/lab"
)

// A host with "ruche up" becomes three managers with the stack, as docs/grow.md tells: what it knew is there, control nodes come and go with the managers of the Swarm, and
// both are served all the time from when the edge of the first host is up.
func TestFromOneHostToThreeManagers(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 3, lab.Options{})
	first, second, third := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	for _, n := range l.Nodes {
		n.LoadRuche()
	}
	first.Docker("swarm", "init", "--advertise-addr", first.Address)
	_, member := stackFromOneHost(t, first)
	first.CreateService(lab.SiteImage, "shop", "--replicas", "2", "--network", "public", "--env", "VIRTUAL_HOST=shop.test", "--env", "VIRTUAL_PORT=8080")
	lab.Eventually(t, aMinute, func() error { return servedByTasks(first.Client(), "http://shop.test/", 2) })
	load := first.Client().StartLoad("http://shop.test/", loadRate/5)

	begin := time.Now()
	token := first.Docker("swarm", "join-token", "--quiet", "manager")
	for _, n := range []*lab.Node{second, third} {
		n.Docker("swarm", "join", "--advertise-addr", n.Address, "--token", token, first.Address+":2377")
	}
	for _, n := range l.Nodes {
		lab.Eventually(t, 2*aMinute, func() error { return hasControls(n, member, 3) })
	}
	t.Logf("three members %v after two managers were told to join", time.Since(begin).Round(time.Millisecond))
	for _, n := range l.Nodes {
		lab.Eventually(t, aMinute, func() error { return servedByTasks(n.Client(), "http://shop.test/", 2) })
	}

	begin = time.Now()
	first.Docker("node", "demote", second.Name)
	lab.Eventually(t, aMinute, func() error { return hasControls(first, member, 2) })
	t.Logf("two members %v after a manager was demoted", time.Since(begin).Round(time.Millisecond))
	begin = time.Now()
	first.Docker("node", "promote", second.Name)
	lab.Eventually(t, 2*aMinute, func() error { return hasControls(second, member, 3) })
	t.Logf("three members again %v after it was promoted", time.Since(begin).Round(time.Millisecond))

	if err := load.End(); err != nil {
		t.Error(err)
	}
	t.Log(load)
}

// hasControls returns an error until the control node of the stack on a node sees that many members of the state, all of them up, and the one that was the first among them.
func hasControls(n *lab.Node, first string, want int) error {
	out, err := n.TryDocker("ps", "--quiet", "--filter", "label=com.docker.swarm.service.name=ruche_control")
	if err != nil || out == "" {
		return errors.Join(err, fmt.Errorf("%s runs no control node", n.Name))
	}
	s, err := n.ControlState()
	if err != nil {
		return err
	}
	up, there := 0, false
	for _, m := range s.Members {
		if m.Healthy && !m.Learner {
			up++
		}
		there = there || m.ID == first
	}
	if !s.Quorum || !there || up != want || len(s.Members) != want {
		return fmt.Errorf("%s sees %+v, want %d members up and %s among them", n.Name, s.Members, want, first)
	}
	return nil
}
