//go:build e2e

package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/e2e/lab"
)

// The stacks of deploy/swarm on two nodes: a control node on the first, an edge and an agent on both. Services are updated under load through both edges, which then
// go on, and start again, without the control node.
func TestEdgesOfASwarm(t *testing.T) {
	l := lab.New(t, 2, lab.Options{})
	l.JoinSwarm()
	first := l.Nodes[0]
	for _, n := range l.Nodes {
		n.LoadRuche()
	}
	beginSwarm(t, first, l.Dir("ruche"))
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
		loads = append(loads, c.StartLoad("http://shop.test/", loadRate/2, loadCount))
	}
	for _, load := range loads {
		<-load.UnderWay()
	}
	first.Docker("service", "update", "--detach", "--force", "shop")
	lab.Eventually(t, aMinute, func() error { return first.UpdateIsOver("shop") })
	for i, load := range loads {
		if err := load.Wait(); err != nil {
			t.Errorf("through the edge of %s: %v", l.Nodes[i].Name, err)
		}
		t.Logf("through the edge of %s: %v", l.Nodes[i].Name, load)
	}

	first.Docker("stack", "rm", "ruche-control")
	lab.Eventually(t, aMinute, func() error { return noContainer(first, "ruche-control_control") })
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
			t.Errorf("without the control node, through the edge of %s: %v", l.Nodes[i].Name, err)
		}
	}

	// The control node comes back with what it has on disk, and what happens is followed again.
	deployControl(first, l.Dir("ruche"), "false")
	first.CreateService(lab.SiteImage, "later", "--network", "public", "--env", "VIRTUAL_HOST=later.test", "--env", "VIRTUAL_PORT=8080")
	for _, c := range clients {
		lab.Eventually(t, aMinute, func() error { return servedByTasks(c, "http://later.test/", 1) })
	}
}

// beginSwarm does what docs/swarm.md says: secrets, a control node, a token, edges and agents.
func beginSwarm(t *testing.T, first *lab.Node, data string) {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	first.Secret("ruche-seal", base64.StdEncoding.EncodeToString(key))
	first.Docker("network", "create", "--driver", "overlay", "--attachable", "public")
	first.Docker("node", "update", "--label-add", "ruche.control=true", first.Name)
	deployControl(first, data, "true")
	token := ""
	lab.Eventually(t, aMinute, func() (err error) {
		token, err = first.TryDocker("exec", first.WaitTask("ruche-control_control"), "/ruche", "nodes", "token", "--admin-addr", "127.0.0.1:8910")
		return err
	})
	first.Secret("ruche-join", token)
	first.StackDeploy("edge.yml", "ruche", "RUCHE_CONTROL="+first.Address)
}

func deployControl(n *lab.Node, data, bootstrap string) {
	n.StackDeploy("control.yml", "ruche-control", "RUCHE_BOOTSTRAP="+bootstrap, "RUCHE_DATA="+data)
}

// edgeIsShutIn checks what the process that faces the internet has: nothing of the Engine, and nothing that it could change but its own volume.
func edgeIsShutIn(t *testing.T, n *lab.Node) {
	t.Helper()
	id := n.WaitTask("ruche_edge")
	got := n.Docker("inspect", "--format",
		"{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}} {{range .Mounts}}{{.Destination}} {{end}}", id)
	if strings.TrimSpace(got) != "true [ALL] [] /var/lib/ruche" && strings.TrimSpace(got) != "true [ALL] [] /var/lib/ruche /run/secrets/ruche-join" {
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
