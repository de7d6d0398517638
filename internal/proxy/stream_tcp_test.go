package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/ruche-project/ruche"
)

// carries is a TCP route.
func carries(entryPoint, host string, addresses ...string) ruche.Route {
	r := ruche.Route{
		Name: entryPoint + host, Vocabulary: ruche.VocabularyFile, Source: "site.yaml:1", Protocol: ruche.ProtocolTCP, Scheme: ruche.SchemeTCP,
		Match: ruche.Match{EntryPoint: entryPoint, Host: host},
	}
	for _, a := range addresses {
		r.Endpoints = append(r.Endpoints, "tcp://"+a)
	}
	return r
}

// listens is an endpoint that does as told with each connection.
func listens(t testing.TB, handle func(c net.Conn)) string {
	return strings.TrimPrefix(rude(t, func(_ int, c net.Conn) { handle(c) }), "http://")
}

// echoes is an endpoint that sends back what it gets, after its name.
func echoes(t testing.TB, name string) string {
	return listens(t, func(c net.Conn) {
		_, _ = io.WriteString(c, name)
		_, _ = io.Copy(c, c)
	})
}

// entryPoints are TCP listeners on loopback.
func entryPoints(names ...string) []EntryPoint {
	var list []EntryPoint
	for _, name := range names {
		list = append(list, EntryPoint{Name: name, Address: "127.0.0.1:0"})
	}
	return list
}

// listening has a rig tell where its entry points listen.
type listening map[string]net.Addr

func (l listening) listen(name, address string) (*net.TCPListener, error) {
	listener, err := listenTCP(name, address)
	if err == nil {
		l[strings.TrimPrefix(name, "tcp:")] = listener.Addr()
	}
	return listener, err
}

