package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/ruche-project/ruche/internal/loop"
)

// What a load balancer says before a connection's own bytes is the PROXY protocol, in the versions 1 (a line) and 2 (binary), as HAProxy's
// doc/proxy-protocol.txt has them. It is believed of the peers that Config.ProxyProtocol names, and they must say it: who may or may not could be
// made to take a client's own bytes for it.

const (
	// maxProxyLine is what a header of version 1 may have, its end included (section 2.1).
	maxProxyLine = 107
	// proxyFixed is how long the part of version 2 is that tells the length of the rest (section 2.2).
	proxyFixed = 16
	// maxProxyHeader bounds a header of version 2: addresses have 216 bytes at most, what balancers add to them is some hundreds.
	maxProxyHeader = smallBuffer
)

var errNoProxyHeader = errors.New("it does not begin with a PROXY header")

// speaksProxy reports whether the peer begins its connections with a PROXY header.
func (p *Proxy) speaksProxy(peer netip.Addr) bool {
	for _, prefix := range p.cfg.ProxyProtocol {
		if prefix.Contains(peer) {
			return true
		}
	}
	return false
}

// readProxyHeader reads a PROXY header within the time given. It returns the address that it tells of the client, the connection's own where it
// tells none, and what has come behind it: a piece of buf, which must have maxProxyHeader bytes.
func readProxyHeader(conn *loop.Conn, buf []byte, timeout time.Duration) (client netip.AddrPort, rest []byte, err error) {
	_ = conn.SetReadDeadline(conn.Loop().Now().Add(timeout))
	defer func() { _ = conn.SetReadDeadline(time.Time{}) }()
	n := 0
	for {
		size, err := proxyHeaderSize(buf[:n])
		if err != nil {
			return client, nil, err
		}
		if size > 0 && size <= n {
			client, err = parseProxyHeader(buf[:size], conn.Remote())
			return client, buf[size:n], err
		}
		more, err := conn.Read(buf[n:])
		if n += more; more == 0 && err != nil {
			return client, nil, fmt.Errorf("its PROXY header has not come: %w", err)
		}
	}
}

// proxyHeaderSize is how long the header is that b begins with; 0 when b does not tell yet. A size of at most maxProxyHeader may be more than b has.
func proxyHeaderSize(b []byte) (int, error) {
	one, two := proxyproto.SIGV1, proxyproto.SIGV2
	switch {
	case bytes.HasPrefix(b, one):
		if i := bytes.Index(b[:min(len(b), maxProxyLine)], []byte("\r\n")); i >= 0 {
			return i + 2, nil
		}
		if len(b) >= maxProxyLine {
			return 0, errors.New("its PROXY header is a line that does not end")
		}
		return 0, nil
	case bytes.HasPrefix(b, two):
		if len(b) < proxyFixed {
			return 0, nil
		}
		size := proxyFixed + int(binary.BigEndian.Uint16(b[proxyFixed-2:]))
		if size > maxProxyHeader {
			return 0, fmt.Errorf("its PROXY header has %d bytes, more than %d", size, maxProxyHeader)
		}
		return size, nil
	case bytes.HasPrefix(one, b), bytes.HasPrefix(two, b):
		return 0, nil
	}
	return 0, errNoProxyHeader
}

// parseProxyHeader returns the client's address that a whole header tells, or the peer's when the header is about a connection of the peer's own
// (LOCAL, UNKNOWN), or about no IP connection.
func parseProxyHeader(b []byte, peer netip.AddrPort) (netip.AddrPort, error) {
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b), len(b)))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("its PROXY header is broken: %w", err)
	}
	if h.Command.IsLocal() {
		return peer, nil
	}
	var a netip.AddrPort
	switch source := h.SourceAddr.(type) {
	case *net.TCPAddr:
		a = source.AddrPort()
	case *net.UDPAddr:
		a = source.AddrPort()
	}
	if !a.IsValid() {
		return peer, nil
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// guest is a connection as a TLS library reads it: what was read ahead comes first, and its peer is who the connection is said to come from.
type guest struct {
	*loop.Conn
	early  []byte
	remote netip.AddrPort
}

// Read implements net.Conn.
func (g *guest) Read(p []byte) (int, error) {
	if len(g.early) > 0 {
		n := copy(p, g.early)
		if g.early = g.early[n:]; len(g.early) == 0 {
			g.early = nil
		}
		return n, nil
	}
	return g.Conn.Read(p)
}

// RemoteAddr implements net.Conn.
func (g *guest) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(g.remote) }
