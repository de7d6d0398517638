package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/loop"
)

// UDP has no connections. What stands for one here is a session: all that one port of a client says to one address of this host. Its first datagram chooses an
// endpoint, and it ends when nothing was said for a while.

const (
	// udpShare is the part of all connections that sessions may be: who forges addresses could take every place.
	udpShare = 2
	// maxEarly is how many datagrams of a session wait while the address of its endpoint is looked up.
	maxEarly = 8
	// udpIdle is the default of EntryPoint.Idle.
	udpIdle = 3 * time.Second
	// udpRoom is how much of what has come may wait for us, in bytes, if the system allows so much.
	udpRoom = 4 << 20
)

// udpEntry is an entry point of UDP. It belongs to one loop, and so do its sessions.
type udpEntry struct {
	proxy    *Proxy
	point    EntryPoint
	listener *net.UDPConn
	worker   *worker
	socket   *loop.PacketConn
	sessions map[loop.Peer]*udpSession // those that take what their clients send
	stopping bool
}

// udpSession is what one client says, and what it is answered.
type udpSession struct {
	entry    *udpEntry
	peer     loop.Peer
	ticket   ticket
	started  time.Time
	route    *routeState // whose ready endpoints have this one
	endpoint *endpointState
	socket   *loop.PacketConn // to the endpoint; nil until there is one
	early    [][]byte
	ended    bool

	received, sent int64
	err            error
}

// listenUDPEntries opens the sockets of UDP entry points.
func (p *Proxy) listenUDPEntries() error {
	for _, point := range p.cfg.EntryPoints {
		if !point.UDP {
			continue
		}
		c, err := p.cfg.ListenUDP("udp:"+point.Name, point.Address)
		if err != nil {
			p.closeUDPEntries()
			return listenError(point.Address+"/udp", err)
		}
		_ = c.SetReadBuffer(udpRoom)
		p.udp = append(p.udp, &udpEntry{proxy: p, point: point, listener: c, sessions: make(map[loop.Peer]*udpSession)})
	}
	return nil
}

func (p *Proxy) closeUDPEntries() {
	for _, u := range p.udp {
		_ = u.listener.Close()
	}
}

// serveUDPEntries gives each entry point to a loop.
func (p *Proxy) serveUDPEntries() (err error) {
	for i, u := range p.udp {
		u.worker = p.workers[i%len(p.workers)]
		done := make(chan struct{})
		u.worker.loop.Post(func() {
			defer close(done)
			u.socket, err = u.worker.loop.ReceivePackets(u.listener, u)
		})
		if <-done; err != nil {
			return fmt.Errorf("cannot serve %s: %w", u.listener.LocalAddr(), err)
		}
	}
	return nil
}

// Received implements loop.PacketReceiver: a client has sent a datagram.
func (u *udpEntry) Received(b []byte, from loop.Peer) {
	for range 2 { // a second time when it shows that nobody listens at the endpoint any more
		s := u.sessions[from]
		if s != nil && !s.stands() {
			delete(u.sessions, from) // what is still answered to it goes back
			s = nil
		}
		if s == nil {
			if s = u.begin(from); s == nil {
				return
			}
		}
		if s.send(b) {
			return
		}
	}
}

// Failed implements loop.PacketReceiver.
func (u *udpEntry) Failed(err error) {
	if !errors.Is(err, net.ErrClosed) {
		u.proxy.cfg.Logger.Debug("cannot receive datagrams", "entry_point", u.point.Name, "error", err)
	}
}

// begin makes a session for a client's datagram, nil if that is to be dropped.
func (u *udpEntry) begin(from loop.Peer) *udpSession {
	now := u.proxy.current.Load()
	r := now.table.Datagrams(u.point.Name)
	if r == nil || u.stopping {
		return nil
	}
	s := &udpSession{entry: u, peer: from, started: time.Now(), route: now.of(r)}
	if r.Blocked != "" || len(s.route.ready) == 0 {
		s.route.life.streams.failed.Add(1)
		return nil
	}
	if !s.admit() {
		return nil
	}
	u.sessions[from] = s
	u.worker.loop.Go(s.connect)
	return s
}

// admit takes a place for the session, if there is one for its client.
func (s *udpSession) admit() bool {
	p := s.entry.proxy
	l := p.limiter
	if p.sessions.Add(1) > max(l.most/udpShare, 1) {
		p.sessions.Add(-1)
		l.manySessions(l.most / udpShare)
		return false
	}
	client := s.peer.Remote.Addr()
	var fits bool
	switch s.ticket, fits = l.enter(); {
	case !fits: // connections do not make room for addresses that may be forged
		l.full(1)
	case p.trusted(client) || p.ingress.met(client) || s.ticket.counted(client):
		return true
	default:
		l.crowded(client)
	}
	s.ticket.giveBack()
	p.sessions.Add(-1)
	return false
}

