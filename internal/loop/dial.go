package loop

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Dial connects to a TCP address within the time given. The error says whether the time was over (os.ErrDeadlineExceeded) or what the system told.
func (l *Loop) Dial(to netip.AddrPort, timeout time.Duration) (*Conn, error) {
	family, sa := sockaddr(to)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err = unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.EINTR) {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	inProgress := err != nil
	c := &Conn{remote: to}
	if err := l.adopt(fd, c); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	if !inProgress {
		return c, nil
	}
	c.writeTimeout = int64(timeout)
	if err := c.connecting(); err != nil {
		_ = c.Close()
		return nil, err
	}
	c.writeTimeout = 0
	return c, nil
}

// connecting waits for the end of a connect.
func (c *Conn) connecting() error {
	for {
		if err := c.wait(&c.writer, &c.writeUntil, c.writeTimeout, c.writeDeadline, &c.writeLate); err != nil {
			return err
		}
		if !c.writable {
			continue
		}
		code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return os.NewSyscallError("getsockopt", err)
		}
		if code != 0 {
			return os.NewSyscallError("connect", unix.Errno(code))
		}
		return nil
	}
}

func sockaddr(to netip.AddrPort) (int, unix.Sockaddr) {
	if a := to.Addr().Unmap(); a.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: a.As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if zone := to.Addr().Zone(); zone != "" {
		if i, err := net.InterfaceByName(zone); err == nil {
			sa.ZoneId = uint32(i.Index)
		}
	}
	return unix.AF_INET6, sa
}
