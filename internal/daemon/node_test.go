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
		name, dir, given, want, wantErr string
	}{
		{"the host's at first", dir, "", host, ""},
		{"kept", dir, "", host, ""},
		{"the same given", dir, host, host, ""},
		{"another given", dir, "other", "", "belongs to node"},
		{"given at first", t.TempDir(), "edge-1", "edge-1", ""},
	}
	for _, s := range steps {
		got, err := nodeName(s.dir, s.given)
		if got != s.want || (err == nil) != (s.wantErr == "") || (err != nil && !strings.Contains(err.Error(), s.wantErr)) {
			t.Errorf("%s: nodeName(%q) = %q, %v, want %q, %q", s.name, s.given, got, err, s.want, s.wantErr)
		}
	}
}
