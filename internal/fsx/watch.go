package fsx

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// timing says how WatchDir waits.
type timing struct {
	quiet   time.Duration // a change is settled when nothing happened for this long,
	atMost  time.Duration // or when this long has passed since its first event
	recheck time.Duration // between two looks at what notification may have missed
}

func defaultTiming() timing {
	return timing{quiet: 50 * time.Millisecond, atMost: 500 * time.Millisecond, recheck: 5 * time.Second}
}

// WatchDir calls changed once at start and then after each settled change of the files right in dir, until ctx ends. Changes
// are settled when nothing happened for 50 ms, or after 500 ms of unrest. dir may be missing, may be removed and created again, may be a
// symbolic link, and may be on a file system that does not notify: every 5 s names, sizes and times are compared as
// well, also those of files that links in dir point to. changed is never called twice at the same time.
func WatchDir(ctx context.Context, dir string, logger *slog.Logger, changed func()) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		logger.Warn("cannot be notified of file changes, looking every 5 s instead", "dir", dir, "error", err,
			"hint", "raise fs.inotify.max_user_instances with sysctl")
		notify = nil
	}
	newDirWatch(dir, logger, notify, defaultTiming()).run(ctx, changed)
}

// dirWatch is one WatchDir call.
type dirWatch struct {
	dir    string // absolute
	logger *slog.Logger
	notify *fsnotify.Watcher // nil: look only
	timing timing

	watched map[string]fs.FileInfo // what notify is attached to
	seen    string                 // print of the directory before changed was last called
	failed  bool                   // attaching failed and that was logged
}

func newDirWatch(dir string, logger *slog.Logger, notify *fsnotify.Watcher, t timing) *dirWatch {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return &dirWatch{dir: filepath.Clean(dir), logger: logger, notify: notify, timing: t, watched: make(map[string]fs.FileInfo)}
}

func (w *dirWatch) run(ctx context.Context, changed func()) {
	var events <-chan fsnotify.Event
	var errs <-chan error
	if w.notify != nil {
		defer func() { _ = w.notify.Close() }()
		events, errs = w.notify.Events, w.notify.Errors
	}
	recheck := time.NewTicker(w.timing.recheck)
	defer recheck.Stop()
	settled := time.NewTimer(0) // fires at once: the call at start
	defer settled.Stop()
	var first time.Time // of the events that have not settled yet

	stir := func() {
		now := time.Now()
		if first.IsZero() {
			first = now
		}
		settled.Reset(min(w.timing.quiet, w.timing.atMost-now.Sub(first)))
	}
	w.attach()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if w.concerns(e) {
				stir()
			}
		case err := <-errs:
			// An overflow of the kernel's queue: anything may have changed.
			w.logger.Debug("file change notification failed", "dir", w.dir, "error", err)
			stir()
		case <-recheck.C:
			w.attach()
			if first.IsZero() && fingerprint(w.dir) != w.seen {
				stir()
			}
		case <-settled.C:
			first = time.Time{}
			w.attach()
			w.seen = fingerprint(w.dir)
			changed()
		}
	}
}

// concerns reports whether e is about a file in the directory or about the directory itself, and
// not about one of its neighbours. It attaches to a directory that has just appeared.
func (w *dirWatch) concerns(e fsnotify.Event) bool {
	if filepath.Dir(e.Name) == w.dir {
		return true
	}
	if e.Name != w.dir && !strings.HasPrefix(w.dir, strings.TrimSuffix(e.Name, "/")+"/") {
		return false
	}
	w.attach()
	return true
}

// attach asks for notification about the directory and about the nearest existing directory above it, which tells when
// it is created, removed or replaced. It is cheap when nothing changed.
func (w *dirWatch) attach() {
	if w.notify == nil {
		return
	}
	above := filepath.Dir(w.dir)
	for {
		if info, err := os.Stat(above); err == nil && info.IsDir() || above == filepath.Dir(above) {
			break
		}
		above = filepath.Dir(above)
	}
	for path := range w.watched {
		if path != above && path != w.dir {
			_ = w.notify.Remove(path) // fails when the kernel has already let go of it
			delete(w.watched, path)
		}
	}
	w.attachTo(above)
	w.attachTo(w.dir)
}

// attachTo asks for notification about path, unless it is asked already for the very same directory.
func (w *dirWatch) attachTo(path string) {
	info, err := os.Stat(path)
	old, stands := w.watched[path]
	// A directory that is created again may get the number of the one that was removed: the same file to the eye, but
	// the kernel no longer tells about it.
	if stands && (err != nil || !os.SameFile(old, info) || !slices.Contains(w.notify.WatchList(), path)) {
		_ = w.notify.Remove(path) // fails when the kernel has already let go of it
		delete(w.watched, path)
		stands = false
	}
	if stands || err != nil || !info.IsDir() {
		return
	}
	if err := w.notify.Add(path); err != nil {
		if !w.failed {
			w.logger.Warn("cannot be notified of file changes, looking every 5 s instead", "dir", path, "error", err,
				"hint", "raise fs.inotify.max_user_watches with sysctl")
			w.failed = true
		}
		return
	}
	w.watched[path] = info
}

// fingerprint sums up name, size, mode and modification time of the files in dir, links followed. It is the same for
// every directory that cannot be read, and differs from that of an empty one.
func fingerprint(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "unreadable"
	}
	var b strings.Builder
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if err != nil {
			fmt.Fprintf(&b, "%q gone\n", e.Name())
			continue
		}
		fmt.Fprintf(&b, "%q %d %o %d\n", e.Name(), info.Size(), info.Mode(), info.ModTime().UnixNano())
	}
	return b.String()
}
