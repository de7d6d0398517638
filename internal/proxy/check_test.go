package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// endpointAt is a table's endpoint at a base URL.
func endpointAt(t *testing.T, base string) *table.Endpoint {
	t.Helper()
	_, r := snap(balanced(0, func(r *ruche.Route) { r.Endpoints = []string{base} }), nil)
	return &r.route.Endpoints[0]
}

// serveWith is an HTTP server with these protocols, whose URL has the scheme.
func serveWith(t *testing.T, scheme string, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetHTTP2(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	if scheme == "https" || scheme == "grpcs" {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return scheme + "://" + s.Listener.Addr().String()
}

func TestHTTPProbe(t *testing.T) {
	site := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/up":
		case "/old":
			http.Redirect(w, r, "/up", http.StatusFound)
		case "/old-broken":
			http.Redirect(w, r, "/broken", http.StatusFound)
		case "/away":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		case "/picky":
			if r.Host != "shop.example" || r.Header.Get("X-Key") != "v" || r.Method != http.MethodHead || r.URL.RawQuery != "q=1" || r.UserAgent() == "" {
				w.WriteHeader(http.StatusBadRequest)
			}
		case "/teapot":
			w.WriteHeader(http.StatusTeapot)
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
	for _, tc := range []struct {
		name   string
		scheme string
		check  ruche.Check
		want   string // what the error says, empty for none
	}{
		{"well", "http", ruche.Check{Path: "/up"}, ""},
		{"by TLS", "https", ruche.Check{Path: "/up"}, ""},
		{"by HTTP/2 without TLS", "h2c", ruche.Check{Path: "/up"}, ""},
		{"broken", "http", ruche.Check{Path: "/broken"}, "status 500"},
		{"the status that is asked for", "http", ruche.Check{Path: "/teapot", Status: 418}, ""},
		{"another status", "http", ruche.Check{Path: "/up", Status: 204}, "status 200, not 204"},
		{"a redirect", "http", ruche.Check{Path: "/old"}, ""},
		{"a redirect to what is broken", "http", ruche.Check{Path: "/old-broken"}, "status 500"},
		{"a redirect that is not followed", "http", ruche.Check{Path: "/old-broken", NoRedirects: true}, ""},
		{"a redirect to elsewhere is not followed", "http", ruche.Check{Path: "/away"}, ""},
		{"redirects in a circle", "http", ruche.Check{Path: "/round", Status: 200}, "status 302"},
		{"host, header, method and query", "http", ruche.Check{Path: "/picky?q=1", Method: "HEAD", Host: "shop.example", Headers: map[string]string{"X-Key": "v"}}, ""},
		{"another scheme", "https", ruche.Check{Path: "/up", Scheme: "http"}, "status 400"},
		{"a mere connection", "http", ruche.Check{Mode: ruche.CheckConnect, Path: "/broken"}, ""},
		{"no path: a mere connection", "http", ruche.Check{}, ""},
		{"FastCGI: a mere connection", "fastcgi", ruche.Check{Path: "/broken"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := endpointAt(t, serveWith(t, tc.scheme, site))
			p := newProbe(&tc.check, e, 0)
			expect(t, p.run(t.Context(), 5*time.Second), tc.want)
		})
	}
}

func expect(t *testing.T, err error, want string) {
	t.Helper()
	if got := ""; err != nil || want != "" {
		if err != nil {
			got = err.Error()
		}
		if want == "" || !strings.Contains(got, want) {
			t.Errorf("error %q, want %q", got, want)
		}
	}
}

func TestProbesOfWhatIsNotThere(t *testing.T) {
	for _, c := range []ruche.Check{{Path: "/up"}, {Mode: ruche.CheckConnect}, {Mode: ruche.CheckGRPC}} {
		p := newProbe(&c, endpointAt(t, deaf(t)), 0)
		expect(t, p.run(t.Context(), 5*time.Second), "connection refused")
	}
	silent := rude(t, func(_ int, c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	p := newProbe(&ruche.Check{Path: "/up"}, endpointAt(t, silent), 0)
	expect(t, p.run(t.Context(), 20*time.Millisecond), "it did not answer within 20ms")
}

func TestProbeOfAnotherPort(t *testing.T) {
	health := serveWith(t, "http", func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(health, "http://"))
	e := endpointAt(t, "fastcgi"+strings.TrimPrefix(deaf(t), "http"))
	var number uint16
	for _, c := range port {
		number = number*10 + uint16(c-'0')
	}
	p := newProbe(&ruche.Check{Path: "/up", Scheme: "http", Port: number}, e, 1)
	expect(t, p.run(t.Context(), 5*time.Second), "")
	if p.own || p.preamble != nil {
		t.Error("another port counts as the endpoint's own")
	}
}

func TestGRPCProbe(t *testing.T) {
	for _, tc := range []struct {
		name, scheme string
		body         string
		status       string
		want         string
	}{
		{"serving", "grpc", "\x00\x00\x00\x00\x02\x08\x01", "0", ""},
		{"serving by TLS", "grpcs", "\x00\x00\x00\x00\x02\x08\x01", "0", ""},
		{"not serving", "grpc", "\x00\x00\x00\x00\x02\x08\x02", "0", "not serving"},
		{"unknown", "grpc", "\x00\x00\x00\x00\x00", "0", "not serving"},
		{"no health service", "grpc", "", "12", `gRPC status "12"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up := serveWith(t, tc.scheme, func(w http.ResponseWriter, r *http.Request) {
				asked, _ := io.ReadAll(r.Body)
				if r.ProtoMajor != 2 || r.Method != "POST" || r.URL.Path != "/grpc.health.v1.Health/Check" || string(asked) != "\x00\x00\x00\x00\x00" {
					w.WriteHeader(http.StatusTeapot)
					return
				}
				w.Header().Set("Content-Type", "application/grpc")
				w.Header().Set("Trailer", "Grpc-Status")
				_, _ = io.WriteString(w, tc.body)
				w.Header().Set("Grpc-Status", tc.status)
			})
			p := newProbe(&ruche.Check{Mode: ruche.CheckGRPC}, endpointAt(t, up), 0)
			expect(t, p.run(t.Context(), 5*time.Second), tc.want)
		})
	}
	web := serveWith(t, "grpc", func(http.ResponseWriter, *http.Request) {})
	p := newProbe(&ruche.Check{Mode: ruche.CheckGRPC}, endpointAt(t, web), 0)
	expect(t, p.run(t.Context(), 5*time.Second), "no gRPC")
}

func TestProbesSayProxyFirst(t *testing.T) {
	for version, want := range map[int]string{1: "PROXY UNKNOWN\r\nGET /up ", 2: "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00GET /up "} {
		first := make(chan string, 1)
		up := rude(t, func(_ int, c net.Conn) {
			b := make([]byte, len(want))
			in := bufio.NewReader(c)
			_, _ = io.ReadFull(in, b)
			first <- string(b)
			_ = readHead(in)
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		})
		p := newProbe(&ruche.Check{Path: "/up"}, endpointAt(t, up), version)
		expect(t, p.run(t.Context(), 5*time.Second), "")
		if got := <-first; got != want {
			t.Errorf("version %d: the connection begins with %q, want %q", version, got, want)
		}
	}
}

func TestThresholds(t *testing.T) {
	for _, tc := range []struct {
		name    string
		check   ruche.Check
		results string // + and -
		down    string // after each: x is out
	}{
		{"one is enough", ruche.Check{}, "+-+--+", " x xx "},
		{"three and two", ruche.Check{Failures: 3, Successes: 2}, "--+---+-++", "     xxxx "},
	} {
		c := &checkState{declared: &tc.check}
		var got strings.Builder
		for i, result := range tc.results {
			var err error
			if result == '-' {
				err = errTest
			}
			was := c.down.Load()
			if changed := c.note(err, epoch()); changed != (was != c.down.Load()) {
				t.Errorf("%s, result %d: it says changed %v", tc.name, i, changed)
			}
			if c.down.Load() {
				got.WriteString("x")
			} else {
				got.WriteString(" ")
			}
		}
		if got.String() != tc.down {
			t.Errorf("%s: %q, want %q", tc.name, got.String(), tc.down)
		}
	}
}

func TestChecksSurviveSwaps(t *testing.T) {
	declared := balanced(2, func(r *ruche.Route) { r.Check = &ruche.Check{Path: "/up"} })
	s, r := snap(declared, nil)
	c := r.checks[0]
	declared.Check = &ruche.Check{Path: "/up"}
	s, r = snap(declared, s)
	if r.checks[0] != c || r.ready[0].check != c {
		t.Error("the same check is a new one after a swap")
	}
	declared.Check = &ruche.Check{Path: "/other"}
	s, r = snap(declared, s)
	if r.checks[0] == c {
		t.Error("another check has the results of the one before")
	}
	declared.Check = nil
	if s, r = snap(declared, s); r.checks != nil || len(s.checks) != 0 || r.ready[0].check != nil {
		t.Error("a check is left")
	}
}

// scheduled runs a checker over states in a bubble of time until the test cancels it.
func scheduled(t *testing.T, states map[string]*checkState) (cancel func()) {
	ctx, stop := context.WithCancel(t.Context())
	c := newChecker(Config{}.withDefaults().Logger)
	c.follow(states, time.Now())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run(ctx, nil)
		c.probes.Wait()
	}()
	return func() {
		stop()
		<-done
	}
}

// refused is an endpoint whose check ends at once and without the network: its address is malformed.
func refused(c *ruche.Check) *checkState {
	return &checkState{endpoint: &endpointState{}, declared: c, probe: probe{declared: c, mode: ruche.CheckConnect, address: "nowhere"}}
}

func TestScheduleKeepsIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := refused(&ruche.Check{Interval: 10 * time.Second, UnhealthyInterval: 2 * time.Second, Failures: 3})
		defer scheduled(t, map[string]*checkState{"a": state})()
		begun := time.Now()
		looked := func() time.Time { return state.status().At }
		step := func(after, from, to time.Duration) time.Duration {
			t.Helper()
			<-time.After(time.Until(begun.Add(after)))
			synctest.Wait()
			at := looked().Sub(begun)
			if looked().IsZero() || at < from || at > to {
				t.Fatalf("after %s the last check was at %s, want %s to %s", after, at, from, to)
			}
			return at
		}
		first := step(firstProbe, 0, firstProbe)
		second := step(first+11*time.Second, first+9*time.Second, first+11*time.Second)
		if state.down.Load() {
			t.Error("it is out after two failures")
		}
		third := step(second+11*time.Second, second+9*time.Second, second+11*time.Second)
		if !state.down.Load() {
			t.Error("it is not out after three failures")
		}
		step(third+2200*time.Millisecond, third+1800*time.Millisecond, third+2200*time.Millisecond)
	})
}

func TestScheduleIsBounded(t *testing.T) {
	var running, most atomic.Int64
	hold := make(chan struct{})
	up := rude(t, func(_ int, c net.Conn) {
		n := running.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			continue
		}
		<-hold
	})
	states := map[string]*checkState{}
	e := endpointAt(t, up)
	for i := range 3 * maxProbes {
		c := &ruche.Check{Path: "/up", Interval: time.Millisecond, Timeout: time.Minute}
		states[string(rune('a'+i))] = &checkState{endpoint: &endpointState{}, declared: c, probe: newProbe(c, e, 0)}
	}
	cancel := scheduled(t, states)
	until(t, "as many checks run as may", func() bool { return most.Load() == maxProbes })
	cancel()
	close(hold)
	if n := most.Load(); n != maxProbes {
		t.Errorf("%d checks ran at once", n)
	}
}

func TestCheckerFollows(t *testing.T) {
	c := newChecker(Config{}.withDefaults().Logger)
	a, b := refused(&ruche.Check{Interval: time.Hour}), refused(&ruche.Check{Interval: time.Hour})
	c.follow(map[string]*checkState{"a": a, "b": b}, epoch())
	if len(c.due) != 2 || c.due[0].at.After(epoch().Add(firstProbe)) {
		t.Fatalf("%d are due, the first at %s", len(c.due), c.due[0].at)
	}
	plan := c.plans[b]
	c.follow(map[string]*checkState{"b": b}, epoch())
	if len(c.due) != 1 || c.due[0] != plan {
		t.Error("what is not wanted any more is still due, or what is was planned anew")
	}
	c.launch(t.Context(), epoch().Add(firstProbe))
	c.follow(nil, epoch())
	c.finish(t.Context(), <-c.results, epoch())
	c.probes.Wait()
	if len(c.due) != 0 || len(c.plans) != 0 || c.running != 0 || b.status().Error != "" {
		t.Errorf("the result of a check that nobody wants any more counts: %+v", b.status())
	}
}

func TestResultsOfTheEndDoNotCount(t *testing.T) {
	c := newChecker(Config{}.withDefaults().Logger)
	a := refused(&ruche.Check{Interval: time.Hour})
	c.follow(map[string]*checkState{"a": a}, epoch())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.running++
	c.finish(ctx, outcome{c.plans[a], errors.New("canceled")}, epoch())
	if a.down.Load() || a.status().Error != "" {
		t.Error("a check that was cut off counts as a failure")
	}
}

func TestUnhealthyEndpointsLeaveTheRotation(t *testing.T) {
	var broken [2]atomic.Bool
	var urls []string
	for i := range broken {
		urls = append(urls, backend(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/up" && broken[i].Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			_, _ = io.WriteString(w, urls[i])
		}))
	}
	route := site("a.test", urls...)
	route.Check = &ruche.Check{Path: "/up", Interval: 5 * time.Millisecond, Timeout: time.Second, Failures: 2, Successes: 2}
	r := start(t, Config{}, route)
	answers := func() map[string]bool {
		seen := map[string]bool{}
		for range 4 {
			resp, body := r.get("http://a.test/")
			if resp.StatusCode != 200 {
				t.Fatalf("got %d", resp.StatusCode)
			}
			seen[body] = true
		}
		return seen
	}
	healthy := func(a, b bool) func() bool {
		return func() bool {
			e := r.Routes().Routes[0].Endpoints
			return e[0].Check.Healthy == a && e[1].Check.Healthy == b && !e[0].Check.At.IsZero() && !e[1].Check.At.IsZero()
		}
	}
	until(t, "both are checked", healthy(true, true))
	broken[0].Store(true)
	until(t, "the first is out", healthy(false, true))
	if seen := answers(); seen[urls[0]] || !seen[urls[1]] {
		t.Errorf("answers of %v, want of the second alone", seen)
	}
	ex, err := r.Explain("http://a.test/")
	if err != nil || ex.Answer != "forwarded to 1 endpoint" || !strings.Contains(strings.Join(ex.Reasons, "\n"), urls[0]+" is out: its health check failed") {
		t.Errorf("explained as %q by %q, %v", ex.Answer, ex.Reasons, err)
	}
	r.serve(route, site("b.test", urls[1])) // the results survive a swap
	if !healthy(false, true)() {
		t.Error("a new table forgot the results")
	}
	broken[1].Store(true)
	until(t, "both are out", healthy(false, false))
	if seen := answers(); len(seen) != 2 {
		t.Errorf("answers of %v, want of both: where all fail, the check is not heeded", seen)
	}
	broken[0].Store(false)
	until(t, "the first is back", healthy(true, false))
	if seen := answers(); !seen[urls[0]] || seen[urls[1]] {
		t.Errorf("answers of %v, want of the first alone", seen)
	}
}
