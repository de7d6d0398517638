package discovery

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// readOne reads a file of one route with these lines, each below the route's host.
func readOne(lines ...string) (ruche.Route, []ruche.Diagnostic) {
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "endpoints:") }) {
		lines = append(lines, "endpoints: [http://10.0.0.1:80]")
	}
	routes, diagnostics := routesOf("f.yaml", []byte("routes:\n  - host: a.example\n    "+strings.Join(lines, "\n    ")+"\n"), nil)
	if len(routes) == 0 {
		return ruche.Route{}, diagnostics
	}
	return routes[0], diagnostics
}

func TestRouteFileSaysHowEndpointsAreChosen(t *testing.T) {
	check := func(c ruche.Check) *ruche.Check {
		for _, d := range []struct{ field, value *time.Duration }{{&c.Interval, ptr(fileInterval)}, {&c.Timeout, ptr(fileTimeout)}} {
			if *d.field == 0 {
				*d.field = *d.value
			}
		}
		if c.Failures == 0 {
			c.Failures, c.Successes = fileFailures, fileSuccesses
		}
		return &c
	}
	for _, tc := range []struct {
		lines []string
		want  ruche.Route // the fields that are about endpoints
	}{
		{nil, ruche.Route{}},
		{[]string{"policy: round-robin"}, ruche.Route{Policy: ruche.PolicyRoundRobin}},
		{[]string{"policy: least-connections"}, ruche.Route{Policy: ruche.PolicyLeastConnections}},
		{[]string{"policy: two-choices"}, ruche.Route{Policy: ruche.PolicyTwoChoices}},
		{[]string{"policy: client-hash"}, ruche.Route{Policy: ruche.PolicyClientHash}},
		{[]string{"policy: sticky"}, ruche.Route{Sticky: &ruche.Sticky{}}},
		{[]string{"sticky: {}"}, ruche.Route{Sticky: &ruche.Sticky{}}},
		{[]string{"policy: two-choices", "sticky: {cookie: srv, secure: true, http_only: true, same_site: Lax, path: /x, domain: a.example, max_age: 24h}"},
			ruche.Route{Policy: ruche.PolicyTwoChoices, Sticky: &ruche.Sticky{Cookie: "srv", Secure: true, HTTPOnly: true, SameSite: "lax", Path: "/x", Domain: "a.example", MaxAge: 86400}}},
		{[]string{"check: {path: /up}"}, ruche.Route{Check: check(ruche.Check{Mode: ruche.CheckHTTP, Path: "/up"})}},
		{[]string{"check: {}"}, ruche.Route{Check: check(ruche.Check{Mode: ruche.CheckConnect})}},
		{[]string{"check: {mode: grpc}", "endpoints: [grpc://10.0.0.1:50051]"},
			ruche.Route{Scheme: "grpc", Endpoints: []string{"grpc://10.0.0.1:50051"}, Check: check(ruche.Check{Mode: ruche.CheckGRPC})}},
		{[]string{"check: {path: /up, status: 204, host: a.example, headers: {X-Key: 1}, scheme: https, port: 8443, interval: 1m, timeout: 500ms, failures: 1, successes: 5}"},
			ruche.Route{Check: &ruche.Check{Mode: ruche.CheckHTTP, Path: "/up", Status: 204, Host: "a.example", Headers: map[string]string{"X-Key": "1"}, Scheme: "https", Port: 8443,
				Interval: time.Minute, Timeout: 500 * time.Millisecond, Failures: 1, Successes: 5}}},
		{[]string{"eject: {}"}, ruche.Route{Eject: &ruche.Eject{Failures: fileFailures}}},
		{[]string{"eject: {failures: 5, time: 30s}"}, ruche.Route{Eject: &ruche.Eject{Failures: 5, Time: 30 * time.Second}}},
		{[]string{"proxy_protocol: 2"}, ruche.Route{ProxyProtocol: 2}},
		{[]string{"endpoints: [fastcgi://10.0.0.1:9000]", "root: /var/www/html", "check: {}"},
			ruche.Route{Scheme: "fastcgi", Endpoints: []string{"fastcgi://10.0.0.1:9000"}, Root: "/var/www/html", Check: check(ruche.Check{Mode: ruche.CheckConnect})}},
		{[]string{"endpoints: [uwsgi://10.0.0.1:3031]", "check: {path: /up, scheme: http, port: 80}"},
			ruche.Route{Scheme: "uwsgi", Endpoints: []string{"uwsgi://10.0.0.1:3031"}, Check: check(ruche.Check{Mode: ruche.CheckHTTP, Path: "/up", Scheme: "http", Port: 80})}},
		{[]string{"endpoints: [h2c://10.0.0.1]"}, ruche.Route{Scheme: "h2c", Endpoints: []string{"h2c://10.0.0.1:80"}}},
		{[]string{"endpoints: [grpcs://10.0.0.1]"}, ruche.Route{Scheme: "grpcs", Endpoints: []string{"grpcs://10.0.0.1:443"}}},
		{[]string{"endpoints:", "  - http://a:1", "  - url: http://b:1", "    weight: 3", "  - {url: http://c:1}", "  - http://a:1"},
			ruche.Route{Endpoints: []string{"http://a:1", "http://b:1", "http://c:1"}, Weights: []int{1, 3, 1}}},
		{[]string{"endpoints: [{url: http://a:1, weight: 1}, {url: http://b:1, weight: 0}]"},
			ruche.Route{Endpoints: []string{"http://a:1", "http://b:1"}, Weights: []int{1, 0}}},
	} {
		got, diagnostics := readOne(tc.lines...)
		if len(diagnostics) > 0 {
			t.Errorf("%q: %v", tc.lines, diagnostics)
			continue
		}
		want := tc.want
		want.Name, want.Vocabulary, want.Source, want.Match = got.Name, got.Vocabulary, got.Source, got.Match
		if want.Endpoints == nil {
			want.Endpoints = []string{"http://10.0.0.1:80"}
		}
		if want.Scheme == "" {
			want.Scheme = "http"
		}
		if g, w := asJSON(got), asJSON(want); g != w {
			t.Errorf("%q:\ngot  %s\nwant %s", tc.lines, g, w)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func asJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func TestRouteFileWithMistakesAboutEndpoints(t *testing.T) {
	for _, tc := range []struct{ line, place, message, hint string }{
		{"policy: fastest", "f.yaml:2", `policy: "fastest" is not known`, "write round-robin"},
		{"policy:", "f.yaml:3", "expected text", "give it a value"},
		{"sticky:", "f.yaml:3", "expected a map, found nothing", "write {}"},
		{"sticky: {name: x}", "f.yaml:3", `unknown key "name"`, "same_site"},
		{"sticky: {cookie: a b}", "f.yaml:2", `sticky: cookie: "a b"`, "letters"},
		{`sticky: {cookie: ""}`, "f.yaml:2", `sticky: cookie: ""`, "letters"},
		{"sticky: {same_site: perhaps}", "f.yaml:2", `sticky: same_site: "perhaps"`, "lax"},
		{"sticky: {same_site: none}", "f.yaml:2", "sticky: browsers keep", "secure"},
		{"sticky: {path: x}", "f.yaml:2", `sticky: path: "x"`, "/app"},
		{"sticky: {domain: a;b}", "f.yaml:2", `sticky: domain: "a;b"`, "shop.example"},
		{"sticky: {max_age: 3600}", "f.yaml:2", `sticky: max_age: "3600" is not a time`, "10s"},
		{"check: {path: up}", "f.yaml:2", `check: path: path "up"`, "/health"},
		{"check: {url: /up}", "f.yaml:3", `unknown key "url"`, ""},
		{"check: {path: /up, interval: 1ms}", "f.yaml:2", `check: interval: "1ms" is not from`, ""},
		{"check: {path: /up, timeout: fast}", "f.yaml:2", `check: timeout: "fast" is not a time`, "10s"},
		{"check: {path: /up, failures: 0}", "f.yaml:2", "check: failures: a number of results in a row: 0", ""},
		{"check: {path: /up, status: 99}", "f.yaml:2", "check: status: status 99", "leave it out"},
		{"check: {path: /up, port: 0}", "f.yaml:2", "check: port: 0", ""},
		{"check: {path: /up, port: 70000}", "f.yaml:3", "expected a whole number from 0 to 65535", ""},
		{"check: {path: /up, scheme: ftp}", "f.yaml:2", `check: scheme: "ftp"`, "write http"},
		{"check: {path: /up, host: a b}", "f.yaml:2", `check: host: "a b"`, "shop.example"},
		{"check: {path: /up, headers: {a b: c}}", "f.yaml:2", `check: headers: "a b"`, ""},
		{"check: {mode: tcp}", "f.yaml:2", `check: mode: "tcp"`, "grpc or connect"},
		{"check: {mode: http}", "f.yaml:2", "check: it has no path", "/health"},
		{"check: {status: 200}", "f.yaml:2", "check: it has no path", "/health"},
		{"check: {mode: grpc, path: /up}", "f.yaml:2", "check: mode grpc asks for no path", ""},
		{"check: {mode: connect, host: a}", "f.yaml:2", "check: a mere connection", ""},
		{"eject: {failures: 1000}", "f.yaml:2", "eject: failures:", ""},
		{"eject: {time: 5h}", "f.yaml:2", "eject: time:", ""},
		{"proxy_protocol: 3", "f.yaml:2", "proxy_protocol: there is no version 3", "1 or 2"},
		{"proxy_protocol: 0", "f.yaml:2", "proxy_protocol: there is no version 0", "1 or 2"},
		{"root: /srv", "f.yaml:2", "root: it belongs to endpoints with fastcgi://", "remove"},
		{"endpoints: [fastcgi://a:9000]", "f.yaml:2", "the route has no root", "root: "},
		{"endpoints: [fastcgi://a]", "f.yaml:2", `endpoint "fastcgi://a" names no port`, ""},
		{"endpoints: [ftp://a]", "f.yaml:2", `endpoint "ftp://a" does not begin with one of http://`, ""},
		{"endpoints: [{url: http://a, weight: -1}]", "f.yaml:2", `endpoint "http://a": weight -1`, "0 keeps"},
		{"endpoints: [{url: http://a, wight: 2}]", "f.yaml:3", `unknown key "wight"`, "weight"},
		{"endpoints: [{weight: 2}]", "f.yaml:2", `endpoint "" `, ""},
		{"endpoints: [http://a, h2c://b]", "f.yaml:2", "the endpoints mix http and h2c", "one scheme"},
	} {
		route, diagnostics := readOne(tc.line)
		if route.Name != "" {
			t.Errorf("%s: it is taken: %s", tc.line, asJSON(route))
		}
		if len(diagnostics) != 1 {
			t.Errorf("%s: %d diagnostics: %v", tc.line, len(diagnostics), diagnostics)
			continue
		}
		d := diagnostics[0]
		if d.Code != ruche.CodeFileInvalid || d.Severity != ruche.SeverityError || d.Source != tc.place && !strings.HasPrefix(d.Source, tc.place+":") ||
			!strings.HasPrefix(d.Message, tc.message) || !strings.Contains(d.Hint, tc.hint) {
			t.Errorf("%s: %s, hint %q; want at %s %q, hint %q", tc.line, d, d.Hint, tc.place, tc.message, tc.hint)
		}
	}
	if _, diagnostics := readOne("endpoints: [fastcgi://a:9000]", "root: /srv", "check: {path: /up}"); len(diagnostics) != 1 || !strings.Contains(diagnostics[0].Message, "fastcgi cannot be asked by HTTP") {
		t.Errorf("an HTTP check of FastCGI: %v", diagnostics)
	}
	// All mistakes are named at once.
	if _, diagnostics := readOne("policy: x", "eject: {failures: 0}", "proxy_protocol: 9"); len(diagnostics) != 3 {
		t.Errorf("%d diagnostics: %s", len(diagnostics), fmt.Sprint(diagnostics))
	}
}

// TestRouteFilesOfTheManual reads every example of a route file.
func TestRouteFilesOfTheManual(t *testing.T) {
	page, err := os.ReadFile("../../docs/publish.md")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for i, block := range strings.Split(string(page), "```yaml\n") {
		block, _, _ = strings.Cut(block, "```")
		if i == 0 || !strings.Contains("\n"+block, "\nroutes:") {
			continue
		}
		read++
		if routes, diagnostics := routesOf("f.yaml", []byte(block), nil); len(routes) == 0 || len(diagnostics) > 0 {
			t.Errorf("%s\n%v", block, diagnostics)
		}
	}
	if read < 3 {
		t.Errorf("%d examples were found", read)
	}
}
