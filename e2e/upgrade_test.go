//go:build e2e

package e2e

import (
	"testing"

	"github.com/ruche-project/ruche/e2e/lab"
)

// A new process takes the place of the running one three times, and no visitor notices; one that fails or is killed half-way changes nothing.
func TestUpgradeUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1, lab.Options{})
	node := l.Nodes[0]
	ruche := node.StartRuche("--drain-timeout", "4s")
	client := node.Client()
	node.Run("web", "--env", "VIRTUAL_HOST=web.test")
	lab.Eventually(t, soon, func() error { return client.IsServedBy("http://web.test/", "web") })

	load := client.StartLoad("http://web.test/", loadRate)
	<-load.UnderWay()
	for i, name := range []string{"one", "two", "three"} {
		if i == 1 {
			ruche.FailUpgrade("--http-addr", "192.0.2.1:80")
			ruche.KillUpgrade()
		}
		node.Run(name, "--env", "VIRTUAL_HOST="+name+".test")
		lab.Eventually(t, soon, func() error { return client.IsServedBy("http://"+name+".test/", name) })
		ruche.Upgrade()
	}
	err := load.End()
	t.Log(load)
	if err != nil {
		t.Error(err)
	}
	node.Docker("rm", "--force", "two")
	lab.Eventually(t, soon, func() error { return client.Answers("http://two.test/", 503) })
	ruche.Stop()
	ruche.Start()
	lab.Eventually(t, soon, func() error { return client.IsServedBy("http://three.test/", "three") })
}
