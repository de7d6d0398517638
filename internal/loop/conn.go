package loop

import (
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Conn is a stream socket on a loop. It implements net.Conn for fibers of its loop: a call that has to wait parks the fiber.
// One fiber may read while another writes.
type Conn struct {
	loop           *Loop
	fd             int
	slot           int32
	local, remote  netip.AddrPort
	reader, writer *fiber
	// readable, writable and gone are what epoll has told and no system call has disproved: it tells of each change once.
	readable, writable bool
	gone               bool // the peer has closed its side, or all of it
	closed             bool
	accepted           *Listener

	readTimeout, writeTimeout   int64 // of each wait; 0: none
	readDeadline, writeDeadline int64 // see clock; 0: none
	readUntil, writeUntil       int64 // of the present waits; 0: none
	readLate, writeLate         bool
	timer                       timer

	idler Idler
	idles int // how often Idle was called
	watch func()
	// left is where the connection goes on after Detach.
	left net.Conn
}

// Idler is told what happens to a connection that waits without a fiber, see Conn.Idle.
type Idler interface {
	// Ready is called on a fiber when there is something to read, or the peer has closed.
	Ready()
	// Expired is called on the loop when the time is over, or when the loop stops.
	Expired()
}

const (
	edges = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	// maxRead bounds one read, so that a fast sender does not keep the loop.
	maxRead = 256 << 10
)

func (l *Loop) adopt(fd int, c *Conn) error {
	c.loop, c.fd = l, fd
	c.timer.owner = c
	slot, err := l.add(fd, c, edges)
	if err != nil {
		return err
	}
	c.slot = slot
	l.attached.Add(1)
	return nil
}

// event notes what epoll tells and resumes who waits for it.
func (c *Conn) event(events uint32) {
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.gone, c.readable = true, true
		if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			c.writable = true
		}
	}
	if events&unix.EPOLLIN != 0 {
		c.readable = true
	}
	if events&unix.EPOLLOUT != 0 {
		c.writable = true
	}
	if c.writable && c.writer != nil {
		c.resume(&c.writer)
	}
	if !c.readable || c.closed {
		return
	}
	switch {
	case c.reader != nil:
		c.resume(&c.reader)
	case c.idler != nil:
		idler := c.idler
		c.idler = nil
		c.loop.start(idler.Ready)
	case c.gone && c.watch != nil:
		watch := c.watch
		c.watch = nil
		watch()
	}
}

func (c *Conn) resume(who **fiber) {
	f := *who
	*who = nil
	c.loop.resume(f)
}

