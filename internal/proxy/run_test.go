package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/health"
)

func TestListenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct{ name, address, want string }{
		{"taken", taken.Addr().String(), "ss -ltnp"},
		{"not ours", "192.0.2.1:80", "ip address"},
		{"malformed", "80", "write for example :80"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := New(Config{HTTPAddr: tt.address})
			if err == nil {
				p.feed.applyDeclarations(ruche.Update[ruche.Declaration]{Reset: true})
				p.feed.applyEndpoints(ruche.Update[ruche.Endpoint]{Reset: true})
				err = p.run(t.Context(), noWatch)
			}
			if err == nil || !strings.Contains(err.Error(), tt.address) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error that names %s and tells %q", err, tt.address, tt.want)
			}
		})
	}
}

func TestAccessLog(t *testing.T) {
	r := start(t, Config{TrustedProxies: loopback()}, site("a.test", says(t, "hello")))
	req := r.request("POST", "https://a.test/p%20q?x=1", strings.NewReader("body"))
	req.Header.Set("X-Forwarded-For", "198.51.100.7, 127.0.0.9")
	req.Header.Set("User-Agent", "a\"b\\c\u2028\xff")
	req.Header.Set("Referer", "http://r.test/")
	req.Header.Set("X-Request-Id", "abc-1")
	r.do(req)
	r.get("http://nobody.test/")
	r.stop()
	<-r.stopped
	lines := strings.Split(strings.TrimSpace(r.log.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2:\n%s", len(lines), r.log)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &got); err != nil {
		t.Fatalf("%v in %s", err, lines[0])
	}
	for key, want := range map[string]any{
		"request_id": "abc-1", "client_ip": "198.51.100.7", "host": "a.test", "method": "POST", "path": "/p%20q", "query": "x=1",
		"proto": "HTTP/2.0", "scheme": "https", "status": 200.0, "bytes_sent": 5.0, "bytes_received": 4.0, "route": "nginx-proxy:a.test/",
		"retries": 0.0, "user_agent": "a\"b\\c\u2028\ufffd", "referer": "http://r.test/", "tls_version": "TLS 1.3", "sni": "a.test",
	} {
		if got[key] != want {
			t.Errorf("%s: %v, want %v", key, got[key], want)
		}
	}
	for _, key := range []string{"time", "peer", "duration_ms", "endpoint", "upstream_ms"} {
		if got[key] == nil {
			t.Errorf("no %s in %s", key, lines[0])
		}
	}
	if err := json.Unmarshal([]byte(lines[1]), &got); err != nil || got["status"] != 503.0 {
		t.Errorf("%v, %s", err, lines[1])
	}
}

// stuck is a writer that blocks until it is released, and then fails.
type stuck struct{ release chan struct{} }

func (s stuck) Write([]byte) (int, error) {
	<-s.release
	return 0, errors.New("disk full")
}

func TestAccessLogThatStallsStopsNoRequest(t *testing.T) {
	release := make(chan struct{})
	warnings := &health.Registry{}
	r := start(t, Config{AccessLog: stuck{release}, Health: warnings}, site("a.test", says(t, "ok")))
	for range 20 {
		if resp, _ := r.get("http://a.test/"); resp.StatusCode != 200 {
			t.Fatalf("got %d", resp.StatusCode)
		}
	}
	close(release)
	until(t, "the failure raises a warning", func() bool {
		list := warnings.List()
		return len(list) == 1 && list[0].Code == ruche.CodeAccessLogFailed && strings.Contains(list[0].Message, "disk full")
	})
}

func FuzzAppendJSON(f *testing.F) {
	for _, s := range []string{"", "a", "\"\\\n\x00\x7f", "é\u2028\U0001F600", "\xff\xc3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		line := appendJSON(nil, s)
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q became %s: %v", s, line, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); strings.ReplaceAll(got, "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "") {
			t.Fatalf("%q became %q", s, got)
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"/", "*", "/a/../b", "//x", "http://h/x?y", "/%2e%2e/", "/%00", "/?#", "h:80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		got, ok := parseTarget(uri)
		if !ok {
			return
		}
		if got.path == "" || got.path[0] != '/' || strings.Contains(got.path, "//") || strings.Contains(got.path, "/../") || strings.HasSuffix(got.path, "/..") {
			t.Fatalf("%q gives the path %q", uri, got.path)
		}
		if !strings.HasPrefix(got.raw, got.rawPath) {
			t.Fatalf("%q gives %+v", uri, got)
		}
	})
}

func TestCounts(t *testing.T) {
	r := start(t, Config{}, site("a.test", says(t, "ok")), nowhere("b.test"))
	for _, url := range []string{"http://a.test/", "http://a.test/", "http://b.test/", "http://nobody.test/"} {
		r.get(url)
	}
	r.serve(site("a.test", says(t, "ok")), nowhere("b.test"), nowhere("c.test"))
	r.get("http://a.test/")
	until(t, "all requests are counted", func() bool {
		got := map[string][5]uint64{}
		for _, c := range r.Counts() {
			got[c.RouteID] = c.ByClass
			sum := uint64(0)
			for _, n := range c.Buckets {
				sum += n
			}
			if all := c.ByClass[0] + c.ByClass[1] + c.ByClass[2] + c.ByClass[3] + c.ByClass[4]; sum != all {
				return false
			}
		}
		return got["nginx-proxy:a.test/"] == [5]uint64{0, 3} && got["nginx-proxy:b.test/"] == [5]uint64{4: 1} &&
			got["(none)"] == [5]uint64{4: 1} && len(got) == 4
	})
}

