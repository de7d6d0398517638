package daemon

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
	"github.com/ruche-project/ruche/internal/proxy"
)

const (
	// acmeConnections is how many connections of ACME clients are open at most; one client, as proxy.Household has it, has half of them at most. Others are closed at once.
	acmeConnections = 1000
	// acmeIdle is after how long without a request a connection ends.
	acmeIdle = 30 * time.Second
	// acmeLimited is how long the warning about refused connections stands after the last one.
	acmeLimited = time.Minute
)

// acmeClients is a listener that keeps one machine from taking all connections that there may be. It is safe for concurrent use.
type acmeClients struct {
	net.Listener
	most   int
	health *health.Registry
	logger *slog.Logger

	mu    sync.Mutex
	open  int
	by    map[netip.Addr]int
	clear *time.Timer // takes the warning back; nil while none stands
}

// Accept gives the next connection that has room; those that have none it closes.
func (l *acmeClients) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client := clientOf(conn)
		if full := l.enter(client); full != "" {
			_ = conn.Close() // there is nobody to tell
			l.warn(full)
			continue
		}
		return &acmeClient{Conn: conn, leave: sync.OnceFunc(func() { l.leave(client) })}, nil
	}
}

// clientOf is what a connection is counted under.
func clientOf(conn net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return proxy.Household(at.Addr())
}

// enter counts a connection of a client, or says why there is no room for it.
func (l *acmeClients) enter(client netip.Addr) (full string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.open >= l.most:
		return fmt.Sprintf("new connections of ACME clients are refused: %d are open, as many as may be", l.open)
	case l.by[client] >= l.most/2:
		return fmt.Sprintf("new connections of the ACME client %s are refused: it has %d, half of all that there may be", client, l.by[client])
	}
	l.open++
	l.by[client]++
	return ""
}

func (l *acmeClients) leave(client netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.by[client]--; l.by[client] == 0 {
		delete(l.by, client)
	}
}

// warn has a warning stand until no connection was refused for some time.
func (l *acmeClients) warn(message string) {
	w := ruche.Warning{
		Code: ruche.CodeConnectionsLimited, Severity: ruche.SeverityWarning, Subject: "ACME clients", Message: message,
		Hint: "see who has them (ss -tn, at the port of --ca-addr), and mend what opens so many, or keep it out by the firewall",
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.health.Set(w) {
		l.logger.Warn(w.Message, "code", w.Code, "hint", w.Hint)
	}
	if l.clear != nil {
		l.clear.Reset(acmeLimited)
		return
	}
	l.clear = time.AfterFunc(acmeLimited, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.clear = nil
		l.health.Clear(w.Code, w.Subject)
	})
}

// acmeClient is a connection that is counted until it is closed.
type acmeClient struct {
	net.Conn
	leave func()
}

func (c *acmeClient) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
