package proxy

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/ruche-project/ruche/internal/loop"
)

// worker is the ground of clients of HTTP/1.1 and HTTP/2: what one loop has. All of it belongs to that loop.
type worker struct {
	proxy     *Proxy
	loop      *loop.Loop
	buffers   [3][][]byte
	exchanges []*exchange
	h2Streams []*h2Stream
	links     map[*endpointState][]*wire
	clients   clientList // between requests
	heads     clientList // within the head of a request, or a TLS handshake
	streaming clientList // the others of HTTP/2
	pausing   map[*loop.Sleeper]struct{}
	date      []byte // what today returns in this second
	dated     int64
}

func newWorker(p *Proxy, l *loop.Loop) *worker {
	return &worker{proxy: p, loop: l, links: make(map[*endpointState][]*wire), pausing: make(map[*loop.Sleeper]struct{})}
}

// What a loop keeps of unused things. Beyond it the garbage collector gets them.
const (
	keptBuffers   = 64
	keptExchanges = 256
	keptLinks     = 128 // by endpoint
)

func (w *worker) buffer(size int) []byte {
	class := sizeClass(size)
	if class < 0 {
		return make([]byte, size)
	}
	if list := w.buffers[class]; len(list) > 0 {
		b := list[len(list)-1]
		w.buffers[class] = list[:len(list)-1]
		return b
	}
	return make([]byte, classSize(class))
}

func (w *worker) giveBack(b []byte) {
	b = b[:cap(b)]
	if class := sizeClass(len(b)); class >= 0 && len(b) == classSize(class) && len(w.buffers[class]) < keptBuffers {
		w.buffers[class] = append(w.buffers[class], b)
	}
}

func (w *worker) exchange() *exchange {
	if n := len(w.exchanges); n > 0 {
		x := w.exchanges[n-1]
		w.exchanges = w.exchanges[:n-1]
		return x
	}
	return &exchange{proxy: w.proxy, ground: w}
}

func (w *worker) giveExchange(x *exchange) {
	x.forget()
	if len(w.exchanges) < keptExchanges {
		w.exchanges = append(w.exchanges, x)
	}
}

// task is what runs beside an exchange's own fiber or goroutine.
type task struct {
	ended   bool
	sleeper loop.Sleeper
	done    chan struct{}
}

func (w *worker) spawn(t *task, f func()) {
	t.ended = false
	w.loop.Go(func() {
		defer func() {
			t.ended = true
			t.sleeper.Wake()
		}()
		f()
	})
}

func (w *worker) await(t *task) {
	for !t.ended {
		w.loop.Sleep(&t.sleeper, time.Hour)
	}
}

func (w *worker) block(f func(ctx context.Context)) { w.loop.Offload(context.Background(), f) }

func (w *worker) dial(address string, timeout time.Duration, watch func(giveUp func())) (line, error) {
	to, err := w.resolve(address, timeout, watch)
	if err != nil {
		return nil, err
	}
	c, err := w.loop.Connect(to)
	if err != nil {
		return nil, err
	}
	watch(func() { _ = c.Close() })
	if err := c.Connected(min(timeout, w.proxy.cfg.Timeouts.Connect)); err != nil {
		return nil, err
	}
	c.KeepAlive(askAfter)
	return c, nil
}

// resolve returns the address of host:port; it waits where that is a name. watch is told by what the wait can be given up.
func (w *worker) resolve(address string, timeout time.Duration, watch func(giveUp func())) (to netip.AddrPort, err error) {
	if to, err = netip.ParseAddrPort(address); err == nil {
		return to, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	watch(cancel)
	w.loop.Offload(ctx, func(ctx context.Context) {
		to, err = resolve(ctx, address)
	})
	return to, err
}

// resolve looks up the name in host:port and returns its first address.
func resolve(ctx context.Context, address string) (netip.AddrPort, error) {
	if to, err := netip.ParseAddrPort(address); err == nil {
		return to, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(list[0].Unmap(), uint16(number)), nil
}

func (w *worker) idleLink(e *endpointState) *wire {
	list := w.links[e]
	for n := len(list); n > 0; n = len(list) {
		l := list[n-1]
		list[n-1] = nil
		list = list[:n-1]
		w.links[e] = list
		if l.conn.(*loop.Conn).Take() {
			return l
		}
		l.close()
	}
	return nil
}

func (w *worker) keepLink(l *wire) {
	if len(w.links[l.endpoint]) >= keptLinks {
		l.close()
		return
	}
	w.links[l.endpoint] = append(w.links[l.endpoint], l)
	l.conn.(*loop.Conn).Idle(idleLinkTime, l)
}

// forget takes a link that has ended out of the unused ones.
func (w *worker) forget(l *wire) {
	list := w.links[l.endpoint]
	for i := range list {
		if list[i] == l {
			last := len(list) - 1
			list[i], list[last] = list[last], nil
			list = list[:last]
			break
		}
	}
	if w.links[l.endpoint] = list; len(list) == 0 {
		delete(w.links, l.endpoint)
	}
}

func (w *worker) pause(x *exchange, s *snapshot, d time.Duration) {
	var sleeper loop.Sleeper
	w.pausing[&sleeper] = struct{}{}
	defer delete(w.pausing, &sleeper)
	x.watch(nil, sleeper.Wake)
	defer x.unwatch()
	if x.proxy.current.Load() == s && !x.gone.Load() {
		w.loop.Sleep(&sleeper, d)
	}
	if w.loop.Stopping() { // where nobody sleeps, and all connections are closed
		x.gone.Store(true)
	}
}

// replaced wakes those that wait for a newer table.
func (w *worker) replaced() {
	for s := range w.pausing {
		s.Wake()
	}
}

// today is the value of the field Date, which every answer has (RFC 9110 section 6.6.1).
func (w *worker) today() []byte {
	if now := w.loop.Now(); now.Unix() != w.dated {
		w.dated = now.Unix()
		w.date = now.UTC().AppendFormat(w.date[:0], http.TimeFormat)
	}
	return w.date
}
