//go:build e2e

package e2e

import (
	"testing"
	"time"

	"github.com/ruche-project/ruche/e2e/lab"
)

// A stack is begun, deployed, and upgraded node by node, while requests come as from a load balancer in front: where an edge takes no connections, the other one gets them.
func TestStackUpgrade(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 2, lab.Options{})
	l.JoinSwarmOf(1) // a second manager's control node would be on standby, and an upgrade waits for that
	first, second := l.Nodes[0], l.Nodes[1]
	for _, n := range l.Nodes {
		n.LoadRuche()
	}
	begin := time.Now()
	first.StackDeploy(first.StackInitInContainer())
	first.CreateService(lab.SiteImage, "shop", "--replicas", "2", "--network", "public", "--env", "VIRTUAL_HOST=shop.test", "--env", "VIRTUAL_PORT=8080")
	for _, n := range l.Nodes {
		lab.Eventually(t, aMinute, func() error { return servedByTasks(n.Client(), "http://shop.test/", 2) })
	}
	t.Logf("both edges served the site %v after \"ruche stack init\" began", time.Since(begin).Round(time.Millisecond))

	clients := []*lab.Client{first.BalancedClient(second), second.BalancedClient(first)}
	var loads []*lab.Load
	for _, c := range clients {
		loads = append(loads, c.StartLoad("http://shop.test/", loadRate/5))
	}
	begin = time.Now()
	out, err := first.StackUpgrade(lab.NextRucheImage)
	t.Logf("ruche stack upgrade took %v and printed\n%s", time.Since(begin).Round(time.Second), out)
	if err != nil {
		t.Error(err)
	}
	for i, err := range endAll(loads...) {
		if err != nil {
			t.Errorf("to the edge of %s first: %v", l.Nodes[i].Name, err)
		}
		t.Logf("to the edge of %s first: %v", l.Nodes[i].Name, loads[i])
	}
	for _, service := range []string{"ruche_control", "ruche_agent", "ruche_edge"} {
		for _, n := range l.Nodes {
			if n == second && service == "ruche_control" {
				continue // it is no manager
			}
			if got := n.Docker("inspect", "--format", "{{.Config.Image}}", n.WaitTask(service)); got != lab.NextRucheImage {
				t.Errorf("%s on %s runs %s", service, n.Name, got)
			}
		}
	}
	for _, n := range l.Nodes {
		lab.Eventually(t, aMinute, func() error { return servedByTasks(n.Client(), "http://shop.test/", 2) })
	}
}
