package loop

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxMove bounds what one system call reads or writes, so that no connection keeps the loop.
const maxMove = 256 << 10

// Read implements net.Conn. It has others take a turn now and then even if there is something to read.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 && !c.closed {
		return 0, nil
	}
	for {
		if err := c.mayRead(); err != nil {
			return 0, err
		}
		want := min(len(p), maxMove)
		n, err := c.recv(p[:want], 0)
		c.loop.spent += n + callCost
		switch {
		case err == 0 && n == 0:
			return 0, io.EOF
		case err == 0:
			if n < want && !c.gone {
				c.disprove() // a short read has emptied the socket (epoll(7), question 9)
			}
			return n, nil
		case err == unix.EAGAIN:
			c.disprove()
		case err != unix.EINTR:
			c.gone = true
			return 0, os.NewSyscallError("recv", err)
		}
	}
}

// mayRead waits until there seems to be something to read.
func (c *Conn) mayRead() error {
	for {
		switch {
		case c.closed:
			return net.ErrClosed
		case c.readDeadline != 0 && c.readDeadline <= c.loop.now:
			return os.ErrDeadlineExceeded
		case c.noWait && !c.readable:
			return ErrWouldWait
		case !c.noWait && c.loop.breathe():
			continue
		case c.readable:
			return nil
		}
		if err := c.waitReadable(); err != nil {
			return err
		}
	}
}

// disprove notes that there is nothing to read. Events that epoll has told already in this turn are older than that.
func (c *Conn) disprove() { c.readable, c.emptied = false, c.loop.turn }

// Write implements net.Conn. It has others take a turn now and then even if it need not wait.
func (c *Conn) Write(p []byte) (int, error) {
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case c.buffered:
		return c.writeBuffered(p)
	}
	written := 0
	for written < len(p) {
		if err := c.mayWrite(); err != nil {
			return written, err
		}
		n, err := c.sendSome(p[written:])
		if err != 0 {
			return written, os.NewSyscallError("send", err)
		}
		written += n
	}
	return written, nil
}

// mayWrite waits until the peer seems to take something.
func (c *Conn) mayWrite() error {
	for {
		switch {
		case c.closed:
			return net.ErrClosed
		case c.writeDeadline != 0 && c.writeDeadline <= c.loop.now:
			return os.ErrDeadlineExceeded
		case c.loop.breathe():
			continue
		case c.writable:
			return nil
		}
		if err := c.waitWritable(); err != nil {
			return err
		}
	}
}

// sendSome sends what the socket takes at once, which may be nothing; then the connection is not writable any more.
func (c *Conn) sendSome(p []byte) (int, syscall.Errno) {
	want := min(len(p), maxMove)
	n, err := c.send(p[:want])
	c.loop.spent += n + callCost
	switch err {
	case 0:
		c.writable = n == want // a short write has filled the socket
	case unix.EAGAIN:
		c.writable = false
	case unix.EINTR:
	default:
		c.gone = true
		return 0, err
	}
	return n, 0
}

// CloseWrite ends the direction to the peer, behind what a buffered Write has kept.
func (c *Conn) CloseWrite() error {
	if c.closed {
		return net.ErrClosed
	}
	if len(c.pending) > 0 {
		c.ending = true
		return nil
	}
	return os.NewSyscallError("shutdown", unix.Shutdown(c.fd, unix.SHUT_WR))
}

// The system calls that move bytes never block, so Go's scheduler need not know of them.

func (c *Conn) recv(p []byte, flags uintptr) (int, syscall.Errno) {
	n, _, err := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags, 0, 0)
	if err != 0 {
		return 0, err
	}
	return int(n), 0
}

func (c *Conn) send(p []byte) (int, syscall.Errno) {
	n, _, err := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	if err != 0 {
		return 0, err
	}
	return int(n), 0
}
