package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sockets are the listening sockets of a process: those that it was handed, until somebody listens on them, and those that are in use. It is safe for concurrent use.
type Sockets struct {
	mu        sync.Mutex
	inherited []held // not asked for so far
	used      []held
}

// held is a listening socket with what it is for.
type held struct {
	Socket
	listener net.Listener
}

// NewSockets returns an empty set.
func NewSockets() *Sockets { return &Sockets{} }

// Listen listens on a TCP address for what name says. A socket that was handed over for the same name and address is used; else one that listens on the same
// address whatever it was for; else a new one is opened, with the errors of net.Listen.
func (s *Sockets) Listen(name, address string) (*net.TCPListener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.take(name, address).(*net.TCPListener)
	if !ok {
		opened, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
		if err != nil {
			return nil, err
		}
		l = opened.(*net.TCPListener)
	}
	s.used = append(s.used, held{Socket{name, address}, l})
	return l, nil
}

// take returns the inherited TCP listener that fits best, nil if none does.
func (s *Sockets) take(name, address string) net.Listener {
	best := -1
	wanted, err := net.ResolveTCPAddr("tcp", address)
	for i, h := range s.inherited {
		l, ok := h.listener.(*net.TCPListener)
		if !ok {
			continue
		}
		if h.Name == name && h.Address == address {
			best = i
			break
		}
		if err == nil && sameAddress(l.Addr().(*net.TCPAddr), wanted) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	return s.remove(best)
}

func (s *Sockets) remove(i int) net.Listener {
	l := s.inherited[i].listener
	s.inherited = append(s.inherited[:i:i], s.inherited[i+1:]...)
	return l
}

// sameAddress reports whether a listener's address is what was asked for. An address without a host stands for all of both families, as [::] does.
func sameAddress(have, want *net.TCPAddr) bool {
	if want.Port == 0 || have.Port != want.Port || have.Zone != want.Zone {
		return false
	}
	if len(want.IP) == 0 {
		return have.IP.Equal(net.IPv6unspecified)
	}
	return have.IP.Equal(want.IP)
}

// Upgrades returns the socket in dir at which a process is asked to hand over: the one that was handed over, or a new one as Listen opens it.
func (s *Sockets) Upgrades(dir string) (*net.UnixListener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, h := range s.inherited {
		if l, ok := h.listener.(*net.UnixListener); ok {
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
		_ = h.listener.Close()
	}
	s.inherited = nil
}

// Close closes all sockets.
func (s *Sockets) Close() {
	s.DropUnused()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.used {
		_ = h.listener.Close()
	}
	s.used = nil
}

// inherit takes over descriptors. One that this version cannot use is closed: another version has use for it.
func (s *Sockets) inherit(list []Socket, descriptors []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, fd := range descriptors {
		if l, err := listener(fd); err == nil {
			s.inherited = append(s.inherited, held{list[i], l})
		}
	}
}

// listener makes a listener of a descriptor, which it closes.
func listener(fd int) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), "inherited")
	defer func() { _ = f.Close() }()
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	if listening == 0 {
		return nil, errors.New("it does not listen")
	}
	l, err := net.FileListener(f)
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // whoever gave it away decides
	}
	return l, err
}

// duplicate returns descriptors of the sockets in use. They are the caller's, also with an error.
func (s *Sockets) duplicate() (list []Socket, descriptors []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.used {
		raw, err := h.listener.(syscall.Conn).SyscallConn()
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
