package discovery

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
	"github.com/ruche-project/ruche/internal/match"
)

const goodFile = `routes:
  - host: a.example
    endpoints: [http://127.0.0.1:9100, http://127.0.0.1:9101]
  - host: "*.b.example"
    path: /api
    endpoints: ["https://[::1]:8443"]
    tls: file
`

var routeFiles = []struct {
	name, data string
	routes     string // host+path of each route
	problems   []string
}{
	{"good", goodFile, "a.example/ *.b.example/api", nil},
	{"empty", "", "", []string{"f.yaml: the file is empty; it declares no routes"}},
	{"blanks and comments", "\n# nothing yet\n", "", []string{"f.yaml: the file is empty; it declares no routes"}},
	{"empty list", "routes: []\n", "", nil},
	{"all forms of host and path", `routes:
  - {host: "a.*", path: "= /x", endpoints: ["http://h:1"]}
  - {host: '~^c[0-9]+\.example$', path: "~* ^/y", endpoints: ["http://h:1"], tls: off}
  - {host: 192.0.2.1, path: "^~ /z", endpoints: ["http://h"], tls: auto}
`, `a.*= /x ~^c[0-9]+\.example$~* ^/y 192.0.2.1^~ /z`, nil},
	{"one bad route among good ones", `routes:
  - host: a.example
    endpoints: [http://127.0.0.1:9100]
  - host: http://b.example
    endpoints: [http://127.0.0.1:9100]
  - host: c.example
    endpoints: [http://127.0.0.1:9100]
`, "a.example/ c.example/", []string{"f.yaml:4: host"}},
	{"a key that is not known", "routes:\n  - host: a.example\n    endpoint: [http://127.0.0.1:1]\n", "", []string{"f.yaml:3: unknown key"}},
	{"no endpoints", "routes:\n  - host: a.example\n", "", []string{"f.yaml:2: the route has no endpoints"}},
	{"no host", "routes:\n  - endpoints: [http://127.0.0.1:1]\n", "", []string{"f.yaml:2: host is empty"}},
	{"bad path", "routes:\n  - host: a.example\n    path: x\n    endpoints: [http://127.0.0.1:1]\n", "", []string{"f.yaml:2: path"}},
	{"endpoints that are none", `routes:
  - {host: a.example, endpoints: ["127.0.0.1:80"]}
  - {host: b.example, endpoints: ["ftp://h:1"]}
  - {host: c.example, endpoints: ["http://h:1/path"]}
  - {host: d.example, endpoints: ["http://h:0"]}
  - {host: e.example, endpoints: ["http://:80"]}
  - {host: f.example, endpoints: ["http://u:p@h:1"]}
  - {host: g.example, endpoints: ["http://h:1", "https://h:2"]}
  - {host: h.example, endpoints: ["http://h:1?x=y"]}
  - {host: i.example, endpoints: ["http://h:"]}
`, "", []string{"f.yaml:2: endpoint", "f.yaml:3: endpoint", "f.yaml:4: endpoint", "f.yaml:5: endpoint", "f.yaml:6: endpoint", "f.yaml:7: endpoint",
		"f.yaml:8: the endpoints mix", "f.yaml:9: endpoint", "f.yaml:10: endpoint"}},
	{"TLS modes", `routes:
  - {host: a.example, endpoints: ["http://h:1"], tls: acme}
  - {host: b.example, endpoints: ["http://h:1"], tls: internal}
  - {host: c.example, endpoints: ["http://h:1"], tls: maybe}
`, "a.example/ b.example/", []string{`f.yaml:4: tls: mode "maybe" is not known`}},
	{"declared twice", `routes:
  - {host: a.example, endpoints: ["http://h:1"]}
  - {host: A.example, path: /, endpoints: ["http://h:2"]}
`, "a.example/", []string{"f.yaml:3: host a.example with path / is declared in line 2 already"}},
	{"not YAML", "routes:\n  - host: [\n", "", []string{"f.yaml:"}},
	{"another top", "sites: []\n", "", []string{"f.yaml:1: unknown key"}},
}

