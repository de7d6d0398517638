//go:build e2e

package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche/e2e/lab"
)

// loadRate is the load of the scenarios, in requests per second.
const loadRate = 500

// endAll ends loads together, and gives what each of them says.
func endAll(loads ...*lab.Load) []error {
	errs := make([]error, len(loads))
	var ends sync.WaitGroup
	for i, load := range loads {
		ends.Go(func() { errs[i] = load.End() })
	}
	ends.Wait()
	return errs
}

// enough returns an error until n things were seen.
func enough(err error, n, want int) error {
	if err == nil && n < want {
		err = fmt.Errorf("saw %d, want %d", n, want)
	}
	return err
}

// docker stop of one of two containers must not cost a request, however the container takes the signal.
func TestStopUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	for _, onTerm := range []string{"graceful", "exit"} {
		t.Run(onTerm, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, 1, lab.Options{})
			node := l.Nodes[0]
			node.StartRuche()
			client := node.Client()
			for _, name := range []string{"one", "two"} {
				node.Run(name, "--env", "VIRTUAL_HOST=pair.test", "--env", "SITE_ON_TERM="+onTerm)
			}
			seen := map[string]bool{}
			lab.Eventually(t, soon, func() error {
				s, err := client.Site("http://pair.test/")
				seen[s.Site] = true
				return enough(err, len(seen), 2)
			})

			load := client.StartLoad("http://pair.test/", loadRate)
			<-load.UnderWay()
			node.Docker("stop", "one")
			err := load.End()
			t.Log(load)
			if err != nil {
				t.Error(err)
			}
			if err := client.IsServedBy("http://pair.test/", "two"); err != nil {
				t.Error(err)
			}
		})
	}
}

// A killed and restarted Engine must not be noticed by visitors, and what changes afterwards must be picked up.
func TestEngineIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1, lab.Options{LiveRestore: true})
	node := l.Nodes[0]
	node.StartRuche()
	client := node.Client()
	node.Run("web", "--env", "VIRTUAL_HOST=web.test")
	lab.Eventually(t, soon, func() error { return client.IsServedBy("http://web.test/", "web") })

	load := client.StartLoad("http://web.test/", loadRate)
	<-load.UnderWay()
	node.KillEngine()
	if err := client.IsServedBy("http://web.test/", "web"); err != nil {
		t.Errorf("while the engine is down: %v", err)
	}
	node.StartEngine()
	node.Run("later", "--env", "VIRTUAL_HOST=later.test")
	lab.Eventually(t, 30*time.Second, func() error { return client.IsServedBy("http://later.test/", "later") })
	err := load.End()
	t.Log(load)
	if err != nil {
		t.Error(err)
	}
	node.Docker("rm", "--force", "web")
	lab.Eventually(t, soon, func() error { return client.Answers("http://web.test/", 503) })
}
