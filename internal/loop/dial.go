package loop

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Dial connects to a TCP address within the time given; 0 means as long as the system tries. The error says whether the time was over
// (os.ErrDeadlineExceeded), the group is being closed (net.ErrClosed), or what the system told.
func (l *Loop) Dial(to netip.AddrPort, timeout time.Duration) (*Conn, error) {
	c, err := l.Connect(to)
	if err != nil {
		return nil, err
	}
	if err := c.Connected(timeout); err != nil {
		return nil, err
	}
	return c, nil
}

// Connect begins what Dial does and does not wait: Connected does. Who closes the connection meanwhile ends that wait.
func (l *Loop) Connect(to netip.AddrPort) (*Conn, error) {
	_ = l.running()
	if l.stopping {
		return nil, net.ErrClosed
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	family, sa, err := sockaddr(to)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err = unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.EINTR) {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	c := &Conn{remote: to, writable: err == nil}
	if err := l.adopt(fd, c); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	l.attached.Add(1)
	return c, nil
}

// Connected waits until a connection that Connect has begun has come about. When there is an error, it is closed.
func (c *Conn) Connected(timeout time.Duration) error {
	c.writeTimeout = int64(timeout)
	if err := c.connecting(); err != nil {
		_ = c.Close()
		return err
	}
	c.writeTimeout = 0
	return nil
}

// connecting waits for the end of a connect.
func (c *Conn) connecting() error {
	for !c.writable && !c.closed {
		if err := c.waitWritable(); err != nil {
			return err
		}
	}
	if c.closed {
		return net.ErrClosed
	}
	code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		return os.NewSyscallError("connect", unix.Errno(code))
	}
	// A socket that connects to a port of its own machine that nobody listens at, and is given this very port, reaches itself.
	if c.local = localAddr(c.fd); c.local == c.remote {
		return os.NewSyscallError("connect", unix.ECONNREFUSED)
	}
	return os.NewSyscallError("getsockopt", err)
}
