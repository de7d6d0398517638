package proxy

import (
	"net"
	"net/http"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// origin is the address that endpoints are told as the client's. Its port is 0 where a trusted proxy told the address: it tells no port.
func (x *exchange) origin() netip.AddrPort {
	if x.clientAddr == x.peer {
		return netip.AddrPortFrom(x.peer, x.remote.Port())
	}
	return netip.AddrPortFrom(x.clientAddr, 0)
}

// local is the address that the client has connected to.
func (x *exchange) local() netip.AddrPort {
	switch c := x.client.(type) {
	case *h1Client:
		return plainAddr(c.conn.Local())
	case *h2Stream:
		return plainAddr(c.conn.conn.Local())
	case *httpClient:
		if a, ok := c.r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			local, _ := netip.ParseAddrPort(a.String())
			return plainAddr(local)
		}
	}
	return netip.AddrPort{}
}

func plainAddr(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// proxyHeader is what begins a connection to an endpoint that is told the client's address by the PROXY protocol, in the version 1 or 2; nothing
// for 0.
func (x *exchange) proxyHeader(version int) ([]byte, error) {
	from, to := x.origin(), x.local()
	if version == 0 || !from.IsValid() || !to.IsValid() {
		return proxyPreamble(version), nil
	}
	return proxyproto.HeaderProxyFromAddrs(byte(version), net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(to)).Format()
}
