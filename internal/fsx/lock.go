package fsx

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrLocked tells that another process, or another user in this one, holds a directory's lock.
var ErrLocked = errors.New("directory is in use")

// lockName is the file whose lock stands for the directory. It stays behind after Unlock: removing it would let two
// processes lock two files of the same name.
const lockName = "ruche.lock"

// Lock is a held lock on a directory. The kernel releases it when the process ends, however it ends.
type Lock struct {
	file *os.File
}

// LockDir takes the lock on dir, which must exist, without waiting. When somebody else holds it the
// error wraps ErrLocked and names the holder's process.
func LockDir(dir string) (*Lock, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = f.Close() }()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("cannot lock %s: %w by %s; stop it first, or choose another directory", dir, ErrLocked, holder(f))
		}
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	if err := writePID(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	return &Lock{file: f}, nil
}

// Unlock gives the lock back. A second call does nothing.
func (l *Lock) Unlock() error {
	if err := l.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("cannot unlock %s: %w", filepath.Dir(l.file.Name()), err)
	}
	return nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holder names the process that wrote itself into the lock file.
func holder(f *os.File) string {
	data, err := io.ReadAll(io.LimitReader(f, 32))
	pid, convErr := strconv.Atoi(strings.TrimSpace(string(data)))
	switch {
	case err != nil || convErr != nil:
		return "another process"
	case pid == os.Getpid():
		return fmt.Sprintf("this process (%d)", pid)
	}
	return fmt.Sprintf("process %d", pid)
}
