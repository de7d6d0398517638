package mesh

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// maxStrangers bounds the connections of peers that have not shown a certificate, maxStrangersPerAddress those from one IPv4 address or
	// one IPv6 network of 64 bits.
	maxStrangers           = 256
	maxStrangersPerAddress = 64
)

var (
	errTLSVersion = errors.New("it does not offer TLS 1.3")
	errTooMany    = errors.New("there are too many connections of peers without certificate")
	errProtocol   = errors.New("it does not offer HTTP/2")
)

// listener accepts connections on which TLS is done. It does that itself, beside net/http, since refused peers are to be counted by reason.
type listener struct {
	net.Listener
	tls       *tls.Config
	timing    timing
	refusals  *refusals
	ready     chan net.Conn
	open      context.Context // ends when the listener is closed
	end       context.CancelFunc
	handshake sync.WaitGroup

	mu        sync.Mutex
	strangers map[netip.Addr]int
	sum       int
}

// newListener makes TLS of what l accepts. current gives the node's own certificate, root what others are signed with.
func newListener(l net.Listener, current func() *identity, now func() time.Time, t timing, r *refusals) *listener {
	m := &listener{Listener: l, timing: t, refusals: r, ready: make(chan net.Conn), strangers: map[netip.Addr]int{}}
	m.open, m.end = context.WithCancel(context.Background())
	m.tls = &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Time: now,
		// A ticket would outlive the certificate that it stands for.
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequestClientCert, // to enrol needs none
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current().tls, nil },
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if !slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
				return nil, errTLSVersion
			}
			if !slices.Contains(hello.SupportedProtos, "h2") {
				return nil, errProtocol
			}
			return nil, nil
		},
		VerifyConnection: func(c tls.ConnectionState) error {
			if len(c.PeerCertificates) == 0 {
				return nil
			}
			_, err := verify(c.PeerCertificates[0], current().root, x509.ExtKeyUsageClientAuth, now())
			return err
		},
	}
	return m
}

// run accepts until the listener is closed.
func (l *listener) run() error {
	defer l.handshake.Wait()
	pause := 5 * time.Millisecond
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			select {
			case <-l.open.Done():
				return nil
			case <-time.After(pause): // no file descriptor is free, for example
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("cannot accept connections of other nodes: %w", err)
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		g, ok := l.enter(conn)
		if !ok {
			l.refusals.note(ReasonTooMany, conn.RemoteAddr().String(), "", errTooMany)
			_ = conn.Close()
			continue
		}
		l.handshake.Go(func() { l.greet(g) })
	}
}

// greet does the TLS handshake and passes the connection on.
func (l *listener) greet(g *guarded) {
	ctx, cancel := context.WithTimeout(l.open, l.timing.handshake)
	defer cancel()
	conn := tls.Server(g, l.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		l.refusals.note(handshakeReason(err), g.RemoteAddr().String(), "", err)
		_ = g.Close()
		return
	}
	if len(conn.ConnectionState().PeerCertificates) > 0 {
		g.leave()
	} else {
		g.limit(l.timing.stranger)
	}
	select {
	case l.ready <- conn:
	case <-l.open.Done():
		_ = g.Close()
	}
}

// handshakeReason says why a handshake failed.
func handshakeReason(err error) Reason {
	var notTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &notTLS):
		return ReasonPlainText
	case errors.Is(err, errTLSVersion):
		return ReasonTLSVersion
	case errors.Is(err, errForged):
		return ReasonForged
	case errors.Is(err, errExpired):
		return ReasonExpired
	case errors.Is(err, errNoNode):
		return ReasonNotANode
	}
	return ReasonHandshake
}

// Accept gives the next connection, with TLS done.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.open.Done():
		return nil, net.ErrClosed
	}
}

// Close ends accepting.
func (l *listener) Close() error {
	l.end()
	return l.Listener.Close()
}

// guarded is a connection that counts as a stranger's until it is closed or leave is called.
type guarded struct {
	net.Conn
	listener *listener
	from     netip.Addr
	once     sync.Once

	mu  sync.Mutex
	end *time.Timer
}

// enter counts a new connection. It reports false when there are too many.
func (l *listener) enter(conn net.Conn) (*guarded, bool) {
	from := network(conn.RemoteAddr())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sum >= maxStrangers || l.strangers[from] >= maxStrangersPerAddress {
		return nil, false
	}
	l.sum++
	l.strangers[from]++
	return &guarded{Conn: conn, listener: l, from: from}, true
}

// leave ends that the connection counts.
func (g *guarded) leave() {
	g.once.Do(func() {
		l := g.listener
		l.mu.Lock()
		defer l.mu.Unlock()
		l.sum--
		if l.strangers[g.from]--; l.strangers[g.from] == 0 {
			delete(l.strangers, g.from)
		}
	})
}

// limit closes the connection after d.
func (g *guarded) limit(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.end = time.AfterFunc(d, func() { _ = g.Close() })
}

func (g *guarded) Close() error {
	g.leave()
	g.mu.Lock()
	if g.end != nil {
		g.end.Stop()
	}
	g.mu.Unlock()
	return g.Conn.Close()
}

// network is what addresses are counted by: an IPv4 address, or an IPv6 network of 64 bits.
func network(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is6() {
		p, _ := addr.Prefix(64)
		return p.Addr()
	}
	return addr
}