func show(routes []ruche.Route) string {
	var list []string
	for _, r := range routes {
		list = append(list, r.Match.Host+r.Match.Path)
	}
	return strings.Join(list, " ")
}

// routesOf is parseRouteFile for those to whom certificates do not matter.
func routesOf(name string, data []byte, last []ruche.Route) ([]ruche.Route, []ruche.Diagnostic) {
	found := parseRouteFile(name, data, declared{routes: last})
	return found.routes, found.diagnostics
}

func TestParseRouteFile(t *testing.T) {
	for _, tc := range routeFiles {
		routes, diagnostics := routesOf("f.yaml", []byte(tc.data), nil)
		if show(routes) != tc.routes {
			t.Errorf("%s: routes %q, want %q", tc.name, show(routes), tc.routes)
		}
		var got []string
		for _, d := range diagnostics {
			got = append(got, d.Source+": "+d.Message)
			if d.Code != ruche.CodeFileInvalid || d.Workload != "f.yaml" {
				t.Errorf("%s: diagnostic %+v", tc.name, d)
			}
		}
		if !slices.EqualFunc(got, tc.problems, strings.HasPrefix) {
			t.Errorf("%s: problems %q, want %q", tc.name, got, tc.problems)
		}
		for _, r := range routes {
			if len(r.Endpoints) == 0 || r.Port != 0 || r.Scheme == "" || r.Vocabulary != ruche.VocabularyFile || !strings.HasPrefix(r.Source, "f.yaml:") {
				t.Errorf("%s: route %+v", tc.name, r)
			}
		}
	}
	routes, _ := routesOf("f.yaml", []byte(goodFile), nil)
	if routes[0].Source != "f.yaml:2" || routes[1].Source != "f.yaml:4" || routes[1].TLS != ruche.TLSFile || routes[1].Endpoints[0] != "https://[::1]:8443" {
		t.Errorf("routes %+v", routes)
	}
}

func TestBadRouteKeepsItsLastGoodVersion(t *testing.T) {
	last, _ := routesOf("f.yaml", []byte(goodFile), nil)
	const good = "  - {host: c.example, endpoints: [\"http://h:1\"]}\n" // a bad route at the end may be cut off
	for _, tc := range []struct{ name, data, routes, stands string }{
		{"bad endpoint", "routes:\n  - host: a.example\n    endpoints: [x]\n" + good, "c.example/ a.example/", "the last good version of this route stands"},
		{"bad path: all of the host that are not declared anew", "routes:\n  - host: \"*.b.example\"\n    path: '~ ['\n    endpoints: [http://h:1]\n" + good, "c.example/ *.b.example/api", "the last good version of this route stands"},
		{"unknown key", "routes:\n  - host: a.example\n    endpointz: [x]\n" + good, "c.example/ a.example/", "the last good version of this route stands"},
		{"a path that is new", "routes:\n  - host: a.example\n    path: /new\n    endpoints: [x]\n" + good, "c.example/", "this route is not in force"},
		{"bad host", "routes:\n  - host: a b\n    endpoints: [http://h:1]\n" + good, "c.example/", "this route is not in force"},
		{"the good one wins over the kept one", "routes:\n  - {host: a.example, endpoints: [x]}\n  - {host: a.example, endpoints: [\"http://h:5\"]}\n", "a.example/", "this route is not in force"},
		{"whole file", "routes: [", "a.example/ *.b.example/api", "the last good version of this file stands, with 2 routes"},
	} {
		routes, diagnostics := routesOf("f.yaml", []byte(tc.data), last)
		if show(routes) != tc.routes {
			t.Errorf("%s: routes %q, want %q", tc.name, show(routes), tc.routes)
		}
		if len(diagnostics) == 0 || !strings.HasSuffix(diagnostics[0].Message, tc.stands) {
			t.Errorf("%s: diagnostics %+v, want %q", tc.name, diagnostics, tc.stands)
		}
	}
}

