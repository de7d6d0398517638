package acmeserver

import (
	"container/list"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Limits bound what one account or address can ask for, of all nodes together unless something else is said. Zero values stand for the defaults.
type Limits struct {
	// Orders of an account in an hour; default 300. Orders that replace a certificate by ARI do not count, here and below.
	Orders int
	// Authorizations of an account that are pending at once; default 300.
	Authorizations int
	// Certificates of an account in a day, those that are ordered and may still come included; default 500.
	Certificates int
	// Accounts that are opened from an address in an hour; default 20.
	Accounts int
	// Requests from an address in a minute; default 1200. They are counted by each node for itself.
	Requests int
	// AllOrders that are kept at once, of all accounts; default 20000. Here and below, one client can have half of it: see Account.client.
	AllOrders int
	// AllAccounts that are kept at once; default 10000.
	AllAccounts int
	// Reuse is for how long a name counts as proven for the account's further orders; default one hour, negative: not at all.
	Reuse time.Duration
}

func (l Limits) withDefaults() Limits {
	for _, v := range []struct {
		limit    *int
		standard int
	}{
		{&l.Orders, 300}, {&l.Authorizations, 300}, {&l.Certificates, 500}, {&l.Accounts, 20}, {&l.Requests, 1200},
		{&l.AllOrders, 20000}, {&l.AllAccounts, 10000},
	} {
		if *v.limit == 0 {
			*v.limit = v.standard
		}
	}
	if l.Reuse == 0 {
		l.Reuse = time.Hour
	}
	return l
}

const maxAddresses = 10000

// throttle lets an address do something so often in a time: a bucket of tokens for each, of those that came last. It is safe for concurrent use.
type throttle struct {
	count int
	per   time.Duration
	now   func() time.Time

	mu    sync.Mutex
	byKey map[netip.Prefix]*list.Element
	order list.List // of *tokens, those that came last in front
}

type tokens struct {
	key  netip.Prefix
	left float64
	at   time.Time
}

func newThrottle(count int, per time.Duration, now func() time.Time) *throttle {
	return &throttle{count: count, per: per, now: now, byKey: map[netip.Prefix]*list.Element{}}
}

// take counts one. If it is too many it gives how long to wait for the next, else 0.
func (t *throttle) take(key netip.Prefix) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	e := t.byKey[key]
	if e == nil {
		e = t.order.PushFront(&tokens{key: key, left: float64(t.count), at: now})
		t.byKey[key] = e
		if t.order.Len() > maxAddresses {
			last := t.order.Remove(t.order.Back()).(*tokens)
			delete(t.byKey, last.key)
		}
	}
	t.order.MoveToFront(e)
	b := e.Value.(*tokens)
	one := t.per / time.Duration(t.count)
	b.left = min(float64(t.count), b.left+float64(now.Sub(b.at))/float64(one))
	b.at = now
	if b.left < 1 {
		return time.Duration((1 - b.left) * float64(one))
	}
	b.left--
	return 0
}

// clientOf is the address that a request came from; of IPv6 the network of 64 bits, which one machine has all of.
func clientOf(r *http.Request) netip.Prefix {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	a, _ := netip.ParseAddr(host)
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}
