package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A monitor goes by the exit status: main exits with 1 where there is an error.
func TestTheDoctorFailsWhereSomethingDoesNotWork(t *testing.T) {
	level := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"node": "n1", "findings": [{"check": "clock", "level": %q, "message": "it is late"}]}`, level)
	}))
	defer server.Close()
	for _, tc := range []struct {
		level, output string
		fails         bool
	}{
		{"ok", "text", false}, {"note", "text", false}, {"warning", "text", false}, {"error", "text", true}, {"error", "json", true},
	} {
		level = tc.level
		root := newRoot()
		root.SetArgs([]string{"doctor", "--admin-addr", server.Listener.Addr().String(), "--output", tc.output})
		var out bytes.Buffer
		root.SetOut(&out)
		if err := root.ExecuteContext(t.Context()); (err != nil) != tc.fails {
			t.Errorf("level %s, output %s: error %v, want one: %v", tc.level, tc.output, err, tc.fails)
		}
		if !strings.Contains(out.String(), "it is late") {
			t.Errorf("level %s, output %s: printed %q", tc.level, tc.output, out.String())
		}
	}
}
