package cluster_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ruche-project/ruche/internal/cluster"
)

// A join that failed before the others were asked leaves a directory, but nobody who opens it anew must take it for a member's.
func TestWhatNeverWasAMemberIsNone(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	if cluster.HasData(dir) || cluster.WasSetAside(dir) {
		t.Error("an empty directory counts as a member's data")
	}
	if kept, err := cluster.SetAside(dir); err != nil || kept == "" || !cluster.WasSetAside(dir) {
		t.Errorf("SetAside() = %q, %v", kept, err)
	}
	c := open(t, cluster.Config{Dir: dir})
	if !cluster.HasData(dir) {
		t.Error("a member that runs has no data")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if !cluster.HasData(dir) {
		t.Error("a member that ran has no data")
	}
}
