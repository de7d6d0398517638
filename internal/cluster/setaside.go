package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ruche-project/ruche/internal/fsx"
)

// oldData is where SetAside keeps what it set aside, in the directory that it was in.
const oldData = "member.old"

// SetAside takes the data of a member that is not open out of the way, so that the directory is that of a new one, and returns where it is
// kept. What was set aside before goes. Without data it does nothing and returns "".
func SetAside(dir string) (kept string, err error) {
	lock, err := fsx.LockDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot set cluster state aside: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if _, err := os.Stat(filepath.Join(dir, "member")); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	kept = filepath.Join(dir, oldData)
	if err := os.RemoveAll(kept); err != nil {
		return "", fmt.Errorf("cannot set cluster state aside: %w", err)
	}
	if err := os.Rename(filepath.Join(dir, "member"), kept); err != nil {
		return "", fmt.Errorf("cannot set cluster state aside: %w", err)
	}
	return kept, nil
}

// HasData reports whether a member has its data in dir. etcd makes its directory before it asks the others, and the log last: what has none
// was never a member.
func HasData(dir string) bool {
	logs, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	return err == nil && len(logs) > 0
}

// WasSetAside reports whether there is data that SetAside has put away.
func WasSetAside(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, oldData))
	return err == nil
}