func (l listening) dial(t testing.TB, name string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", l[name].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// ask sends a text, ends that direction and returns all that comes.
func ask(t testing.TB, c *net.TCPConn, text string) string {
	t.Helper()
	_, _ = io.WriteString(c, text)
	_ = c.CloseWrite()
	got, _ := io.ReadAll(c)
	return string(got)
}

func TestStreamsAreCarried(t *testing.T) {
	where := listening{}
	r := start(t, Config{EntryPoints: entryPoints("postgres", "mysql", "nobody"), Listen: where.listen},
		carries("postgres", "", echoes(t, "one ")), carries("mysql", "*", strings.TrimPrefix(deaf(t), "http://"), echoes(t, "two ")))
	big := strings.Repeat("0123456789abcdef", 1<<16)
	for name, want := range map[string]string{"postgres": "one ", "mysql": "two ", "nobody": ""} {
		for _, text := range []string{"", "hello", big} {
			got := ask(t, where.dial(t, name), text)
			if want != "" && got != want+text || want == "" && got != "" {
				t.Errorf("%s answered %d bytes (%.20q) to %d", name, len(got), got, len(text))
			}
		}
	}
	until(t, "all are counted", func() bool {
		var sum ruche.StreamCount
		for _, c := range r.Streams() {
			sum.Carried, sum.Received, sum.Sent = sum.Carried+c.Carried, sum.Received+c.Received, sum.Sent+c.Sent
		}
		size := uint64(2 * (len(big) + len("hello")))
		return sum == ruche.StreamCount{Carried: 6, Received: size, Sent: size + 6*4}
	})
	for _, c := range r.Counts() {
		if c.RouteID != "(none)" {
			t.Errorf("%s counts as a route of requests", c.RouteID)
		}
	}
	r.stop()
	<-r.stopped
	lines := strings.Split(strings.TrimSpace(r.log.String()), "\n")
	if len(lines) != 9 {
		t.Errorf("%d lines in the access log, want one for each connection:\n%s", len(lines), r.log)
	}
	for _, line := range lines {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil || got["proto"] != "tcp" || got["duration_ms"] == nil || got["peer"] == nil {
			t.Errorf("%v in %s", err, line)
		}
	}
	if n := r.Connections().Open; n != 0 {
		t.Errorf("%d places are not given back", n)
	}
}

func TestStreamsAreListed(t *testing.T) {
	r := start(t, Config{}, carries("postgres", "", echoes(t, "x")))
	list := r.Routes()
	if len(list.Routes) != 1 || list.Routes[0].Protocol != ruche.ProtocolTCP || list.Routes[0].ID != "file:tcp://*@postgres" || list.Routes[0].ReadyEndpoints() != 1 {
		t.Errorf("routes %+v", list.Routes)
	}
	if d := list.Diagnostics; len(d) != 1 || d[0].Code != ruche.CodeEntryPointUnknown {
		t.Errorf("diagnostics %+v, want one that tells of the missing entry point", d)
	}
}

func TestStreamWithTheClientsAddress(t *testing.T) {
	got := make(chan string, 2)
	up := listens(t, func(c net.Conn) {
		b := bufio.NewReader(c)
		h, err := proxyproto.Read(b)
		if err != nil {
			got <- err.Error()
			return
		}
		rest, _ := io.ReadAll(b)
		got <- h.SourceAddr.String() + " " + string(rest)
	})
	where := listening{}
	for _, version := range []int{1, 2} {
		route := carries("db", "", up)
		route.ProxyProtocol = version
		start(t, Config{EntryPoints: entryPoints("db"), Listen: where.listen, ProxyProtocol: loopback()}, route)
		ask(t, where.dial(t, "db"), proxyHeader(t, 1, "203.0.113.7:4711")+"hello")
		if got := <-got; got != "203.0.113.7:4711 hello" {
			t.Errorf("version %d: the endpoint got %q", version, got)
		}
	}
}

func TestStreamsWaitForEndpointsThatAreReplaced(t *testing.T) {
	where := listening{}
	up := echoes(t, "new ")
	r := start(t, Config{EntryPoints: entryPoints("db"), Listen: where.listen, Timeouts: Timeouts{Hold: 10 * time.Second}}, carries("db", "", up))
	if got := ask(t, where.dial(t, "db"), "a"); got != "new a" {
		t.Fatalf("got %q", got)
	}
	none := carries("db", "")
	none.Port = 1
	r.serve(none)
	c := where.dial(t, "db")
	until(t, "the connection waits", func() bool { return r.held.Load() == 1 })
	r.serve(carries("db", "", up))
	if got := ask(t, c, "b"); got != "new b" {
		t.Errorf("got %q", got)
	}
}

func TestStreamsEndWithAStop(t *testing.T) {
	where := listening{}
	r := start(t, Config{EntryPoints: entryPoints("db"), Listen: where.listen, Timeouts: Timeouts{Drain: 50 * time.Millisecond}}, carries("db", "", echoes(t, "x")))
	c := where.dial(t, "db")
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	silent := where.dial(t, "db")
	r.stop()
	<-r.stopped
	for _, c := range []net.Conn{c, silent} {
		if _, err := io.ReadAll(c); errors.Is(err, context.DeadlineExceeded) {
			t.Error("the connection is still open")
		}
	}
}

func TestTLSIsPassedThrough(t *testing.T) {
	// The endpoint has a certificate of its own, and speaks a protocol that is nobody else's business.
	own := newTestCertificates(t).cert
	up := listens(t, func(c net.Conn) {
		secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12})
		line, _ := bufio.NewReader(secure).ReadString('\n')
		_, _ = io.WriteString(secure, "through: "+line)
		_ = secure.Close()
	})
	r := start(t, Config{}, carries("https", "pass.test", up), carries("", "*.pass.test", up), site("web.test", says(t, "web")))
	for _, name := range []string{"pass.test", "PASS.test", "deep.pass.test"} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c, err := tls.Dial("tcp", r.HTTPSAddr().String(), &tls.Config{ServerName: name, InsecureSkipVerify: true, MaxVersion: version})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !c.ConnectionState().PeerCertificates[0].Equal(mustParse(t, own)) {
				t.Errorf("%s: the handshake was not the endpoint's", name)
			}
			_, _ = io.WriteString(c, "hello\n")
			if got, err := io.ReadAll(c); string(got) != "through: hello\n" {
				t.Errorf("%s: got %q, %v", name, got, err)
			}
			_ = c.Close()
		}
	}
	for range 2 {
		if resp, body := r.get("https://web.test/"); resp.StatusCode != 200 || body != "web" || resp.ProtoMajor != 2 {
			t.Errorf("another site got %s %q", resp.Status, body)
		}
	}
	// One that does not ask for a name is served as before.
	c, err := tls.Dial("tcp", r.HTTPSAddr().String(), &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		_ = c.Close()
		t.Error("a handshake without a name succeeded")
	}
	if ex, err := r.Explain("https://deep.pass.test/x"); err != nil || ex.Answer != "TLS is passed through to 1 endpoint" || ex.Route.Protocol != ruche.ProtocolTCP {
		t.Errorf("explained as %+v, %v", ex, err)
	}
	r.serve(site("web.test", says(t, "web")))
	if _, err := tls.Dial("tcp", r.HTTPSAddr().String(), &tls.Config{ServerName: "pass.test", InsecureSkipVerify: true}); err == nil {
		t.Error("the name is served without its route")
	}
}

