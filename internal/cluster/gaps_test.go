package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ruche-project/ruche"
)

func openAlone(t *testing.T) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := Open(ctx, Config{Dir: t.TempDir(), Name: "node-1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestWatchListsAgainAfterCompaction(t *testing.T) {
	c := openAlone(t)
	b := NewBucket[int](c, "numbers")
	ctx, cancel := context.WithCancel(t.Context())
	var updates []ruche.Update[int]
	err := b.Watch(ctx, func(u ruche.Update[int]) {
		updates = append(updates, u)
		if len(updates) > 1 {
			cancel()
			return
		}
		// What happens after the list and before the watch is gone from the history when the watch begins.
		var rev int64
		for i := range 3 {
			var err error
			if rev, err = b.Put(ctx, fmt.Sprint(i), i); err != nil {
				t.Error(err)
			}
		}
		if _, err := c.current.Load().client.Compact(ctx, rev); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Error(err)
	}
	if len(updates) < 2 || !updates[1].Reset || len(updates[1].Puts) != 3 {
		t.Errorf("updates are %+v, want the whole content again as the second", updates)
	}
}

// hold makes a key of an election as a process leaves it that is killed while it leads, with a lease that outlasts the test.
func hold(t *testing.T, c *Cluster, election, name string) {
	t.Helper()
	client := c.current.Load().client
	lease, err := client.Grant(t.Context(), 3600)
	if err == nil {
		_, err = client.Put(t.Context(), "/ruche-lead/"+election+"/dead", name, clientv3.WithLease(lease.ID))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestLeadEndsTheTermOfItsFormerLife(t *testing.T) {
	c := openAlone(t)
	hold(t, c, "certs", "node-1")
	hold(t, c, "work", "node-2")
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	if err := c.Reopen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	led := false
	if err := c.Lead(ctx, "certs", func(context.Context, int64) error { led = true; return nil }); err != nil || !led {
		t.Errorf("Lead = %v; it led: %v", err, led)
	}
	m := c.current.Load()
	m.bury(ctx, "/ruche-lead/work/", "node-1")
	if resp, err := m.client.Get(ctx, "/ruche-lead/work/dead"); err != nil || len(resp.Kvs) != 1 {
		t.Errorf("what another member holds is %v, %v, want that it is left alone", resp, err)
	}
	hold(t, c, "now", "node-1")
	m.bury(ctx, "/ruche-lead/now/", "node-1")
	if resp, err := m.client.Get(ctx, "/ruche-lead/now/dead"); err != nil || len(resp.Kvs) != 1 {
		t.Errorf("what is held in this life is %v, %v, want that it is left alone", resp, err)
	}
}

func TestLeadSeeksLeadershipAgainWhenItIsLost(t *testing.T) {
	c := openAlone(t)
	ctx, cancel := context.WithCancel(t.Context())
	var tokens []int64
	err := c.Lead(ctx, "certs", func(leading context.Context, token int64) error {
		if tokens = append(tokens, token); len(tokens) == 2 {
			cancel()
			return nil
		}
		// A lease that ran out is gone just as one that is revoked.
		leases, err := c.current.Load().client.Leases(ctx)
		if err != nil {
			t.Error(err)
			cancel()
			return nil
		}
		for _, l := range leases.Leases {
			if _, err := c.current.Load().client.Revoke(ctx, l.ID); err != nil {
				t.Error(err)
			}
		}
		<-leading.Done()
		return leading.Err()
	})
	if err != nil {
		t.Error(err)
	}
	if len(tokens) != 2 || tokens[1] <= tokens[0] {
		t.Errorf("tokens are %v, want two that grow", tokens)
	}
}