// wait parks the fiber until the connection is ready in one direction.
func (c *Conn) wait(who **fiber, until *int64, timeout, deadline int64, late *bool) error {
	if *until = deadline; timeout > 0 && (deadline == 0 || c.loop.now+timeout < deadline) {
		*until = c.loop.now + timeout
	}
	c.arm(*until)
	*late = false
	f := c.loop.current
	*who = f
	f.park()
	*until = 0
	switch {
	case c.closed:
		return net.ErrClosed
	case *late:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// arm has the timer fire at that time or before; what fires too early is set again. So most waits do not move the timer.
func (c *Conn) arm(until int64) {
	if until != 0 && (c.timer.when == 0 || until < c.timer.when) {
		c.loop.timers.set(&c.timer, until)
	}
}

func (c *Conn) expired(now int64) {
	stopping := c.loop.stopping
	if c.reader != nil && (stopping || c.readUntil != 0 && c.readUntil <= now) {
		c.readLate = true
		c.resume(&c.reader)
	}
	if c.writer != nil && (stopping || c.writeUntil != 0 && c.writeUntil <= now) {
		c.writeLate = true
		c.resume(&c.writer)
	}
	if c.idler != nil && (stopping || c.readUntil != 0 && c.readUntil <= now) {
		idler := c.idler
		c.idler = nil
		idler.Expired()
	}
	if c.closed {
		return
	}
	if c.reader != nil || c.idler != nil {
		c.arm(c.readUntil)
	}
	if c.writer != nil {
		c.arm(c.writeUntil)
	}
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	for {
		switch {
		case c.left != nil:
			return c.left.Read(p)
		case c.closed:
			return 0, net.ErrClosed
		case len(p) == 0:
			return 0, nil
		}
		if c.readable {
			n, err := c.recv(p[:min(len(p), maxRead)], 0)
			switch {
			case err == 0 && n == 0:
				return 0, io.EOF
			case err == 0:
				if n < len(p) && n < maxRead && !c.gone {
					c.readable = false // a short read has emptied the socket (epoll(7), question 9)
				}
				return n, nil
			case err == unix.EINTR:
				continue
			case err != unix.EAGAIN:
				return 0, os.NewSyscallError("recv", err)
			}
			c.readable = false
		}
		if err := c.wait(&c.reader, &c.readUntil, c.readTimeout, c.readDeadline, &c.readLate); err != nil {
			return 0, err
		}
	}
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	written := 0
	for {
		switch {
		case c.left != nil:
			n, err := c.left.Write(p[written:])
			return written + n, err
		case c.closed:
			return written, net.ErrClosed
		case written == len(p):
			return written, nil
		}
		n, err := c.send(p[written:])
		switch {
		case err == 0:
			written += n
			continue
		case err == unix.EINTR:
			continue
		case err != unix.EAGAIN:
			return written, os.NewSyscallError("send", err)
		}
		if c.writable = false; c.gone {
			return written, os.NewSyscallError("send", unix.EPIPE)
		}
		if err := c.wait(&c.writer, &c.writeUntil, c.writeTimeout, c.writeDeadline, &c.writeLate); err != nil {
			return written, err
		}
	}
}

func (c *Conn) recv(p []byte, flags uintptr) (int, syscall.Errno) {
	n, _, err := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags, 0, 0)
	return int(n), err
}

func (c *Conn) send(p []byte) (int, syscall.Errno) {
	n, _, err := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	return int(n), err
}

// Quiet reports whether the connection is open and has nothing to read: what an unused connection must be to be used again.
func (c *Conn) Quiet() bool {
	if c.closed || c.gone {
		return false
	}
	if !c.readable {
		return true
	}
	var one [1]byte
	if _, err := c.recv(one[:], unix.MSG_PEEK); err == unix.EAGAIN {
		c.readable = false
		return true
	}
	return false
}

// Gone reports whether the peer has closed its side, or all of the connection, as far as is known.
func (c *Conn) Gone() bool { return c.gone || c.closed }

// WaitReadable parks the fiber until something can be read or the peer has closed, so that no buffer needs to be held for it.
func (c *Conn) WaitReadable() error {
	for !c.Ready() {
		if err := c.wait(&c.reader, &c.readUntil, c.readTimeout, c.readDeadline, &c.readLate); err != nil {
			return err
		}
	}
	return nil
}

// Ready reports whether a Read would not wait.
func (c *Conn) Ready() bool { return c.closed || !c.Quiet() }

// Idle leaves the connection without a fiber. When there is something to read, idler.Ready is called on a new one; after the time d
// idler.Expired is called. The fiber that calls Idle must not touch the connection afterwards.
func (c *Conn) Idle(d time.Duration, idler Idler) {
	c.idler = idler
	c.readUntil = c.loop.now + int64(d)
	c.arm(c.readUntil)
	c.idles++
	if turn := c.idles; c.Ready() {
		c.loop.Go(func() {
			if c.idler != nil && c.idles == turn {
				c.idler = nil
				idler.Ready()
			}
		})
	}
}

// Take ends Idle: the calling fiber has the connection again. It reports false when it is closed, or something has come that nobody asked for.
func (c *Conn) Take() bool {
	c.idler = nil
	return c.Quiet()
}

// WatchGone has f called on the loop once when the peer closes its side while nobody reads; nil ends that. f must not wait.
func (c *Conn) WatchGone(f func()) { c.watch = f }

// SetTimeouts bounds each single wait of a Read and of a Write; 0 means no bound.
func (c *Conn) SetTimeouts(read, write time.Duration) {
	c.readTimeout, c.writeTimeout = int64(read), int64(write)
}

// Loop is where the connection belongs.
func (c *Conn) Loop() *Loop { return c.loop }

// Close implements net.Conn. Fibers that wait for the connection are woken with net.ErrClosed.
func (c *Conn) Close() error {
	if c.left != nil {
		return c.left.Close()
	}
	if c.closed {
		return net.ErrClosed
	}
	c.release()
	_ = unix.Close(c.fd)
	return nil
}

// release takes the connection out of its loop.
func (c *Conn) release() {
	c.closed = true
	c.loop.timers.drop(&c.timer)
	c.loop.drop(c.slot)
	c.loop.attached.Add(-1)
	for _, who := range []**fiber{&c.reader, &c.writer} {
		if *who != nil {
			(*who).wake()
			*who = nil
		}
	}
	idler := c.idler
	c.idler, c.watch = nil, nil
	if idler != nil && c.loop.stopping {
		idler.Expired()
	}
	if c.accepted != nil {
		c.accepted.closed(c)
	}
}

// CloseWrite ends the direction to the peer.
func (c *Conn) CloseWrite() error {
	if half, ok := c.left.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	if c.closed {
		return net.ErrClosed
	}
	return os.NewSyscallError("shutdown", unix.Shutdown(c.fd, unix.SHUT_WR))
}

// Detach takes the connection off the loop. From now on its methods work on the connection that is returned, which ordinary goroutines
// may use; timeouts and deadlines are to be set anew.
func (c *Conn) Detach() (net.Conn, error) {
	file := os.NewFile(uintptr(c.fd), "")
	left, err := net.FileConn(file) // it has a descriptor of its own
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	c.release()
	_ = file.Close()
	c.left = left
	return left, nil
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// Remote is the peer's address.
func (c *Conn) Remote() netip.AddrPort { return c.remote }

// Local is the address of this side.
func (c *Conn) Local() netip.AddrPort { return c.local }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn. It concerns waits that begin afterwards.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if c.left != nil {
		return c.left.SetReadDeadline(t)
	}
	c.readDeadline = instant(t)
	return nil
}

// SetWriteDeadline implements net.Conn. It concerns waits that begin afterwards.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if c.left != nil {
		return c.left.SetWriteDeadline(t)
	}
	c.writeDeadline = instant(t)
	return nil
}

// instant is a time as clock tells it; a time before the process started is the first instant.
func instant(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(1, int64(t.Sub(started)))
}
