package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/loop"
)

// visitor is a connection of which nobody knows yet what becomes of it.
type visitor struct {
	worker *worker
	conn   *loop.Conn
	remote netip.AddrPort // the client's, as a PROXY header tells it
	ticket ticket
	buf    []byte // what was read ahead is buf[:n]
	n      int
}

// leave closes the connection.
func (v *visitor) leave() {
	if v.buf != nil {
		v.worker.giveBack(v.buf)
		v.buf = nil
	}
	v.ticket.giveBack()
	_ = v.conn.Close()
}

// stream is a connection that is carried as it comes, on its way through the proxy.
type stream struct {
	visitor  *visitor
	entry    *entry
	started  time.Time
	name     string // the server name that TLS asks for, if it was looked at
	route    *routeState
	endpoint *endpointState

	received, sent int64
	err            error
}

var (
	errNoStreamRoute = errors.New("no route takes the connection")
	errStreamBlocked = errors.New("the route is not served on purpose")
)

// acceptedStream serves a connection of an entry point that is not about HTTP.
func (e *entry) acceptedStream(conn *loop.Conn) {
	v := &visitor{worker: e.proxy.workers[conn.Loop().Index()], conn: conn, remote: conn.Remote()}
	defer v.leave()
	if !e.admit(v) {
		return
	}
	name := ""
	if e.proxy.current.Load().table.ByServerName(e.name) {
		name = v.serverName(e.timeouts.ReadHeader)
	}
	e.proxy.carry(&stream{visitor: v, entry: e, name: name})
}

// passThrough serves a connection of the HTTPS entry point if its TLS is to be passed through. It reports whether that was so.
func (e *entry) passThrough(v *visitor) bool {
	if !e.proxy.current.Load().table.ByServerName(e.name) {
		return false
	}
	name := v.serverName(e.timeouts.ReadHeader)
	if name == "" || e.proxy.current.Load().table.Stream(e.name, name) == nil {
		return false
	}
	defer v.leave()
	e.proxy.carry(&stream{visitor: v, entry: e, name: name})
	return true
}

// carry joins the connection to an endpoint's, and accounts for it at its end.
func (p *Proxy) carry(s *stream) {
	s.started = time.Now()
	if conn := p.connectStream(s); conn != nil {
		s.join(conn)
	}
	took := time.Since(s.started)
	if s.route != nil {
		s.route.life.streams.add(s)
	}
	p.log.add(s, took)
}

// join carries bytes until one of the connections ends.
func (s *stream) join(conn *loop.Conn) {
	defer s.endpoint.inFlight.Add(-1)
	defer func() { _ = conn.Close() }()
	p, v := s.entry.proxy, s.visitor
	header, err := s.proxyHeader()
	if err == nil {
		_, err = conn.Write(header)
	}
	if err != nil {
		s.err = err
		return
	}
	j := &joined{
		entry: s.entry, worker: v.worker,
		client:   side{v.conn, v.conn, v.buf[:v.n], v.conn.CloseWrite},
		endpoint: side{conn, conn, nil, conn.CloseWrite},
	}
	if !p.upgrades.add(j) {
		s.err = errStopping
		return
	}
	defer p.upgrades.remove(j)
	s.received, s.sent = j.run()
}

// proxyHeader is what the endpoint is told of the client, if its route says so.
func (s *stream) proxyHeader() ([]byte, error) {
	version := s.route.route.ProxyProtocol
	if version == 0 {
		return nil, nil
	}
	local := s.visitor.conn.Local()
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	return proxyproto.HeaderProxyFromAddrs(byte(version), net.TCPAddrFromAddrPort(s.visitor.remote), net.TCPAddrFromAddrPort(local)).Format()
}

// connectStream connects to an endpoint of the stream's route, and counts it there. While the endpoints are being replaced it waits, as requests do. It returns
// nil when nobody takes the connection; s.err says why.
func (p *Proxy) connectStream(s *stream) *loop.Conn {
	var giveUp time.Time
	held := false
	defer func() {
		if held {
			p.held.Add(-1)
		}
	}()
	for pause := knockFirst; ; pause = min(2*pause, knockLast) {
		now := p.current.Load()
		r := now.table.Stream(s.entry.name, s.name)
		if r == nil {
			s.err = errNoStreamRoute
			return nil
		}
		if s.route = now.of(r); r.Blocked != "" {
			s.err = errStreamBlocked
			return nil
		}
		conn, hold := p.dialStream(s)
		if conn != nil {
			return conn
		}
		if giveUp.IsZero() {
			giveUp = time.Now().Add(hold)
		}
		left := time.Until(giveUp)
		if left <= 0 || s.visitor.conn.Gone() || p.draining.Load() {
			return nil
		}
		if !held {
			if held = true; p.held.Add(1) > maxHeld {
				return nil
			}
		}
		s.visitor.worker.pauseStream(now, min(pause, left))
	}
}

// dialStream connects to the first endpoint that takes the connection. If none does, it returns how long to wait for one.
func (p *Proxy) dialStream(s *stream) (conn *loop.Conn, hold time.Duration) {
	pick := s.route.picker(pickKey{client: s.visitor.remote.Addr()})
	s.err = errNoEndpoint
	hold = p.cfg.Timeouts.Hold
	if !s.route.starting {
		hold -= time.Since(time.Unix(0, s.route.life.emptied.Load()))
	}
	for {
		e := pick.next(time.Now())
		if e == nil {
			return nil, hold
		}
		if conn, s.err = p.dialEndpoint(s, e); conn != nil {
			return conn, 0
		}
		if errors.Is(s.err, errNoDescriptor) {
			return nil, 0
		}
		hold = p.cfg.Timeouts.Hold - e.failingFor(time.Now())
	}
}

