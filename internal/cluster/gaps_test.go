package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

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
