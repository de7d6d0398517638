package table_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// world builds what is declared and live.
type world struct {
	declarations map[string]ruche.Declaration
	endpoints    map[string]ruche.Endpoint
	// What was compiled last.
	compiled *table.Table
	declared map[string]*ruche.Declaration
	live     map[string]*ruche.Endpoint
}

func newWorld() *world {
	return &world{declarations: map[string]ruche.Declaration{}, endpoints: map[string]ruche.Endpoint{}}
}

// container declares routes of a container created at second n of an epoch and live at 10.0.0.n.
func (w *world) container(n int, routes ...ruche.Route) *world {
	id := fmt.Sprintf("container/%04d", n)
	for i := range routes {
		if routes[i].Port == 0 && len(routes[i].Endpoints) == 0 {
			routes[i].Port = 80
		}
	}
	w.declarations[id] = ruche.Declaration{
		Workload: ruche.Workload{ID: id, Kind: ruche.KindContainer, Name: fmt.Sprintf("c%d", n), Created: time.Unix(int64(n), 0)},
		Routes:   routes,
	}
	w.endpoints[id] = ruche.Endpoint{Workload: id, Address: fmt.Sprintf("10.0.%d.%d", n/250, n%250+1), State: ruche.EndpointReady}
	return w
}

func (w *world) gone(n int) *world {
	id := fmt.Sprintf("container/%04d", n)
	d := w.declarations[id]
	d.GoneSince = time.Unix(1000, 0)
	w.declarations[id] = d
	delete(w.endpoints, id)
	return w
}

// compile makes a table of the last one, and wants it to be the one that is made of nothing.
func (w *world) compile() *table.Table {
	w.declared, w.live = pointers(w.declared, w.declarations), pointers(w.live, w.endpoints)
	w.compiled = table.Compile(w.compiled, w.declared, w.live)
	if d := table.Difference(w.compiled, table.Compile(nil, w.declared, w.live)); d != "" {
		panic("a table made of the one before differs from one that was made anew: " + d)
	}
	return w.compiled
}

// pointers gives what is as it was the pointer that it had.
func pointers[T any](before map[string]*T, now map[string]T) map[string]*T {
	next := make(map[string]*T, len(now))
	for id, v := range now {
		if next[id] = &v; before[id] != nil && reflect.DeepEqual(*before[id], v) {
			next[id] = before[id]
		}
	}
	return next
}

func np(host, path string) ruche.Route {
	return ruche.Route{Name: host + path, Vocabulary: ruche.VocabularyNginxProxy, Source: "env VIRTUAL_HOST", Match: ruche.Match{Host: host, Path: path}}
}

func file(host, path string) ruche.Route {
	r := np(host, path)
	r.Vocabulary, r.Source, r.Endpoints = ruche.VocabularyFile, "site.yaml:1", []string{"http://127.0.0.1:9100"}
	return r
}

func tr(name, rule string) ruche.Route {
	return ruche.Route{Name: name, Vocabulary: ruche.VocabularyTraefik, Source: "label rule", Match: ruche.Match{Rule: rule}, CleanPath: true}
}

// low is a router that yields to all others.
func low(name, rule string) ruche.Route {
	r := tr(name, rule)
	r.Match.Priority = 1
	return r
}

// found writes a lookup's result as the route's ID and what else it says.
func found(t *table.Table, host, path string) string {
	r := t.Lookup(host, path)
	switch {
	case r.Route == nil && r.KnownHost:
		return "known"
	case r.Route == nil:
		return "unknown"
	case r.AddSlash:
		return r.Route.ID + " slash"
	}
	return r.Route.ID
}

