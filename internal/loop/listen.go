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
	// Accepted is called on a fiber for each new connection.
	Accepted func(c *Conn)
	// Starved is called on a loop when a connection could not be taken because the process has no file descriptor left. The loop tries again
	// after a moment.
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
	slot     int32
	acceptor Acceptor
	done     bool
	timer    timer
}

// Serve takes connections from a listening TCP socket, which stays the caller's; each loop has a duplicate of it. It may be called from any
// goroutine.
func (g *Group) Serve(l *net.TCPListener, a Acceptor) (*Open, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot use the listener: %w", err)
	}
	o := &Open{group: g}
	for _, lp := range g.loops {
		ls := &Listener{loop: lp, open: o, acceptor: a, fd: -1}
		ls.timer.owner = ls
		var dupErr error
		err := raw.Control(func(fd uintptr) {
			ls.fd, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		})
		if err = errors.Join(err, dupErr); err != nil {
			o.Close()
			return nil, fmt.Errorf("cannot duplicate the listener: %w", err)
		}
		o.listeners = append(o.listeners, ls)
	}
	for _, ls := range o.listeners {
		ls.loop.Post(func() { ls.watch() })
	}
	return o, nil
}

// Close stops taking connections; those that were taken go on. It returns when no loop takes any more, and may be called from any
// goroutine that is not a loop's.
func (o *Open) Close() {
	done := make(chan struct{}, len(o.listeners))
	for _, ls := range o.listeners {
		ls.loop.Post(func() {
			ls.close()
			done <- struct{}{}
		})
	}
	for range o.listeners {
		<-done
	}
}

// Connected is how many of its connections are open. It may be called from any goroutine.
func (o *Open) Connected() int64 { return o.connected.Load() }

func (ls *Listener) watch() {
	if ls.done {
		return
	}
	// One connection need not wake every loop.
	slot, err := ls.loop.add(ls.fd, ls, unix.EPOLLIN|unix.EPOLLEXCLUSIVE)
	if err != nil {
		ls.acceptor.Starved(err)
		ls.loop.timers.set(&ls.timer, ls.loop.now+int64(starvedPause))
		return
	}
	ls.slot = slot
}

func (ls *Listener) close() {
	if ls.done {
		return
	}
	ls.done = true
	if ls.timer.when != 0 {
		ls.loop.timers.remove(&ls.timer)
	} else {
		ls.loop.drop(ls.slot)
	}
	_ = unix.Close(ls.fd)
}

const (
	// batch is how many connections a loop takes in one turn.
	batch = 32
	// starvedPause is how long a loop leaves a listener alone when the process has no descriptor left.
	starvedPause = 50 * time.Millisecond
)

func (ls *Listener) event(uint32) {
	for range batch {
		fd, remote, err := accept(ls.fd)
		switch err {
		case 0:
			ls.take(fd, remote)
		case unix.EINTR, unix.ECONNABORTED:
		case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS:
			ls.acceptor.Starved(os.NewSyscallError("accept", err))
			_ = unix.EpollCtl(ls.loop.epoll, unix.EPOLL_CTL_DEL, ls.fd, nil)
			ls.loop.drop(ls.slot)
			ls.loop.timers.set(&ls.timer, ls.loop.now+int64(starvedPause))
			return
		default:
			return
		}
	}
}

// expired is called when the pause is over.
func (ls *Listener) expired(int64) { ls.watch() }

// take gives a connection to this loop, or to the one that has far fewer.
func (ls *Listener) take(fd int, remote netip.AddrPort) {
	ls.open.connected.Add(1)
	target := ls.loop
	own := target.attached.Load()
	for _, l := range ls.open.group.loops {
		if n := l.attached.Load(); n+8 < own-own/8 {
			target, own = l, n
		}
	}
	if target == ls.loop {
		ls.begin(target, fd, remote, true)
		return
	}
	target.Post(func() { ls.begin(target, fd, remote, false) })
}

func (ls *Listener) begin(l *Loop, fd int, remote netip.AddrPort, direct bool) {
	c := &Conn{remote: remote, accepted: ls}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	c.local = localAddr(fd)
	if err := l.adopt(fd, c); err != nil {
		_ = unix.Close(fd)
		ls.open.connected.Add(-1)
		return
	}
	// Most clients speak first, and often what they say has come with the connection.
	c.readable = true
	if direct {
		l.start(func() { ls.acceptor.Accepted(c) })
		return
	}
	l.Go(func() { ls.acceptor.Accepted(c) })
}

func (ls *Listener) closed(*Conn) { ls.open.connected.Add(-1) }

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

func localAddr(fd int) netip.AddrPort {
	var sa unix.RawSockaddrAny
	size := uint32(unsafe.Sizeof(sa))
	if _, _, err := syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size))); err != 0 {
		return netip.AddrPort{}
	}
	return addrPort(&sa)
}

// addrPort is an IPv4 or IPv6 socket address; an IPv4 address in IPv6 form becomes the former.
func addrPort(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), swap16(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), swap16(in.Port))
	}
	return netip.AddrPort{}
}

// swap16 turns a port in network byte order into a number.
func swap16(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}
