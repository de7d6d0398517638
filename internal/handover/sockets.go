package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sockets are the listening sockets of a process, and those that UDP comes to: what it was handed, until somebody asks for it, and what is in use. It is safe for concurrent use.
type Sockets struct {
	mu        sync.Mutex
	inherited []held // not asked for so far
	used      []held
}

// held is a socket with what it is for.
type held struct {
	Socket
	socket socket
}

// socket is a *net.TCPListener, a *net.UnixListener or a *net.UDPConn.
type socket interface {
	io.Closer
	syscall.Conn
}

// NewSockets returns an empty set.
func NewSockets() *Sockets { return &Sockets{} }

// Listen listens on a TCP address for what name says. A socket that was handed over for the same name and address is used; else one that listens on the same
// address whatever it was for; else a new one is opened, with the errors of net.Listen.
func (s *Sockets) Listen(name, address string) (*net.TCPListener, error) {
	wanted, _ := net.ResolveTCPAddr("tcp", address)
	return use(s, name, address, func(l *net.TCPListener) bool {
		return wanted != nil && sameAddress(l.Addr().(*net.TCPAddr).AddrPort(), wanted.AddrPort())
	},
		func() (*net.TCPListener, error) {
			l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
			if err != nil {
				return nil, err
			}
			return l.(*net.TCPListener), nil
		})
}

// ListenUDP is Listen for a UDP address.
func (s *Sockets) ListenUDP(name, address string) (*net.UDPConn, error) {
	wanted, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	return use(s, name, address, func(c *net.UDPConn) bool {
		return sameAddress(c.LocalAddr().(*net.UDPAddr).AddrPort(), wanted.AddrPort())
	},
		func() (*net.UDPConn, error) { return net.ListenUDP("udp", wanted) })
}

// use returns the inherited socket of this type that fits best, or else a new one.
func use[T socket](s *Sockets, name, address string, fits func(T) bool, open func() (T, error)) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	best := -1
	for i, h := range s.inherited {
		c, ok := h.socket.(T)
		if !ok {
			continue
		}
		if h.Name == name && h.Address == address {
			best = i
			break
		}
		if fits(c) {
			best = i
		}
	}
	if best >= 0 {
		c := s.inherited[best].socket.(T)
		s.remove(best)
		s.used = append(s.used, held{Socket{name, address}, c})
		return c, nil
	}
	c, err := open()
	if err == nil {
		s.used = append(s.used, held{Socket{name, address}, c})
	}
	return c, err
}

func (s *Sockets) remove(i int) { s.inherited = append(s.inherited[:i:i], s.inherited[i+1:]...) }

// sameAddress reports whether a socket's address is what was asked for. An address without a host stands for all of both families, as [::] does.
func sameAddress(have, want netip.AddrPort) bool {
	if want.Port() == 0 || have.Port() != want.Port() {
		return false
	}
	if !want.Addr().IsValid() {
		return have.Addr() == netip.IPv6Unspecified()
	}
	return have.Addr().Unmap() == want.Addr().Unmap()
}

// Upgrades returns the socket in dir at which a process is asked to hand over: the one that was handed over, or a new one as Listen opens it.
func (s *Sockets) Upgrades(dir string) (*net.UnixListener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, h := range s.inherited {
		if l, ok := h.socket.(*net.UnixListener); ok {
			s.used = append(s.used, h)
			s.remove(i)
			return l, nil
		}
	}
	l, err := Listen(dir)
	if err == nil {
		s.used = append(s.used, held{Socket{"upgrades", socketName}, l})
	}
	return l, err
}

// DropUnused closes the sockets that were handed over and that nobody has asked for: what they were for is not wanted any more.
func (s *Sockets) DropUnused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.inherited {
		_ = h.socket.Close()
	}
	s.inherited = nil
}

// Close closes all sockets.
func (s *Sockets) Close() {
	s.DropUnused()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.used {
		_ = h.socket.Close()
	}
	s.used = nil
}

// inherit takes over descriptors. One that this version cannot use is closed: another version has use for it.
func (s *Sockets) inherit(list []Socket, descriptors []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, fd := range descriptors {
		if c, err := inherited(fd); err == nil {
			s.inherited = append(s.inherited, held{list[i], c})
		}
	}
}

// inherited makes a socket of a descriptor, which it closes.
func inherited(fd int) (socket, error) {
	f := os.NewFile(uintptr(fd), "inherited")
	defer func() { _ = f.Close() }()
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	if kind == unix.SOCK_DGRAM {
		c, err := net.FilePacketConn(f)
		if err != nil {
			return nil, err
		}
		if udp, ok := c.(*net.UDPConn); ok {
			return udp, nil
		}
		_ = c.Close()
		return nil, errors.New("it is not of UDP")
	}
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	if listening == 0 {
		return nil, errors.New("it does not listen")
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // whoever gave it away decides
	}
	return l.(socket), nil
}

// duplicate returns descriptors of the sockets in use. They are the caller's, also with an error.
func (s *Sockets) duplicate() (list []Socket, descriptors []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.used {
		raw, err := h.socket.SyscallConn()
		if err != nil {
			return nil, descriptors, fmt.Errorf("the socket of %s %s: %w", h.Name, h.Address, err)
		}
		// The listener's File method would do, but for the descriptor's blocking mode, which all duplicates share.
		var fd int
		var dupErr error
		err = raw.Control(func(own uintptr) { fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
		if errors.Is(err, net.ErrClosed) {
			continue
		}
		if err = errors.Join(err, dupErr); err != nil {
			return nil, descriptors, fmt.Errorf("the socket of %s %s: %w", h.Name, h.Address, err)
		}
		list, descriptors = append(list, h.Socket), append(descriptors, fd)
	}
	return list, descriptors, nil
}
