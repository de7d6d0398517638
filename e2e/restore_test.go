//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/e2e/lab"
)

// The drills of docs/state.md, "In the stack": the state is backed up, brought back, and forced, in containers, while the edge serves.
func TestTheStatesDrillsInTheStack(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1, lab.Options{})
	l.JoinSwarm()
	n := l.Nodes[0]
	n.LoadRuche()
	file := n.StackInit()
	n.StackDeploy(file)
	n.CreateService(lab.SiteImage, "shop", "--network", "public", "--env", "VIRTUAL_HOST=shop.test", "--env", "VIRTUAL_PORT=8080")
	client := n.Client()
	lab.Eventually(t, aMinute, func() error { return servedByTasks(client, "http://shop.test/", 1) })
	before, err := n.ControlState()
	if err != nil {
		t.Fatal(err)
	}

	backups := l.Dir("backups")
	backup := filepath.Join(backups, "ruche.state")
	n.Exec("sh", "-c", "docker exec $(docker ps -qf name=ruche_control) /ruche state backup - > "+backup)
	n.Exec("sh", "-c", "docker exec -i $(docker ps -qf name=ruche_control) /ruche state check - < "+backup)
	stopControl(t, n)
	place := n.Docker("volume", "inspect", "--format", "{{with .Options}}{{.device}}{{else}}{{.Mountpoint}}{{end}}", "ruche-control")
	if err := os.Rename(filepath.Join(place, "cluster"), filepath.Join(place, "cluster.lost")); err != nil {
		t.Fatal(err)
	}
	n.Docker("run", "--rm", "--volume", "ruche-control:/var/lib/ruche", "--volume", backups+":/var/backups", lab.RucheImage, "state", "restore", "/var/backups/ruche.state")
	goesOn := func(site string) {
		t.Helper()
		if err := servedByTasks(client, "http://shop.test/", 1); err != nil {
			t.Errorf("without the control node: %v", err)
		}
		n.StackDeploy(file)
		n.CreateService(lab.SiteImage, site, "--network", "public", "--env", "VIRTUAL_HOST="+site+".test", "--env", "VIRTUAL_PORT=8080")
		for _, host := range []string{"shop", site} {
			lab.Eventually(t, aMinute, func() error { return servedByTasks(client, "http://"+host+".test/", 1) })
		}
	}
	goesOn("restored")
	after, err := n.ControlState()
	if err != nil || len(after.Members) != 1 || after.Members[0].ID == before.Members[0].ID || after.Revision <= before.Revision {
		t.Errorf("the state is %+v, %v; want a new member, and revisions after %d", after, err, before.Revision)
	}

	stopControl(t, n)
	out := n.Docker("run", "--rm", "--volume", "ruche-control:/var/lib/ruche", lab.RucheImage, "state", "force-new")
	if !strings.Contains(out, "only member") {
		t.Errorf("force-new says %q", out)
	}
	goesOn("forced")
}

// stopControl removes the service of the control nodes and waits until its container is gone.
func stopControl(t *testing.T, n *lab.Node) {
	t.Helper()
	n.Docker("service", "rm", "ruche_control")
	lab.Eventually(t, aMinute, func() error {
		if err := noContainer(n, "ruche_control"); err != nil {
			return fmt.Errorf("after its service was removed: %w", err)
		}
		return nil
	})
}
