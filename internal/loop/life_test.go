package loop

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Of three peers that say nothing one has died without a goodbye, one does not read what it is sent, and one has nothing to say.
func TestLifeless(t *testing.T) {
	dead, full, quiet := newPeer(t), newPeer(t), newPeer(t)
	control(t, dead.there, func(fd int) error { // it takes no packet any more
		nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
	})
	for _, p := range []*peer{dead, quiet} {
		if _, err := p.here.Write([]byte("a request")); err != nil {
			t.Fatal(err)
		}
	}
	_ = full.here.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	for err := error(nil); !errors.Is(err, os.ErrDeadlineExceeded); {
		_, err = full.here.Write(make([]byte, 64<<10))
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !dead.lifeless(t); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("the dead peer is taken for alive after 30 s")
		}
	}
	if full.lifeless(t) || quiet.lifeless(t) {
		t.Errorf("taken for dead: the one that does not read %v, the one that says nothing %v", full.lifeless(t), quiet.lifeless(t))
	}
}

// peer is a connection by its two ends.
type peer struct{ here, there *net.TCPConn }

func newPeer(t *testing.T) *peer {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // whose sockets have no filters
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	here, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	there, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	return &peer{here.(*net.TCPConn), there.(*net.TCPConn)}
}

func (p *peer) lifeless(t *testing.T) (dead bool) {
	control(t, p.here, func(fd int) error {
		dead = Lifeless(fd)
		return nil
	})
	return dead
}

func control(t *testing.T, c syscall.Conn, f func(fd int) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
}
