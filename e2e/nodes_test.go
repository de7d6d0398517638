//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/e2e/lab"
)

// The stack on two nodes, grown from a host that ran alone: a control node, an edge and an agent on both. Services are updated under load through both edges, which then
// go on, and start again, without any control node.
func TestEdgesOfASwarm(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 2, lab.Options{})
	l.JoinSwarm()
	first := l.Nodes[0]
	for _, n := range l.Nodes {
		n.LoadRuche()
	}
	file, _ := stackFromOneHost(t, first)
	first.CreateService(lab.SiteImage, "shop", "--replicas", "2", "--network", "public", "--env", "VIRTUAL_HOST=shop.test", "--env", "VIRTUAL_PORT=8080",
		"--update-order", "stop-first", "--update-monitor", "500ms", "--stop-grace-period", "5s")
	var clients []*lab.Client
	for _, n := range l.Nodes {
		client := n.Client()
		clients = append(clients, client)
		lab.Eventually(t, aMinute, func() error { return servedByTasks(client, "http://shop.test/", 2) })
		edgeIsShutIn(t, n)
	}

	var loads []*lab.Load
	for _, c := range clients {
		loads = append(loads, c.StartLoad("http://shop.test/", loadRate/2))
	}
	for _, load := range loads {
		<-load.UnderWay()
	}
	first.Docker("service", "update", "--detach", "--force", "shop")
	lab.Eventually(t, aMinute, func() error { return first.UpdateIsOver("shop") })
	for i, err := range endAll(loads...) {
		if err != nil {
			t.Errorf("through the edge of %s: %v", l.Nodes[i].Name, err)
		}
		t.Logf("through the edge of %s: %v", l.Nodes[i].Name, loads[i])
	}

	first.Docker("service", "rm", "ruche_control")
	for _, n := range l.Nodes {
		lab.Eventually(t, aMinute, func() error { return noContainer(n, "ruche_control") })
	}
	second := l.Nodes[1]
	before := second.WaitTask("ruche_edge")
	second.Docker("kill", before) // the Swarm starts another one, which has the volume of the first
	lab.Eventually(t, aMinute, func() error {
		if id := second.WaitTask("ruche_edge"); id == before {
			return fmt.Errorf("the edge is still container %s", id)
		}
		return servedByTasks(clients[1], "http://shop.test/", 2)
	})
	for i, c := range clients {
		if err := servedByTasks(c, "http://shop.test/", 2); err != nil {
			t.Errorf("without control nodes, through the edge of %s: %v", l.Nodes[i].Name, err)
		}
	}

	// The control nodes come back with what they have on disk, and what happens is followed again.
	first.StackDeploy(file)
	first.CreateService(lab.SiteImage, "later", "--network", "public", "--env", "VIRTUAL_HOST=later.test", "--env", "VIRTUAL_PORT=8080")
	for _, c := range clients {
		lab.Eventually(t, aMinute, func() error { return servedByTasks(c, "http://later.test/", 1) })
	}
}

// stackFromOneHost runs "ruche up" on a node, and goes over to the stack, in which that one's member of the state goes on. It returns the stack file and the member's ID.
func stackFromOneHost(t *testing.T, n *lab.Node) (file, member string) {
	t.Helper()
	alone := n.StartRuche()
	single, err := alone.State()
	if err != nil {
		t.Fatal(err)
	}
	file, member = n.StackInit("--data-dir", alone.DataDir()), single.Members[0].ID
	alone.Stop()
	n.StackDeploy(file)
	lab.Eventually(t, aMinute, func() error { return hasGrown(n, member) })
	return file, member
}

// hasGrown returns an error until the control node of a node has the member of the state that was there before.
func hasGrown(n *lab.Node, member string) error {
	s, err := n.ControlState()
	if err != nil {
		return err
	}
	if len(s.Members) != 1 || s.Members[0].ID != member || !s.Quorum {
		return fmt.Errorf("the state is %+v, want the member %s alone", s, member)
	}
	return nil
}

// edgeIsShutIn checks what the process that faces the internet has: nothing of the Engine, and nothing that it could change but its own volume.
func edgeIsShutIn(t *testing.T, n *lab.Node) {
	t.Helper()
	id := n.WaitTask("ruche_edge")
	got := n.Docker("inspect", "--format",
		"{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}} {{range .Mounts}}{{.Destination}} {{end}}", id)
	if strings.TrimSpace(got) != "true [ALL] [] /var/lib/ruche" && strings.TrimSpace(got) != "true [ALL] [] /var/lib/ruche /run/secrets/ruche-join-edge" {
		t.Errorf("the edge's container on %s has %q", n.Name, got)
	}
	processIsShutIn(t, n.Docker("inspect", "--format", "{{.State.Pid}}", id))
}

// noContainer returns an error while the node has a container of the service.
func noContainer(n *lab.Node, service string) error {
	out, err := n.TryDocker("ps", "--quiet", "--filter", "label=com.docker.swarm.service.name="+service)
	if err == nil && out != "" {
		err = fmt.Errorf("%s still runs %s", n.Name, service)
	}
	return err
}
