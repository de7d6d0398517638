package table_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// stopped makes container n one that exists, but does not run.
func (w *world) stopped(n int) *world {
	id := fmt.Sprintf("container/%04d", n)
	w.endpoints[id] = ruche.Endpoint{Workload: id, State: ruche.EndpointStopped, StateReason: "exit code 0"}
	return w
}

// fallen runs a test twice: with a container 1 that exists and does not run, and with one that is gone.
func fallen(t *testing.T, build func() *world, test func(t *testing.T, compiled *table.Table)) {
	t.Helper()
	t.Run("stopped", func(t *testing.T) { test(t, build().stopped(1).compile()) })
	t.Run("gone", func(t *testing.T) { test(t, build().gone(1).compile()) })
}

// served is the URL of the endpoint that takes a request, or what is answered instead.
func served(compiled *table.Table, host, path string) string {
	r := compiled.Lookup(host, path)
	if r.Route == nil {
		return map[bool]string{true: "404", false: "unknown"}[r.KnownHost]
	}
	for i := range r.Route.Endpoints {
		if e := &r.Route.Endpoints[i]; e.Ready() {
			return e.URL
		}
	}
	return "503"
}

// second is where container 2 lives in these tests.
const second = "http://10.0.0.3:80"

func TestWhatDoesNotRunYieldsItsRouter(t *testing.T) {
	fallen(t, func() *world {
		return newWorld().container(1, tr("shop", "Host(`shop.example`)")).
			container(2, tr("shop", "Host(`shop.example`) || Host(`www.shop.example`)"))
	}, func(t *testing.T, compiled *table.Table) {
		for _, host := range []string{"shop.example", "www.shop.example"} {
			if got := served(compiled, host, "/"); got != second {
				t.Errorf("%s: %s, want the container that runs", host, got)
			}
		}
		if got := codes(compiled.Diagnostics); got != "" {
			t.Errorf("diagnostics %s, want none", got)
		}
	})
}

func TestWhatDoesNotRunYieldsToOtherVocabularies(t *testing.T) {
	fallen(t, func() *world {
		return newWorld().container(1, tr("old", "Host(`shop.example`)")).container(2, np("shop.example", ""))
	}, func(t *testing.T, compiled *table.Table) {
		if got := served(compiled, "shop.example", "/"); got != second {
			t.Errorf("got %s, want the container that runs", got)
		}
		if got := codes(compiled.Diagnostics); got != "" {
			t.Errorf("diagnostics %s, want none", got)
		}
	})
}

func TestWhatDoesNotRunDecidesNoSettings(t *testing.T) {
	fallen(t, func() *world {
		old := np("shop.example", "")
		old.Dest, old.HTTPSMethod, old.CertName = "/v1", ruche.HTTPSNoHTTP, "old"
		return newWorld().container(1, old).container(2, np("shop.example", ""))
	}, func(t *testing.T, compiled *table.Table) {
		r := compiled.Lookup("shop.example", "/").Route
		if r.Dest != "" || r.HTTPSMethod != "" || r.CertName != "" {
			t.Errorf("destination %q, HTTPS method %q, certificate %q; want none of the old one's", r.Dest, r.HTTPSMethod, r.CertName)
		}
		if got := codes(compiled.Diagnostics); got != "" {
			t.Errorf("diagnostics %s, want none", got)
		}
	})
}

func TestWhatDoesNotRunOpensNothing(t *testing.T) {
	fallen(t, func() *world {
		closed := np("shop.example", "")
		closed.Blocked = "asks for basic auth"
		return newWorld().container(1, np("shop.example", "")).container(2, closed)
	}, func(t *testing.T, compiled *table.Table) {
		if r := compiled.Lookup("shop.example", "/").Route; r.Blocked == "" {
			t.Error("the only container that runs asks for a restriction, yet the route is open")
		}
		if got := codes(compiled.Diagnostics); got != "" {
			t.Errorf("diagnostics %s, want none", got)
		}
	})
}

func TestWhatExistsWinsOverWhatIsGone(t *testing.T) {
	w := newWorld().container(1, tr("shop", "Host(`old`)")).container(2, tr("shop", "Host(`new`)")).gone(1).stopped(2)
	if got := served(w.compile(), "new", "/"); got != "503" {
		t.Errorf("got %s, want 503 of the container that exists", got)
	}
}

func TestAgeDecidesAmongThoseThatRun(t *testing.T) {
	compiled := newWorld().container(1, tr("shop", "Host(`a`)")).container(2, tr("shop", "Host(`b`)")).
		container(3, tr("shop", "Host(`c`)")).stopped(1).compile()
	if got := served(compiled, "b", "/"); got != second {
		t.Errorf("got %s, want the oldest that runs", got)
	}
	if got := codes(compiled.Diagnostics); got != "c3:route-conflict" {
		t.Errorf("diagnostics %s, want one about the youngest", got)
	}
}

