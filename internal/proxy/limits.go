package proxy

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

const (
	// filesForClients is the share of the process's files, in percent, that clients' connections may take: each may need one of an endpoint's.
	filesForClients = 45
	// defaultPerAddress is how many connections one address may have.
	defaultPerAddress = 1024
	// limitedFor is how long a warning about refused connections stands after the last one.
	limitedFor = time.Minute
)

// limiter bounds how many connections clients have. Its methods are safe for concurrent use.
type limiter struct {
	most       int64
	perAddress int // 0: no bound
	logger     *slog.Logger
	health     *health.Registry

	open                   atomic.Int64
	overall, crowd, broken refusals
	sessions               refusals // of UDP
	abusive                refusals // those that were ended for what their clients did by HTTP/2

	mu        sync.Mutex // held for a moment
	byAddress map[netip.Addr]int
}

// refusals are the connections that were refused for one reason.
type refusals struct {
	n    atomic.Uint64
	last atomic.Int64 // when, in nanoseconds of the Unix epoch
	told atomic.Bool  // a warning stands
}

func newLimiter(cfg *Config) *limiter {
	return &limiter{
		most: int64(cfg.MaxConnections), perAddress: max(cfg.MaxConnectionsPerAddress, 0), logger: cfg.Logger, health: cfg.Health,
		byAddress: make(map[netip.Addr]int),
	}
}

// ticket is a connection's place among those that are open. Its zero value is no place.
type ticket struct {
	limiter *limiter
	address netip.Addr // it is counted under this; zero: under none
}

// enter gives a place to a connection, which giveBack takes back. It reports whether there are no more than may be: who gets none of those places
// has to make room, or to refuse the connection.
func (l *limiter) enter() (t ticket, fits bool) {
	return ticket{limiter: l}, l.open.Add(1) <= l.most
}

// counted counts the connection for its client's address, and reports whether that may have it.
func (t *ticket) counted(a netip.Addr) bool {
	l := t.limiter
	if l.perAddress == 0 || a.IsLoopback() {
		return true
	}
	a = Household(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byAddress[a] >= l.perAddress {
		return false
	}
	l.byAddress[a]++
	t.address = a
	return true
}

// Household is what counts as one client: an IPv4 address, or the IPv6 network that one line usually has.
func Household(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); a.Is4() {
		return a
	}
	network, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return network.Addr()
}

// giveBack ends the connection's place. A second time it does nothing.
func (t *ticket) giveBack() {
	l := t.limiter
	if l == nil {
		return
	}
	t.limiter = nil
	l.open.Add(-1)
	if !t.address.IsValid() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byAddress[t.address]--; l.byAddress[t.address] <= 0 {
		delete(l.byAddress, t.address)
	}
}

// full notes that so many connections were refused, or given up before they had a request, because there are too many.
func (l *limiter) full(n int) {
	l.refused(&l.overall, n, ruche.Warning{
		Code: ruche.CodeConnectionsLimited, Severity: ruche.SeverityWarning, Subject: "all clients",
		Message: fmt.Sprintf("%d connections are open, as many as may be: those whose requests do not arrive are given up, and new ones refused where all are busy", l.most),
		Hint:    "see who has them in the access log; raise --max-connections, and with it the limit of open files (LimitNOFILE, ulimit -n), if the machine can bear more",
	})
}

// crowded notes that a connection was refused because its client has too many.
func (l *limiter) crowded(a netip.Addr) {
	l.refused(&l.crowd, 1, ruche.Warning{
		Code: ruche.CodeConnectionsLimited, Severity: ruche.SeverityWarning, Subject: "one client",
		Message: fmt.Sprintf("new connections of %s are refused: it has %d", Household(a), l.perAddress),
		Hint:    "if it is a proxy in front, name it in --trusted-proxies or --proxy-protocol; else raise --max-connections-per-address, or leave it so",
	})
}

// manySessions notes that a session of UDP was refused because there are most.
func (l *limiter) manySessions(most int64) {
	l.refused(&l.sessions, 1, ruche.Warning{
		Code: ruche.CodeConnectionsLimited, Severity: ruche.SeverityWarning, Subject: "UDP",
		Message: fmt.Sprintf("datagrams of new clients are dropped: there are %d sessions of UDP, half of --max-connections", most),
		Hint:    "see who has them in the access log, whose addresses may be forged; raise --max-connections, or give the sessions of the entry point less time",
	})
}

// refused counts n of them, and has a warning stand until nothing was refused for some time.
func (l *limiter) refused(r *refusals, n int, w ruche.Warning) {
	r.n.Add(uint64(n))
	r.last.Store(time.Now().UnixNano())
	if r.told.Swap(true) {
		return
	}
	l.health.Set(w)
	l.logger.Warn(w.Message, "code", w.Code, "hint", w.Hint)
	time.AfterFunc(limitedFor, func() { l.lookAgain(r, w) })
}

// lookAgain takes a warning back when its time is over.
func (l *limiter) lookAgain(r *refusals, w ruche.Warning) {
	if left := limitedFor - time.Since(time.Unix(0, r.last.Load())); left > 0 {
		time.AfterFunc(left, func() { l.lookAgain(r, w) })
		return
	}
	l.health.Clear(w.Code, w.Subject)
	r.told.Store(false)
}

// Connections tells how many connections clients have, and how many were refused since start.
func (p *Proxy) Connections() ruche.ConnectionCount {
	l := p.limiter
	return ruche.ConnectionCount{
		Open: l.open.Load(), Most: l.most,
		Refused: map[string]uint64{
			"all": l.overall.n.Load(), "address": l.crowd.n.Load(), "udp": l.sessions.n.Load(), "proxy-protocol": l.broken.n.Load(), "http2": l.abusive.n.Load(),
		},
	}
}

// connectionsByFiles is how many connections clients may have by the limit of open files, which the Go runtime has raised to the most that this process
// may set.
func connectionsByFiles() int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur > 1<<31 {
		return 1 << 30
	}
	return max(int(files.Cur)*filesForClients/100, 16)
}

// Whoever drips bytes could hold an endpoint for ever within the bounds of each single wait. So a message that makes us wait has to move on at least so
// fast, on average over the time that was spent on waiting for the client.
const leastRate = 100 // bytes per second

// pace is how fast a client lets a message go on.
type pace struct {
	waited time.Duration
	bytes  int64
}

// tooSlow notes that n bytes took the client so long, and reports whether it is too slow; grace is for how long it may be.
func (p *pace) tooSlow(waited time.Duration, n int, grace time.Duration) bool {
	p.waited += waited
	p.bytes += int64(n)
	return p.waited > grace && float64(p.bytes) < leastRate*p.waited.Seconds()
}
