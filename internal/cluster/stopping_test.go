package cluster_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/ruche-project/ruche/internal/cluster"
)

// Whoever reads while the member stops gets an error; etcd itself panics.
func TestReadsWhileTheMemberStopsFail(t *testing.T) {
	for range 5 {
		c := open(t, cluster.Config{Dir: t.TempDir()})
		notes := cluster.NewBucket[note](c, "notes")
		must[int64](t)(notes.Put(t.Context(), "a", note{}))
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for {
					if _, err := notes.List(t.Context()); err != nil {
						if !errors.Is(err, cluster.ErrReleased) {
							t.Logf("List = %v", err)
						}
						return
					}
				}
			})
		}
		if err := c.Release(); err != nil {
			t.Error(err)
		}
		readers.Wait()
	}
}
