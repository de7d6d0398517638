package cluster_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ruche-project/ruche/internal/cluster"
)

// smallDisk mounts a disk of its own of so many megabytes.
func smallDisk(t *testing.T, megabytes string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size="+megabytes+"m"); err != nil {
		t.Skipf("cannot mount a small disk, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("cannot unmount the small disk: %v", err)
		}
	})
	return dir
}

// fill leaves so many megabytes free and returns the file that takes the rest. The state may take room for its log at the same time.
func fill(t *testing.T, dir string, leave int64) string {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for {
		var fs syscall.Statfs_t
		if err := syscall.Statfs(dir, &fs); err != nil {
			t.Fatal(err)
		}
		err := syscall.Fallocate(int(f.Fd()), 0, 0, int64(fs.Bavail)*fs.Bsize-leave<<20)
		if err == nil {
			return path
		}
		if !errors.Is(err, syscall.ENOSPC) { // else the room is another than a moment ago
			t.Fatal(err)
		}
	}
}

func TestAFullDiskRefusesWritesAndTakesThemAgain(t *testing.T) {
	disk := smallDisk(t, "400")
	c := open(t, cluster.Config{Dir: filepath.Join(disk, "state")})
	notes := cluster.NewBucket[note](c, "notes")
	must[int64](t)(notes.Put(t.Context(), "a", note{Text: "before"}))

	ballast := fill(t, disk, 10)
	if _, err := notes.Put(t.Context(), "a", note{Text: "full"}); err == nil || !strings.Contains(err.Error(), "nearly full") {
		t.Errorf("Put on a full disk = %v, want an error that says so", err)
	}
	if e, err := notes.Get(t.Context(), "a"); err != nil || e.Value.Text != "before" {
		t.Errorf("Get on a full disk = %+v, %v, want what was there before", e, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	must[int64](t)(notes.Put(t.Context(), "a", note{Text: "after"}))
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestAStartOnAFullDiskSaysThatItIsFull(t *testing.T) {
	_, err := cluster.Open(t.Context(), cluster.Config{Dir: filepath.Join(smallDisk(t, "3"), "state"), Name: "one", Logger: quiet()})
	if err == nil || !strings.Contains(err.Error(), "nearly full") || strings.Contains(err.Error(), "damaged") {
		t.Errorf("Open on a full disk = %v, want an error that says so", err)
	}
}

func TestErrClosedIsWhatAFailedMemberAnswers(t *testing.T) {
	c := open(t, cluster.Config{Dir: t.TempDir()})
	defer cluster.Fail(c, "failed to commit tx")()
	if _, err := cluster.NewBucket[note](c, "notes").Put(t.Context(), "a", note{}); !errors.Is(err, cluster.ErrClosed) || !strings.Contains(err.Error(), "restart ruche") {
		t.Errorf("Put = %v, want ErrClosed and what to do", err)
	}
}
