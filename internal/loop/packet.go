package loop

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PacketConn is a UDP socket on a loop. Nobody waits for it: what comes is given to its PacketReceiver, and what cannot be sent at once is lost, as it
// may be on any network.
type PacketConn struct {
	loop     *Loop
	fd       int
	slot     int32 // -1: epoll does not watch it
	receiver PacketReceiver
	shared   bool // the socket is open under another descriptor
	sixth    bool // it is a socket of IPv6, which may speak IPv4 too
	named    bool // it has one address, or one peer
	closed   bool
	limit    int64 // see SetIdle
	last     int64 // when something was sent or came
	timer    timer
}

// PacketReceiver is told what becomes of a PacketConn. Both methods are callbacks: they must not wait.
type PacketReceiver interface {
	// Received is called with a datagram, which is the caller's after the call. From a socket that is connected the peer is the zero Peer.
	Received(b []byte, from Peer)
	// Failed is called with what the system tells about earlier datagrams (ECONNREFUSED where nobody listens), with os.ErrDeadlineExceeded when nothing
	// was said for as long as SetIdle allows, and with net.ErrClosed when the group is closed. The socket stays open but in the last case.
	Failed(err error)
}

// Peer is who a datagram came from. It can be compared.
type Peer struct {
	Remote netip.AddrPort // without a zone
	// Local is the address that it was sent to; not valid where the socket has that one only.
	Local netip.Addr
	// Scope is the index of the interface behind which the remote address is, if that is one of a link.
	Scope uint32
}

// maxPackets is how many datagrams of a socket a loop takes in one turn.
const maxPackets = 64

// packetRoom is where a loop receives datagrams.
type packetRoom struct {
	name    unix.RawSockaddrAny
	vector  unix.Iovec
	header  unix.Msghdr
	control [64]byte
	bytes   [64 << 10]byte // more than a datagram can have
}

