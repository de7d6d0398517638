package table_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// with is a route of VIRTUAL_HOST=h with more settings.
func with(change func(*ruche.Route)) ruche.Route {
	r := np("h", "/")
	change(&r)
	return r
}

// shown writes the settings of the only route.
func shown(t *table.Table) string {
	r := t.Routes[0]
	text := string(r.Policy)
	if r.Sticky != nil {
		text += " sticky " + r.Sticky.Cookie
	}
	if r.Check != nil {
		text += " check " + r.Check.Path
	}
	if r.Eject != nil {
		text += fmt.Sprintf(" eject %d", r.Eject.Failures)
	}
	if r.Root != "" {
		text += " root " + r.Root
	}
	if r.ProxyProtocol != 0 {
		text += fmt.Sprintf(" PROXY %d", r.ProxyProtocol)
	}
	if r.NoKeepAlive {
		text += " no keep-alive"
	}
	for _, e := range r.Endpoints {
		text += fmt.Sprintf(" %d", e.Weight)
	}
	return text
}

func TestSettingsOfEndpointsJoin(t *testing.T) {
	sticky := func(name string) func(*ruche.Route) {
		return func(r *ruche.Route) { r.Sticky = &ruche.Sticky{Cookie: name} }
	}
	check := func(path string) func(*ruche.Route) {
		return func(r *ruche.Route) {
			r.Check = &ruche.Check{Path: path, Interval: time.Second, Headers: map[string]string{"A": "b"}}
		}
	}
	policy := func(p ruche.Policy) func(*ruche.Route) { return func(r *ruche.Route) { r.Policy = p } }
	keepAlive := func(k ruche.KeepAlive) func(*ruche.Route) { return func(r *ruche.Route) { r.KeepAlive = k } }
	weights := func(w ...int) func(*ruche.Route) { return func(r *ruche.Route) { r.Weights = w } }
	fastCGI := func(root string) func(*ruche.Route) {
		return func(r *ruche.Route) { r.Scheme, r.Root = ruche.SchemeFastCGI, root }
	}
	nothing := func(*ruche.Route) {}
	for _, tc := range []struct {
		name         string
		older, newer func(*ruche.Route)
		want         string
		conflict     string // part of the diagnostic; empty: none
	}{
		{"nothing is said", nothing, nothing, "round-robin 1 1", ""},
		{"who says something is heard", nothing, policy(ruche.PolicyClientHash), "client-hash 1 1", ""},
		{"the oldest wins", policy(ruche.PolicyTwoChoices), policy(ruche.PolicyClientHash), "two-choices 1 1", `balancing policy is "two-choices", not "client-hash"`},
		{"the default can be said", policy(ruche.PolicyRoundRobin), policy(ruche.PolicyClientHash), "round-robin 1 1", "balancing policy"},
		{"weights are each one's own", weights(3), weights(0), "round-robin 3 0", ""},
		{"the same cookie", sticky("a"), sticky("a"), "round-robin sticky a 1 1", ""},
		{"another cookie", sticky("a"), sticky("b"), "round-robin sticky a 1 1", "sticky cookie is declared otherwise"},
		{"the same check", check("/a"), check("/a"), "round-robin check /a 1 1", ""},
		{"another check", check("/a"), check("/b"), "round-robin check /a 1 1", "health check is declared otherwise"},
		{"a check of the newer", nothing, check("/b"), "round-robin check /b 1 1", ""},
		{"another rule of ejection", func(r *ruche.Route) { r.Eject = &ruche.Eject{Failures: 1} }, func(r *ruche.Route) { r.Eject = &ruche.Eject{Failures: 2} },
			"round-robin eject 1 1 1", "ejection is declared otherwise"},
		{"another PROXY protocol", func(r *ruche.Route) { r.ProxyProtocol = 1 }, func(r *ruche.Route) { r.ProxyProtocol = 2 }, "round-robin PROXY 1 1 1", `PROXY protocol is "1", not "2"`},
		{"no keep-alive", nothing, keepAlive(ruche.KeepAliveOff), "round-robin no keep-alive 1 1", ""},
		{"keep-alive, as was said", keepAlive(ruche.KeepAliveOn), keepAlive(ruche.KeepAliveOff), "round-robin 1 1", `keep-alive is "on", not "off"`},
		{"the root of nginx-proxy", fastCGI(""), fastCGI(""), "round-robin root /var/www/public 1 1", ""},
		{"a root that one says", fastCGI(""), fastCGI("/srv"), "round-robin root /srv 1 1", ""},
		{"two roots", fastCGI("/a"), fastCGI("/srv"), "round-robin root /a 1 1", "directory of the scripts"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			compiled := newWorld().container(1, with(tc.older)).container(2, with(tc.newer)).compile()
			if got := shown(compiled); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			switch d := compiled.DiagnosticsOf(compiled.Routes[0]); {
			case tc.conflict == "" && len(d) > 0:
				t.Errorf("diagnostics %v", d)
			case tc.conflict != "" && (len(d) != 1 || d[0].Code != ruche.CodeRouteConflict || d[0].Workload != "c2" || !strings.Contains(d[0].Message, tc.conflict)):
				t.Errorf("diagnostics %v, want one of c2 that says %q", d, tc.conflict)
			}
			// What is gone has no say where something runs.
			if got := shown(newWorld().container(1, with(tc.older)).gone(1).container(2, with(tc.newer)).compile()); strings.HasPrefix(got, "round-robin") != (with(tc.newer).Policy == "") {
				t.Errorf("with the older one gone: %s", got)
			}
		})
	}
}

func TestCookiesOfRoutesDiffer(t *testing.T) {
	sticky := func(r ruche.Route) ruche.Route {
		r.Sticky = &ruche.Sticky{Secure: true}
		return r
	}
	declared := sticky(np("h", "/a"))
	compiled := newWorld().container(1, declared, sticky(np("h", "/b"))).compile()
	a, b := compiled.Routes[0].Sticky, compiled.Routes[1].Sticky
	if !strings.HasPrefix(a.Cookie, "ruche_") || a.Cookie == b.Cookie || !a.Secure {
		t.Errorf("cookies %+v and %+v", a, b)
	}
	if declared.Sticky.Cookie != "" {
		t.Error("the declaration was changed")
	}
}

func TestSchemesOfFixedEndpoints(t *testing.T) {
	for url, want := range map[string]string{
		"http://a": "http a:80", "https://a": "https a:443", "h2c://a": "h2c a:80", "grpc://a:1": "grpc a:1", "grpcs://a": "grpcs a:443",
		"fastcgi://a:9000": "fastcgi a:9000", "uwsgi://a:3031": "uwsgi a:3031", "fastcgi://a": "", "ftp://a": "",
	} {
		r := file("h", "/")
		r.Endpoints, r.Weights = []string{url, "http://z:1"}, []int{4}
		got := ""
		e := newWorld().container(1, r).compile().Routes[0].Endpoints
		if len(e) == 2 {
			got = e[0].Scheme + " " + e[0].Address
			if e[0].Weight != 4 || e[1].Weight != 1 {
				t.Errorf("%s: weights %d and %d", url, e[0].Weight, e[1].Weight)
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}
