package loop

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// serve takes connections with g.
func serve(t testing.TB, g *Group, ln *net.TCPListener, a Acceptor) *Open {
	t.Helper()
	open, err := g.Serve(ln, a)
	if err != nil {
		t.Fatal(err)
	}
	return open
}

func dial(t testing.TB, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestServe(t *testing.T) {
	for _, network := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		t.Run(network, func(t *testing.T) {
			at, err := net.Listen("tcp", network)
			if err != nil {
				t.Skipf("no such address here: %v", err)
			}
			ln := at.(*net.TCPListener)
			t.Cleanup(func() { _ = ln.Close() })
			g := start(t, 2)
			type seen struct {
				local, remote net.Addr
				noDelay       int
			}
			got := make(chan seen, 1)
			open := serve(t, g, ln, Acceptor{Accepted: func(c *Conn) {
				noDelay, _ := unix.GetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY)
				got <- seen{c.LocalAddr(), c.RemoteAddr(), noDelay}
				echo(c)
			}})
			peer := dial(t, addr(ln))
			if err := ask(peer, "hello"); err != nil {
				t.Error(err)
			}
			s := <-got
			// Addresses have no zone and IPv4 addresses the short form, whatever the listener is.
			if s.remote.String() != peer.LocalAddr().String() || s.local.String() != peer.RemoteAddr().String() {
				t.Errorf("from %v to %v, want from %v to %v", s.remote, s.local, peer.LocalAddr(), peer.RemoteAddr())
			}
			if s.noDelay != 1 {
				t.Error("Nagle's algorithm is on")
			}
			if n := open.Connected(); n != 1 {
				t.Errorf("%d connected, want 1", n)
			}
			within(t, "Open.Close", open.Close)
			within(t, "Open.Close again", open.Close)
			if err := ask(peer, "still here"); err != nil {
				t.Errorf("a connection ended with its listener: %v", err)
			}
			_ = peer.Close()
			for _, l := range g.Loops() {
				on(t, l, func() { until(l, func() bool { return open.Connected() == 0 }) })
			}
		})
	}
}

func TestAcceptedThatPanics(t *testing.T) {
	var r reports
	g := startWith(t, Config{Loops: 1, Panicked: r.panicked})
	ln := listen(t)
	open := serve(t, g, ln, Acceptor{Accepted: func(*Conn) { boom() }})
	peer := dial(t, addr(ln))
	if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection was not closed: %v", err)
	}
	r.want(t, g.Loops()[0], "boom")
	if n := open.Connected(); n != 0 {
		t.Errorf("%d connected, want 0", n)
	}
}

// The socket is open under other descriptors too: epoll goes on to tell of it unless it is told not to.
func TestAClosedListenerWakesNobody(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	ln := listen(t)
	serve(t, g, ln, Acceptor{Accepted: func(*Conn) { t.Error("a connection was taken") }}).Close()
	before := turns(t, l)
	for range 10 {
		dial(t, addr(ln))
	}
	if n := turns(t, l) - before; n > 3 {
		t.Errorf("the loop turned %d times for a listener that it has closed", n)
	}
	var others []*net.TCPConn
	for range 10 { // they are the next owner's
		c, err := ln.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, c)
	}
	for _, c := range others {
		_ = c.Close()
	}
}

func TestConnectionsAreSpread(t *testing.T) {
	const loops, many = 3, 96
	g := start(t, loops)
	ln := listen(t)
	open := serve(t, g, ln, Acceptor{Accepted: func(c *Conn) { c.Idle(time.Hour, &idler{}) }})
	for range many {
		dial(t, addr(ln))
	}
	call(t, g.Loops()[0], func() {})
	for open.Connected() < many {
		call(t, g.Loops()[0], func() {})
	}
	for _, l := range g.Loops() {
		var n int64
		on(t, l, func() { n = l.attached.Load() }) // after those that were posted
		if n < many/loops-6 || n > many/loops+6 {
			t.Errorf("loop %d has %d of %d connections", l.Index(), n, many)
		}
	}
}

// setLimit bounds the process's descriptors until the function that it returns is called.
func setLimit(t *testing.T, limit uint64) func() {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			panic(err)
		}
	}
}

// client connects a socket that exists already, and waits for nothing.
func client(t *testing.T, fd int, to netip.AddrPort) {
	t.Helper()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
		t.Error(err)
	}
}

