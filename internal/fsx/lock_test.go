package fsx_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/fsx"
)

// lockHelperEnv makes the test binary lock the directory it names, say so, and wait for its standard
// input to end.
const lockHelperEnv = "FSX_TEST_LOCK_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(lockHelperEnv); dir != "" {
		lockAndWait(dir)
		return
	}
	os.Exit(m.Run())
}

func lockAndWait(dir string) {
	if _, err := fsx.LockDir(dir); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("locked")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

func TestLockDirNamesTheHolder(t *testing.T) {
	dir := t.TempDir()
	helper := exec.Command(os.Args[0])
	helper.Env = append(os.Environ(), lockHelperEnv+"="+dir)
	stdin, err := helper.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "locked\n" {
		t.Fatalf("helper said %q, %v", line, err)
	}

	_, err = fsx.LockDir(dir)
	want := fmt.Sprintf("by process %d; stop it first", helper.Process.Pid)
	if !errors.Is(err, fsx.ErrLocked) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
		t.Errorf("error is %v, want ErrLocked with %q and the directory", err, want)
	}

	// The kernel gives the lock back when its holder is killed.
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = helper.Wait() // reports the kill
	_ = stdin.Close()
	lock, err := fsx.LockDir(dir)
	if err != nil {
		t.Fatalf("after the holder was killed: %v", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Error(err)
	}
}

func TestLockDirWithinOneProcess(t *testing.T) {
	dir := t.TempDir()
	lock, err := fsx.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fsx.LockDir(dir); !errors.Is(err, fsx.ErrLocked) || !strings.Contains(err.Error(), "this process") {
		t.Errorf("second LockDir gave %v, want ErrLocked by this process", err)
	}
	for range 2 {
		if err := lock.Unlock(); err != nil {
			t.Error(err)
		}
	}
	again, err := fsx.LockDir(dir)
	if err != nil {
		t.Fatalf("after Unlock: %v", err)
	}
	if err := again.Unlock(); err != nil {
		t.Error(err)
	}
	if _, err := fsx.LockDir(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("LockDir of a missing directory gave %v", err)
	}
}
