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
	// maxPerNode bounds the connections of one node. It needs one, or two while it renews its certificate.
	maxPerNode = 16
)

var (
	errTLSVersion = errors.New("it does not offer TLS 1.3")
	errTooMany    = errors.New("it has, or all peers without certificate have, too many connections")
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

	mu     sync.Mutex
	counts map[string]int // of connections, by the address of a stranger or the name of a node
}

// allStrangers is what all strangers together are counted under.
const allStrangers = ""

// newListener makes TLS of what l accepts. current gives the node's own certificate, root what others are signed with.
func newListener(l net.Listener, current func() *identity, now func() time.Time, t timing, r *refusals) *listener {
	m := &listener{Listener: l, timing: t, refusals: r, ready: make(chan net.Conn), counts: map[string]int{}}
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
	if certs := conn.ConnectionState().PeerCertificates; len(certs) == 0 {
		g.limit(l.timing.stranger)
	} else if !g.become(certs[0].Subject.CommonName) {
		l.refusals.note(ReasonTooMany, g.RemoteAddr().String(), certs[0].Subject.CommonName, errTooMany)
		_ = g.Close()
		return
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

// guarded is a connection that is counted until it is closed.
type guarded struct {
	net.Conn
	listener *listener

	mu  sync.Mutex
	as  []string // what it is counted as
	end *time.Timer
}

// enter counts a new connection. It reports false when there are too many.
func (l *listener) enter(conn net.Conn) (*guarded, bool) {
	from := network(conn.RemoteAddr()).String()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts[allStrangers] >= maxStrangers || l.counts[from] >= maxStrangersPerAddress {
		return nil, false
	}
	g := &guarded{Conn: conn, listener: l, as: []string{allStrangers, from}}
	l.count(g.as, 1)
	return g, true
}

func (l *listener) count(as []string, n int) {
	for _, key := range as {
		if l.counts[key] += n; l.counts[key] == 0 {
			delete(l.counts, key)
		}
	}
}

// become counts the connection as one of a node. It reports false when that has too many.
func (g *guarded) become(node string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listener.mu.Lock()
	defer g.listener.mu.Unlock()
	g.listener.count(g.as, -1)
	g.as = []string{"node " + node}
	g.listener.count(g.as, 1)
	return g.listener.counts[g.as[0]] <= maxPerNode
}

// limit closes the connection after d.
func (g *guarded) limit(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.end = time.AfterFunc(d, func() { _ = g.Close() })
}

func (g *guarded) Close() error {
	g.mu.Lock()
	if g.end != nil {
		g.end.Stop()
	}
	g.listener.mu.Lock()
	g.listener.count(g.as, -1)
	g.as = nil
	g.listener.mu.Unlock()
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
