package fsx

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// deadline is generous: a machine under load may take seconds where 50 ms are usual.
const deadline = 20 * time.Second

// watching runs a dirWatch until the test ends and gives a channel with one value per call.
func watching(t *testing.T, dir string, notified bool, tm timing) <-chan struct{} {
	t.Helper()
	var notify *fsnotify.Watcher
	if notified {
		var err error
		if notify, err = fsnotify.NewWatcher(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	calls, done := make(chan struct{}, 1000), make(chan struct{})
	go func() {
		defer close(done)
		newDirWatch(dir, slog.New(slog.DiscardHandler), notify, tm).run(ctx, func() { calls <- struct{}{} })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	await(t, calls, "the call at start")
	return calls
}

func await(t *testing.T, calls <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-calls:
	case <-time.After(deadline):
		t.Fatalf("no call after %s", what)
	}
}

// notifyOnly never looks by itself within a test.
func notifyOnly() timing {
	tm := defaultTiming()
	tm.recheck = time.Hour
	return tm
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchDirTellsOfEachChange(t *testing.T) {
	dir := t.TempDir()
	file, other := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	calls := watching(t, dir, true, notifyOnly())
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"create", func() error { return os.WriteFile(file, []byte("1"), 0o600) }},
		{"change", func() error { return os.WriteFile(file, []byte("2"), 0o600) }},
		{"change of permissions", func() error { return os.Chmod(file, 0o644) }},
		{"rename", func() error { return os.Rename(file, other) }},
		{"atomic replacement", func() error { return WriteFile(other, []byte("3"), 0o600) }},
		{"remove", func() error { return os.Remove(other) }},
	} {
		must(t, step.do())
		await(t, calls, step.name)
	}
}

func TestWatchDirJoinsABurst(t *testing.T) {
	dir := t.TempDir()
	tm := notifyOnly()
	tm.quiet, tm.atMost = 300*time.Millisecond, time.Hour
	calls := watching(t, dir, true, tm)
	for range 100 {
		must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("x"), 0o600))
	}
	await(t, calls, "a burst")
	if n := len(calls); n > 3 {
		t.Errorf("100 writes in a row gave %d calls, want them joined", n+1)
	}
}

func TestWatchDirDoesNotWaitForeverForQuiet(t *testing.T) {
	dir := t.TempDir()
	tm := notifyOnly()
	tm.quiet, tm.atMost = time.Hour, 10*time.Millisecond
	calls := watching(t, dir, true, tm)
	for end := time.Now().Add(deadline); len(calls) == 0; {
		if time.Now().After(end) {
			t.Fatal("no call during constant unrest")
		}
		must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("x"), 0o600))
	}
}

func TestWatchDirSurvivesItsDirectory(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "etc", "ruche", "routes.d")
	file := filepath.Join(dir, "a.yaml")
	calls := watching(t, dir, true, notifyOnly())

	for range 3 {
		must(t, os.MkdirAll(dir, 0o755))
		await(t, calls, "the directory was created")
		must(t, os.WriteFile(file, []byte("1"), 0o600))
		await(t, calls, "a file was created in it")
		drain(calls)
		must(t, os.RemoveAll(filepath.Join(base, "etc")))
		await(t, calls, "the directory was removed")
		drain(calls)
	}

	must(t, os.MkdirAll(filepath.Join(base, "new"), 0o755))
	must(t, os.MkdirAll(filepath.Dir(dir), 0o755))
	await(t, calls, "the directory above was created")
	drain(calls)
	must(t, os.Rename(filepath.Join(base, "new"), dir))
	await(t, calls, "a directory was moved into place")
	must(t, os.WriteFile(file, []byte("1"), 0o600))
	await(t, calls, "a file was created in the moved directory")
}

func TestWatchDirFollowsLinks(t *testing.T) {
	base := t.TempDir()
	one, two, link := filepath.Join(base, "one"), filepath.Join(base, "two"), filepath.Join(base, "link")
	must(t, os.Mkdir(one, 0o755))
	must(t, os.Mkdir(two, 0o755))
	must(t, os.Symlink(one, link))
	calls := watching(t, link, true, notifyOnly())
	must(t, os.WriteFile(filepath.Join(one, "a"), nil, 0o600))
	await(t, calls, "a file was created behind the link")

	must(t, os.Symlink(two, link+".new"))
	must(t, os.Rename(link+".new", link))
	await(t, calls, "the link was turned")
	must(t, os.WriteFile(filepath.Join(two, "a"), nil, 0o600))
	await(t, calls, "a file was created behind the turned link")
}

func TestWatchDirIgnoresNeighbours(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "routes.d")
	must(t, os.Mkdir(dir, 0o755))
	w := newDirWatch(dir, slog.New(slog.DiscardHandler), nil, notifyOnly())
	for name, want := range map[string]bool{
		filepath.Join(dir, "a.yaml"):        true,
		dir:                                 true,
		base:                                true,
		filepath.Join(base, "routes.d.bak"): false,
		filepath.Join(base, "other", "a"):   false,
	} {
		if got := w.concerns(fsnotify.Event{Name: name, Op: fsnotify.Write}); got != want {
			t.Errorf("concerns(%s) = %v, want %v", name, got, want)
		}
	}
}

func TestWatchDirLooksWithoutNotification(t *testing.T) {
	base := t.TempDir()
	dir, target := filepath.Join(base, "certs"), filepath.Join(base, "elsewhere")
	tm := defaultTiming()
	tm.recheck = 5 * time.Millisecond
	calls := watching(t, dir, false, tm)
	must(t, os.WriteFile(target, []byte("1"), 0o600))
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"the directory was created", func() error { return os.Mkdir(dir, 0o755) }},
		{"a link was created", func() error { return os.Symlink(target, filepath.Join(dir, "a.crt")) }},
		{"a link's target was changed", func() error { return os.WriteFile(target, []byte("22"), 0o600) }},
		{"a link's target was removed", func() error { return os.Remove(target) }},
		{"the directory was removed", func() error { return os.RemoveAll(dir) }},
	} {
		must(t, step.do())
		await(t, calls, step.name)
	}
}

func TestWatchDirPublicFunctionEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	called := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		WatchDir(ctx, t.TempDir(), slog.New(slog.DiscardHandler), func() { close(called) })
	}()
	await(t, called, "the start")
	cancel()
	await(t, done, "the context ended")
}

func drain(calls <-chan struct{}) {
	for {
		select {
		case <-calls:
		default:
			return
		}
	}
}
