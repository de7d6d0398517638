// Package guard keeps connections that this node makes on the word of a workload (to a CA, to a DNS provider) away from what only this node reaches: whoever may start a container must not have
// the leader ask its own loopback interface, or the cloud that its machine is in.
package guard

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Refused is the error of a connection that is not made.
type Refused struct {
	// Address is where it would have led to.
	Address netip.Addr
}

func (r *Refused) Error() string {
	return fmt.Sprintf("%s is not reached for workloads: it is an address of this node, of its link, or of the cloud that it is in", r.Address)
}

// Dialer makes connections to addresses that Check permits, and gives up after timeout. Names have been resolved by then, so that no DNS record leads around it.
func Dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: timeout, Control: func(_, address string, _ syscall.RawConn) error { return Check(address) }}
}

// Transport has a transport make such connections alone. A proxy that the environment names (HTTPS_PROXY) is reached all the same, wherever it is: it keeps rules of its own. It changes t.
func Transport(t *http.Transport) *http.Transport {
	var proxies sync.Map // host:port of those that were used
	plain, guarded := &net.Dialer{Timeout: dialTimeout}, Dialer(dialTimeout)
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		proxy, err := http.ProxyFromEnvironment(r)
		if proxy != nil {
			proxies.Store(hostPort(proxy), true)
		}
		return proxy, err
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, ok := proxies.Load(address); ok {
			return plain.DialContext(ctx, network, address)
		}
		return guarded.DialContext(ctx, network, address)
	}
	return t
}

const dialTimeout = 30 * time.Second

// hostPort is where a proxy is dialled.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// Check gives a *Refused when an address, host:port with an IP address as host, must not be connected to on the word of a workload. Private addresses may: a CA of the house is at one.
func Check(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() || slices.Contains(metadata(), ip) {
		return &Refused{Address: ip}
	}
	return nil
}

// metadata are the addresses at which clouds tell a machine its secrets, as far as they are not link-local: those of AWS (IPv6), Azure and Alibaba.
func metadata() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("168.63.129.16"), netip.MustParseAddr("100.100.100.200")}
}
