package cluster_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/fsx"
)

// nextUpdate waits for a watch's next update.
func nextUpdate(t *testing.T, updates <-chan ruche.Update[note]) ruche.Update[note] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	select {
	case u := <-updates:
		return u
	case <-ctx.Done():
		t.Fatal("no update came")
		return ruche.Update[note]{}
	}
}

func TestAReleasedDirectoryIsAnotherOnesUntilItIsReopened(t *testing.T) {
	dir := t.TempDir()
	c := open(t, cluster.Config{Dir: dir})
	notes := cluster.NewBucket[note](c, "notes")
	must[int64](t)(notes.Put(t.Context(), "a", note{Text: "first"}))
	watching, stop := context.WithCancel(t.Context())
	updates, watched := make(chan ruche.Update[note], 10), make(chan error, 1)
	go func() { watched <- notes.Watch(watching, func(u ruche.Update[note]) { updates <- u }) }()
	running, end := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- c.Run(running) }()
	if u := nextUpdate(t, updates); u.Puts["a"].Text != "first" {
		t.Fatalf("the watch begins with %+v", u)
	}

	for _, text := range []string{"second", "third"} {
		if err := c.Release(); err != nil {
			t.Fatal(err)
		}
		if _, err := notes.Put(t.Context(), "a", note{}); !errors.Is(err, cluster.ErrReleased) {
			t.Errorf("Put while released = %v, want ErrReleased", err)
		}
		if _, err := notes.Get(t.Context(), "a"); !errors.Is(err, cluster.ErrReleased) {
			t.Errorf("Get while released = %v, want ErrReleased", err)
		}
		if _, err := c.Members(t.Context()); !errors.Is(err, cluster.ErrReleased) {
			t.Errorf("Members while released = %v, want ErrReleased", err)
		}
		if err := c.Release(); !errors.Is(err, cluster.ErrReleased) {
			t.Errorf("a second Release = %v, want ErrReleased", err)
		}
		other := open(t, cluster.Config{Dir: dir})
		if err := c.Reopen(t.Context()); !errors.Is(err, fsx.ErrLocked) {
			t.Errorf("Reopen of a directory that another has = %v, want ErrLocked", err)
		}
		must[int64](t)(cluster.NewBucket[note](other, "notes").Put(t.Context(), "a", note{Text: text}))
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		if err := c.Reopen(t.Context()); err != nil {
			t.Fatal(err)
		}
		if u := nextUpdate(t, updates); !u.Reset || u.Puts["a"].Text != text {
			t.Errorf("after Reopen the watch gave %+v, want everything anew, with %q", u, text)
		}
	}
	must[int64](t)(notes.Put(t.Context(), "a", note{Text: "last"}))
	if u := nextUpdate(t, updates); u.Puts["a"].Text != "last" {
		t.Errorf("the watch gave %+v", u)
	}
	end()
	if err := <-ran; err != nil {
		t.Errorf("Run = %v, want nil: nothing failed", err)
	}
	stop()
	if err := <-watched; err != nil && !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("Watch = %v", err)
	}
	if err := c.Reopen(t.Context()); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("Reopen after the end = %v, want ErrClosed", err)
	}
}

func TestAReleasedMemberCanBeClosed(t *testing.T) {
	c := open(t, cluster.Config{Dir: t.TempDir()})
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestAFailedMemberIsNotReleased(t *testing.T) {
	c := open(t, cluster.Config{Dir: t.TempDir()})
	defer cluster.Fail(c, "failed to commit tx")()
	if err := c.Release(); err == nil || !strings.Contains(err.Error(), "restart ruche") {
		t.Errorf("Release = %v, want an error that says what to do", err)
	}
}
