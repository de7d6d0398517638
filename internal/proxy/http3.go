package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sys/unix"
)

const (
	// maxStreams is how many requests a connection of HTTP/3 may have at a time. It is less than with HTTP/2: each has a goroutine from its first byte on.
	maxStreams = 100
	// maxUniStreams is how many other streams it may have: three are needed (RFC 9114 section 6.2), the rest are for extensions that are ignored.
	maxUniStreams = 10
	// streamWindow and connectionWindow bound what is buffered of content that an endpoint does not take, in bytes.
	streamWindow, connectionWindow = 2 << 20, 4 << 20
	// trustedHandshakes is how many handshakes may be under way before clients have to prove that their address is theirs (RFC 9000 section 8.1.2),
	// which takes them one round trip more.
	trustedHandshakes = 64
	// altSvcAge is for how long browsers may remember that HTTP/3 is served, in seconds: a day.
	altSvcAge = "86400"
	// udpBuffer is what the library wants for each direction of its socket, in bytes.
	udpBuffer = 7 << 20
	// udpRetry is the time between two tries for a port that another process is about to leave.
	udpRetry = 100 * time.Millisecond
)

// http3Entry serves HTTP/3 on the UDP port of an entry for HTTPS. A nil one serves nothing.
type http3Entry struct {
	entry     *entry
	requests  handler
	ids       connectionIDs
	socket    *net.UDPConn // nil while the port cannot be had
	started   chan struct{}
	transport *quic.Transport
	listener  *quic.Listener // nil unless it is served
	server    *http3.Server

	handshakes atomic.Int64 // those under way
	running    atomic.Int64 // requests
}

// errHTTP3Alone is returned by New.
var errHTTP3Alone = errors.New("cannot serve HTTP/3 without HTTPS: browsers come by HTTPS first (set --https-addr, or --http3 off)")

// listenHTTP3 opens the socket for HTTP/3 if that is wanted.
func (p *Proxy) listenHTTP3(entries []*entry) error {
	if !p.cfg.HTTP3 {
		return nil
	}
	for _, e := range entries {
		if !e.secure {
			continue
		}
		ids := newConnectionIDs()
		socket, err := listenUDP(e.listener.Addr(), ids, p.cfg.Successor)
		if err != nil && !(p.cfg.Successor && errors.Is(err, syscall.EADDRINUSE)) {
			return udpError(e.listener.Addr(), err)
		}
		p.http3 = &http3Entry{entry: e, requests: handler{e}, ids: ids, socket: socket, started: make(chan struct{})}
	}
	return nil
}

func udpError(tcp net.Addr, err error) error {
	hint := ""
	if errors.Is(err, syscall.EADDRINUSE) {
		hint = fmt.Sprintf(" (another program has the UDP port: \"ss -lunp 'sport = :%s'\" names it; stop it, choose another --https-addr, or serve no HTTP/3 with --http3 off)", portOf(tcp))
	}
	return fmt.Errorf("cannot listen on UDP %s for HTTP/3: %w%s", tcp, err, hint)
}

// start serves, at once or as soon as the port can be had; until ctx ends.
func (h *http3Entry) start(ctx context.Context) {
	if h == nil {
		return
	}
	if h.socket != nil {
		h.serve()
		close(h.started)
		return
	}
	h.entry.proxy.cfg.Logger.Info("HTTP/3 begins when the process before this one has left the UDP port", "address", h.entry.listener.Addr().String())
	go func() {
		defer close(h.started)
		if h.await(ctx) {
			h.serve()
		}
	}()
}

// await waits for the port.
func (h *http3Entry) await(ctx context.Context) bool {
	again := time.NewTicker(udpRetry)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-again.C:
		}
		var err error
		if h.socket, err = listenUDP(h.entry.listener.Addr(), h.ids, true); err == nil {
			return true
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			h.entry.proxy.cfg.Logger.Error("HTTP/3 is not served", "error", udpError(h.entry.listener.Addr(), err))
			return false
		}
	}
}

// serve starts to take connections from the socket.
func (h *http3Entry) serve() {
	e := h.entry
	p := e.proxy
	h.transport = &quic.Transport{
		Conn: h.socket, ConnectionIDGenerator: h.ids, ConnContext: h.handshakeBegins,
		VerifySourceAddress: func(net.Addr) bool { return h.handshakes.Load() > trustedHandshakes },
	}
	// The library warns of small buffers in a line of its own, to standard error, and has no other switch for that.
	_ = os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	listener, err := h.transport.Listen(h.tlsConfig(), h.quicConfig())
	if err != nil {
		p.cfg.Logger.Error("HTTP/3 is not served", "error", err)
		_ = h.socket.Close()
		return
	}
	h.warnOfSmallBuffers()
	h.listener = listener
	h.server = &http3.Server{
		Handler: h, MaxHeaderBytes: maxHeaderBytes, ConnContext: h.connected, Logger: p.cfg.Logger,
	}
	go func() { _ = h.server.ServeListener(&admission{Listener: listener, http3: h}) }()
	advertised := `h3=":` + e.port + `"; ma=` + altSvcAge
	p.altSvc.Store(&advertised)
	p.cfg.Logger.Info("serving HTTP/3", "address", h.socket.LocalAddr().String())
}

