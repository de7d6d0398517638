package proxy

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

// datagrams is a UDP route.
func datagrams(entryPoint string, addresses ...string) ruche.Route {
	r := ruche.Route{
		Name: entryPoint, Vocabulary: ruche.VocabularyFile, Source: "site.yaml:1", Protocol: ruche.ProtocolUDP, Scheme: ruche.SchemeUDP,
		Match: ruche.Match{EntryPoint: entryPoint}, Port: 1, // which is what it is without addresses: a container's that is not there
	}
	for _, a := range addresses {
		r.Endpoints = append(r.Endpoints, "udp://"+a)
	}
	return r
}

// answersUDP is an endpoint that answers each datagram with its name and what was said, and one question with where it came from.
func answersUDP(t testing.TB, name string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if string(b[:n]) == "where am I?" {
				_, _ = c.WriteToUDPAddrPort([]byte(from.String()), from)
				continue
			}
			_, _ = c.WriteToUDPAddrPort(append([]byte(name+" "), b[:n]...), from)
		}
	}()
	return c
}

// udpPoints are UDP entry points on loopback whose sessions may be silent for so long.
func udpPoints(idle time.Duration, names ...string) []EntryPoint {
	list := entryPoints(names...)
	for i := range list {
		list[i].UDP, list[i].Idle = true, idle
	}
	return list
}

// soon is how long stops may wait for sessions.
func soon() Timeouts { return Timeouts{Drain: 50 * time.Millisecond} }

// udpClient is one port of a client.
type udpClient struct {
	t testing.TB
	*net.UDPConn
}

func (r *rig) udpClient(entryPoint string) udpClient {
	r.t.Helper()
	for _, u := range r.udp {
		if u.point.Name != entryPoint {
			continue
		}
		c, err := net.DialUDP("udp", nil, u.listener.LocalAddr().(*net.UDPAddr))
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { _ = c.Close() })
		return udpClient{r.t, c}
	}
	r.t.Fatalf("there is no entry point %s", entryPoint)
	return udpClient{}
}

