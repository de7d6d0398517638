package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/cluster"
)

// until tries again until the condition holds. Each try talks to a cluster, which paces it.
func until(t *testing.T, what string, holds func(ctx context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	for !holds(ctx) {
		if ctx.Err() != nil {
			t.Fatalf("never: %s", what)
		}
	}
}

// join adds one member to the cluster of c.
func join(t *testing.T, c *cluster.Cluster, name string) *cluster.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	peer := "unix://" + name + ":1"
	inv, err := c.Invite(ctx, name, peer)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, cluster.Config{Dir: filepath.Join(t.TempDir(), name), Name: name, Peer: peer, Join: inv})
}

func TestGrowthFromOneMemberToThree(t *testing.T) {
	t.Chdir(t.TempDir()) // the sockets of peers are relative
	ctx := t.Context()
	rev := must[int64](t)

	// A member that was alone gets a peer address when it is opened again.
	dir := t.TempDir()
	one := open(t, cluster.Config{Dir: dir})
	rev(cluster.NewBucket[note](one, "notes").Put(ctx, "first", note{N: 1}))
	if _, err := one.Invite(ctx, "node-2", "unix://node-2:1"); err == nil || !strings.Contains(err.Error(), "member node-1 has no peer address") {
		t.Errorf("Invite by a member without address: %v", err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	one = open(t, cluster.Config{Dir: dir, Peer: "unix://node-1:1"})
	two := join(t, one, "node-2")
	three := join(t, two, "node-3") // any member can invite

	members := must[[]cluster.Member](t)(three.Members(ctx))
	leaders := 0
	for _, m := range members {
		if m.Learner || !m.Healthy || m.Peer != "unix://"+m.Name+":1" {
			t.Errorf("member %+v, want a healthy one that votes", m)
		}
		if m.Leader {
			leaders++
		}
	}
	if len(members) != 3 || leaders != 1 {
		t.Fatalf("members are %+v, want three with one leader", members)
	}
	if _, err := one.Invite(ctx, "node-3", "unix://node-4:1"); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("second invitation of node-3: %v", err)
	}

	notes3 := cluster.NewBucket[note](three, "notes")
	if e, err := notes3.Get(ctx, "first"); err != nil || e.Value.N != 1 {
		t.Errorf("on the third member: %+v, %v", e, err)
	}
	updates := watching(t, notes3)
	next(t, updates)
	rev(cluster.NewBucket[note](two, "notes").Put(ctx, "second", note{N: 2}))
	if u := next(t, updates); u.Puts["second"].N != 2 {
		t.Errorf("the third member saw %+v", u)
	}

	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "a write without the first member", func(ctx context.Context) bool {
		_, err := notes3.Put(ctx, "third", note{N: 3})
		return err == nil
	})
	if u := next(t, updates); u.Puts["third"].N != 3 {
		t.Errorf("after the first member was closed, the third saw %+v", u)
	}

	testRemove(t, two, three)
}

// testRemove removes the closed first member, and then fails to remove one of the remaining two while
// the other is down.
func testRemove(t *testing.T, two, three *cluster.Cluster) {
	ctx := t.Context()
	ids := make(map[string]string)
	for _, m := range must[[]cluster.Member](t)(three.Members(ctx)) {
		ids[m.Name] = m.ID
		if m.Healthy != (m.Name != "node-1") {
			t.Errorf("health of %+v is wrong: node-1 is down", m)
		}
	}
	for id, want := range map[string]string{
		"zz": "not a hexadecimal number", "1": "there is no such member",
		ids["node-2"]: "of the 2 members that would remain only 1 are healthy",
	} {
		if err := three.Remove(ctx, id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Remove(%q): %v, want %q", id, err, want)
		}
	}
	bounded, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	if err := three.Remove(bounded, ids["node-1"]); err != nil {
		t.Fatal(err)
	}
	if members := must[[]cluster.Member](t)(two.Members(ctx)); len(members) > 3 {
		t.Errorf("members are %+v", members)
	}

	// A member that is removed while it runs says so.
	stopped := make(chan error, 1)
	go func() { stopped <- two.Run(ctx) }()
	if err := three.Remove(bounded, ids["node-2"]); err != nil {
		t.Fatal(err)
	}
	if err := <-stopped; err == nil || !strings.Contains(err.Error(), "cluster member node-2 stopped") {
		t.Errorf("Run of a removed member: %v", err)
	}
	if err := three.Remove(bounded, ids["node-3"]); err == nil || !strings.Contains(err.Error(), "the last one that votes") {
		t.Errorf("Remove of the last member: %v", err)
	}
	until(t, "a write by the member that is alone again", func(ctx context.Context) bool {
		_, err := cluster.NewBucket[note](three, "notes").Put(ctx, "alone again", note{})
		return err == nil
	})
}

func TestLeadRunsOnOneMemberAtATime(t *testing.T) {
	c := open(t, cluster.Config{Dir: t.TempDir()})
	type term struct {
		who   int
		token int64
	}
	terms := make(chan term)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	var stops [2]context.CancelFunc
	for i := range 2 {
		own, stop := context.WithCancel(ctx)
		stops[i] = stop
		go func() {
			done <- c.Lead(own, "certs", func(ctx context.Context, token int64) error {
				terms <- term{i, token}
				<-ctx.Done()
				return ctx.Err()
			})
		}()
	}
	first := <-terms
	select {
	case second := <-terms:
		t.Errorf("%+v leads while %+v does", second, first)
	default:
	}
	stops[first.who]()
	if err := <-done; err != nil {
		t.Errorf("the first leader ended with %v", err)
	}
	second := <-terms
	if second.who == first.who || second.token <= first.token {
		t.Errorf("after %+v, %+v leads: want the other, with a larger token", first, second)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the second leader ended with %v", err)
	}
}

func TestLeadGivesTheErrorOfItsFunction(t *testing.T) {
	c := open(t, cluster.Config{Dir: t.TempDir()})
	for _, want := range []error{errors.New("broken"), nil} {
		t.Run(fmt.Sprint(want), func(t *testing.T) {
			err := c.Lead(t.Context(), "certs", func(context.Context, int64) error { return want })
			if !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}

func TestLeadEndsWithTheCluster(t *testing.T) {
	c := open(t, cluster.Config{Dir: t.TempDir()})
	leads, done := make(chan struct{}), make(chan error)
	go func() {
		done <- c.Lead(t.Context(), "certs", func(ctx context.Context, _ int64) error {
			close(leads)
			<-ctx.Done()
			return nil
		})
	}()
	<-leads
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("Lead ended with %v, want ErrClosed", err)
	}
}