func TestFileThatMayBeCutOffTakesNoRouteAway(t *testing.T) {
	last, _ := routesOf("f.yaml", []byte(goodFile), nil)
	const (
		both  = "a.example/ *.b.example/api"
		first = "routes:\n  - host: a.example\n    endpoints: [http://127.0.0.1:9100]"
		file  = "the last good version of this file stands, with 2 routes"
		rest  = "what is missing of its last version stands, with "
	)
	for _, tc := range []struct{ name, data, routes, problem string }{
		{"empty", "", both, "the file is empty; " + file},
		{"blanks", " \n\n", both, "the file is empty; " + file},
		{"comments", "# routes\n", both, "the file is empty; " + file},
		{"only a byte order mark", "\xef\xbb\xbf", both, "the file is empty; " + file},
		{"an empty map", "{}\n", both, "the file is empty; " + file},
		{"nothing under the key", "routes:\n", both, "the file is empty; " + file},
		{"an item that is not begun", "routes:\n  -", both, "the last route cannot be used; " + rest + "2 routes"},
		{"a host that is cut off", "routes:\n  - host: a.te", both, "the last route cannot be used; " + rest + "2 routes"},
		{"no endpoints", "routes:\n  - host: a.te\n", both, "the last route cannot be used; " + rest + "2 routes"},
		{"no endpoints after a good route", first + "\n  - host: c.te\n", both, "the last route cannot be used; " + rest + "1 route"},
		{"a path that is not there yet", first + "\n  - {host: a.example, endpoints: [\"http://h:1\"]}\n", both, "the last route cannot be used; " + rest + "1 route"},
		{"no newline at the end", first, both, "it does not end with a newline; " + rest + "1 route"},
		{"nothing is missing", strings.TrimSpace(goodFile), both, ""},
		{"a bad route in front", "routes:\n  - host: c.te\n" + strings.TrimPrefix(first, "routes:\n") + "\n", "a.example/", "the route has no endpoints; this route is not in force"},
		{"on purpose", first + "\n", "a.example/", ""},
		{"on purpose, all", "routes: []\n", "", ""},
		{"on purpose, all, without a newline", "routes: []", "", ""},
		{"on purpose, in braces", `{"routes": [{"host": "a.example", "endpoints": ["http://h:1"]}]}`, "a.example/", ""},
	} {
		routes, diagnostics := routesOf("f.yaml", []byte(tc.data), last)
		if show(routes) != tc.routes {
			t.Errorf("%s: routes %q, want %q", tc.name, show(routes), tc.routes)
		}
		if tc.problem == "" && len(diagnostics) == 0 {
			continue
		}
		if len(diagnostics) == 0 || tc.problem == "" || !strings.HasSuffix(diagnostics[0].Message, tc.problem) || diagnostics[0].Hint == "" {
			t.Errorf("%s: diagnostics %+v, want %q", tc.name, diagnostics, tc.problem)
		}
	}
}

func TestEmptyFileIsAMistakeOnlyWhenItHadRoutes(t *testing.T) {
	last, _ := routesOf("f.yaml", []byte(goodFile), nil)
	for _, tc := range []struct {
		name string
		last []ruche.Route
		want ruche.Severity
	}{{"had routes", last, ruche.SeverityError}, {"had none", nil, ruche.SeverityInfo}} {
		if _, diagnostics := routesOf("f.yaml", nil, tc.last); len(diagnostics) != 1 || diagnostics[0].Severity != tc.want {
			t.Errorf("%s: diagnostics %+v, want one of severity %s", tc.name, diagnostics, tc.want)
		}
	}
}

func TestFileBeingWrittenKeepsItsRoutes(t *testing.T) {
	h := build(t)
	h.cfg.RoutesDir = t.TempDir()
	h.write("a.yaml", goodFile)
	h.run()
	const both = "a.example/ *.b.example/api"
	h.awaitFile("a.yaml", both, 0)
	h.write("a.yaml", "")
	h.awaitFile("a.yaml", both, 1)
	h.stopRun() // nor does a restart take them away
	h.run()
	h.awaitFile("a.yaml", both, 1)
	h.write("a.yaml", "routes:\n  - host: a.te")
	h.awaitFile("a.yaml", both, 2)
	h.write("a.yaml", goodFile)
	h.awaitFile("a.yaml", both, 0)
	h.write("a.yaml", "routes: []\n")
	h.awaitFile("a.yaml", "", 0)
	h.write("a.yaml", "")
	h.awaitFile("a.yaml", "", 1)
}