func TestWhatDoesNotRunYieldsToRulesOfLowerPriority(t *testing.T) {
	high := tr("old", "Host(`shop.example`)")
	high.Match.Priority = 1000
	tests := []struct {
		name     string
		old, new ruche.Route
		path     string
		want     string
	}{
		{"longer rule", tr("old", "Host(`shop.example`) || Host(`www.shop.example`)"), tr("new", "Host(`shop.example`)"), "/", second},
		{"higher priority", high, tr("new", "Host(`shop.example`)"), "/", second},
		{"a prefix that says nothing", tr("old", "Host(`shop.example`) && PathPrefix(`/`)"), tr("new", "Host(`shop.example`)"), "/", second},
		{"closer path of the new one", high, tr("new", "Host(`shop.example`) && PathPrefix(`/x`)"), "/x", second},
		{"closer path of the old one", tr("old", "Host(`shop.example`) && PathPrefix(`/api`)"), tr("new", "Host(`shop.example`)"), "/api/x", "503"},
		{"closer host of the old one", high, tr("new", "HostRegexp(`^shop`)"), "/", "503"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fallen(t, func() *world {
				return newWorld().container(1, tt.old).container(2, tt.new)
			}, func(t *testing.T, compiled *table.Table) {
				if got := served(compiled, "shop.example", tt.path); got != tt.want {
					t.Errorf("got %s, want %s\nwhy: %s", got, tt.want, strings.Join(compiled.Why("shop.example", tt.path), "\n     "))
				}
			})
		})
	}
}

func TestWhyTellsOfRulesThatDoNotRun(t *testing.T) {
	compiled := newWorld().container(1, tr("old", "Host(`a`) || Host(`b`)")).container(2, tr("new", "Host(`a`)")).stopped(1).compile()
	want := "no host pattern takes \"a\"; router rule Host(`a`) || Host(`b`) of priority 22 takes the request, but what declares it does not run; " +
		"router rule Host(`a`) of priority 9 takes the request in its place"
	if got := strings.Join(compiled.Why("a", "/"), "; "); got != want {
		t.Errorf(" got %s\nwant %s", got, want)
	}
}

func TestWhatDoesNotRunDecidesNothingForTheHost(t *testing.T) {
	old := np("shop.example", "/old")
	old.HTTPSMethod, old.CertName, old.TLS = ruche.HTTPSNoHTTPS, "old", ruche.TLSFile
	rule := tr("old", "Host(`shop.example`) || Host(`www.shop.example`)")
	rule.CertName, rule.TLS = "old", ruche.TLSFile
	router := tr("new", "Host(`shop.example`)")
	router.CertName = "new"
	shop := ruche.CertificateQuery{ServerName: "shop.example", Host: "shop.example", Declared: true}
	auto, named := shop, shop
	auto.Mode, named.CertName = ruche.TLSAuto, "new"
	tests := []struct {
		name     string
		old, new ruche.Route
		want     ruche.CertificateQuery
	}{
		{"another path", old, np("shop.example", "/"), auto},
		{"a router that runs", old, router, named},
		{"a router that does not", rule, router, named},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fallen(t, func() *world {
				return newWorld().container(1, tt.old).container(2, tt.new)
			}, func(t *testing.T, compiled *table.Table) {
				if got, ok := compiled.Certificate("shop.example"); got != tt.want || !ok {
					t.Errorf("certificate by %+v, %v, want %+v", got, ok, tt.want)
				}
				if got := compiled.Lookup("shop.example", "/").Route.HTTPSMethod; got != "" {
					t.Errorf("HTTPS method %q, want none of the old one's", got)
				}
			})
		})
	}
	fallen(t, func() *world { return newWorld().container(1, old) }, func(t *testing.T, compiled *table.Table) {
		if got, _ := compiled.Certificate("shop.example"); got.CertName != "old" {
			t.Errorf("certificate by %+v, want the old one's while there is no other", got)
		}
	})
}

func TestWhatDoesNotRunHidesNoWildcard(t *testing.T) {
	tests := []struct{ name, old, path, want string }{
		{"a path that nothing declares", "/api", "/", second},
		{"its own path", "/api", "/api", "503"},
		{"below its own path", "/api", "/api/x", "503"},
		{"an exact path", "= /api", "/api/x", second},
		{"the whole site", "/", "/", "503"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fallen(t, func() *world {
				return newWorld().container(1, np("shop.example", tt.old)).container(2, np("*.example", ""))
			}, func(t *testing.T, compiled *table.Table) {
				if got := served(compiled, "shop.example", tt.path); got != tt.want {
					t.Errorf("got %s, want %s\nwhy: %s", got, tt.want, strings.Join(compiled.Why("shop.example", tt.path), "\n     "))
				}
			})
		})
	}
	fallen(t, func() *world {
		return newWorld().container(1, np("shop.example", "/api")).container(2, np("*.example", "/x"))
	}, func(t *testing.T, compiled *table.Table) {
		if got := served(compiled, "shop.example", "/"); got != "404" {
			t.Errorf("got %s, want 404 where no pattern has the path", got)
		}
		want := `host pattern shop.example takes "shop.example" first, but nothing that declares it runs, and none of its paths takes "/x"; ` +
			`*.example is the next that does`
		if got := compiled.Why("shop.example", "/x")[0]; got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	})
	living := newWorld().container(1, np("shop.example", "/api")).container(2, np("*.example", "")).compile()
	if got := served(living, "shop.example", "/"); got != "404" {
		t.Errorf("got %s, want 404: a site that runs has its name to itself", got)
	}
}
