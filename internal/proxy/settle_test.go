package proxy

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// A container that has just ended refuses connections a moment before the Engine tells of its end.
func TestARequestThatReachedNobodyWaitsForTheNextTable(t *testing.T) {
	tests := []struct {
		name string
		next func(t *testing.T) []ruche.Route // nil: the table stays
		want int
	}{
		{"its endpoint leaves", func(*testing.T) []ruche.Route { return []ruche.Route{nowhere("a.test")} }, 503},
		{"its successor comes", func(t *testing.T) []ruche.Route { return []ruche.Route{site("a.test", says(t, "new"))} }, 200},
		{"nothing changes", nil, 502},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hold := time.Minute
			if tt.want != 200 {
				hold = 50 * time.Millisecond
			}
			r := start(t, Config{Timeouts: Timeouts{Hold: hold}}, site("a.test", deaf(t)))
			var status int
			var retryAfter string
			done := make(chan struct{})
			go func() {
				defer close(done)
				resp, _ := r.get("http://a.test/")
				status, retryAfter = resp.StatusCode, resp.Header.Get("Retry-After")
			}()
			until(t, "the endpoint was tried", func() bool {
				for _, e := range r.current.Load().endpoints {
					if text, _ := e.failure(); text != "" {
						return true
					}
				}
				return false
			})
			if tt.next != nil {
				r.serve(tt.next(t)...)
			}
			<-done
			if status != tt.want || (retryAfter != "") != (tt.want == 503) {
				t.Errorf("got %d with Retry-After %q, want %d", status, retryAfter, tt.want)
			}
		})
	}
}

func TestAnEndpointThatHasFailedForLongMakesNobodyWait(t *testing.T) {
	r := start(t, Config{}, site("a.test", deaf(t)))
	r.get("http://a.test/")
	var e *endpointState
	for _, e = range r.current.Load().endpoints {
		e.failingSince.Store(1) // in 1970
	}
	if resp, _ := r.get("http://a.test/"); resp.StatusCode != 502 {
		t.Errorf("got %d, want 502", resp.StatusCode)
	}
	if e.failingSince.Load() != 1 {
		t.Error("a further failure made the first one forgotten")
	}
}

// A container's process takes some time to listen, and the Engine tells of its start before.
func TestAnEndpointThatWasJustStartedMayTakeItsTimeToListen(t *testing.T) {
	address := deaf(t)
	r := start(t, Config{Timeouts: Timeouts{Hold: time.Minute}}, site("a.test", address))
	status := make(chan int)
	go func() {
		resp, _ := r.get("http://a.test/")
		status <- resp.StatusCode
	}()
	until(t, "the endpoint was tried", func() bool {
		for _, e := range r.current.Load().endpoints {
			if text, _ := e.failure(); text != "" {
				return true
			}
		}
		return false
	})
	l, err := net.Listen("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Second}
	t.Cleanup(func() { _ = s.Close() })
	go func() { _ = s.Serve(l) }()
	if got := <-status; got != 200 {
		t.Errorf("got %d, want 200", got)
	}
}
