package proxy

import (
	"context"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ruche-project/ruche/internal/loop"
)

// yard is the ground of clients whose protocol comes from a library with goroutines of its own (HTTP/3).
type yard struct {
	proxy     *Proxy
	buffers   [3]sync.Pool
	exchanges sync.Pool

	mu     sync.Mutex
	links  map[*endpointState][]*wire
	closed bool
}

func newYard(p *Proxy) *yard { return &yard{proxy: p, links: make(map[*endpointState][]*wire)} }

func (y *yard) buffer(size int) []byte {
	class := sizeClass(size)
	if class < 0 {
		return make([]byte, size)
	}
	if b, ok := y.buffers[class].Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, classSize(class))
}

func (y *yard) giveBack(b []byte) {
	b = b[:cap(b)]
	if class := sizeClass(len(b)); class >= 0 && len(b) == classSize(class) {
		y.buffers[class].Put(&b)
	}
}

func (y *yard) exchange() *exchange {
	if x, ok := y.exchanges.Get().(*exchange); ok {
		return x
	}
	return &exchange{proxy: y.proxy, ground: y}
}

func (y *yard) giveExchange(x *exchange) {
	x.forget()
	y.exchanges.Put(x)
}

func (y *yard) spawn(t *task, f func()) {
	t.done = make(chan struct{})
	go func() {
		defer close(t.done)
		defer func() {
			if v := recover(); v != nil { // as on a loop
				y.proxy.panicked(v, debug.Stack())
			}
		}()
		f()
	}()
}

func (y *yard) await(t *task) { <-t.done }

func (y *yard) block(f func(ctx context.Context)) { f(context.Background()) }

func (y *yard) dial(address string, timeout time.Duration, watch func(giveUp func())) (line, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	watch(cancel)
	c, err := dialWithin(ctx, address, y.proxy.cfg.Timeouts.Connect)
	if err != nil {
		return nil, err
	}
	return &patient{Conn: c}, nil
}

func (y *yard) idleLink(e *endpointState) *wire {
	y.mu.Lock()
	defer y.mu.Unlock()
	list := y.links[e]
	for n := len(list); n > 0; n = len(list) {
		l := list[n-1]
		list[n-1] = nil
		list = list[:n-1]
		y.links[e] = list
		if l.expiry.Stop() && l.conn.Quiet() {
			return l
		}
		l.close()
	}
	return nil
}

func (y *yard) keepLink(l *wire) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.closed || len(y.links[l.endpoint]) >= keptLinks {
		l.close()
		return
	}
	y.links[l.endpoint] = append(y.links[l.endpoint], l)
	l.expiry = time.AfterFunc(idleLinkTime, func() { y.expire(l) })
}

func (y *yard) expire(l *wire) {
	y.mu.Lock()
	defer y.mu.Unlock()
	list := y.links[l.endpoint]
	for i := range list {
		if list[i] == l {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if y.links[l.endpoint] = list; len(list) == 0 {
		delete(y.links, l.endpoint)
	}
	l.close()
}

// close closes the unused connections; those that are used are closed when they are given back.
func (y *yard) close() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.closed = true
	for _, list := range y.links {
		for _, l := range list {
			l.expiry.Stop()
			l.close()
		}
	}
	clear(y.links)
}

func (y *yard) pause(x *exchange, s *snapshot, d time.Duration) {
	gone := make(chan struct{})
	x.watch(nil, sync.OnceFunc(func() { close(gone) }))
	defer x.unwatch()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.replaced:
	case <-timer.C:
	case <-gone:
	}
}

// patient is a connection of the Go runtime with a bound for each single wait.
type patient struct {
	net.Conn
	read, write clock
}

func (c *patient) SetTimeouts(read, write time.Duration) {
	c.SetReadTimeout(read)
	c.write.timeout = write
	c.write.reset(c.Conn.SetWriteDeadline)
}

func (c *patient) SetReadTimeout(d time.Duration) {
	c.read.timeout = d
	c.read.reset(c.Conn.SetReadDeadline)
}

func (c *patient) Read(p []byte) (int, error) {
	c.read.wind(c.Conn.SetReadDeadline)
	return c.Conn.Read(p)
}

func (c *patient) Write(p []byte) (int, error) {
	c.write.wind(c.Conn.SetWriteDeadline)
	return c.Conn.Write(p)
}

// WaitReadable does not wait: the runtime cannot tell without a Read.
func (c *patient) WaitReadable() error { return nil }

// Quiet looks whether the peer has closed, or has said something that nobody asked for.
func (c *patient) Quiet() bool {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return true
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, rerr := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = rerr == unix.EAGAIN
		return true
	})
	return err == nil && quiet
}

// Lifeless implements line.
func (c *patient) Lifeless() bool { return lifeless(c.Conn) }

// lifeless is loop.Lifeless for a connection of the Go runtime.
func lifeless(c net.Conn) bool {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	dead := false
	err = raw.Control(func(fd uintptr) { dead = loop.Lifeless(int(fd)) })
	return err == nil && dead
}

// dialWithin connects to host:port on a goroutine. The name is looked up for as long as ctx allows, the endpoint's system has the time given.
func dialWithin(ctx context.Context, address string, within time.Duration) (net.Conn, error) {
	to, err := resolve(ctx, address)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: within, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: askAfter, Interval: time.Second}}
	return d.DialContext(ctx, "tcp", to.String())
}

// CloseWrite ends the direction to the peer.
func (c *patient) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// clock extends a deadline when something is about to happen, but not at every byte: when a quarter of the
// time has passed. What is bounded by timeout therefore ends after three quarters of it at the earliest.
type clock struct {
	timeout time.Duration
	last    time.Time
}

func (c *clock) wind(set func(time.Time) error) {
	if c.timeout == 0 {
		return
	}
	if now := time.Now(); now.Sub(c.last) > c.timeout/4 {
		c.last = now
		_ = set(now.Add(c.timeout))
	}
}

// reset begins anew, after another timeout was set.
func (c *clock) reset(set func(time.Time) error) {
	if c.timeout == 0 && !c.last.IsZero() {
		_ = set(time.Time{})
	}
	c.last = time.Time{}
}

type (
	// counter is an atomic count of bytes.
	counter struct{ atomic.Int64 }
	// flag is an atomic truth value.
	flag struct{ atomic.Bool }
)
