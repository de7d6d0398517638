//go:build e2e

package e2e

import (
	"testing"
	"time"

	"github.com/ruche-project/ruche/e2e/lab"
)

// Three managers with an overlay network: the ground that the cluster scenarios stand on.
func TestThreeManagersShareAnOverlayNetwork(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 3, lab.Options{})
	l.JoinSwarm()
	first := l.Nodes[0]
	first.Docker("network", "create", "--driver", "overlay", "--attachable", "public")
	first.Docker("service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", "site", "--mode", "global",
		"--network", "public", "--publish", "mode=host,target=8080,published=8080", "--env", "SITE_NAME={{.Node.Hostname}}",
		lab.SiteImage)

	addresses := map[string]string{}
	for _, n := range l.Nodes {
		addresses[n.Name] = n.ContainerAddress(n.WaitTask("site"), "public")
	}
	for _, n := range l.Nodes {
		client := n.Client()
		lab.Eventually(t, soon, func() error { return client.IsServedBy("http://site.test:8080/", n.Name) })
		// From inside the overlay network, each task is there for the tasks of all nodes.
		for name, address := range addresses {
			lab.Eventually(t, soon, func() error { return n.TaskReaches("site", "http://"+address+":8080/", name) })
		}
	}

	third := l.Nodes[2]
	third.Cut()
	for _, n := range l.Nodes[:2] {
		n.WaitManagers(2)
	}
	third.Heal()
	for _, n := range l.Nodes {
		n.WaitManagers(3)
	}
	client := third.Client()
	lab.Eventually(t, 30*time.Second, func() error { return client.IsServedBy("http://site.test:8080/", third.Name) })
}
