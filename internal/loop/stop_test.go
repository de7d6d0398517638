package loop

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// full is the address of a listener that answers no more connects.
func full(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	to := localAddr(fd)
	for { // until a handshake does not end
		c, err := net.DialTimeout("tcp", to.String(), 200*time.Millisecond)
		if err != nil {
			return to
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

// idler counts what it is told.
type idler struct {
	ready, expired int
	onReady        func()
}

func (i *idler) Ready() {
	i.ready++
	if i.onReady != nil {
		i.onReady()
	}
}

func (i *idler) Expired() { i.expired++ }

func TestGroupCloseEndsEveryWait(t *testing.T) {
	to := full(t)
	for _, tt := range []struct {
		name string
		wait func(t *testing.T, l *Loop, c *Conn, waiting func())
	}{
		{"Read", func(t *testing.T, _ *Loop, c *Conn, waiting func()) {
			waiting()
			_, err := c.Read(make([]byte, 1))
			is(t, "Read", err, net.ErrClosed)
			_, err = c.Read(make([]byte, 1))
			is(t, "Read again", err, net.ErrClosed)
		}},
		{"Read with a bound", func(t *testing.T, _ *Loop, c *Conn, waiting func()) {
			waiting()
			c.SetTimeouts(time.Hour, time.Hour)
			_, err := c.Read(make([]byte, 1))
			is(t, "Read", err, net.ErrClosed)
		}},
		{"WaitReadable", func(t *testing.T, _ *Loop, c *Conn, waiting func()) {
			waiting()
			is(t, "WaitReadable", c.WaitReadable(), net.ErrClosed)
		}},
		{"Write", func(t *testing.T, l *Loop, c *Conn, waiting func()) {
			l.Go(func() { until(l, func() bool { return c.writer != nil }); waiting() })
			_, err := c.Write(make([]byte, 64<<20))
			is(t, "Write", err, net.ErrClosed)
		}},
		{"Dial", func(t *testing.T, l *Loop, _ *Conn, waiting func()) {
			waiting()
			_, err := l.Dial(to, time.Hour)
			is(t, "Dial", err, net.ErrClosed)
			_, err = l.Dial(to, time.Hour)
			is(t, "Dial again", err, net.ErrClosed)
		}},
		{"Dial again and again", func(_ *testing.T, l *Loop, _ *Conn, waiting func()) {
			waiting()
			for !l.Stopping() {
				_, _ = l.Dial(to, time.Millisecond)
			}
		}},
		{"Sleep", func(t *testing.T, l *Loop, _ *Conn, waiting func()) {
			waiting()
			if !l.Sleep(&Sleeper{}, time.Hour) {
				t.Error("Sleep says that somebody woke it")
			}
		}},
		{"Sleep for ever", func(t *testing.T, l *Loop, _ *Conn, waiting func()) {
			waiting()
			if !l.Sleep(&Sleeper{}, 1<<63-1) {
				t.Error("Sleep says that somebody woke it")
			}
		}},
		{"Sleep, some times more", func(_ *testing.T, l *Loop, _ *Conn, waiting func()) {
			waiting()
			for range 100 {
				l.Sleep(&Sleeper{}, time.Hour)
			}
		}},
		{"one that sleeps wakes another", func(t *testing.T, l *Loop, _ *Conn, waiting func()) {
			var other Sleeper
			ends := 0
			l.Go(func() { l.Sleep(&other, time.Hour); ends++ })
			waiting()
			l.Sleep(&Sleeper{}, time.Minute)
			other.Wake()
			l.Sleep(&Sleeper{}, time.Hour)
			if ends != 1 {
				t.Errorf("the other has ended %d times", ends)
			}
		}},
		{"an alarm that is always set again", func(_ *testing.T, l *Loop, _ *Conn, waiting func()) {
			var tick func()
			tick = func() { l.After(time.Nanosecond, tick) }
			tick()
			l.After(time.Hour, func() { panic("the alarm's time had not come") })
			waiting()
		}},
		{"Offload", func(_ *testing.T, l *Loop, _ *Conn, waiting func()) {
			l.Offload(context.Background(), func(ctx context.Context) {
				waiting()
				<-ctx.Done()
			})
		}},
		{"Idle", func(t *testing.T, _ *Loop, c *Conn, waiting func()) {
			i := &idler{}
			c.Idle(time.Hour, i)
			t.Cleanup(func() {
				if i.ready != 0 || i.expired != 1 {
					t.Errorf("Ready was called %d times, Expired %d times", i.ready, i.expired)
				}
			})
			waiting()
		}},
		{"Idle with something to read", func(t *testing.T, l *Loop, c *Conn, waiting func()) {
			i := &idler{}
			c.readable, c.gone = true, true
			c.Idle(time.Hour, i)
			l.stopping = true // in the turn in which Ready was to be called
			t.Cleanup(func() {
				if i.ready+i.expired != 1 {
					t.Errorf("Ready was called %d times, Expired %d times", i.ready, i.expired)
				}
			})
			waiting()
		}},
		{"Idle after the close", func(t *testing.T, l *Loop, c *Conn, waiting func()) {
			waiting()
			l.Sleep(&Sleeper{}, time.Hour)
			c.Idle(time.Hour, &idler{onReady: func() {
				_, err := c.Read(make([]byte, 1))
				is(t, "Read", err, net.ErrClosed)
			}})
		}},
		{"a new fiber for each that ends", func(_ *testing.T, l *Loop, _ *Conn, waiting func()) {
			n := 0
			var next func()
			next = func() {
				if n++; n < 1000 {
					l.Go(next)
				}
			}
			waiting()
			l.Sleep(&Sleeper{}, time.Hour)
			next()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, 2)
			l := g.Loops()[1]
			c, peer := connect(t, l)
			waits := make(chan struct{})
			spawn(l, func() { tt.wait(t, l, c, func() { close(waits) }) })
			await(t, "the way to the wait", waits)
			within(t, "Group.Close", g.Close)
			if _, err := io.Copy(io.Discard, peer); err != nil {
				t.Errorf("the peer was not told that the connection is closed: %v", err)
			}
			if n := l.attached.Load(); n != 0 {
				t.Errorf("%d connections are left", n)
			}
		})
	}
}

func TestAfterGroupClose(t *testing.T) {
	before := descriptors(t)
	g := start(t, 2)
	ln := listen(t)
	open, err := g.Serve(ln, Acceptor{Accepted: echo})
	if err != nil {
		t.Fatal(err)
	}
	within(t, "Group.Close", g.Close)
	within(t, "Group.Close again", g.Close)
	within(t, "Open.Close", open.Close)
	if _, err := g.Serve(ln, Acceptor{Accepted: echo}); err == nil {
		t.Error("Serve found no fault")
	} else {
		is(t, "Serve", err, net.ErrClosed)
	}
	for _, l := range g.Loops() {
		l.Post(func() { t.Error("what was posted too late was called") })
	}
	if after := descriptors(t); after != before+1 { // ln
		t.Errorf("%d descriptors are left open", after-before-1)
	}
}

// What is posted while the group closes is either called or not, but never blocks, and never meets a descriptor that is somebody else's.
func TestPostWhileTheGroupCloses(t *testing.T) {
	for range 50 {
		g := start(t, 2)
		posted := make(chan struct{})
		accepted, called := 0, make([]int, 2)
		go func() {
			defer close(posted)
			for range 2000 {
				for i, l := range g.Loops() {
					if l.post(func() { l.Go(func() { called[i]++ }) }) {
						accepted++
					}
				}
			}
		}()
		g.Close()
		await(t, "the posts", posted)
		if n := called[0] + called[1]; n != accepted {
			t.Fatalf("%d of %d functions were called", n, accepted)
		}
	}
}

func TestServeWhileTheGroupCloses(t *testing.T) {
	ln := listen(t)
	before := descriptors(t)
	for range 50 {
		g := start(t, 2)
		served := make(chan struct{})
		go func() {
			defer close(served)
			for range 5 {
				if open, err := g.Serve(ln, Acceptor{Accepted: echo}); err == nil {
					open.Close()
				}
			}
		}()
		g.Close()
		await(t, "Serve", served)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are left open", after-before)
	}
}

// A connection that comes from another loop when this one has closed all it had is closed too.
func TestAConnectionThatComesTooLate(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	open := serve(t, g, listen(t), Acceptor{Accepted: func(*Conn) { t.Error("it was taken") }})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fds[1]) }()
	ended := spawn(l, func() {
		l.Sleep(&Sleeper{}, time.Hour)
		open.listeners[0].take(fds[0], netip.AddrPort{})
	})
	call(t, l, func() {})
	within(t, "Group.Close", g.Close)
	await(t, "the fiber", ended)
	if n, err := unix.Read(fds[1], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the connection is open: %v", err)
	}
	if open.Connected() != 0 || l.attached.Load() != 0 {
		t.Errorf("%d connected, %d attached", open.Connected(), l.attached.Load())
	}
}