func TestLookup(t *testing.T) {
	hosts := newWorld().
		container(1, np("a.example", ""), np("*.example", ""), np("*.b.example", ""), np("a.*", ""), np("a.b.*", ""),
			np(`~^z\d+\.test$`, ""), np(`~^z1`, ""))
	paths := newWorld().container(1, np("h", "/foo"), np("h", "/foo/bar"), np("h", "= /exact"), np("h", "^~ /img"),
		np("h", "~ ^/img/x"), np("h", `~* \.PHP$`), np("h", "~ ^/foo/re"), np("h", "/dir/"))
	rules := newWorld().container(1, tr("site", "Host(`t`)"), tr("api", "Host(`t`) && PathPrefix(`/api`)"),
		tr("wild", "HostRegexp(`^.+\\.t$`)"), tr("deep", "Host(`x.t`) && Path(`/deep`)"))
	both := newWorld().container(1, np("a", "/"), np("a", "/long/path"), np("*.w", "/"), np("c", "/c"), file("f", "/")).
		container(2, tr("a", "Host(`a`)"), tr("b", "Host(`a`) && PathPrefix(`/long`)"), tr("w", "Host(`x.w`)"),
			low("wr", "HostRegexp(`^[a-z]+\\.w$`)"), tr("c", "Host(`c`) && PathPrefix(`/c/d`)"), tr("f", "Host(`f`)"))
	maintenance := tr("maintenance", "HostRegexp(`.+`)")
	maintenance.Match.Priority = 1000
	crossed := newWorld().container(1, maintenance).container(2, tr("shop", "Host(`a.w`)")).container(3, np("*.w", ""))
	catch := newWorld().container(1, np("a", "/x")).container(2, tr("all", "PathPrefix(`/all`)"))
	tests := []struct {
		name  string
		world *world
		want  map[string]string
	}{
		{"hosts", hosts, map[string]string{
			"a.example/":   "nginx-proxy:a.example/",
			"b.example/":   "nginx-proxy:*.example/",
			"c.b.example/": "nginx-proxy:*.b.example/",
			"a.b.example/": "nginx-proxy:*.b.example/",
			"example/":     "unknown",
			"a.test/":      "nginx-proxy:a.*/",
			"a.b.test/":    "nginx-proxy:a.b.*/",
			"a.b/":         "nginx-proxy:a.*/",
			"a/":           "unknown",
			"z1.test/":     `nginx-proxy:~^z1/`,
			"z2.test/":     `nginx-proxy:~^z\d+\.test$/`,
		}},
		{"paths", paths, map[string]string{
			"h/":           "known",
			"h/foo":        "nginx-proxy:h/foo",
			"h/foobar":     "nginx-proxy:h/foo",
			"h/foo/bar/x":  "nginx-proxy:h/foo/bar",
			"h/foo/re":     "nginx-proxy:h~ ^/foo/re",
			"h/exact":      "nginx-proxy:h= /exact",
			"h/exact/":     "known",
			"h/img/x":      "nginx-proxy:h^~ /img",
			"h/x.php":      `nginx-proxy:h~* \.PHP$`,
			"h/foo/x.php":  `nginx-proxy:h~* \.PHP$`,
			"h/dir/x":      "nginx-proxy:h/dir/",
			"h/dir":        "nginx-proxy:h/dir/ slash",
			"h/dir.php":    `nginx-proxy:h~* \.PHP$`,
			"h/foo/bar.pH": "nginx-proxy:h/foo/bar",
		}},
		{"rules", rules, map[string]string{
			"t/":      "traefik:site",
			"t/api/x": "traefik:api",
			"x.t/":    "traefik:wild",
			"x.t/api": "traefik:wild",
			// Traefik's order is the rule's length, not how closely it describes the request.
			"x.t/deep": "traefik:deep",
			"y/":       "unknown",
		}},
		{"both vocabularies", both, map[string]string{
			"a/":          "traefik:a",
			"a/x":         "traefik:a",
			"a/long/path": "nginx-proxy:a/long/path",
			"a/longer":    "traefik:b",
			"x.w/":        "traefik:w",
			"y.w/":        "nginx-proxy:*.w/",
			"c/c":         "nginx-proxy:c/c",
			"c/c/d":       "traefik:c",
			"c/":          "known",
			"f/":          "file:f/",
		}},
		// The first rule loses to the pattern, which loses to the second.
		{"a pattern between two rules", crossed, map[string]string{
			"a.w/": "traefik:shop",
			"b.w/": "nginx-proxy:*.w/",
			"a/":   "traefik:maintenance",
		}},
		{"catch-all rule", catch, map[string]string{
			"a/x":   "nginx-proxy:a/x",
			"a/all": "traefik:all",
			"b/all": "traefik:all",
			"b/":    "known",
		}},
	}
	for _, tt := range tests {
		compiled := tt.world.compile()
		for request, want := range tt.want {
			t.Run(tt.name+"/"+request, func(t *testing.T) {
				i := strings.IndexByte(request, '/')
				if got := found(compiled, request[:i], request[i:]); got != want {
					t.Errorf("got %s, want %s\nwhy: %s", got, want, strings.Join(compiled.Why(request[:i], request[i:]), "\n     "))
				}
			})
		}
	}
}

