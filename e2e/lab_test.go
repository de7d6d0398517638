//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/ruche-project/ruche/e2e/lab"
)

// The lab's own promise: an Engine that survives being killed, with containers that can be reached from its node.
func TestLabEngineIsKilledAndComesBack(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1, lab.Options{LiveRestore: true})
	node := l.Nodes[0]
	node.Run("web")
	local := node.LocalClient()
	url := "http://" + node.ContainerAddress("web", "bridge") + ":8080/"
	lab.Eventually(t, 10*time.Second, func() error { return local.IsServedBy(url, "web") })

	node.KillEngine()
	if err := local.IsServedBy(url, "web"); err != nil {
		t.Fatalf("the container went with its engine: %v", err)
	}
	node.StartEngine()
	if err := local.IsServedBy(url, "web"); err != nil {
		t.Fatalf("the container went when its engine came back: %v", err)
	}
	node.Docker("rm", "--force", "web")

	node.Run("again")
	if node.StartedAt("again").IsZero() {
		t.Error("the start event has no time")
	}
	url = "http://" + node.ContainerAddress("again", "bridge") + ":8080/"
	lab.Eventually(t, 10*time.Second, func() error { return local.IsServedBy(url, "again") })
}

// A killed node comes back with its containers' definitions.
func TestLabNodeIsKilledAndBoots(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1, lab.Options{})
	node := l.Nodes[0]
	node.Run("web", "--restart", "always")
	node.Kill()
	node.Boot()
	local := node.LocalClient()
	lab.Eventually(t, 30*time.Second, func() error {
		out, err := node.TryDocker("inspect", "--format", "{{.State.Running}} {{.NetworkSettings.IPAddress}}", "web")
		if err != nil {
			return err
		}
		var running bool
		var address string
		if _, err := fmt.Sscan(out, &running, &address); err != nil {
			return fmt.Errorf("the container does not run: %q", out)
		}
		return local.IsServedBy("http://"+address+":8080/", "web")
	})
}
