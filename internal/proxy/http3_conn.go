package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

type (
	handshakeKey struct{} // of a context: the handshake
	quicConnKey  struct{} // of a context: the connection
)

// handshake is one that a context tells of.
type handshake struct {
	done     func() // ends its count
	admitted bool   // the connection has its place already
}

// handshakeBegins counts the handshakes that are under way. Where they come from may be a lie so far; where it was proven to be true the connection has to
// find its place at once, so that nobody holds more handshakes than connections.
func (h *http3Entry) handshakeBegins(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
	shake := &handshake{admitted: client.AddrVerified}
	if shake.admitted {
		t, ok := h.admit(client.RemoteAddr)
		if !ok {
			t.giveBack()
			return nil, errTooManyConnections
		}
		context.AfterFunc(ctx, t.giveBack)
	}
	h.handshakes.Add(1)
	shake.done = sync.OnceFunc(func() { h.handshakes.Add(-1) })
	context.AfterFunc(ctx, shake.done)
	return context.WithValue(ctx, handshakeKey{}, shake), nil
}

// errTooManyConnections is for the library, which refuses the handshake.
var errTooManyConnections = errors.New("too many connections")

// admission takes the connections of a listener that clients may have.
type admission struct {
	*quic.Listener
	http3 *http3Entry
}

// Accept implements http3.QUICListener. Handshakes are complete then, and addresses true.
func (a *admission) Accept(ctx context.Context) (*quic.Conn, error) {
	for {
		c, err := a.Listener.Accept(ctx)
		if err != nil {
			return nil, err
		}
		shake := c.Context().Value(handshakeKey{}).(*handshake)
		if shake.done(); shake.admitted {
			return c, nil
		}
		t, ok := a.http3.admit(c.RemoteAddr())
		if !ok {
			t.giveBack()
			_ = c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), errTooManyConnections.Error())
			continue
		}
		context.AfterFunc(c.Context(), t.giveBack)
		return c, nil
	}
}

// admit reports whether a client may have one more connection.
func (h *http3Entry) admit(remote net.Addr) (t ticket, ok bool) {
	p := h.entry.proxy
	udp, ok := remote.(*net.UDPAddr)
	if !ok {
		return ticket{}, false
	}
	peer := udp.AddrPort().Addr().Unmap()
	if p.speaksProxy(peer) { // which this protocol cannot, and its clients would all seem to be the balancer
		return ticket{}, false
	}
	t, fits := p.limiter.enter()
	if !fits {
		for _, w := range p.workers {
			w.loop.Post(func() { w.makeRoom() })
		}
		p.limiter.full(1)
		return t, false
	}
	if p.trusted(peer) || p.ingress.met(peer) || t.counted(peer) {
		return t, true
	}
	p.limiter.crowded(peer)
	return t, false
}

// quicConn is a client's connection. It is closed when it has no request for too long, also when heads of requests have begun: the first whole one has to come as soon as
// with other protocols.
type quicConn struct {
	conn *quic.Conn
	idle time.Duration

	mu      sync.Mutex
	running int
	timer   *time.Timer
	peer    *peer // what the client has shown, since its first request
}

// shown keeps what the client has shown when the connection began, so that not every request verifies it anew.
func (c *quicConn) shown(p *peer) *peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peer == nil {
		c.peer = p
	}
	return c.peer
}

// connected makes the context of a connection's requests.
func (h *http3Entry) connected(ctx context.Context, conn *quic.Conn) context.Context {
	t := h.entry.timeouts
	c := &quicConn{conn: conn, idle: t.Idle}
	c.mu.Lock()
	c.timer = time.AfterFunc(t.ReadHeader, c.expire)
	c.mu.Unlock()
	context.AfterFunc(conn.Context(), func() { c.timer.Stop() })
	return context.WithValue(ctx, quicConnKey{}, c)
}

// expire closes the connection when it has nothing to do.
func (c *quicConn) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == 0 {
		_ = c.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "idle")
	}
}

// begin notes that a request has come.
func (c *quicConn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running++
	c.timer.Stop()
}

// end notes that one was answered.
func (c *quicConn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running--; c.running == 0 && c.conn.Context().Err() == nil {
		c.timer.Reset(c.idle)
	}
}
