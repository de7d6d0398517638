package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ruche-project/ruche/internal/fsx"
)

// nodeName returns the name of the node whose data directory this is: the one it was made with. What is declared is kept under
// it, and a container's host name changes each time that it is re-created. A control node that no other node knows yet may take another name: then the directory is of a host
// that was alone, what runs on that is its agent's from now on, and its name too.
func nodeName(dataDir, given string, unknown bool) (string, error) {
	file := filepath.Join(dataDir, "node-name")
	content, err := os.ReadFile(file)
	kept := strings.TrimSpace(string(content))
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("cannot read this node's name: %w", err)
	case kept != "" && given != "" && given != kept && !unknown:
		return "", fmt.Errorf("cannot name this node %q: the data directory %s belongs to node %q (leave --node-name away, or give another --data-dir)",
			given, dataDir, kept)
	case kept != "" && (given == "" || given == kept):
		return kept, nil
	case given == "":
		if given, err = os.Hostname(); err != nil {
			return "", fmt.Errorf("cannot name this node after its host: %w (give --node-name)", err)
		}
	}
	if err := fsx.WriteFile(file, []byte(given+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("cannot keep this node's name: %w", err)
	}
	return given, nil
}
