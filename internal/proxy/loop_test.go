package proxy

import (
	"net/http"
	"strings"
	"testing"
)

func TestLoopsEnd(t *testing.T) {
	r := start(t, Config{})
	other := start(t, Config{}, site("far.test", "http://"+r.HTTPAddr().String()))
	r.serve(site("near.test", "http://"+r.HTTPAddr().String()), site("far.test", "http://"+other.HTTPAddr().String()))
	for _, host := range []string{"near.test", "far.test"} {
		t.Run(host, func(t *testing.T) {
			resp, body := r.get("http://" + host + "/")
			if resp.StatusCode != http.StatusLoopDetected || !strings.Contains(body, "forwarded the request to itself") {
				t.Errorf("got %d %q, want 508 with the reason", resp.StatusCode, body)
			}
		})
	}
}

func TestTwoProxiesInARowPass(t *testing.T) {
	hops := make(chan []string, 1)
	up := backend(t, func(_ http.ResponseWriter, r *http.Request) { hops <- r.Header["Ruche-Hop"] })
	inner := start(t, Config{}, site("a.test", up))
	outer := start(t, Config{}, site("a.test", "http://"+inner.HTTPAddr().String()))
	if resp, body := outer.get("http://a.test/"); resp.StatusCode != 200 {
		t.Fatalf("got %d %q, want 200", resp.StatusCode, body)
	}
	if got := <-hops; len(got) != 2 || got[0] != outer.hop || got[1] != inner.hop || outer.hop == inner.hop {
		t.Errorf("the endpoint got the hops %q, want a token of each proxy", got)
	}
}
