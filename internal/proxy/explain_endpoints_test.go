package proxy

import (
	"slices"
	"testing"

	"github.com/ruche-project/ruche"
)

func TestExplainWhoGetsRequests(t *testing.T) {
	ready := func(url string) ruche.EndpointStatus {
		return ruche.EndpointStatus{URL: url, Workload: "web", State: ruche.EndpointReady, Weight: 1}
	}
	change := func(e ruche.EndpointStatus, f func(*ruche.EndpointStatus)) ruche.EndpointStatus {
		f(&e)
		return e
	}
	unwell := change(ready("http://u"), func(e *ruche.EndpointStatus) {
		e.Check = &ruche.CheckStatus{At: epoch(), Error: "it answered with the status 500"}
	})
	ejected := change(ready("http://e"), func(e *ruche.EndpointStatus) {
		e.CoolingDown, e.EjectedUntil, e.LastError = true, epoch(), "refused"
	})
	weighing := func(n int) ruche.EndpointStatus {
		return change(ready("http://w"), func(e *ruche.EndpointStatus) { e.Weight = n })
	}
	const byTurn = "one of them is chosen by the policy round-robin"
	const isOut, isEjected = "endpoint http://u is out: its health check failed at 08:00:00 UTC: it answered with the status 500", "endpoint http://e is the last choice until 08:00:00 UTC: refused"
	for _, tc := range []struct {
		name    string
		sticky  string
		list    []ruche.EndpointStatus
		answer  string
		reasons []string
	}{
		{"one", "", []ruche.EndpointStatus{ready("http://a")}, "forwarded to 1 endpoint", []string{"1 of 1 endpoint ready"}},
		{"two", "", []ruche.EndpointStatus{ready("http://a"), ready("http://b")}, "forwarded to 2 endpoints", []string{"2 of 2 endpoints ready", byTurn}},
		{"weights and a cookie", "srv", []ruche.EndpointStatus{ready("http://a"), weighing(3)}, "forwarded to 2 endpoints",
			[]string{"2 of 2 endpoints ready", "the cookie srv keeps a client at the endpoint that answered it first", byTurn + ", with the weights 1, 3"}},
		{"weight 0", "", []ruche.EndpointStatus{ready("http://a"), weighing(0)}, "forwarded to 1 endpoint",
			[]string{"endpoint http://w weighs 0 and gets no requests", "1 of 2 endpoints ready"}},
		{"nothing but weight 0", "", []ruche.EndpointStatus{weighing(0)}, "503 with Retry-After: the route is known, but no endpoint is ready",
			[]string{"endpoint http://w weighs 0 and gets no requests", "0 of 1 endpoint ready"}},
		{"one is out", "", []ruche.EndpointStatus{ready("http://a"), unwell}, "forwarded to 1 endpoint", []string{isOut, "2 of 2 endpoints ready"}},
		{"all are out", "", []ruche.EndpointStatus{unwell}, "forwarded to 1 endpoint",
			[]string{isOut, "1 of 1 endpoint ready", "the health check fails for all of them, so it is not heeded"}},
		{"one is ejected", "", []ruche.EndpointStatus{ready("http://a"), ejected}, "forwarded to 2 endpoints", []string{isEjected, "2 of 2 endpoints ready", byTurn}},
		{"all are ejected", "", []ruche.EndpointStatus{ejected}, "forwarded to 1 endpoint, though all of them failed a moment ago", []string{isEjected, "1 of 1 endpoint ready"}},
	} {
		ex := ruche.Explanation{Route: &ruche.RouteStatus{Policy: ruche.PolicyRoundRobin, Sticky: tc.sticky, Endpoints: tc.list}}
		decideEndpoints(&ex)
		if ex.Answer != tc.answer || !slices.Equal(ex.Reasons, tc.reasons) {
			t.Errorf("%s: %q because of %q, want %q because of %q", tc.name, ex.Answer, ex.Reasons, tc.answer, tc.reasons)
		}
	}
}