func TestFollowsTheBuckets(t *testing.T) {
	c, err := cluster.Open(t.Context(), cluster.Config{Dir: t.TempDir(), Name: "one", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	declarations := cluster.NewBucket[ruche.Declaration](c, "declarations")
	endpoints := cluster.NewBucket[ruche.Endpoint](c, "endpoints")
	p, err := New(Config{HTTPAddr: "127.0.0.1:0", Declarations: declarations, Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	<-p.Ready()

	up := says(t, "live")
	w := ruche.Workload{ID: "container/1", Name: "web"}
	began := time.Now()
	if _, err := declarations.Put(ctx, w.ID, ruche.Declaration{Workload: w, Routes: []ruche.Route{site("a.test", up)}}); err != nil {
		t.Fatal(err)
	}
	until(t, "the route is in force", func() bool { return len(p.Routes().Routes) == 1 })
	t.Logf("in force %s after the write began", time.Since(began))
	if err := declarations.Delete(ctx, w.ID); err != nil {
		t.Fatal(err)
	}
	until(t, "the route is gone", func() bool { return len(p.Routes().Routes) == 0 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestExplain(t *testing.T) {
	closed := site("closed.test", says(t, "x"))
	closed.Blocked = "asks for basic auth, which is not supported"
	sec := site("shop.trusted.test", says(t, "x"))
	sec.HTTPSMethod = ruche.HTTPSRedirect
	r := start(t, Config{}, site("a.test", says(t, "a"), deaf(t)), nowhere("empty.test"), closed, sec, site("self.test", says(t, "x")))
	d := ruche.Diagnostic{Code: ruche.CodeHostInvalid, Severity: ruche.SeverityError, Workload: "bad", Source: "env VIRTUAL_HOST", Message: `host "lost.test/" contains a slash`}
	r.feed.applyDeclarations(ruche.Update[ruche.Declaration]{Puts: map[string]ruche.Declaration{
		"container/bad": {Workload: ruche.Workload{ID: "container/bad", Name: "bad"}, Diagnostics: []ruche.Diagnostic{d}},
	}})
	r.refresh()
	port := portOf(r.HTTPSAddr())
	tests := []struct {
		url    string
		answer string
		status int
		reason string // one that is among the reasons
	}{
		{"a.test", "forwarded to 2 endpoints", 0, "2 of 2 endpoints ready"},
		{"HTTP://A.Test:8080/x?y#z", "forwarded to 2 endpoints", 0, `host matches "a.test" exactly`},
		{"empty.test/", "503 with Retry-After: the route is known, but no endpoint is ready", 503, "no endpoint is running"},
		{"closed.test/", "503: not served on purpose: asks for basic auth, which is not supported", 503, ""},
		{"shop.trusted.test/x", "301: redirected to https://shop.trusted.test:" + port + "/x", 301, "its certificate is trusted (shop.trusted.test.crt is the host's own), so plain HTTP redirects to HTTPS"},
		{"https://shop.trusted.test/x", "forwarded to 1 endpoint", 0, ""},
		{"https://nobody.test/", "the TLS handshake is refused (unrecognized_name): there is no file for it", 0, ""},
		{"b.test/", "503: no route takes the host b.test", 503, `no host pattern takes "b.test"`},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			ex, err := r.Explain(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			if ex.Answer != tt.answer || ex.Status != tt.status || tt.reason != "" && !slices.Contains(ex.Reasons, tt.reason) {
				t.Errorf("got %d %q because\n  %s\nwant %d %q because %q", ex.Status, ex.Answer, strings.Join(ex.Reasons, "\n  "), tt.status, tt.answer, tt.reason)
			}
		})
	}
	ex, err := r.Explain("http://b.test/")
	if err != nil || len(ex.Candidates) == 0 || ex.Candidates[0].Host != "a.test" {
		t.Errorf("candidates %+v, %v; want a.test, which differs by a character", ex.Candidates, err)
	}
	if ex, err = r.Explain("lost.test"); err != nil || !slices.Contains(ex.Diagnostics, d) {
		t.Errorf("diagnostics %+v, %v; want the one that kept the host out", ex.Diagnostics, err)
	}
	for _, bad := range []string{"", "ftp://a.test/", "http://", "http://a b/", "a.test/%zz", "a.test/../.."} {
		if ex, err := r.Explain(bad); err == nil {
			t.Errorf("Explain(%q) gave %+v, want an error", bad, ex)
		}
	}
}

func TestRoutes(t *testing.T) {
	sec := site("shop.trusted.test", says(t, "x"))
	sec.HTTPSMethod = ruche.HTTPSNoHTTP
	r := start(t, Config{}, site("*.w.test", says(t, "x")), sec, site(`~^r\d`, says(t, "x")))
	r.get("http://a.w.test/")
	byID := map[string]ruche.RouteStatus{}
	until(t, "the request is counted", func() bool {
		for _, s := range r.Routes().Routes {
			byID[s.ID] = s
		}
		return byID["nginx-proxy:*.w.test/"].Requests == [5]uint64{0, 1}
	})
	if s := byID["nginx-proxy:*.w.test/"]; s.Certificates["*.w.test"].Kind != ruche.CertificateSelfSigned || s.ReadyEndpoints() != 1 || s.Sources[0].Workload != "web-0" {
		t.Errorf("wildcard route: %+v", s)
	}
	if s := byID["nginx-proxy:shop.trusted.test/"]; s.Certificates["shop.trusted.test"].Kind != ruche.CertificateFile || s.HTTPSMethod != ruche.HTTPSNoHTTP {
		t.Errorf("route with a file: %+v", s)
	}
	if s := byID[`nginx-proxy:~^r\d/`]; len(s.Certificates) != 0 {
		t.Errorf("regular expression: %+v, want no certificates", s.Certificates)
	}
}
