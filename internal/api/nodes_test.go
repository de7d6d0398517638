package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// The admin address is often opened for a Prometheus: what changes something, or shows everything, is for the node itself.
func TestOnlyTheNodeItselfMayChangeThings(t *testing.T) {
	for name, tc := range map[string]struct {
		peer, origin string
		want         int
	}{
		"itself":               {"127.0.0.1:5000", "", http.StatusOK},
		"itself, IPv6":         {"[::1]:5000", "", http.StatusOK},
		"itself, mapped":       {"[::ffff:127.0.0.1]:5000", "", http.StatusOK},
		"another":              {"10.0.0.7:5000", "", http.StatusForbidden},
		"a page in a browser":  {"127.0.0.1:5000", "https://evil.example", http.StatusForbidden},
		"nobody knows who":     {"@", "", http.StatusForbidden},
		"another, by a tunnel": {"[fe80::1%eth0]:5000", "", http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/api/v1/tokens", nil)
			r.RemoteAddr = tc.peer
			if tc.origin != "" {
				r.Header.Set("Origin", tc.origin)
			}
			w := httptest.NewRecorder()
			fromHere(func(http.ResponseWriter, *http.Request) {})(w, r)
			if w.Code != tc.want {
				t.Errorf("status %d, want %d", w.Code, tc.want)
			}
		})
	}
}
