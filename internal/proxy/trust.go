package proxy

import (
	"net"
	"net/netip"
	"strings"

	"github.com/ruche-project/ruche/internal/h1"
)

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
func (p *Proxy) clientIP(x *exchange) netip.Addr {
	client := x.peer
	if !x.trusted {
		return client
	}
	for i := len(x.req.Fields) - 1; i >= 0; i-- {
		f := &x.req.Fields[i]
		if f.ID != h1.XForwardedFor {
			continue
		}
		for list := text(f.Value); ; {
			k := strings.LastIndexByte(list, ',')
			a, err := netip.ParseAddr(strings.TrimSpace(list[k+1:]))
			if err != nil {
				return client
			}
			if client = a.Unmap(); !p.trusted(client) {
				return client
			}
			if k < 0 {
				break
			}
			list = list[:k]
		}
	}
	return client
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