func (c udpClient) say(text string) {
	c.t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// hear returns the next datagram, empty when none comes for so long.
func (c udpClient) hear(within time.Duration) string {
	b := make([]byte, 1<<16)
	_ = c.SetReadDeadline(time.Now().Add(within))
	n, _ := c.Read(b)
	return string(b[:n])
}

func (c udpClient) ask(text string) string {
	c.t.Helper()
	c.say(text)
	return c.hear(20 * time.Second)
}

// insist asks until there is an answer, as clients of UDP do.
func (c udpClient) insist(text string) (answer string) {
	c.t.Helper()
	until(c.t, "somebody answers", func() bool {
		c.say(text)
		answer = c.hear(20 * time.Millisecond)
		return answer != ""
	})
	return answer
}

func (r *rig) streamCount(id string) ruche.StreamCount {
	for _, c := range r.Streams() {
		if c.RouteID == id {
			return c
		}
	}
	return ruche.StreamCount{}
}

func TestDatagramsAreCarried(t *testing.T) {
	t.Parallel()
	one, two := answersUDP(t, "one").LocalAddr().String(), answersUDP(t, "two").LocalAddr().String()
	_, port, _ := net.SplitHostPort(two)
	// A session must not end between two questions, however long a busy machine takes over them.
	r := start(t, Config{EntryPoints: udpPoints(2*time.Second, "dns", "named", "nobody")}, datagrams("dns", one, two), datagrams("named", "localhost:"+port))
	a, b := r.udpClient("dns"), r.udpClient("dns")
	first := a.ask("hello")
	if first != "one hello" && first != "two hello" {
		t.Fatalf("got %q", first)
	}
	if second := b.ask("hello"); second != "one hello" && second != "two hello" || second == first {
		t.Errorf("another client got %q after %q: they should take turns", second, first)
	}
	big := strings.Repeat("0123456789abcdef", 3000)
	for _, text := range []string{"again", "", big} {
		if got := a.ask(text); got != first[:4]+text {
			t.Errorf("%d bytes came back of %d: %.20q", len(got), len(text), got)
		}
	}
	if got := r.udpClient("named").ask("hello"); got != "two hello" {
		t.Errorf("an endpoint with a name answered %q", got)
	}
	r.udpClient("nobody").say("hello")
	until(t, "all sessions have ended", func() bool { return r.sessions.Load() == 0 })
	size := uint64(3*len("hello") + len("again") + len(big))
	got := r.streamCount("file:udp://*@dns")
	if want := (ruche.StreamCount{RouteID: got.RouteID, Carried: 2, Received: size - 5, Sent: size - 5 + 5*4}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	for _, e := range r.Routes().Routes[0].Endpoints {
		if e.InFlight != 0 {
			t.Errorf("%d sessions are left at %s", e.InFlight, e.URL)
		}
	}
	if n := r.Connections().Open; n != 0 {
		t.Errorf("%d places are not given back", n)
	}
	r.stop()
	<-r.stopped
	lines := strings.Split(strings.TrimSpace(r.log.String()), "\n")
	if len(lines) != 3 {
		t.Errorf("%d lines in the access log, want one for each session:\n%s", len(lines), r.log)
	}
	for _, line := range lines {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil || got["proto"] != "udp" || got["entry_point"] == nil || got["endpoint"] == nil || got["error"] != nil {
			t.Errorf("%v in %s", err, line)
		}
	}
}

func TestDatagramsLeaveEndpointsThatRefuse(t *testing.T) {
	gone := answersUDP(t, "gone")
	address := gone.LocalAddr().String()
	_ = gone.Close()
	r := start(t, Config{EntryPoints: udpPoints(time.Minute, "dns"), Timeouts: soon()}, datagrams("dns", address, answersUDP(t, "well").LocalAddr().String()))
	for range 4 {
		if got := r.udpClient("dns").insist("hello"); got != "well hello" {
			t.Errorf("got %q", got)
		}
	}
	e := r.Routes().Routes[0].Endpoints[0]
	if e.URL != "udp://"+address || !e.CoolingDown || !strings.Contains(e.LastError, "refused") {
		t.Errorf("the endpoint that refuses is %+v", e)
	}
}

func TestDatagramsLeaveEndpointsThatLeave(t *testing.T) {
	first, second := answersUDP(t, "first"), answersUDP(t, "second")
	r := start(t, Config{EntryPoints: udpPoints(time.Minute, "dns"), Timeouts: soon()}, datagrams("dns", first.LocalAddr().String()))
	c, silent := r.udpClient("dns"), r.udpClient("dns")
	if got := c.ask("a"); got != "first a" {
		t.Fatalf("got %q", got)
	}
	peer := netip.MustParseAddrPort(silent.ask("where am I?"))
	r.serve(datagrams("dns", first.LocalAddr().String(), second.LocalAddr().String()))
	if got := c.ask("b"); got != "first b" {
		t.Errorf("got %q, though the endpoint is still there", got)
	}
	r.serve(datagrams("dns", second.LocalAddr().String()))
	if got := c.ask("c"); got != "second c" {
		t.Errorf("got %q after the endpoint has left", got)
	}
	// What an endpoint that leaves has yet to say comes through.
	_, _ = first.WriteToUDPAddrPort([]byte("late"), peer)
	if got := silent.hear(20 * time.Second); got != "late" {
		t.Errorf("got %q from the endpoint that leaves", got)
	}
}

func TestDatagramsWithoutAnEndpointAreDropped(t *testing.T) {
	up := answersUDP(t, "up").LocalAddr().String()
	closed := datagrams("closed", up)
	closed.Blocked = "it may be private"
	r := start(t, Config{EntryPoints: udpPoints(time.Minute, "dns", "closed"), Timeouts: soon()}, datagrams("dns"), closed)
	for _, name := range []string{"dns", "closed"} {
		c := r.udpClient(name)
		c.say("one")
		c.say("two")
		until(t, name+": both are counted", func() bool { return r.streamCount("file:udp://*@"+name).Failed == 2 })
		if got := c.hear(time.Millisecond); got != "" {
			t.Errorf("%s answers %q", name, got)
		}
	}
	if n := r.sessions.Load(); n != 0 {
		t.Errorf("%d sessions for nothing", n)
	}
	c := r.udpClient("dns")
	c.say("lost")
	until(t, "it is counted", func() bool { return r.streamCount("file:udp://*@dns").Failed == 3 })
	r.serve(datagrams("dns", up))
	if got := c.insist("again"); got != "up again" {
		t.Errorf("got %q when the endpoint is there", got)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	h := &health.Registry{}
	r := start(t, Config{EntryPoints: udpPoints(time.Minute, "dns"), MaxConnections: 4, Health: h, Timeouts: soon()}, datagrams("dns", answersUDP(t, "up").LocalAddr().String()))
	for range 2 {
		if got := r.udpClient("dns").ask("hello"); got != "up hello" {
			t.Fatalf("got %q", got)
		}
	}
	c := r.udpClient("dns")
	c.say("one too many")
	until(t, "there is a warning", func() bool { return len(h.List()) > 0 })
	if list := h.List(); len(list) != 1 || list[0].Code != ruche.CodeConnectionsLimited || r.Connections().Refused["udp"] != 1 {
		t.Errorf("warnings %+v, refused %v", list, r.Connections().Refused)
	}
	if resp, _ := r.get("http://nobody.test/"); resp.StatusCode != 503 {
		t.Errorf("requests get %s: forged datagrams must not take their places", resp.Status)
	}
}

func TestSessionsOfOneAddressAreBounded(t *testing.T) {
	l := newLimiter(&Config{MaxConnections: 10, MaxConnectionsPerAddress: 1, Health: &health.Registry{}, Logger: slog.New(slog.DiscardHandler)})
	p := &Proxy{limiter: l}
	client := netip.MustParseAddrPort("192.0.2.1:1")
	sessions := []udpSession{{entry: &udpEntry{proxy: p}}, {entry: &udpEntry{proxy: p}}}
	for i := range sessions {
		sessions[i].peer.Remote = client
		if got := sessions[i].admit(); got != (i == 0) {
			t.Errorf("session %d is admitted: %v", i, got)
		}
	}
	if n := p.sessions.Load(); n != 1 || l.open.Load() != 1 || l.crowd.n.Load() != 1 {
		t.Errorf("%d sessions, %d places, %d refused", n, l.open.Load(), l.crowd.n.Load())
	}
}

func TestAnotherProcessGoesOnWithTheDatagrams(t *testing.T) {
	up := answersUDP(t, "up")
	cfg := Config{EntryPoints: udpPoints(time.Minute, "dns"), Timeouts: Timeouts{Drain: 20 * time.Second}}
	old := start(t, cfg, datagrams("dns", up.LocalAddr().String()))
	c := old.udpClient("dns")
	if got := c.ask("a"); got != "up a" {
		t.Fatalf("got %q", got)
	}
	cfg.ListenUDP = func(string, string) (*net.UDPConn, error) {
		f, err := old.udp[0].listener.File()
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		l, err := net.FilePacketConn(f)
		if err != nil {
			return nil, err
		}
		return l.(*net.UDPConn), nil
	}
	young := start(t, cfg, datagrams("dns", up.LocalAddr().String()))
	old.Succeeded()
	old.stop()
	until(t, "the old one has left the socket", func() bool {
		left := make(chan bool, 1)
		old.udp[0].worker.loop.Post(func() { left <- old.udp[0].stopping })
		return <-left
	})
	if got := c.ask("b"); got != "up b" {
		t.Errorf("got %q from the new process", got)
	}
	if n := young.sessions.Load(); n != 1 {
		t.Errorf("%d sessions of the new process", n)
	}
	if n := old.sessions.Load(); n != 1 {
		t.Errorf("%d sessions of the old process: what is said to it yet should come through", n)
	}
	u := old.udp[0]
	u.worker.loop.Post(func() {
		for _, s := range u.sessions {
			s.end()
		}
	})
}

func TestSessionsEndWithAStop(t *testing.T) {
	r := start(t, Config{EntryPoints: udpPoints(time.Minute, "dns"), Timeouts: soon()}, datagrams("dns", answersUDP(t, "up").LocalAddr().String()))
	if got := r.udpClient("dns").ask("a"); got != "up a" {
		t.Fatalf("got %q", got)
	}
	r.stop()
	<-r.stopped
	if n := r.Connections().Open; n != 0 || !strings.Contains(r.log.String(), `"proto":"udp"`) {
		t.Errorf("%d places are left, the log is %q", n, r.log.String())
	}
}

func BenchmarkDatagrams(b *testing.B) {
	r := start(b, Config{EntryPoints: udpPoints(time.Minute, "dns"), Timeouts: soon()}, datagrams("dns", answersUDP(b, "up").LocalAddr().String()))
	c := r.udpClient("dns")
	room := make([]byte, 200)
	_ = c.ask("x")
	_ = c.SetReadDeadline(time.Time{})
	b.ReportAllocs()
	for b.Loop() {
		_, _ = c.Write(room[:100])
		_, _ = c.Read(room)
	}
}

func TestATakenUDPPort(t *testing.T) {
	taken := answersUDP(t, "taken").LocalAddr().String()
	p, err := New(Config{EntryPoints: []EntryPoint{{Name: "dns", Address: taken, UDP: true}}})
	if err == nil {
		p.feed.applyDeclarations(ruche.Update[ruche.Declaration]{Reset: true})
		p.feed.applyEndpoints(ruche.Update[ruche.Endpoint]{Reset: true})
		err = p.run(t.Context(), noWatch)
	}
	if _, port, _ := net.SplitHostPort(taken); err == nil || !strings.Contains(err.Error(), "ss -lunp 'sport = :"+port+"'") {
		t.Errorf("got %v, want an error that tells who has the port", err)
	}
}
