package proxy

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/loop"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// visitor is a connection of which nobody knows yet what becomes of it.
type visitor struct {
	worker *worker
	conn   *loop.Conn
	remote netip.AddrPort // the client's, as a PROXY header tells it
	ticket ticket
	buf    []byte // what was read ahead is buf[:n]
	n      int
	// postgres tells that the client has asked for TLS as those of PostgreSQL do, and was told to begin.
	postgres bool
}

// letGo forgets what was read ahead.
func (v *visitor) letGo() {
	if v.buf != nil {
		v.worker.giveBack(v.buf)
	}
	v.buf, v.n = nil, 0
}

// leave closes the connection.
func (v *visitor) leave() {
	v.letGo()
	v.ticket.giveBack()
	_ = v.conn.Close()
}

// stream is a connection that is carried as it comes, on its way through the proxy.
type stream struct {
	visitor  *visitor
	entry    *entry
	started  time.Time
	arrival  table.Arrival
	secure   *secureStream // nil unless TLS ends here
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
	s := &stream{visitor: v, entry: e, arrival: table.Arrival{Client: v.remote.Addr().Unmap()}}
	if e.proxy.current.Load().table.LooksAhead(e.name) {
		if s.arrival = v.lookAhead(e.timeouts.ReadHeader, true); v.postgres && !s.arrival.TLS {
			return
		}
	}
	e.proxy.carry(s)
}

// divert serves a connection of the HTTPS entry point if it belongs to a TCP route. It reports whether that was so.
func (e *entry) divert(v *visitor) bool {
	if !e.proxy.current.Load().table.LooksAhead(e.name) {
		return false
	}
	arrival := v.lookAhead(e.timeouts.ReadHeader, false)
	if e.proxy.current.Load().table.Stream(e.name, arrival) == nil {
		return false
	}
	defer v.leave()
	e.proxy.carry(&stream{visitor: v, entry: e, arrival: arrival})
	return true
}

// carry joins the connection to an endpoint's, and accounts for it at its end.
func (p *Proxy) carry(s *stream) {
	s.started = time.Now()
	if !p.endTLS(s) {
		return
	}
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
	if err == nil {
		err = s.askForTLS(conn)
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
	if s.secure != nil {
		j.client = side{v.conn, s.secure, nil, s.secure.CloseWrite}
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
		r := now.table.Stream(s.entry.name, s.arrival)
		if r == nil || r.EndsTLS() != (s.secure != nil) && r.Blocked == "" {
			s.err = errNoStreamRoute
			return nil
		}
		if s.route = now.of(r); r.Blocked != "" || p.streamRestriction(r) != "" {
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
		if p.knocksAt(e, &pick, s.route.route.ProxyProtocol) {
			continue
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
		protocol: ruche.ProtocolTCP, entryPoint: s.entry.name, name: s.arrival.ServerName, started: s.started, remote: s.visitor.remote, route: s.route, endpoint: s.endpoint,
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
