package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A leader that has lost its place and does not know it must not write over what its successor writes.
func TestWritesOfALeaderThatLeadsNoMoreAreRefused(t *testing.T) {
	for name, depose := range map[string]func(*clientv3.Client, *mvccpb.KeyValue) error{
		"its key is gone": func(c *clientv3.Client, held *mvccpb.KeyValue) error {
			return second(c.Delete(t.Context(), string(held.Key)))
		},
		"its lease has run out": func(c *clientv3.Client, held *mvccpb.KeyValue) error {
			return second(c.Revoke(t.Context(), clientv3.LeaseID(held.Lease)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := openAlone(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			texts := NewBucket[string](c, "texts")
			old := lead(ctx, t, c)
			if _, err := texts.Put(old.ctx, "a", "old"); err != nil {
				t.Fatal(err)
			}
			client := c.current.Load().client
			resp, err := client.Get(ctx, "/ruche-lead/work/", clientv3.WithPrefix(), clientv3.WithMaxCreateRev(old.token))
			if err != nil || len(resp.Kvs) != 1 {
				t.Fatalf("the leader's key is %v, %v", resp, err)
			}
			if err := depose(client, resp.Kvs[0]); err != nil {
				t.Fatal(err)
			}
			successor := lead(ctx, t, c)
			if _, err := texts.Put(successor.ctx, "a", "new"); err != nil {
				t.Fatal(err)
			}

			// As if its process had stood still until now: not even its context has ended.
			late := context.WithoutCancel(old.ctx)
			for what, err := range map[string]error{
				"Put":    second(texts.Put(late, "a", "old")),
				"Create": second(texts.Create(late, "b", "old")),
				"Delete": texts.Delete(late, "a"),
				"Apply":  c.Apply(late, texts.PutOp("a", "old"), texts.PutOp("b", "old")),
			} {
				if !errors.Is(err, ErrNotLeading) {
					t.Errorf("%s = %v, want ErrNotLeading", what, err)
				}
			}
			<-old.ctx.Done() // it is told
			all, err := texts.List(ctx)
			if err != nil || len(all) != 1 || all["a"].Value != "new" {
				t.Errorf("the rows are %v, %v; want those of the successor", all, err)
			}
			if successor.ctx.Err() != nil {
				t.Error("the successor leads no more")
			}
		})
	}
}

// What a condition has refused says nothing against the leader.
func TestALeaderMayFailAtConditions(t *testing.T) {
	c := openAlone(t)
	texts := NewBucket[string](c, "texts")
	l := lead(t.Context(), t, c)
	revision, err := texts.Create(l.ctx, "a", "1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := texts.Create(l.ctx, "a", "2"); !errors.Is(err, ErrExists) {
		t.Errorf("second Create = %v, want ErrExists", err)
	}
	if _, err := texts.CompareAndSet(l.ctx, "a", "2", revision-1); !errors.Is(err, ErrConflict) {
		t.Errorf("CompareAndSet with an old revision = %v, want ErrConflict", err)
	}
	if _, err := texts.CompareAndSet(l.ctx, "a", "2", revision); err != nil || l.ctx.Err() != nil {
		t.Errorf("CompareAndSet = %v; the context has ended with %v", err, l.ctx.Err())
	}
}

func second[T any](_ T, err error) error { return err }

// term is a time of leading.
type term struct {
	ctx   context.Context
	token int64
}

// lead leads until the test ends, or until it leads no more.
func lead(ctx context.Context, t *testing.T, c *Cluster) term {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	won, ended := make(chan term, 1), make(chan error, 1)
	go func() {
		ended <- c.Lead(ctx, "work", func(leading context.Context, token int64) error {
			won <- term{leading, token}
			<-leading.Done()
			cancel() // it is not to lead again
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return <-won
}
