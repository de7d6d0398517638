package loop

import (
	"time"

	"golang.org/x/sys/unix"
)

// Idler is told what happens to a connection that waits without a fiber, see Conn.Idle.
type Idler interface {
	// Ready is called on a fiber when there is something to read, or the peer has closed.
	Ready()
	// Expired is called on the loop when the time is over, or when the loop stops and has closed the connection. It must not wait.
	Expired()
}

// Idle leaves the connection without a fiber. When there is something to read, idler.Ready is called on a new one; after the time d
// idler.Expired is called; when somebody closes the connection, neither. The fiber that calls Idle must not touch the connection afterwards.
func (c *Conn) Idle(d time.Duration, idler Idler) {
	c.idler = idler
	c.idles++
	if c.Ready() {
		c.loop.ready = append(c.loop.ready, c.server())
		return
	}
	c.readUntil = c.loop.in(d)
	c.arm(c.readUntil)
}

// Take ends Idle: the calling fiber has the connection again. It reports false when it is closed, or something has come that nobody asked for.
func (c *Conn) Take() bool {
	c.idler = nil
	return c.Quiet()
}

// Quiet reports whether the connection is open and has nothing to read: what an unused connection must be to be used again.
func (c *Conn) Quiet() bool {
	if c.closed || c.gone {
		return false
	}
	for c.readable {
		var one [1]byte
		switch _, err := c.recv(one[:], unix.MSG_PEEK); err {
		case unix.EAGAIN:
			c.disprove()
		case unix.EINTR:
		default:
			return false
		}
	}
	return true
}

// Ready reports whether a Read would not wait.
func (c *Conn) Ready() bool { return c.closed || !c.Quiet() }

// WaitReadable parks the fiber until something can be read or the peer has closed, so that no buffer needs to be held for it. It makes no system
// call, and so may be mistaken when nothing was read yet from a connection that was accepted, or when the last Read filled its buffer to the last
// byte: then the next one waits.
func (c *Conn) WaitReadable() error {
	for !c.readable && !c.closed {
		if err := c.waitReadable(); err != nil {
			return err
		}
	}
	return nil
}

// Gone reports whether the peer has closed its side, or all of the connection, as far as is known. What it sent before can still be read, and
// it may still read.
func (c *Conn) Gone() bool { return c.gone || c.closed }

// WatchGone has f called on the loop once when the peer closes its side, or all of the connection; nil ends that. f must not wait. It is not called
// for a peer that has closed before: ask Gone.
func (c *Conn) WatchGone(f func()) { c.watch = f }
