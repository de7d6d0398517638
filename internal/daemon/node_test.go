package daemon

import (
	"os"
	"strings"
	"testing"
)

func TestANodeKeepsTheNameItWasMadeWith(t *testing.T) {
	dir := t.TempDir()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name, dir, given string
		unknown          bool
		want, wantErr    string
	}{
		{"the host's at first", dir, "", false, host, ""},
		{"kept", dir, "", false, host, ""},
		{"the same given", dir, host, false, host, ""},
		{"another given", dir, "other", false, "", "belongs to node"},
		{"given at first", t.TempDir(), "edge-1", false, "edge-1", ""},
		{"kept by one that nobody knows", dir, "", true, host, ""},
		{"another given to one that nobody knows", dir, "control-1", true, "control-1", ""},
		{"kept after that", dir, "", false, "control-1", ""},
	}
	for _, s := range steps {
		got, err := nodeName(s.dir, s.given, s.unknown)
		if got != s.want || (err == nil) != (s.wantErr == "") || (err != nil && !strings.Contains(err.Error(), s.wantErr)) {
			t.Errorf("%s: nodeName(%q) = %q, %v, want %q, %q", s.name, s.given, got, err, s.want, s.wantErr)
		}
	}
}