func TestPriority(t *testing.T) {
	long := tr("long", "Host(`a`) && PathPrefix(`/api/v1`)")
	short := tr("short", "Host(`a`)")
	short.Match.Priority = 1000
	low := tr("low", "Host(`a`) && PathPrefix(`/`) && PathPrefix(`/x`)")
	low.Match.Priority = -1
	compiled := newWorld().container(1, long, short, low).compile()
	if got := found(compiled, "a", "/api/v1"); got != "traefik:short" {
		t.Errorf("got %s, want the router with priority 1000", got)
	}
}

func endpointURLs(r *table.Route) string {
	var urls []string
	for _, e := range r.Endpoints {
		urls = append(urls, e.URL)
	}
	return strings.Join(urls, " ")
}

func routeByID(t *testing.T, compiled *table.Table, id string) *table.Route {
	t.Helper()
	for _, r := range compiled.Routes {
		if r.ID == id {
			return r
		}
	}
	t.Fatalf("no route %s", id)
	return nil
}

func codes(diagnostics []ruche.Diagnostic) string {
	var s []string
	for _, d := range diagnostics {
		s = append(s, d.Workload+":"+string(d.Code))
	}
	return strings.Join(s, " ")
}

func TestSameMatchJoins(t *testing.T) {
	secure := np("A.example", "/")
	secure.Scheme, secure.Port = "https", 8443
	compiled := newWorld().container(2, secure).container(1, np("a.example", "")).
		container(3, tr("web", "Host(`t`)")).container(4, tr("web", "Host(`t`)")).compile()

	if len(compiled.Routes) != 2 || len(compiled.Diagnostics) != 0 {
		t.Fatalf("%d routes, diagnostics %v; want 2 and none", len(compiled.Routes), compiled.Diagnostics)
	}
	if got, want := endpointURLs(routeByID(t, compiled, "nginx-proxy:a.example/")), "http://10.0.0.2:80 https://10.0.0.3:8443"; got != want {
		t.Errorf("endpoints %s, want %s", got, want)
	}
	if got, want := endpointURLs(routeByID(t, compiled, "traefik:web")), "http://10.0.0.4:80 http://10.0.0.5:80"; got != want {
		t.Errorf("endpoints %s, want %s", got, want)
	}
}

func TestOldestWinsWhereSettingsDisagree(t *testing.T) {
	a, b, c := np("a", "/"), np("a", "/"), np("a", "/")
	a.Dest, b.Dest, c.Dest = "/one", "/two", "/one"
	a.HTTPSMethod, c.HTTPSMethod = "", ruche.HTTPSNoHTTPS
	compiled := newWorld().container(3, a).container(5, b).container(4, c).compile()
	r := routeByID(t, compiled, "nginx-proxy:a/")
	if r.Dest != "/one" || r.HTTPSMethod != ruche.HTTPSNoHTTPS {
		t.Errorf("dest %q, method %q; want those of the oldest that says", r.Dest, r.HTTPSMethod)
	}
	if got := codes(compiled.DiagnosticsOf(r)); got != "c5:route-conflict" {
		t.Errorf("diagnostics %s, want one conflict of the youngest", got)
	}
	if len(r.Endpoints) != 3 {
		t.Errorf("%d endpoints, want 3: they join nevertheless", len(r.Endpoints))
	}
}

func TestRouterWithTwoRules(t *testing.T) {
	compiled := newWorld().container(2, tr("web", "Host(`new`)")).container(1, tr("web", "Host(`old`)")).compile()
	if found(compiled, "old", "/") != "traefik:web" || found(compiled, "new", "/") != "unknown" {
		t.Errorf("the oldest declaration of the router must win")
	}
	if got := codes(compiled.Diagnostics); got != "c2:route-conflict" {
		t.Errorf("diagnostics %s, want a conflict of c2", got)
	}
}