// connect finds an endpoint and sends it what has come meanwhile. It runs on a fiber: an endpoint may have a name.
func (s *udpSession) connect() {
	defer func() {
		if s.socket == nil {
			s.route.life.streams.failed.Add(uint64(len(s.early)))
			s.end()
		}
	}()
	pick := s.route.picker(pickKey{client: s.peer.Remote.Addr()})
	s.err = errNoEndpoint
	for !s.entry.worker.loop.Stopping() {
		e := pick.next(time.Now())
		if e == nil {
			return
		}
		if s.err = s.open(e); s.err == nil {
			break
		}
		if errors.Is(s.err, errNoDescriptor) {
			return
		}
	}
	for _, b := range s.early {
		if !s.send(b) {
			break
		}
	}
	s.early = nil
}

// open makes a socket for an endpoint. That says nothing about whether anybody listens there.
func (s *udpSession) open(e *endpointState) error {
	p, w := s.entry.proxy, s.entry.worker
	to, err := w.resolve(e.address, p.cfg.Timeouts.Dial, func(func()) {})
	if err != nil {
		return p.cannotOpen(e, err)
	}
	socket, err := w.loop.ConnectPackets(to, s)
	if err != nil {
		return p.cannotOpen(e, err)
	}
	socket.SetIdle(s.entry.point.Idle)
	s.socket, s.endpoint = socket, e
	e.inFlight.Add(1)
	s.route.life.streams.carried.Add(1)
	return nil
}

// stands reports whether the endpoint is still one of those that take datagrams.
func (s *udpSession) stands() bool {
	now := s.entry.proxy.current.Load()
	route := now.of(now.table.Datagrams(s.entry.point.Name))
	switch {
	case route == s.route || s.socket == nil:
		return true
	case route == nil || route.route.Blocked != "":
		return false
	}
	for i := range route.ready {
		if route.ready[i].endpoint == s.endpoint {
			s.route = route
			return true
		}
	}
	return false
}

// send sends a datagram of the client's on. It reports false when the session has ended instead, because nobody listens at the endpoint.
func (s *udpSession) send(b []byte) bool {
	if s.socket == nil {
		if len(s.early) < maxEarly {
			s.early = append(s.early, append([]byte(nil), b...))
		}
		return true
	}
	if err := s.socket.Send(b); err != nil {
		s.Failed(err)
		return false
	}
	s.received += int64(len(b))
	s.route.life.streams.received.Add(uint64(len(b)))
	return true
}

// Received implements loop.PacketReceiver: the endpoint has answered.
func (s *udpSession) Received(b []byte, _ loop.Peer) {
	s.endpoint.answered()
	s.sent += int64(len(b))
	s.route.life.streams.sent.Add(uint64(len(b)))
	s.entry.socket.Answer(b, s.peer)
}

// Failed implements loop.PacketReceiver.
func (s *udpSession) Failed(err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
	case errors.Is(err, net.ErrClosed):
		s.err = errStopping
	default:
		s.err = s.entry.proxy.cannotOpen(s.endpoint, err)
	}
	s.end()
}

func (s *udpSession) end() {
	if s.ended {
		return
	}
	s.ended = true
	u := s.entry
	if u.sessions[s.peer] == s {
		delete(u.sessions, s.peer)
	}
	if s.socket != nil {
		s.socket.Close()
		s.endpoint.inFlight.Add(-1)
	}
	s.ticket.giveBack()
	u.proxy.log.add(s, time.Since(s.started))
	u.proxy.sessions.Add(-1)
}

// appendLine implements finished.
func (s *udpSession) appendLine(b []byte, took time.Duration) []byte {
	line := streamLine{
		protocol: ruche.ProtocolUDP, entryPoint: s.entry.point.Name, started: s.started, remote: s.peer.Remote, route: s.route, endpoint: s.endpoint,
		received: s.received, sent: s.sent, err: s.err,
	}
	return line.append(b, took)
}

// leaveUDP leaves what comes from now on to others who have the sockets, and begins no session. Those that there are get their answers.
func (p *Proxy) leaveUDP() {
	for _, u := range p.udp {
		_ = u.listener.Close()
		u.worker.loop.Post(func() {
			u.stopping = true
			u.socket.Ignore()
		})
	}
}

// awaitSessions waits until no session of UDP is left.
func (p *Proxy) awaitSessions(ctx context.Context) {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for p.sessions.Load() > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}