func socket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func TestOutOfDescriptors(t *testing.T) {
	g := start(t, 2)
	ln := listen(t)
	starved, taken := make(chan error, 100), make(chan struct{}, 2)
	open := serve(t, g, ln, Acceptor{
		Accepted: func(c *Conn) { taken <- struct{}{}; _ = c.Close() },
		Starved:  func(err error) { starved <- err },
	})
	first, second := socket(t), socket(t)
	l := g.Loops()[0]
	restore := setLimit(t, 3)
	client(t, first, addr(ln))
	err := <-starved
	before := turns(t, l)
	client(t, second, addr(ln))
	spun := turns(t, l) - before
	var dialErr error
	on(t, l, func() { _, dialErr = l.Dial(addr(ln), time.Second) })
	restore()
	is(t, "Starved", err, syscall.EMFILE)
	is(t, "Dial", dialErr, syscall.EMFILE)
	if spun > 10 {
		t.Errorf("the loop turned %d times for a listener that pauses", spun)
	}
	await2(t, taken)
	within(t, "Open.Close", open.Close)
}

func await2(t *testing.T, c <-chan struct{}) {
	t.Helper()
	within(t, "two connections", func() { <-c; <-c })
}

func TestStopsWhileAListenerPauses(t *testing.T) {
	for _, closes := range []bool{true, false} {
		before := descriptors(t)
		g := start(t, 2)
		ln := listen(t)
		starved := make(chan error, 100)
		open := serve(t, g, ln, Acceptor{Accepted: func(*Conn) {}, Starved: func(err error) { starved <- err }})
		fd := socket(t)
		restore := setLimit(t, 3)
		client(t, fd, addr(ln))
		<-starved
		if closes {
			within(t, "Open.Close", open.Close)
		}
		within(t, "Group.Close", g.Close)
		restore()
		if after := descriptors(t); after != before+2 {
			t.Errorf("%d descriptors are left", after-before-2)
		}
	}
}

// A regular file is a descriptor that epoll refuses.
func TestEpollRefusesAConnection(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	var starved error
	open := serve(t, g, listen(t), Acceptor{Starved: func(err error) { starved = err; boomIf(err == nil) }})
	file, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	call(t, l, func() { open.listeners[0].take(fd, netip.AddrPort{}) })
	is(t, "Starved", starved, syscall.EPERM)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); !errors.Is(err, syscall.EBADF) {
		t.Error("the descriptor is left open")
	}
	if open.Connected() != 0 || l.attached.Load() != 0 {
		t.Errorf("%d connected, %d attached", open.Connected(), l.attached.Load())
	}
	within(t, "Open.Close", open.Close)
	connect(t, l) // its slot is used again
}

// Nor does epoll take a listener that is none: it is left alone for a moment, and the loop is as it was.
func TestEpollRefusesAListener(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	open := serve(t, g, listen(t), Acceptor{})
	file, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var starved error
	bad := &Listener{loop: l, open: open, fd: int(file.Fd()), slot: -1, acceptor: Acceptor{Starved: func(err error) { starved = err }}}
	bad.timer.owner = bad
	call(t, l, bad.watch)
	is(t, "Starved", starved, syscall.EPERM)
	call(t, l, func() {
		if bad.timer.when == 0 {
			t.Error("nobody will try again")
		}
		l.timers.set(&bad.timer, 0)
	})
	connect(t, l) // the loop can still be woken
}

// Loops that have no time to count what they are given are not given all.
func TestABurstIsSpread(t *testing.T) {
	g := start(t, 2)
	open := serve(t, g, listen(t), Acceptor{Accepted: func(c *Conn) { c.Idle(time.Hour, &idler{}) }})
	const many = 64
	call(t, g.Loops()[0], func() {
		for range many {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = unix.Close(fds[1]) })
			open.listeners[0].take(fds[0], netip.AddrPort{})
		}
	})
	for _, l := range g.Loops() {
		if n := l.attached.Load(); n < many/2-6 || n > many/2+6 {
			t.Errorf("loop %d has %d of %d connections", l.Index(), n, many)
		}
	}
}

func boomIf(is bool) {
	if is {
		boom()
	}
}

// Serve that fails half-way closes what was never watched.
func TestServeWithoutDescriptors(t *testing.T) {
	g := start(t, 2)
	ln := listen(t)
	restore := setLimit(t, 3)
	_, err := g.Serve(ln, Acceptor{})
	restore()
	is(t, "Serve", err, syscall.EMFILE)
	for _, l := range g.Loops() {
		connect(t, l) // the loop can still be woken
	}
}