func TestShadowing(t *testing.T) {
	tests := []struct {
		name   string
		world  *world
		id, by string
	}{
		{"traefik over nginx-proxy", newWorld().container(1, np("a", "/")).container(2, tr("t", "Host(`a`)")), "nginx-proxy:a/", "traefik:t"},
		{"file over nginx-proxy", newWorld().container(1, np("a", "/")).container(2, file("a", "/")), "nginx-proxy:a/", "file:a/"},
		{"file over nginx-proxy, regular expression", newWorld().container(1, np("~^a", "~ x")).container(2, file("~^a", "~ x")), "nginx-proxy:~^a~ x", "file:~^a~ x"},
		{"file over traefik", newWorld().container(1, tr("t", "Host(`a`)")).container(2, file("a", "/")), "traefik:t", "file:a/"},
		{"equal rules", newWorld().container(1, tr("y", "Host(`a`)")).container(2, tr("x", "Host(`a`)")), "traefik:y", "traefik:x"},
		{"priority", newWorld().container(1, tr("long", "Host(`a`) && PathPrefix(`/x`)"),
			func() ruche.Route { r := tr("high", "Host(`a`)"); r.Match.Priority = 99; return r }()), "traefik:long", "traefik:high"},
		{"two kinds of prefix", newWorld().container(1, np("a", "/x")).container(2, np("a", "^~ /x")), "nginx-proxy:a^~ /x", "nginx-proxy:a/x"},
		{"one host of two is free", newWorld().container(1, tr("t", "Host(`a`) || Host(`b`)")).container(2, file("a", "/")), "traefik:t", ""},
		{"only an exact path is taken", newWorld().container(1, np("a", "/")).container(2, tr("t", "Host(`a`) && Path(`/`)")), "nginx-proxy:a/", ""},
		{"the winner excludes a path", newWorld().container(1, np("a", "/")).container(2, tr("t", "Host(`a`) && !PathPrefix(`/x`)")), "nginx-proxy:a/", ""},
		{"a tombstone shadows nothing", newWorld().container(1, np("a", "/")).container(2, tr("t", "Host(`a`)")).gone(2), "nginx-proxy:a/", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			compiled := tt.world.compile()
			r := routeByID(t, compiled, tt.id)
			if compiled.ShadowedBy(r) != tt.by {
				t.Fatalf("shadowed by %q, want %q", compiled.ShadowedBy(r), tt.by)
			}
			want := ""
			if tt.by != "" {
				want = r.Sources[0].Workload + ":route-shadowed"
			}
			if got := codes(compiled.Diagnostics); got != want {
				t.Errorf("diagnostics %q, want %q", got, want)
			}
		})
	}
}

func TestTombstones(t *testing.T) {
	older := np("a", "/")
	older.Dest = "/old"
	w := newWorld().container(1, older, tr("web", "Host(`old`)"), np("only", "/")).container(2, np("a", "/"), tr("web", "Host(`new`)")).gone(1)
	compiled := w.compile()
	if r := routeByID(t, compiled, "nginx-proxy:a/"); r.Dest != "" || len(r.Endpoints) != 1 || len(r.Sources) != 2 {
		t.Errorf("dest %q, %d endpoints, %d sources; the living workload decides", r.Dest, len(r.Endpoints), len(r.Sources))
	}
	if got := found(compiled, "new", "/"); got != "traefik:web" {
		t.Errorf("new/ is served by %s, want the living rule", got)
	}
	if r := compiled.Lookup("only", "/").Route; r == nil || len(r.Endpoints) != 0 {
		t.Errorf("a host whose only workload is gone must keep its route, without endpoints")
	}
	if len(compiled.Diagnostics) != 0 {
		t.Errorf("diagnostics %v, want none from what is gone", compiled.Diagnostics)
	}
}

func TestBlocked(t *testing.T) {
	closed := np("a", "/")
	closed.Blocked = "asks for basic auth"
	compiled := newWorld().container(1, closed).compile()
	if r := routeByID(t, compiled, "nginx-proxy:a/"); r.Blocked == "" {
		t.Error("the only declaration asks for a restriction, yet the route is served")
	}
	compiled = newWorld().container(1, closed).container(2, np("a", "/")).compile()
	r := routeByID(t, compiled, "nginx-proxy:a/")
	if r.Blocked != "" || endpointURLs(r) != "http://10.0.0.3:80" {
		t.Errorf("blocked %q, endpoints %s; want only the open workload's", r.Blocked, endpointURLs(r))
	}
	if got := codes(compiled.DiagnosticsOf(r)); got != "c1:route-conflict" {
		t.Errorf("diagnostics %s, want one about c1", got)
	}
}

func TestBrokenDeclarationCostsItselfAlone(t *testing.T) {
	bad := file("b", "/")
	bad.Endpoints = []string{"ftp://x", "http://127.0.0.1:1"}
	compiled := newWorld().container(1, np("a", "/"), np("a b", "/"), np("c", "x"), tr("t", "Host("), bad).compile()
	if found(compiled, "a", "/") == "unknown" || len(compiled.Routes) != 2 {
		t.Errorf("%d routes, want the two good ones", len(compiled.Routes))
	}
	want := "c1:host-invalid c1:path-invalid c1:rule-invalid c1:value-invalid"
	if got := codes(compiled.Diagnostics); got != want {
		t.Errorf("diagnostics %s, want %s", got, want)
	}
}

