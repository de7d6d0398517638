package loop

import (
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

// SetBuffered has Writes keep what cannot be sent yet; Drain waits for it.
func (c *Conn) SetBuffered() { c.buffered = true }

// Drain waits until all of what was written is sent.
func (c *Conn) Drain() error {
	for len(c.pending) > 0 {
		if c.closed {
			return net.ErrClosed
		}
		if err := c.wait(&c.writer, &c.writeUntil, c.writeTimeout, c.writeDeadline, &c.writeLate); err != nil {
			return err
		}
	}
	if c.failed != 0 {
		return os.NewSyscallError("send", c.failed)
	}
	return nil
}

// sendPending sends what it can of what is kept.
func (c *Conn) sendPending() {
	for len(c.pending) > 0 {
		n, err := c.send(c.pending)
		switch err {
		case 0:
			c.pending = c.pending[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			c.writable = false
			return
		default:
			c.failed = err
			c.pending = nil
		}
	}
	c.pending = nil
}