// tlsConfig is the library's own, and for each connection a copy of one that follows the shared ticket keys.
func (h *http3Entry) tlsConfig() *tls.Config {
	live := h.entry.tls.Clone()
	live.MinVersion, live.GetConfigForClient = tls.VersionTLS13, nil
	h.entry.proxy.shareTickets(live)
	c, own := live.Clone(), h.entry.proxy.configFor(live)
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if c, err := own(hello); c != nil || err != nil {
			return c, err
		}
		return live, nil
	}
	return http3.ConfigureTLSConfig(c)
}

// quicConfig leaves 0-RTT off: what comes by it may be a request that somebody else repeats (RFC 8446 section 8).
func (h *http3Entry) quicConfig() *quic.Config {
	t := h.entry.timeouts
	return &quic.Config{
		HandshakeIdleTimeout:       t.ReadHeader / 2, // the library gives the whole handshake twice that
		MaxIdleTimeout:             t.Body,
		KeepAlivePeriod:            t.Body / 3, // an answer may be silent for longer than a client's own time-out
		MaxIncomingStreams:         maxStreams,
		MaxIncomingUniStreams:      maxUniStreams,
		MaxStreamReceiveWindow:     streamWindow,
		MaxConnectionReceiveWindow: connectionWindow,
	}
}

// warnOfSmallBuffers tells what to do when the system gives less than the library has asked for.
func (h *http3Entry) warnOfSmallBuffers() {
	receive, send, err := bufferSizes(h.socket)
	if err != nil || receive >= udpBuffer && send >= udpBuffer {
		return
	}
	h.entry.proxy.cfg.Logger.Warn("the buffers of the UDP socket are small: HTTP/3 loses packets under load and is slower than it could be",
		"receive_bytes", receive, "send_bytes", send, "wanted_bytes", udpBuffer,
		"hint", "on the host: sysctl -w net.core.rmem_max=7500000 net.core.wmem_max=7500000, and the same two settings in a file in /etc/sysctl.d; then start Ruche again")
}

// bufferSizes are what the system has given, in bytes; that is twice what can be asked for.
func bufferSizes(c *net.UDPConn) (receive, send int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var rerr, serr error
	err = raw.Control(func(fd uintptr) {
		receive, rerr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		send, serr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
	})
	return receive, send, errors.Join(err, rerr, serr)
}

// drain tells clients that no further request is taken (GOAWAY), lets those that run end, and closes what is left when ctx ends. Clients close their connections
// themselves; those that do not are waited for a moment, since it cannot be seen from here whether they have all of an answer.
func (h *http3Entry) drain(ctx context.Context) {
	if h == nil {
		return
	}
	h.entry.proxy.altSvc.Store(nil)
	<-h.started
	if h.listener == nil {
		return
	}
	if h.entry.proxy.heir.Load() {
		h.awaitHandshakes(ctx)
	}
	grace, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = h.server.Shutdown(grace)
	}()
	refused := make(chan struct{})
	go func() { // waits for handshakes that are under way
		defer close(refused)
		_ = h.listener.Close()
	}()
	h.settle(ctx, ended)
	cancel()
	straggling := time.NewTimer(stragglers)
	defer straggling.Stop()
	select {
	case <-ended:
	case <-straggling.C:
	}
	_ = h.transport.Close()
	<-refused
	_ = h.socket.Close()
}

// awaitHandshakes lets handshakes end that had begun when the port was shared: the library would refuse them, and their clients need not notice that
// another process takes over.
func (h *http3Entry) awaitHandshakes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lingerTime)
	defer cancel()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for h.handshakes.Load() > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// settle waits until every connection has ended, or no request has run for a while.
func (h *http3Entry) settle(ctx context.Context, ended <-chan struct{}) {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	quiet := time.Now()
	for {
		select {
		case <-ended:
			return
		case <-ctx.Done():
			if h.running.Load() > 0 {
				h.entry.proxy.cutOff(h.entry)
			}
			return
		case now := <-look.C:
			if h.running.Load() > 0 {
				quiet = now
			} else if now.Sub(quiet) > lingerTime {
				return
			}
		}
	}
}

var _ http.Handler = (*http3Entry)(nil)