func TestEndpointStates(t *testing.T) {
	w := newWorld().container(1, np("a", "/")).container(2, np("a", "/")).container(3, np("a", "/"))
	e := w.endpoints["container/0002"]
	e.State = ruche.EndpointStopping
	w.endpoints["container/0002"] = e
	delete(w.endpoints, "container/0003")
	r := routeByID(t, w.compile(), "nginx-proxy:a/")
	if len(r.Endpoints) != 2 || !r.Endpoints[0].Ready() || r.Endpoints[1].Ready() {
		t.Errorf("endpoints %+v; want one ready and one stopping", r.Endpoints)
	}
}

func TestCertificate(t *testing.T) {
	off := np("off", "/")
	off.TLS = ruche.TLSOff
	plain := np("plain", "/")
	plain.HTTPSMethod = ruche.HTTPSNoHTTPS
	named := np("a", "/x")
	named.CertName, named.TLS = "shared", ruche.TLSFile
	compiled := newWorld().container(1, np("a", "/"), named, np("*.w", "/"), off, plain, np(`~^r`, "/")).
		container(2, tr("t", "Host(`t`)"), tr("xw", "Host(`x.w`)"), tr("re", "HostRegexp(`^k`)"),
			tr("either", "Host(`kn`) || HostRegexp(`^m`)")).compile()
	tests := []struct {
		name string
		want ruche.CertificateQuery
		ok   bool
	}{
		{"a", ruche.CertificateQuery{ServerName: "a", Host: "a", Declared: true, Mode: ruche.TLSAuto, CertName: "shared"}, true},
		{"y.w", ruche.CertificateQuery{ServerName: "y.w", Host: "*.w", Mode: ruche.TLSAuto}, true},
		{"x.w", ruche.CertificateQuery{ServerName: "x.w", Host: "x.w", Declared: true}, true},
		{"off", ruche.CertificateQuery{ServerName: "off", Host: "off", Declared: true, Mode: ruche.TLSOff}, true},
		{"plain", ruche.CertificateQuery{ServerName: "plain", Host: "plain", Declared: true, Mode: ruche.TLSOff}, true},
		{"rrr", ruche.CertificateQuery{ServerName: "rrr", Host: "~^r", Mode: ruche.TLSAuto}, true},
		{"t", ruche.CertificateQuery{ServerName: "t", Host: "t", Declared: true}, true},
		{"kk", ruche.CertificateQuery{ServerName: "kk", Host: "kk"}, true},
		{"kn", ruche.CertificateQuery{ServerName: "kn", Host: "kn", Declared: true}, true},
		{"none", ruche.CertificateQuery{ServerName: "none"}, false},
	}
	for _, tt := range tests {
		if got, ok := compiled.Certificate(tt.name); got != tt.want || ok != tt.ok {
			t.Errorf("%s: got %+v, %v, want %+v, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func TestCandidates(t *testing.T) {
	compiled := newWorld().container(1, np("shop.example", "/"), np("*.wild.example", "/"), np("api.example", "/v1"),
		tr("t", "Host(`blog.example`) && PathPrefix(`/b`)")).compile()
	tests := []struct{ request, id, why string }{
		{"shpo.example/", "nginx-proxy:shop.example/", "1 character"},
		{"www.shop.example/", "nginx-proxy:shop.example/", "www."},
		{"wild.example/", "nginx-proxy:*.wild.example/", "not wild.example itself"},
		{"x.shop.example/", "nginx-proxy:shop.example/", "*.shop.example"},
		{"api.example/v2", "nginx-proxy:api.example/v1", "path"},
		{"blog.example/", "traefik:t", "not the path"},
		{"shop.other/", "nginx-proxy:shop.example/", "another domain"},
	}
	for _, tt := range tests {
		i := strings.IndexByte(tt.request, '/')
		got := compiled.Candidates(tt.request[:i], tt.request[i:])
		if len(got) == 0 || got[0].RouteID != tt.id || !strings.Contains(got[0].Why, tt.why) {
			t.Errorf("%s: got %+v, want %s first because %q", tt.request, got, tt.id, tt.why)
		}
	}
	if got := compiled.Candidates("entirely-different.test", "/"); len(got) != 0 {
		t.Errorf("got %+v for a host that resembles none", got)
	}
}

func TestWhy(t *testing.T) {
	compiled := newWorld().container(1, np("a", "/"), np("a", "/api"), np("*.w", "/"), np("a", "~ ^/r")).
		container(2, tr("t", "Host(`a`) && PathPrefix(`/api`)")).compile()
	tests := []struct{ request, want string }{
		{"a/api/x", `host matches "a" exactly; path "/api/x" begins with "/api", the longest prefix of the 2 declared that it has; ` +
			"router rule Host(`a`) && PathPrefix(`/api`) takes the request: it has the highest priority (31) of those that do; " +
			"traefik:t and nginx-proxy:a/api both take the request; traefik:t serves it: traefik goes before nginx-proxy where both say the same"},
		{"a/r", `host matches "a" exactly; prefix "/" is the longest of 2, but does not end the search; ` +
			`"~ ^/r" is the first of 1 regular expression that takes the path "/r"; a router rule takes the host, but none takes the path "/r"`},
		{"x.w/", `host "x.w" is not declared itself; *.w is the longest leading wildcard that takes it; ` +
			`path "/" begins with "/", the longest prefix of the 1 declared that it has`},
		{"none/", `no host pattern takes "none"`},
	}
	for _, tt := range tests {
		i := strings.IndexByte(tt.request, '/')
		if got := strings.Join(compiled.Why(tt.request[:i], tt.request[i:]), "; "); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.request, got, tt.want)
		}
	}
}

func TestWhyTellsOfRulesThatLoseToAPattern(t *testing.T) {
	compiled := newWorld().container(1, np("*.v", "/")).container(2, tr("v", "HostRegexp(`v$`)")).compile()
	want := "nginx-proxy:*.v/ and traefik:v both take the request; nginx-proxy:*.v/ serves it: it names the host more closely"
	if got := compiled.Why("b.v", "/"); got[len(got)-1] != want {
		t.Errorf("got %s\nwant %s as the last", strings.Join(got, "\n    "), want)
	}
}

func TestCompileIsDeterministic(t *testing.T) {
	build := func() string {
		w := newWorld()
		for i := range 40 {
			a, b := np(fmt.Sprintf("h%d", i%7), fmt.Sprintf("/%d", i%3)), tr(fmt.Sprintf("r%d", i%5), fmt.Sprintf("Host(`h%d`)", i%9))
			a.Dest = fmt.Sprintf("/%d", i%2)
			w.container(i, a, b, np(fmt.Sprintf("~^h%d", i%4), "/"))
			id := fmt.Sprintf("container/%04d", i)
			d := w.declarations[id]
			d.Diagnostics = []ruche.Diagnostic{{Code: ruche.CodeKeyUnknown, Workload: "same", Message: id}}
			d.Workload.Name = "same"
			w.declarations[id] = d
			if i%8 == 0 {
				w.gone(i)
			}
		}
		compiled := w.compile()
		out, err := json.Marshal(compiled)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			out = append(out, found(compiled, fmt.Sprintf("h%d", i), "/1")...)
		}
		return string(out)
	}
	first := build()
	for range 20 {
		if build() != first {
			t.Fatal("two compilations of the same input differ")
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	compiled := newWorld().container(1, np("a.example", "/"), np("a.example", "/api"), np("*.w", "/"), tr("t", "Host(`t`)")).compile()
	for _, host := range []string{"a.example", "x.w", "t", "none"} {
		if n := testing.AllocsPerRun(100, func() { compiled.Lookup(host, "/api/x") }); n != 0 {
			t.Errorf("Lookup of %s allocates %v times", host, n)
		}
	}
}

func TestDiagnosticsOfWorkloadsReachTheirRoutes(t *testing.T) {
	w := newWorld().container(1, np("a", "/"), np("b", "/"))
	d := w.declarations["container/0001"]
	d.Diagnostics = []ruche.Diagnostic{
		{Code: ruche.CodePortGuessed, Workload: "c1", Host: "a"},
		{Code: ruche.CodeKeyUnknown, Workload: "c1"},
	}
	w.declarations["container/0001"] = d
	compiled := w.compile()
	for id, want := range map[string]string{
		"nginx-proxy:a/": "c1:port-guessed c1:key-unknown",
		"nginx-proxy:b/": "c1:key-unknown",
	} {
		if got := codes(compiled.DiagnosticsOf(routeByID(t, compiled, id))); got != want {
			t.Errorf("%s: diagnostics %s, want %s", id, got, want)
		}
	}
	if !slices.IsSortedFunc(compiled.Routes, func(a, b *table.Route) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("routes are not sorted by ID")
	}
}