func (h *house) write(name, data string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.cfg.RoutesDir, name), []byte(data), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// awaitFile waits until a file's declaration has these routes and this many problems.
func (h *house) awaitFile(name, routes string, problems int) {
	h.t.Helper()
	h.await(fmt.Sprintf("file %s with %q and %d problems", name, routes, problems), func() bool {
		d, ok := h.decls["file/"+name]
		return ok && show(d.Routes) == routes && len(d.Diagnostics) == problems
	})
}

func TestRouteFilesAreFollowed(t *testing.T) {
	h := build(t)
	h.cfg.RoutesDir = t.TempDir()
	const one = "routes:\n  - {host: one.example, endpoints: [\"http://h:1\"]}\n"
	h.write("a.yaml", goodFile)
	for _, ignored := range []string{".a.yaml", "a.yaml~", "#a.yaml#", "a.yaml.bak", "README.md"} {
		h.write(ignored, one)
	}
	h.run()
	h.awaitFile("a.yaml", "a.example/ *.b.example/api", 0)
	h.write("b.yml", one)
	h.awaitFile("b.yml", "one.example/", 0)
	h.write("b.yml", "routes: [")
	h.awaitFile("b.yml", "one.example/", 1)

	h.stopRun() // the last good version survives a restart
	h.run()
	h.awaitFile("b.yml", "one.example/", 1)
	h.write("b.yml", strings.Replace(one, "one", "two", 1))
	h.awaitFile("b.yml", "two.example/", 0)
	if err := os.Remove(filepath.Join(h.cfg.RoutesDir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	h.await("the end of a.yaml", func() bool { _, ok := h.decls["file/a.yaml"]; return !ok && len(h.decls) == 1 })
	h.await("its workload", func() bool {
		w := h.decls["file/b.yml"].Workload
		return w.Node == "n1" && w.Kind == ruche.KindFile && w.Name == "b.yml" && w.ID == "file/b.yml"
	})

	h.stopRun()
	h.cfg.RoutesDir = ""
	h.run()
	h.await("no files without a directory", func() bool { return len(h.decls) == 0 })
}

func TestVanishedDirectoryKeepsItsRoutes(t *testing.T) {
	h := build(t)
	h.cfg.RoutesDir = filepath.Join(t.TempDir(), "routes.d")
	h.run() // an absent directory is fine
	if len(h.health.List()) != 0 {
		t.Errorf("warnings %+v", h.health.List())
	}
	if err := os.Mkdir(h.cfg.RoutesDir, 0o755); err != nil {
		t.Fatal(err)
	}
	h.write("a.yaml", goodFile)
	h.awaitFile("a.yaml", "a.example/ *.b.example/api", 0)
	moved := h.cfg.RoutesDir + ".away"
	if err := os.Rename(h.cfg.RoutesDir, moved); err != nil {
		t.Fatal(err)
	}
	poll(t, "the warning", func() bool { return h.warned(ruche.CodeRoutesDirUnreadable, "routes.d") })
	h.awaitFile("a.yaml", "a.example/ *.b.example/api", 0)
	if err := os.Rename(moved, h.cfg.RoutesDir); err != nil {
		t.Fatal(err)
	}
	poll(t, "the warning to go", func() bool { return len(h.health.List()) == 0 })
	h.awaitFile("a.yaml", "a.example/ *.b.example/api", 0)
}

func TestUnreadableFileKeepsItsRoutes(t *testing.T) {
	h := build(t)
	h.cfg.RoutesDir = t.TempDir()
	h.write("a.yaml", goodFile)
	h.run()
	h.awaitFile("a.yaml", "a.example/ *.b.example/api", 0)
	path := filepath.Join(h.cfg.RoutesDir, "a.yaml")
	if err := os.Symlink("/nowhere", path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	h.awaitFile("a.yaml", "a.example/ *.b.example/api", 1)
	h.write("a.new", goodFile)
	if err := os.Rename(filepath.Join(h.cfg.RoutesDir, "a.new"), path); err != nil {
		t.Fatal(err)
	}
	h.awaitFile("a.yaml", "a.example/ *.b.example/api", 0)
	h.write("b.yaml", "routes:\n# "+strings.Repeat("x", maxFile))
	h.awaitFile("b.yaml", "", 1)
}

func FuzzRouteFile(f *testing.F) {
	last := parseRouteFile("f.yaml", []byte(goodFile+certificatesFile), declared{})
	for _, tc := range routeFiles {
		f.Add([]byte(tc.data))
	}
	f.Add([]byte(streamFile))
	f.Add([]byte(certificatesFile))
	f.Add([]byte("routes:\n  - host: a.example\n    endpoints: [{url: fastcgi://a:9000, weight: 3}]\n    root: /srv\n    policy: sticky\n    sticky: {cookie: c, max_age: 1h}\n" +
		"    check: {path: /up, port: 80, scheme: http, headers: {X: y}, interval: 1s}\n    eject: {failures: 2, time: 3s}\n    proxy_protocol: 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		found := parseRouteFile("f.yaml", data, last)
		// That is why a file that is the same as before need not be read again.
		if again := parseRouteFile("f.yaml", data, found); !reflect.DeepEqual(again, found) {
			t.Errorf("read again it declares %+v, at first %+v", again, found)
		}
		for _, s := range found.certificates {
			if len(s.Names) == 0 || !strings.HasPrefix(s.Source, "f.yaml:") || setting.Provable(&s) != nil {
				t.Errorf("certificate %+v", s)
			}
		}
		seen := map[ruche.Match]bool{}
		for _, r := range found.routes {
			stream := r.Protocol != ""
			if stream != (r.Match.EntryPoint != "") || stream && (r.Scheme != string(r.Protocol) || r.Match.Path != "") {
				t.Errorf("%+v is partly about connections", r)
			}
			if _, err := match.ParseHost(r.Match.Host); err != nil && !(stream && r.Match.Host == "") {
				t.Errorf("host %q: %v", r.Match.Host, err)
			}
			if _, err := match.ParsePath(r.Match.Path); err != nil && !stream {
				t.Errorf("path %q: %v", r.Match.Path, err)
			}
			if seen[r.Match] {
				t.Errorf("%+v is declared twice", r.Match)
			}
			seen[r.Match] = true
			if len(r.Endpoints) == 0 {
				t.Errorf("route without endpoints: %+v", r)
			}
			for _, e := range r.Endpoints {
				if again, _, why := parseEndpoint(e); why != "" || again != e {
					t.Errorf("endpoint %q: %q, %s", e, again, why)
				}
			}
			if len(r.Weights) > 0 && len(r.Weights) != len(r.Endpoints) || slices.ContainsFunc(r.Weights, func(w int) bool { return w < 0 }) {
				t.Errorf("weights %v of %v", r.Weights, r.Endpoints)
			}
			if s := r.Sticky; s != nil && strings.ContainsAny(s.Cookie+s.Path+s.Domain+s.SameSite, "; \r\n") {
				t.Errorf("cookie %+v", s)
			}
			if c := r.Check; c != nil && (c.Interval <= 0 || c.Timeout <= 0 || c.Failures < 1 || c.Successes < 1 || c.Mode == ruche.CheckHTTP && c.Path == "") {
				t.Errorf("check %+v", c)
			}
		}
		for _, d := range found.diagnostics {
			if d.Code == "" || d.Severity == "" || d.Source == "" || d.Message == "" || d.Workload == "" {
				t.Errorf("incomplete diagnostic %+v", d)
			}
		}
	})
}
