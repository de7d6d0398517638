package proxy

import (
	"encoding/hex"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// parsePeer returns the address of a connection's other end.
func parsePeer(remoteAddr string) netip.Addr {
	ap, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

func (p *Proxy) trusted(a netip.Addr) bool {
	for _, prefix := range p.cfg.TrustedProxies {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// clientIP returns the address of whoever sent the request: the peer or, when the peer is trusted, the last
// address of X-Forwarded-For that is not itself a trusted proxy.
func (p *Proxy) clientIP(peer netip.Addr, trusted bool, h http.Header) netip.Addr {
	if !trusted {
		return peer
	}
	client := peer
	list := strings.Split(strings.Join(h["X-Forwarded-For"], ","), ",")
	for i := len(list) - 1; i >= 0; i-- {
		a, err := netip.ParseAddr(strings.TrimSpace(list[i]))
		if err != nil {
			break
		}
		client = a.Unmap()
		if !p.trusted(client) {
			break
		}
	}
	return client
}

// requestID takes the ID of a trusted peer if it is one, else it makes one of 32 hex digits.
func requestID(h http.Header, trusted bool) string {
	if trusted {
		if id := h.Get("X-Request-Id"); validID(id) {
			return id
		}
	}
	var b [16]byte
	x, y := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		b[i], b[i+8] = byte(x>>(8*i)), byte(y>>(8*i))
	}
	return hex.EncodeToString(b[:])
}

// validID bounds what is passed on and logged.
func validID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.:+/=", c) >= 0) {
			return false
		}
	}
	return true
}

// portOf returns the port of a listener's address.
func portOf(a net.Addr) string {
	if a == nil {
		return ""
	}
	_, port, _ := net.SplitHostPort(a.String())
	return port
}
