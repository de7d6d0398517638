package cluster_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/cluster"
)

// listeners gives the listening TCP and unix sockets of this process, as the kernel tells them.
func listeners(t *testing.T) []string {
	t.Helper()
	own := make(map[string]bool)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("this system has no /proc: %v", err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil && strings.HasPrefix(target, "socket:[") {
			own[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] = true
		}
	}
	var list []string
	for _, table := range []struct {
		name         string
		state, inode int    // columns
		listening    string // value of the state column
	}{{"tcp", 3, 9, "0A"}, {"tcp6", 3, 9, "0A"}, {"unix", 5, 6, "01"}} {
		data, err := os.ReadFile("/proc/self/net/" + table.name)
		if err != nil {
			continue // no IPv6
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) <= table.inode || !own[f[table.inode]] || f[table.state] != table.listening {
				continue
			}
			if table.name == "unix" && f[3] != "00010000" { // not accepting connections
				continue
			}
			list = append(list, fmt.Sprint(table.name, " ", strings.TrimSpace(line)))
		}
	}
	return list
}

func TestOneMemberOpensNoPortAndNoSocket(t *testing.T) {
	before := listeners(t)
	// Longer than the path of a unix socket may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	open(t, cluster.Config{Dir: dir})
	if after := listeners(t); len(after) != len(before) {
		t.Errorf("listening sockets before: %q, after: %q", before, after)
	}
}

func TestAHealthyMemberLogsNothing(t *testing.T) {
	var log strings.Builder
	c := open(t, cluster.Config{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	must[int64](t)(cluster.NewBucket[note](c, "notes").Put(t.Context(), "a", note{}))
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if log.Len() > 0 {
		t.Errorf("logged:\n%s", &log)
	}
}
