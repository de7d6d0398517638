package loop

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Acceptor is told of a listener's connections.
type Acceptor struct {
	// Accepted is called on a fiber for each new connection. When it panics the connection is closed.
	Accepted func(c *Conn)
	// Starved is called on a loop when a connection could not be taken, most likely because the process has no file descriptor left. The loop
	// tries again after a moment. It may be nil, and must not wait.
	Starved func(err error)
}

// Open is a listening socket that all loops of a group take connections from.
type Open struct {
	group     *Group
	listeners []*Listener
	connected atomic.Int64
}

// Listener is a listening socket as one loop sees it.
type Listener struct {
	loop     *Loop
	open     *Open
	fd       int
	slot     int32 // -1: epoll does not watch it
	acceptor Acceptor
	done     bool
	timer    timer
}

// Serve takes connections from a listening TCP socket, which stays the caller's; each loop has a duplicate of it. It may be called from any
// goroutine. When the group is closed it fails with net.ErrClosed.
func (g *Group) Serve(l *net.TCPListener, a Acceptor) (*Open, error) {
	if a.Starved == nil {
		a.Starved = func(error) {}
	}
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot use the listener: %w", err)
	}
	o := &Open{group: g}
	for _, lp := range g.loops {
		ls := &Listener{loop: lp, open: o, acceptor: a, fd: -1, slot: -1}
		ls.timer.owner = ls
		var dupErr error
		err := raw.Control(func(fd uintptr) { ls.fd, dupErr = duplicate(int(fd)) })
		if err = errors.Join(err, dupErr); err != nil {
			for _, made := range o.listeners {
				_ = unix.Close(made.fd)
			}
			return nil, fmt.Errorf("cannot duplicate the listener: %w", err)
		}
		o.listeners = append(o.listeners, ls)
	}
	err = nil
	for _, ls := range o.listeners {
		if !ls.loop.post(ls.watch) {
			_ = unix.Close(ls.fd)
			err = fmt.Errorf("cannot serve: %w", net.ErrClosed)
		}
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// duplicate returns a descriptor for the same listening socket. What is set on it here its connections inherit; that saves them system calls.
func duplicate(fd int) (int, error) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.SetNonblock(fd, true); err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return dup, os.NewSyscallError("fcntl", err)
}

// Close stops taking connections; those that were taken go on. It returns when no loop takes any more, though Accepted may still
// be called for one that was on its way from loop to loop. It may be called from any goroutine that is not a loop's.
func (o *Open) Close() {
	done := make(chan struct{}, len(o.listeners))
	posted := 0
	for _, ls := range o.listeners {
		if ls.loop.post(func() {
			ls.close()
			done <- struct{}{}
		}) {
			posted++
		}
	}
	for range posted {
		<-done
	}
}

// Connected is how many of its connections are open. It may be called from any goroutine.
func (o *Open) Connected() int64 { return o.connected.Load() }

func (ls *Listener) watch() {
	if ls.loop.stopping {
		ls.close()
	}
	if ls.done {
		return
	}
	// One connection need not wake every loop.
	slot, err := ls.loop.add(ls.fd, ls, unix.EPOLLIN|unix.EPOLLEXCLUSIVE)
	if err != nil {
		ls.pause(err)
		return
	}
	ls.slot = slot
}

// pause leaves the listener alone for a moment.
func (ls *Listener) pause(err error) {
	ls.unwatch()
	ls.loop.timers.set(&ls.timer, ls.loop.in(starvedPause))
	ls.starved(err)
}

func (ls *Listener) starved(err error) {
	ls.loop.guard(func() { ls.acceptor.Starved(err) })
}

// unwatch has epoll forget the listener: it is open under other descriptors too, so closing this one would not.
func (ls *Listener) unwatch() {
	if ls.slot >= 0 {
		ls.loop.forget(ls.fd, ls.slot)
		ls.slot = -1
	}
}

func (ls *Listener) close() {
	if ls.done {
		return
	}
	ls.done = true
	ls.loop.timers.set(&ls.timer, 0)
	ls.unwatch()
	_ = unix.Close(ls.fd)
}

const (
	// batch is how many connections a loop takes in one turn.
	batch = 32
	// starvedPause is how long a loop leaves a listener alone that it cannot take connections from.
	starvedPause = 50 * time.Millisecond
)

func (ls *Listener) event(uint32) {
	for range batch {
		fd, remote, err := accept(ls.fd)
		switch err {
		case 0:
			ls.take(fd, remote)
		case unix.EAGAIN:
			return
		case unix.EINTR, unix.ECONNABORTED, unix.EPERM, // this connection's own trouble, see accept(2)
			unix.ENETDOWN, unix.EPROTO, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET, unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH:
		default: // EMFILE, ENFILE, ENOBUFS, ENOMEM
			ls.pause(os.NewSyscallError("accept", err))
			return
		}
	}
}

// expired is called when the pause is over.
func (ls *Listener) expired(int64) { ls.watch() }

// take gives a connection to this loop, or to the one that has clearly fewer: the way there costs some microseconds.
func (ls *Listener) take(fd int, remote netip.AddrPort) {
	ls.open.connected.Add(1)
	target, fewest := ls.loop, ls.loop.attached.Load()
	clearly := fewest - fewest/16 - 4
	for _, l := range ls.open.group.loops {
		if n := l.attached.Load(); n < clearly && n < fewest {
			target, fewest = l, n
		}
	}
	target.attached.Add(1)
	if target == ls.loop {
		if c := ls.begin(target, fd, remote); c != nil {
			target.resume(c.server())
		}
		return
	}
	posted := target.post(func() {
		if c := ls.begin(target, fd, remote); c != nil {
			target.ready = append(target.ready, c.server())
		}
	})
	if !posted {
		ls.refuse(target, fd)
	}
}

// begin makes the connection known to a loop, if that is possible.
func (ls *Listener) begin(l *Loop, fd int, remote netip.AddrPort) *Conn {
	if l.stopping {
		ls.refuse(l, fd)
		return nil
	}
	// Most clients speak first, and often what they say has come with the connection.
	c := &Conn{local: localAddr(fd), remote: remote, accepted: ls, readable: true, writable: true}
	if err := l.adopt(fd, c); err != nil {
		ls.refuse(l, fd)
		ls.starved(err)
		return nil
	}
	return c
}

func (ls *Listener) refuse(l *Loop, fd int) {
	_ = unix.Close(fd)
	l.attached.Add(-1)
	ls.open.connected.Add(-1)
}

func accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	var sa unix.RawSockaddrAny
	size := uint32(unsafe.Sizeof(sa))
	n, _, err := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if err != 0 {
		return -1, netip.AddrPort{}, err
	}
	return int(n), addrPort(&sa), 0
}