// dialEndpoint connects to an endpoint, and counts the connection there, which join ends.
func (p *Proxy) dialEndpoint(s *stream, e *endpointState) (*loop.Conn, error) {
	e.inFlight.Add(1)
	defer func() {
		if s.endpoint != e { // also after a panic
			e.inFlight.Add(-1)
		}
	}()
	// A client that has ended its own direction may be waiting for what the endpoint says.
	l, err := s.visitor.worker.dial(e.address, p.cfg.Timeouts.Dial, func(func()) {})
	if err != nil {
		return nil, p.cannotOpen(e, err)
	}
	e.answered()
	s.endpoint = e
	return l.(*loop.Conn), nil
}

// pauseStream waits for the time d, or for a table newer than s.
func (w *worker) pauseStream(s *snapshot, d time.Duration) {
	var sleeper loop.Sleeper
	w.pausing[&sleeper] = struct{}{}
	defer delete(w.pausing, &sleeper)
	if w.proxy.current.Load() == s {
		w.loop.Sleep(&sleeper, d)
	}
}

// streamCounts are of one route that is not about HTTP.
type streamCounts struct{ carried, failed, received, sent atomic.Uint64 }

func (c *streamCounts) add(s *stream) {
	if s.endpoint == nil {
		c.failed.Add(1)
		return
	}
	c.carried.Add(1)
	c.received.Add(uint64(s.received))
	c.sent.Add(uint64(s.sent))
}

// Streams returns what was counted since start, by route that is not about HTTP.
func (p *Proxy) Streams() []ruche.StreamCount {
	var list []ruche.StreamCount
	s := p.current.Load()
	if s == nil {
		return nil
	}
	for _, r := range s.table.Routes {
		if r.Protocol != "" {
			c := &s.of(r).life.streams
			list = append(list, ruche.StreamCount{
				RouteID: r.ID, Carried: c.carried.Load(), Failed: c.failed.Load(), Received: c.received.Load(), Sent: c.sent.Load(),
			})
		}
	}
	return list
}

// appendLine implements finished.
func (s *stream) appendLine(b []byte, took time.Duration) []byte {
	line := streamLine{
		protocol: ruche.ProtocolTCP, entryPoint: s.entry.name, name: s.name, started: s.started, remote: s.visitor.remote, route: s.route, endpoint: s.endpoint,
		received: s.received, sent: s.sent, err: s.err,
	}
	return line.append(b, took)
}

// streamLine is what the access log tells of a connection, or of a session of UDP.
type streamLine struct {
	protocol         ruche.Protocol
	entryPoint, name string
	started          time.Time
	remote           netip.AddrPort
	route            *routeState    // nil when there is none
	endpoint         *endpointState // the same
	received, sent   int64
	err              error
}

// append appends it as one JSON object and a newline. Fields without a value are left out.
func (l *streamLine) append(b []byte, took time.Duration) []byte {
	b = append(b, `{"time":"`...)
	b = appendTime(b, l.started)
	b = append(b, '"')
	b = append(l.remote.Addr().AppendTo(append(b, `,"client_ip":"`...)), '"')
	b = append(l.remote.AppendTo(append(b, `,"peer":"`...)), '"')
	b = appendText(b, "proto", string(l.protocol))
	b = appendText(b, "entry_point", l.entryPoint)
	b = appendText(b, "sni", l.name)
	b = appendInt(b, "bytes_sent", l.sent)
	b = appendInt(b, "bytes_received", l.received)
	b = appendMillis(b, "duration_ms", took)
	if l.route != nil {
		b = appendText(b, "route", l.route.route.ID)
	}
	if l.endpoint != nil {
		b = appendText(b, "endpoint", l.endpoint.url)
	}
	if l.err != nil {
		b = appendText(b, "error", l.err.Error())
	}
	return append(b, '}', '\n')
}

// explainPassthrough answers for a URL whose TLS is passed through; ok is false for others.
func (p *Proxy) explainPassthrough(s *snapshot, q question) (ex ruche.Explanation, ok bool) {
	if !q.secure || p.httpsOff() {
		return ex, false
	}
	r := s.table.Stream(ruche.EntryPointHTTPS, q.host)
	if r == nil {
		return ex, false
	}
	st := p.status(s, s.of(r), time.Now())
	ex = ruche.Explanation{URL: q.String(), Route: &st, Diagnostics: st.Diagnostics, Warnings: p.cfg.Health.List()}
	ex.Reasons = []string{
		fmt.Sprintf("the TLS of server name %q is passed through by %s, before any route of requests is asked", q.host, r.ID),
		fmt.Sprintf("%d of %s ready", st.ReadyEndpoints(), plural(len(st.Endpoints), "endpoint")),
	}
	ex.Certificate = ruche.CertificateStatus{Kind: ruche.CertificateNone, Reason: "the endpoint has its own: the handshake is not looked into"}
	switch {
	case r.Blocked != "":
		ex.Answer = "the connection is closed: not served on purpose: " + r.Blocked
	case st.ReadyEndpoints() == 0:
		ex.Answer = "the connection is closed: no endpoint is ready"
	default:
		ex.Answer = "TLS is passed through to " + plural(st.ReadyEndpoints(), "endpoint")
	}
	return ex, true
}
