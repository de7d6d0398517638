package loop

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// crypto/tls holds a lock while it writes, which it also needs to answer some messages that it reads. A fiber that waited within such a Write
// would have another one block the loop by that lock. So a connection under TLS keeps what it cannot send, and waits for that when
// TLS is done with its Write: Write, then Drain.

// wouldWait is the error of a Read that must not wait. crypto/tls goes on after errors that are temporary.
type wouldWait struct{}

func (wouldWait) Error() string   { return "nothing to read at the moment" }
func (wouldWait) Timeout() bool   { return true }
func (wouldWait) Temporary() bool { return true }

// ErrWouldWait is what Read returns instead of waiting, see SetNoWait.
var ErrWouldWait net.Error = wouldWait{}

// SetNoWait has Reads return ErrWouldWait where they would wait, or wait again.
func (c *Conn) SetNoWait(on bool) { c.noWait = on }

// SetBuffered has Writes keep what cannot be sent yet, and never wait; Drain waits for it.
func (c *Conn) SetBuffered() { c.buffered = true }

// maxPending is how much may be kept when more is written: a peer that has TLS answer it, but does not read, must not fill the memory.
const maxPending = 1 << 20

var errPending = errors.New("the peer does not read what it is sent")

// writeBuffered is Write for a connection under TLS. It neither waits nor leaves its turn to others, since the caller holds a lock.
func (c *Conn) writeBuffered(p []byte) (int, error) {
	switch {
	case c.failed != 0:
		return 0, os.NewSyscallError("send", c.failed)
	case len(c.pending) > maxPending:
		return 0, errPending
	}
	rest := p
	for len(rest) > 0 && c.writable && len(c.pending) == 0 {
		n, err := c.sendSome(rest)
		if err != 0 {
			c.failed = err
			return len(p) - len(rest), os.NewSyscallError("send", err)
		}
		rest = rest[n:]
	}
	c.pending = append(c.pending, rest...)
	return len(p), nil
}

// Drain waits until all of what was written is sent. A bound of SetTimeouts is for each part of it that the peer takes.
func (c *Conn) Drain() error {
	for len(c.pending) > 0 {
		if c.closed {
			return net.ErrClosed
		}
		if err := c.waitWritable(); err != nil {
			return err
		}
	}
	if c.failed != 0 {
		return os.NewSyscallError("send", c.failed)
	}
	return nil
}

// sendPending sends what it can of what is kept, and reports whether that was anything, or will never be.
func (c *Conn) sendPending() bool {
	progress := false
	for c.writable && len(c.pending) > 0 {
		n, err := c.sendSome(c.pending)
		if err != 0 {
			c.failed, c.pending = err, nil
			return true
		}
		progress = progress || n > 0
		c.pending = c.pending[n:]
	}
	if len(c.pending) == 0 {
		c.pending = nil
		if c.ending {
			_ = unix.Shutdown(c.fd, unix.SHUT_WR)
		}
	}
	return progress
}
