//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche/e2e/lab"
)

// BenchmarkStartToServed measures the time from a container's start event, by the Engine's clock, to the first 200 by name.
// It reports the median and the longest. The container's own start-up is part of it.
func BenchmarkStartToServed(b *testing.B) {
	l := lab.New(b, 1, lab.Options{})
	node := l.Nodes[0]
	node.StartRuche()
	client := node.Client()
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprintf("site%d", i)
		var served time.Time
		var err error
		var asking sync.WaitGroup
		asking.Go(func() { served, err = client.FirstServed("http://"+name+".test/", name, soon) })
		node.Run(name, "--env", "VIRTUAL_HOST="+name+".test")
		asking.Wait()
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, served.Sub(node.StartedAt(name)))
		node.Docker("rm", "--force", name)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms-longest")
	b.ReportMetric(0, "ns/op") // the Engine's own work, which says nothing of ruche
}
