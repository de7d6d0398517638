package loop

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// keeper answers a request whenever it is ready, and waits again without a fiber.
type keeper struct {
	c     *Conn
	limit time.Duration
	ended chan string
	buf   [64]byte
}

func (k *keeper) Ready() {
	n, err := k.c.Read(k.buf[:])
	if err == nil {
		_, err = k.c.Write(k.buf[:n])
	}
	if err != nil {
		_ = k.c.Close()
		k.ended <- err.Error()
		return
	}
	k.c.Idle(k.limit, k)
}

func (k *keeper) Expired() {
	_ = k.c.Close()
	k.ended <- "expired"
}

func TestIdle(t *testing.T) {
	l := start(t, 1).Loops()[0]
	for _, tt := range []struct {
		name  string
		limit time.Duration
		do    func(peer *net.TCPConn) error
		end   string
	}{
		{"closed by the peer", time.Hour, func(p *net.TCPConn) error { return p.Close() }, "EOF"},
		{"reset by the peer", time.Hour, func(p *net.TCPConn) error { return errors.Join(p.SetLinger(0), p.Close()) }, "recv: connection reset by peer"},
		{"closed after some requests", time.Hour, func(p *net.TCPConn) error {
			for range 100 {
				if err := ask(p, "request"); err != nil {
					return err
				}
			}
			return p.Close()
		}, "EOF"},
		{"closed with the last request", time.Hour, func(p *net.TCPConn) error {
			_, err := io.WriteString(p, "request")
			return errors.Join(err, p.CloseWrite())
		}, "EOF"},
		{"expired", time.Millisecond, func(p *net.TCPConn) error { return nil }, "expired"},
		{"expired at once", 0, func(p *net.TCPConn) error { return nil }, "expired"},
		{"expired after some requests", 20 * time.Millisecond, func(p *net.TCPConn) error {
			return errors.Join(ask(p, "one"), ask(p, "two"))
		}, "expired"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, peer := connect(t, l)
			k := &keeper{c: c, limit: tt.limit, ended: make(chan string, 1)}
			call(t, l, func() { c.Idle(tt.limit, k) })
			if err := tt.do(peer); err != nil {
				t.Error(err)
			}
			if end := <-k.ended; end != tt.end {
				t.Errorf("the end is %q, want %q", end, tt.end)
			}
			call(t, l, func() {
				if l.attached.Load() != 0 || l.busy != 0 || len(l.timers) != 0 {
					t.Errorf("%d connections, %d busy fibers and %d timers are left", l.attached.Load(), l.busy, len(l.timers))
				}
			})
		})
	}
}

// Each case has one turn of the loop to itself: nothing happens but what it says.
func TestIdleEndsOnce(t *testing.T) {
	arrived := func(c *Conn) { c.event(unix.EPOLLIN | unix.EPOLLOUT) }
	for _, tt := range []struct {
		name           string
		sent           string // before Idle
		do             func(c *Conn, i *idler)
		ready, expired int
	}{
		{"taken", "", func(c *Conn, _ *idler) { take(c, true) }, 0, 0},
		{"taken after something came", "x", func(c *Conn, _ *idler) { take(c, false) }, 0, 0},
		{"taken and left again", "", func(c *Conn, i *idler) { take(c, true); c.Idle(time.Hour, i) }, 0, 0},
		{"taken and left again after something came", "x", func(c *Conn, i *idler) { take(c, false); c.Idle(time.Hour, i) }, 1, 0},
		{"taken after something came, read and left again", "x", func(c *Conn, i *idler) {
			take(c, false)
			_, _ = c.Read(make([]byte, 10))
			c.Idle(time.Hour, i) // what the first Idle has put on its way is not meant for this one
		}, 0, 0},
		{"left again, shorter", "", func(c *Conn, i *idler) { take(c, true); c.Idle(0, i) }, 0, 1},
		{"something came before", "x", func(*Conn, *idler) {}, 1, 0},
		{"closed", "", func(c *Conn, _ *idler) { _ = c.Close() }, 0, 0},
		{"closed after something came", "x", func(c *Conn, _ *idler) { _ = c.Close() }, 0, 0},
		{"closed by Expired of another", "", func(c *Conn, _ *idler) { c.loop.After(1, func() { _ = c.Close() }) }, 0, 0},
		{"taken in the turn in which its time is over", "", func(c *Conn, i *idler) {
			take(c, true)
			c.Idle(0, i)
			c.loop.now++
			take(c, true)
		}, 0, 0},
		{"an event that is older than what was read", "", func(c *Conn, _ *idler) { arrived(c) }, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := start(t, 1).Loops()[0]
			c, peer := connect(t, l)
			i := &idler{}
			on(t, l, func() {
				_, _ = io.WriteString(peer, tt.sent)
				if tt.sent != "" {
					if err := c.WaitReadable(); err != nil {
						t.Error(err)
					}
				} else {
					c.readable = true // as far as is known
				}
				l.Post(func() {
					c.Idle(time.Hour, i)
					tt.do(c, i)
				})
				for range 5 {
					l.Sleep(&Sleeper{}, 1)
				}
				if i.ready != tt.ready || i.expired != tt.expired {
					t.Errorf("Ready was called %d times, want %d; Expired %d times, want %d", i.ready, tt.ready, i.expired, tt.expired)
				}
				if want := l.attached.Load(); int64(len(l.timers)) > want {
					t.Errorf("%d timers for %d connections", len(l.timers), want)
				}
			})
		})
	}
}

