package loop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Every test closes its groups: none leaves a loop, a fiber or an Offload behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start makes a group. It is closed at the end; a panic on it fails the test.
func start(t testing.TB, loops int) *Group {
	t.Helper()
	return startWith(t, Config{Loops: loops, Panicked: func(v any, stack []byte) { t.Errorf("panic: %v\n%s", v, stack) }})
}

func startWith(t testing.TB, cfg Config) *Group {
	t.Helper()
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { within(t, "Group.Close", g.Close) })
	return g
}

// within fails the test when f takes longer than anything here should.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		f()
		close(done)
	}()
	await(t, what, done)
}

func await(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		var stacks bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2)
		// Neither the loop nor the rest of the tests could end.
		panic(fmt.Sprintf("%s: %s has not ended\n%s", t.Name(), what, stacks.String()))
	}
}

// spawn runs f on a fiber and returns what is closed at its end.
func spawn(l *Loop, f func()) <-chan struct{} {
	done := make(chan struct{})
	l.Post(func() {
		l.Go(func() {
			defer close(done)
			f()
		})
	})
	return done
}

// on runs f on a fiber and waits for its end.
func on(t testing.TB, l *Loop, f func()) {
	t.Helper()
	await(t, "a fiber", spawn(l, f))
}

// call runs f as a callback and waits for its end.
func call(t testing.TB, l *Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	l.Post(func() {
		defer close(done)
		f()
	})
	await(t, "a callback", done)
}

// until has the loop turn until something is true.
func until(l *Loop, is func() bool) {
	for !is() {
		l.yieldTurn()
	}
}

func listen(t testing.TB) *net.TCPListener {
	t.Helper()
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func addr(ln net.Listener) netip.AddrPort { return ln.Addr().(*net.TCPAddr).AddrPort() }

// connect returns a connection on the loop, and its peer, which belongs to ordinary goroutines.
func connect(t testing.TB, l *Loop) (*Conn, *net.TCPConn) {
	t.Helper()
	ln := listen(t)
	var c *Conn
	var err error
	on(t, l, func() { c, err = l.Dial(addr(ln), time.Minute) })
	if err != nil {
		t.Fatal(err)
	}
	peer, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	_ = peer.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { _ = peer.Close() })
	return c, peer
}

// join returns two ends on one loop.
func join(t testing.TB, g *Group, l *Loop) (*Conn, *Conn) {
	t.Helper()
	ln := listen(t)
	got := make(chan *Conn, 1)
	open, err := g.Serve(ln, Acceptor{Accepted: func(c *Conn) { got <- c }})
	if err != nil {
		t.Fatal(err)
	}
	var a *Conn
	on(t, l, func() { a, err = l.Dial(addr(ln), time.Minute) })
	if err != nil {
		t.Fatal(err)
	}
	b := <-got
	open.Close()
	if b.loop != l {
		t.Fatal("the two ends are on different loops: use a group of one")
	}
	return a, b
}

// turns is how often the loop has called epoll_wait.
func turns(t testing.TB, l *Loop) (n uint64) {
	t.Helper()
	call(t, l, func() { n = l.turn })
	return n
}

// is fails the test, also from a fiber, when an error is another one.
func is(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

// reports collects what Panicked is told.
type reports struct {
	mu   sync.Mutex
	told []string
}

func (r *reports) panicked(v any, stack []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprintf("%v\n%s", v, stack))
}

// want is called when the loop has gone on after what panicked.
func (r *reports) want(t testing.TB, l *Loop, parts ...string) {
	t.Helper()
	call(t, l, func() {})
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.told) != 1 {
		t.Errorf("%d panics were reported, want 1 of %q", len(r.told), parts)
		r.told = nil
		return
	}
	for _, part := range parts {
		if !strings.Contains(r.told[0], part) {
			t.Errorf("the report does not tell of %q:\n%s", part, r.told[0])
		}
	}
	r.told = nil
}

// descriptors is how many files the process has open, without the pipes that package net keeps for splice(2).
func descriptors(t testing.TB) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if link, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(link, "pipe:") {
			n++
		}
	}
	return n
}

// echo answers until the peer closes.
func echo(c *Conn) {
	defer func() { _ = c.Close() }()
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

// ask writes and reads the echo.
func ask(c net.Conn, what string) error {
	if _, err := io.WriteString(c, what); err != nil {
		return err
	}
	buf := make([]byte, len(what))
	if _, err := io.ReadFull(c, buf); err != nil {
		return err
	}
	if string(buf) != what {
		return fmt.Errorf("the echo of %q is %q", what, buf)
	}
	return nil
}

func TestPostWakesALoopThatSleeps(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	for range 2000 { // each time it may be anywhere between looking at what was posted and epoll_wait
		call(t, l, func() {})
	}
	const goroutines, each = 8, 500
	done, n := make(chan struct{}), 0
	for range goroutines {
		go func() {
			for range each {
				l.Post(func() {
					if n++; n == goroutines*each {
						close(done)
					}
				})
			}
		}()
	}
	await(t, "what was posted", done)
}

func TestPostKeepsNothing(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	call(t, l, func() {
		for range 4 * maxSpare {
			l.Post(func() {})
		}
	})
	call(t, l, func() {})
	on(t, l, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if kept := cap(l.posted) + cap(l.spare); kept > 2*maxSpare {
			t.Errorf("lists for %d functions are kept after a burst, want at most %d", kept, 2*maxSpare)
		}
		for _, f := range l.spare[:cap(l.spare)] {
			if f != nil {
				t.Error("a function that was called is kept")
				break
			}
		}
	})
}

// An event that epoll has told already when its connection is closed is not the next owner's.
func TestAnOldEventReachesNobody(t *testing.T) {
	l := start(t, 1).Loops()[0]
	a, peerA := connect(t, l)
	b, peerB := connect(t, l)
	c, _ := connect(t, l)
	ended := spawn(l, func() {
		_, _ = a.Read(make([]byte, 1))
		slot := b.slot
		l.forget(c.fd, c.slot)
		_ = b.Close()
		if err := l.adopt(c.fd, c); err != nil {
			t.Error(err)
		}
		if c.slot != slot {
			t.Errorf("slot %d, want %d", c.slot, slot)
		}
	})
	call(t, l, func() {})
	call(t, l, func() { // both events come with the same epoll_wait
		_, _ = peerA.Write([]byte("x"))
		_ = peerB.Close()
	})
	await(t, "the fiber", ended)
	call(t, l, func() {
		if c.gone || c.readable {
			t.Error("the connection was told of another's end")
		}
	})
}

func TestSlotsAreUsedAgain(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	c, _ := connect(t, l)
	var first, second int32
	call(t, l, func() { first = c.slot; _ = c.Close() })
	d, _ := connect(t, l)
	call(t, l, func() {
		second = d.slot
		if first != second {
			t.Errorf("slot %d, want %d again", second, first)
		}
		l.slots[second].generation = 1<<31 - 1 // the next is the smallest number there is
		_ = d.Close()
	})
	e, peer := connect(t, l)
	ended := spawn(l, func() { echo(e) })
	if err := ask(peer, "after the overflow"); err != nil {
		t.Error(err)
	}
	_ = peer.Close()
	await(t, "the echo", ended)
}
