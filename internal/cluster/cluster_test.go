package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/fsx"
)

// deadline is generous: a machine under load may take seconds where milliseconds are usual.
const deadline = 60 * time.Second

type note struct {
	Text string `json:"text"`
	N    int    `json:"n,omitempty"`
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(tb testing.TB, cfg cluster.Config) *cluster.Cluster {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if cfg.Name == "" {
		cfg.Name = "node-1"
	}
	if cfg.Logger == nil {
		cfg.Logger = quiet()
	}
	c, err := cluster.Open(ctx, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

func must[T any](tb testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func TestBucket(t *testing.T) {
	c := open(t, cluster.Config{Dir: t.TempDir()})
	notes, others := cluster.NewBucket[note](c, "notes"), cluster.NewBucket[note](c, "notes2")
	ctx := t.Context()
	rev := must[int64](t)

	if _, err := notes.Get(ctx, "a"); !errors.Is(err, cluster.ErrNotFound) || err.Error() != `cannot read notes "a": not found` {
		t.Errorf("Get of a missing key: %v", err)
	}
	first := rev(notes.Create(ctx, "a", note{Text: "1"}))
	if _, err := notes.Create(ctx, "a", note{Text: "2"}); !errors.Is(err, cluster.ErrExists) {
		t.Errorf("second Create: %v", err)
	}
	second := rev(notes.CompareAndSet(ctx, "a", note{Text: "2"}, first))
	if _, err := notes.CompareAndSet(ctx, "a", note{Text: "3"}, first); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("CompareAndSet with an old revision: %v", err)
	}
	if _, err := notes.CompareAndSet(ctx, "a", note{Text: "3"}, 0); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("CompareAndSet of an existing key at revision 0: %v", err)
	}
	rev(notes.CompareAndSet(ctx, "b/c", note{N: 1}, 0))
	rev(others.Put(ctx, "a", note{Text: "other"}))

	got, err := notes.Get(ctx, "a")
	if want := (cluster.Entry[note]{Key: "a", Value: note{Text: "2"}, Revision: second}); err != nil || got != want {
		t.Errorf("Get = %+v, %v, want %+v", got, err, want)
	}
	all, err := notes.List(ctx)
	if err != nil || len(all) != 2 || all["b/c"].Value.N != 1 {
		t.Errorf("List = %+v, %v", all, err)
	}
	for range 2 {
		if err := notes.Delete(ctx, "a"); err != nil {
			t.Error(err)
		}
	}
	if _, err := notes.Get(ctx, "a"); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("Get of a deleted key: %v", err)
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	c := open(t, cluster.Config{Dir: t.TempDir()})
	notes := cluster.NewBucket[note](c, "notes")
	ctx := t.Context()
	many := func(n int) (ops []cluster.Op) {
		for i := range n {
			ops = append(ops, notes.PutOp(fmt.Sprint(i), note{N: i}))
		}
		return ops
	}
	if err := c.Apply(ctx, many(128)...); err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(ctx); err != nil {
		t.Errorf("Apply of nothing: %v", err)
	}
	for name, tc := range map[string]struct {
		ops  []cluster.Op
		want string
	}{
		"too many":   {many(129), "cannot write 129 keys at once: a transaction holds at most 128"},
		"too large":  {append(many(1), notes.PutOp("big", note{Text: strings.Repeat("x", 2e6)})), `cannot write notes "big": the value has 2000011 bytes, and the cluster stores at most 1500000`},
		"empty key":  {[]cluster.Op{notes.DeleteOp("")}, `cannot write notes "": the key is empty`},
		"same twice": {[]cluster.Op{notes.PutOp("x", note{}), notes.PutOp("x", note{})}, `cannot write notes "x" and 1 more: etcdserver: duplicate key given in txn request`},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.Apply(ctx, tc.ops...); err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
	if all, err := notes.List(ctx); err != nil || len(all) != 128 {
		t.Errorf("%d keys stand, %v, want 128", len(all), err)
	}
}

// watching collects the updates of a bucket.
func watching[T any](t *testing.T, b *cluster.Bucket[T]) <-chan ruche.Update[T] {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	updates, done := make(chan ruche.Update[T], 10_000), make(chan error, 1)
	go func() { done <- b.Watch(ctx, func(u ruche.Update[T]) { updates <- u }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, cluster.ErrClosed) {
			t.Errorf("Watch ended with %v", err)
		}
	})
	return updates
}

func next[T any](t *testing.T, updates <-chan ruche.Update[T]) ruche.Update[T] {
	t.Helper()
	select {
	case u := <-updates:
		u.Revision = 0
		return u
	case <-time.After(deadline):
		t.Fatal("no update came")
		panic("unreachable")
	}
}

func TestWatchDeliversContentAndThenChanges(t *testing.T) {
	var log bytes.Buffer
	c := open(t, cluster.Config{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	notes, raw := cluster.NewBucket[note](c, "notes"), cluster.NewBucket[any](c, "notes")
	ctx := t.Context()
	rev := must[int64](t)
	rev(notes.Put(ctx, "a", note{N: 1}))
	rev(raw.Put(ctx, "bad", "no note"))

	updates := watching(t, notes)
	want := func(step string, w ruche.Update[note]) {
		t.Helper()
		if got := next(t, updates); !reflect.DeepEqual(got, w) {
			t.Errorf("%s: got %+v, want %+v", step, got, w)
		}
	}
	want("content", ruche.Update[note]{Reset: true, Puts: map[string]note{"a": {N: 1}}})
	rev(notes.Put(ctx, "b", note{N: 2}))
	want("put", ruche.Update[note]{Puts: map[string]note{"b": {N: 2}}})
	rev(raw.Put(ctx, "b", 3))
	if err := c.Apply(ctx, notes.DeleteOp("b"), notes.DeleteOp("a"), notes.PutOp("c", note{N: 3}), notes.DeleteOp("never")); err != nil {
		t.Fatal(err)
	}
	want("transaction", ruche.Update[note]{Puts: map[string]note{"c": {N: 3}}, Deletes: []string{"a", "b"}})
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "cannot decode stored value"); n != 2 {
		t.Errorf("%d undecodable values were logged, want 2:\n%s", n, &log)
	}
}

func TestWatchMissesNothingWhileOthersWrite(t *testing.T) {
	c := open(t, cluster.Config{Dir: t.TempDir()})
	notes := cluster.NewBucket[note](c, "notes")
	const writers, writes = 4, 100
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range writes {
				if _, err := notes.Put(context.Background(), fmt.Sprintf("%d/%d", w, i%10), note{N: i}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	// Watchers that begin at any time see the same content in the end, and never go back.
	var watchers sync.WaitGroup
	for range 5 {
		updates := watching(t, notes)
		watchers.Go(func() {
			seen, last, complete := make(map[string]note), int64(0), time.After(deadline)
			for len(seen) < writers*10 || !finished(seen, writers, writes) {
				select {
				case u := <-updates:
					if u.Revision <= last && last != 0 {
						t.Errorf("revision %d came after %d", u.Revision, last)
					}
					last = u.Revision
					for k, v := range u.Puts {
						if v.N < seen[k].N {
							t.Errorf("%s went back from %d to %d", k, seen[k].N, v.N)
						}
						seen[k] = v
					}
				case <-complete:
					t.Errorf("the watcher never saw the end: %v", seen)
					return
				}
			}
		})
	}
	wg.Wait()
	watchers.Wait()
}

func finished(seen map[string]note, writers, writes int) bool {
	for w := range writers {
		for i := range 10 {
			if seen[fmt.Sprintf("%d/%d", w, i)].N != writes-10+i {
				return false
			}
		}
	}
	return true
}

func TestOperationsAfterCloseFail(t *testing.T) {
	c := open(t, cluster.Config{Dir: t.TempDir()})
	notes := cluster.NewBucket[note](c, "notes")
	updates, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() { ended <- notes.Watch(t.Context(), func(ruche.Update[note]) { updates <- struct{}{} }) }()
	<-updates
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-ended; !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("Watch ended with %v, want ErrClosed", err)
	}
	if _, err := notes.Put(t.Context(), "a", note{}); err == nil {
		t.Error("Put after Close worked")
	}
}

func TestDataOutlivesTheMember(t *testing.T) {
	dir := t.TempDir()
	c := open(t, cluster.Config{Dir: dir})
	must[int64](t)(cluster.NewBucket[note](c, "notes").Put(t.Context(), "a", note{Text: "kept"}))

	// What a copy of the files holds while the member runs is what a killed process leaves behind.
	killed := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"after Close": dir, "after a kill": killed} {
		t.Run(name, func(t *testing.T) {
			c := open(t, cluster.Config{Dir: dir, Name: "renamed"})
			notes := cluster.NewBucket[note](c, "notes")
			if e, err := notes.Get(t.Context(), "a"); err != nil || e.Value.Text != "kept" {
				t.Errorf("Get = %+v, %v", e, err)
			}
			must[int64](t)(notes.Put(t.Context(), "b", note{}))
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	held := t.TempDir()
	open(t, cluster.Config{Dir: held})
	damaged := t.TempDir()
	if err := open(t, cluster.Config{Dir: damaged}).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(damaged, "member", "snap", "db"), bytes.Repeat([]byte("damage"), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	log := t.TempDir()
	if err := open(t, cluster.Config{Dir: log}).Close(); err != nil {
		t.Fatal(err)
	}
	damageLog(t, log)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		cfg  cluster.Config
		want string
	}{
		"in use":       {cluster.Config{Dir: held}, "directory is in use by this process"},
		"damaged":      {cluster.Config{Dir: damaged}, "the stored state is damaged"},
		"damaged log":  {cluster.Config{Dir: log}, "the stored state is damaged"},
		"no dir":       {cluster.Config{Dir: file}, "not a directory"},
		"bad name":     {cluster.Config{Dir: t.TempDir(), Name: "a b"}, `the member name "a b" must be letters`},
		"plain peer":   {cluster.Config{Dir: t.TempDir(), Peer: "http://127.0.0.1:1"}, `must have the form "https://address:port"`},
		"no address":   {cluster.Config{Dir: t.TempDir(), Peer: "https://0.0.0.0:1", PeerTLS: &cluster.PeerTLS{}}, "must name one IP address of this host"},
		"no proof":     {cluster.Config{Dir: t.TempDir(), Peer: "https://127.0.0.1:1"}, "needs a certificate"},
		"no authority": {cluster.Config{Dir: t.TempDir(), Peer: "https://127.0.0.1:1", PeerTLS: &cluster.PeerTLS{AllowedCN: "x"}}, "without them anybody could join"},
		"long socket":  {cluster.Config{Dir: t.TempDir(), Peer: "unix://" + strings.Repeat("x", 110) + ":1"}, "has 112 bytes, and the system takes at most 107"},
		"unreachable":  {cluster.Config{Dir: t.TempDir(), Join: &cluster.Invitation{}}, "needs a peer address"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.cfg.Name == "" {
				tc.cfg.Name = "node-1"
			}
			tc.cfg.Logger = quiet()
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			c, err := cluster.Open(ctx, tc.cfg)
			if err == nil {
				_ = c.Close()
			}
			if err == nil || !strings.HasPrefix(err.Error(), "cannot open cluster state") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	if _, err := fsx.LockDir(damaged); err != nil {
		t.Errorf("a failed Open kept its lock: %v", err)
	}
}

// damageLog overwrites the middle of the write-ahead log's first record.
func damageLog(t *testing.T, dir string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("logs are %v, %v", logs, err)
	}
	f, err := os.OpenFile(logs[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damage"), 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := open(t, cluster.Config{Dir: dir})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v, want 0700", info.Mode(), err)
	}
	for range 20 {
		if err := c.Run(t.Context()); err != nil {
			t.Errorf("Run after Close: %v", err)
		}
	}
	lock, err := fsx.LockDir(dir)
	if err != nil {
		t.Fatalf("Run kept the lock: %v", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Error(err)
	}
}
