package h1

import (
	"testing"

	"github.com/ruche-project/ruche/internal/h1/h1test"
)

func TestSmuggling(t *testing.T) {
	names := make(map[string]bool)
	for _, m := range h1test.Smuggling() {
		if names[m.Name] {
			t.Errorf("two messages are named %q", m.Name)
		}
		names[m.Name] = true
		r := reader{}
		left := len(m.Wire) - r.take([]byte(m.Wire))
		if result := r.eof(left); r.heads != m.Requests {
			t.Errorf("%s (%s): %d requests, want %d:\n%s", m.Name, m.Rule, r.heads, m.Requests, result)
		}
	}
	if len(names) < 60 {
		t.Errorf("only %d messages", len(names))
	}
	t.Logf("%d messages", len(names))
}