func TestNamesShareAnEntryPointWithTheRest(t *testing.T) {
	where := listening{}
	start(t, Config{EntryPoints: entryPoints("db"), Listen: where.listen}, carries("db", "a.test", echoes(t, "a ")), carries("db", "", echoes(t, "rest ")))
	hello := clientHelloFor(t, "a.test")
	if got := ask(t, where.dial(t, "db"), string(hello)); got != "a "+string(hello) {
		t.Errorf("the named one got %.20q", got)
	}
	other := clientHelloFor(t, "b.test")
	if got := ask(t, where.dial(t, "db"), string(other)); got != "rest "+string(other) {
		t.Errorf("the other name got %.20q", got)
	}
	if got := ask(t, where.dial(t, "db"), "\x00\x00\x00\x08startup"); got != "rest \x00\x00\x00\x08startup" {
		t.Errorf("what is not TLS got %.20q", got)
	}
	if got := ask(t, where.dial(t, "db"), ""); got != "rest " {
		t.Errorf("who says nothing got %.20q", got)
	}
}

func TestRequestsAndStreamsShareTheirBounds(t *testing.T) {
	where := listening{}
	r := start(t, Config{EntryPoints: entryPoints("db"), Listen: where.listen, MaxConnections: 1}, carries("db", "", echoes(t, "x")))
	first := where.dial(t, "db")
	if _, err := io.ReadFull(first, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, where.dial(t, "db"), ""); got != "" {
		t.Errorf("a second connection got %q", got)
	}
	c := r.raw("")
	if _, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
		t.Error("a request was served beyond the bound")
	}
}

func TestAPanicLeavesNoStreamCounted(t *testing.T) {
	r := start(t, Config{}, site("a.test", says(t, "ok")))
	w := r.workers[0]
	for name, broken := range map[string]func(s *stream, e *endpointState){
		"while it is connected": func(s *stream, e *endpointState) { _, _ = r.dialEndpoint(s, e) }, // which only a fiber may
		"while it is carried": func(s *stream, e *endpointState) {
			e.inFlight.Add(1)
			s.endpoint = e
			s.join(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, panicked := &endpointState{address: "127.0.0.1:1"}, make(chan any, 1)
			w.loop.Post(func() {
				defer func() { panicked <- recover() }()
				broken(&stream{visitor: &visitor{worker: w}, entry: &entry{proxy: r.Proxy}}, e)
			})
			if <-panicked == nil {
				t.Error("there was no panic")
			}
			if n := e.inFlight.Load(); n != 0 {
				t.Errorf("%d streams are counted, want none", n)
			}
		})
	}
}
