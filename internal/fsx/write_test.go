package fsx_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/fsx"
)

func TestWriteFileReplacesTheWholeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	for _, content := range []string{"a longer first version", "short", ""} {
		if err := fsx.WriteFile(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Errorf("after WriteFile(%q) the file holds %q, %v", content, got, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o640 {
		t.Errorf("permissions are %o, want 640", info.Mode().Perm())
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("the directory holds %v, want the file alone", entries)
	}
}

func TestWriteFileFails(t *testing.T) {
	dir := t.TempDir()
	occupied := filepath.Join(dir, "occupied")
	if err := os.MkdirAll(filepath.Join(occupied, "child"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"missing directory":    filepath.Join(dir, "missing", "file"),
		"a directory is there": occupied,
	} {
		t.Run(name, func(t *testing.T) {
			err := fsx.WriteFile(path, []byte("x"), 0o600)
			if err == nil || !strings.HasPrefix(err.Error(), "cannot write "+path+": ") {
				t.Errorf("error is %v, want one that names the file", err)
			}
		})
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("failed writes left %v behind", entries)
	}
}

func TestWriteKeepsTheOldFileWhenItsContentFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backup")
	if err := fsx.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := fsx.Write(path, 0o600, func(w io.Writer) error {
		_, err := io.WriteString(w, "half of the new")
		return errors.Join(err, broken)
	})
	if got, _ := os.ReadFile(path); !errors.Is(err, broken) || string(got) != "old" {
		t.Errorf("Write = %v, the file holds %q, want the old content", err, got)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("the directory holds %v, want the file alone", entries)
	}
}