func take(c *Conn, want bool) {
	if c.Take() != want {
		panic("Take does not say so")
	}
}

// A fiber that was resumed earlier in a turn reads what a later event of the same turn is about.
func TestAnOldEventRousesNobody(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	a, _ := connect(t, l)
	b, peer := connect(t, l)
	i := &idler{}
	call(t, l, func() { a.Idle(time.Hour, &idler{onReady: func() {}}) })
	_, _ = io.WriteString(peer, "x")
	on(t, l, func() {
		buf := make([]byte, 10)
		if n, err := b.Read(buf); n != 1 || err != nil {
			t.Errorf("read %d: %v", n, err)
		}
		b.Idle(time.Hour, i)
		b.event(unix.EPOLLIN | unix.EPOLLOUT) // as the loop would go on
		if i.ready != 0 || b.idler == nil {
			t.Error("it is ready, though there is nothing to read")
		}
		l.yieldTurn()
		_, _ = io.WriteString(peer, "y")
		until(l, func() bool { return i.ready == 1 })
	})
}

func TestQuiet(t *testing.T) {
	l := start(t, 1).Loops()[0]
	for _, tt := range []struct {
		name string
		do   func(c *Conn, peer *net.TCPConn)
		want bool
	}{
		{"nothing came", func(*Conn, *net.TCPConn) {}, true},
		{"nothing came, as a look shows", func(c *Conn, _ *net.TCPConn) { c.readable = true }, true},
		{"something came", func(c *Conn, p *net.TCPConn) { _, _ = io.WriteString(p, "x"); _ = c.WaitReadable() }, false},
		{"the peer has closed", func(c *Conn, p *net.TCPConn) { _ = p.Close(); until(c.loop, c.Gone) }, false},
		{"the peer has closed its side", func(c *Conn, p *net.TCPConn) { _ = p.CloseWrite(); until(c.loop, c.Gone) }, false},
		{"closed", func(c *Conn, _ *net.TCPConn) { _ = c.Close() }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, peer := connect(t, l)
			on(t, l, func() {
				tt.do(c, peer)
				if c.Quiet() != tt.want {
					t.Errorf("Quiet is %v, want %v", !tt.want, tt.want)
				}
				_ = c.Close()
			})
		})
	}
}

func TestWatchGone(t *testing.T) {
	l := start(t, 1).Loops()[0]
	for _, tt := range []struct {
		name string
		do   func(c *Conn, peer *net.TCPConn)
		want int
	}{
		{"the peer closes", func(_ *Conn, p *net.TCPConn) { _ = p.Close() }, 1},
		{"the peer closes its side, then all", func(c *Conn, p *net.TCPConn) {
			_ = p.CloseWrite()
			until(c.loop, c.Gone)
			_ = p.SetLinger(0)
			_ = p.Close()
		}, 1},
		{"the peer closes with data unread", func(_ *Conn, p *net.TCPConn) { _, _ = io.WriteString(p, "x"); _ = p.Close() }, 1},
		{"the peer closes while somebody reads", func(c *Conn, p *net.TCPConn) {
			c.loop.Go(func() { _, _ = c.Read(make([]byte, 1)) })
			_ = p.Close()
		}, 1},
		{"the peer only sends", func(c *Conn, p *net.TCPConn) { _, _ = io.WriteString(p, "x"); _ = c.WaitReadable() }, 0},
		{"the watch has ended", func(c *Conn, p *net.TCPConn) { c.WatchGone(nil); _ = p.Close(); until(c.loop, c.Gone) }, 0},
		{"closed here", func(c *Conn, _ *net.TCPConn) { _ = c.Close() }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, peer := connect(t, l)
			on(t, l, func() {
				told := 0
				c.WatchGone(func() { told++ })
				tt.do(c, peer)
				if tt.want > 0 {
					until(l, func() bool { return told > 0 })
				}
				for range 3 {
					l.Sleep(&Sleeper{}, 1)
				}
				if told != tt.want {
					t.Errorf("told %d times, want %d", told, tt.want)
				}
				_ = c.Close()
			})
		})
	}
}