// ReceivePackets takes what comes to a UDP socket, which stays the caller's.
func (l *Loop) ReceivePackets(c *net.UDPConn, r PacketReceiver) (*PacketConn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot use the socket: %w", err)
	}
	p := &PacketConn{loop: l, fd: -1, slot: -1, receiver: r, shared: true}
	p.timer.owner = p
	var dupErr error
	if err = raw.Control(func(fd uintptr) { p.fd, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err == nil {
		err = os.NewSyscallError("fcntl", dupErr)
	}
	if err == nil {
		err = p.tellAddresses()
	}
	if err == nil {
		err = p.watch()
	}
	if err != nil {
		if p.fd >= 0 {
			_ = unix.Close(p.fd)
		}
		return nil, fmt.Errorf("cannot receive from the socket: %w", err)
	}
	return p, nil
}

// tellAddresses has the system tell which address each datagram was sent to, where the socket has all of them: the answer has to come from it.
func (p *PacketConn) tellAddresses() error {
	local := localAddr(p.fd)
	family, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	p.sixth = family == unix.AF_INET6
	switch p.named = !local.Addr().IsUnspecified(); {
	case p.named:
		return nil
	case p.sixth:
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(p.fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1))
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(p.fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
}

// ConnectPackets makes a UDP socket that speaks to one peer. It does not wait.
func (l *Loop) ConnectPackets(to netip.AddrPort, r PacketReceiver) (*PacketConn, error) {
	if l.stopping {
		return nil, net.ErrClosed
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	family, sa, err := sockaddr(to)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	p := &PacketConn{loop: l, fd: fd, slot: -1, receiver: r, named: true}
	p.timer.owner = p
	if err = unix.Connect(fd, sa); err != nil {
		err = os.NewSyscallError("connect", err)
	} else if localAddr(fd) == to {
		err = os.NewSyscallError("connect", unix.ECONNREFUSED) // nobody listens there, and the socket was given this very port
	} else {
		err = p.watch()
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return p, nil
}

func (p *PacketConn) watch() error {
	if p.loop.stopping {
		return net.ErrClosed
	}
	slot, err := p.loop.add(p.fd, p, unix.EPOLLIN)
	if err != nil {
		return err
	}
	p.slot = slot
	return nil
}

// SetIdle bounds the time in which nothing is sent or comes; 0 means no bound.
func (p *PacketConn) SetIdle(d time.Duration) {
	p.limit, p.last = int64(d), p.loop.now
	when := int64(0)
	if d > 0 {
		when = p.loop.in(d)
	}
	p.loop.timers.set(&p.timer, when)
}

func (p *PacketConn) expired(now int64) {
	switch until := p.last + p.limit; {
	case p.closed:
	case now < until:
		p.loop.timers.set(&p.timer, until)
	default:
		p.loop.guard(func() { p.receiver.Failed(os.ErrDeadlineExceeded) })
	}
}

func (p *PacketConn) event(uint32) { p.loop.guard(p.receive) }

// receive gives the receiver what is there; epoll tells again of what is left.
func (p *PacketConn) receive() {
	room := p.loop.packetRoom()
	for range maxPackets {
		if p.closed || p.slot < 0 {
			return
		}
		n, err := p.recv(room)
		switch err {
		case 0:
			p.last = p.loop.now
			p.receiver.Received(room.bytes[:n], p.peer(room))
		case unix.EAGAIN:
			return
		case unix.EINTR:
		default:
			p.receiver.Failed(os.NewSyscallError("recvmsg", err))
		}
	}
}

// packetRoom is what the loop receives into; a receiver is done with it before the next datagram.
func (l *Loop) packetRoom() *packetRoom {
	if l.packets == nil {
		room := &packetRoom{}
		room.vector.Base = &room.bytes[0]
		room.vector.SetLen(len(room.bytes))
		room.header.Name = (*byte)(unsafe.Pointer(&room.name))
		room.header.Iov, room.header.Control = &room.vector, &room.control[0]
		room.header.SetIovlen(1)
		l.packets = room
	}
	return l.packets
}

func (p *PacketConn) recv(room *packetRoom) (int, syscall.Errno) {
	room.header.Namelen = uint32(unsafe.Sizeof(room.name))
	room.header.SetControllen(len(room.control))
	n, _, err := syscall.RawSyscall(unix.SYS_RECVMSG, uintptr(p.fd), uintptr(unsafe.Pointer(&room.header)), unix.MSG_DONTWAIT)
	return int(n), err
}

// peer is who sent what was just received.
func (p *PacketConn) peer(room *packetRoom) (from Peer) {
	if !p.shared {
		return Peer{}
	}
	from.Remote = addrPort(&room.name)
	if room.name.Addr.Family == unix.AF_INET6 {
		from.Scope = (*unix.RawSockaddrInet6)(unsafe.Pointer(&room.name)).Scope_id
	}
	if p.named || room.header.Controllen < unix.SizeofCmsghdr {
		return from
	}
	// Nothing but this was asked for.
	head := (*unix.Cmsghdr)(unsafe.Pointer(&room.control[0]))
	data := unsafe.Pointer(&room.control[unix.CmsgLen(0)])
	switch {
	case head.Level == unix.IPPROTO_IPV6 && head.Type == unix.IPV6_PKTINFO:
		from.Local = netip.AddrFrom16((*unix.Inet6Pktinfo)(data).Addr).Unmap()
	case head.Level == unix.IPPROTO_IP && head.Type == unix.IP_PKTINFO:
		from.Local = netip.AddrFrom4((*unix.Inet4Pktinfo)(data).Spec_dst)
	}
	if from.Local.IsMulticast() {
		from.Local = netip.Addr{}
	}
	return from
}

// Send sends a datagram to the peer of ConnectPackets. The error is what the system tells about an earlier one, as for Failed: then this one was not sent. A
// datagram that is lost gives no error.
func (p *PacketConn) Send(b []byte) error {
	if p.closed {
		return net.ErrClosed
	}
	p.last = p.loop.now
	_, _, err := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(p.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	switch err {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN:
		return os.NewSyscallError("send", err)
	}
	return nil
}

// Answer sends a datagram to who one came from, from the address that this was sent to. What cannot be sent is lost.
func (p *PacketConn) Answer(b []byte, to Peer) {
	if p.closed {
		return
	}
	var name unix.RawSockaddrAny
	var control [64]byte
	vector := unix.Iovec{Base: unsafe.SliceData(b)}
	vector.SetLen(len(b))
	header := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&name)), Iov: &vector}
	header.SetIovlen(1)
	if p.sixth {
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(&name))
		*in = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: swap16(to.Remote.Port()), Addr: to.Remote.Addr().As16(), Scope_id: to.Scope}
		header.Namelen = unix.SizeofSockaddrInet6
	} else {
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(&name))
		*in = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swap16(to.Remote.Port()), Addr: to.Remote.Addr().As4()}
		header.Namelen = unix.SizeofSockaddrInet4
	}
	if to.Local.IsValid() {
		header.Control = &control[0]
		header.SetControllen(p.fromAddress(&control, to))
	}
	_, _, _ = syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(p.fd), uintptr(unsafe.Pointer(&header)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// fromAddress says by which address a datagram is to be sent, and returns how long that is.
func (p *PacketConn) fromAddress(control *[64]byte, to Peer) int {
	head := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	data := unsafe.Pointer(&control[unix.CmsgLen(0)])
	if p.sixth {
		head.Level, head.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		head.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
		*(*unix.Inet6Pktinfo)(data) = unix.Inet6Pktinfo{Addr: to.Local.As16(), Ifindex: to.Scope}
		return unix.CmsgSpace(unix.SizeofInet6Pktinfo)
	}
	head.Level, head.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
	head.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	*(*unix.Inet4Pktinfo)(data) = unix.Inet4Pktinfo{Spec_dst: to.Local.As4()}
	return unix.CmsgSpace(unix.SizeofInet4Pktinfo)
}

// Ignore receives nothing any more. What comes is left for others who have the socket; answers can still be sent.
func (p *PacketConn) Ignore() {
	if p.slot < 0 {
		return
	}
	if p.shared { // epoll would tell of it as long as it is open anywhere
		p.loop.forget(p.fd, p.slot)
	} else {
		p.loop.drop(p.slot)
	}
	p.slot = -1
}

// Close closes the socket; one that was given to ReceivePackets is open still. The receiver is told nothing. A second time it does nothing.
func (p *PacketConn) Close() {
	if p.closed {
		return
	}
	p.Ignore()
	p.closed = true
	p.loop.timers.set(&p.timer, 0)
	_ = unix.Close(p.fd)
}

// stop closes the socket because the loop stops.
func (p *PacketConn) stop() {
	p.Close()
	p.loop.guard(func() { p.receiver.Failed(net.ErrClosed) })
}
