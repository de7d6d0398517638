package loop

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

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
	emptied            uint64 // the turn in which readable was disproved
	accepted           *Listener

	readTimeout, writeTimeout   int64 // of each wait; 0: none
	readDeadline, writeDeadline int64 // see clock; 0: none
	readUntil, writeUntil       int64 // of the present waits; 0: none
	readLate, writeLate         bool
	timer                       timer

	// See secure.go.
	noWait, buffered, ending bool
	pending                  []byte        // what a buffered Write has not sent yet
	failed                   syscall.Errno // why that could not be sent

	idler Idler
	idles uint64 // how often Idle was called
	watch func()
}

const edges = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET

// adopt makes the socket the connection's; who calls it has counted it as attached.
func (l *Loop) adopt(fd int, c *Conn) error {
	c.loop, c.fd = l, fd
	c.timer.owner = c
	slot, err := l.add(fd, c, edges)
	if err != nil {
		return err
	}
	c.slot = slot
	return nil
}

// event notes what epoll tells and resumes who waits for it.
func (c *Conn) event(events uint32) {
	// A fiber that was resumed earlier in this turn may have read what this event is about.
	if events&unix.EPOLLIN != 0 && c.emptied != c.loop.turn {
		c.readable = true
	}
	if events&unix.EPOLLOUT != 0 {
		c.writable = true
	}
	if events&unix.EPOLLRDHUP != 0 {
		c.gone, c.readable = true, true
	}
	if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.gone, c.readable, c.writable = true, true, true
	}
	progress := c.writable
	if len(c.pending) > 0 {
		progress = c.sendPending()
	}
	if progress && c.writer != nil {
		c.resume(&c.writer)
	}
	if !c.readable || c.closed {
		return
	}
	switch {
	case c.reader != nil:
		c.resume(&c.reader)
	case c.idler != nil:
		c.loop.resume(c.server())
	}
	if c.gone && c.watch != nil { // whoever was reading has had what came before
		watch := c.watch
		c.watch = nil
		c.loop.guard(watch)
	}
}

func (c *Conn) resume(who **fiber) {
	f := *who
	*who = nil
	c.loop.resume(f)
}

// server is a fiber that has the connection's next turn as its task.
func (c *Conn) server() *fiber {
	f := c.loop.fiber()
	f.conn, f.turn = c, c.idles
	return f
}

// serve is the task of a fiber that server has returned.
func (c *Conn) serve(turn uint64) {
	if turn == 0 {
		c.accepted.acceptor.Accepted(c)
		return
	}
	if idler := c.idler; idler != nil && c.idles == turn {
		c.idler = nil
		idler.Ready()
	}
}

// wait parks the fiber until the connection is ready in one direction.
func (c *Conn) wait(who **fiber, until *int64, timeout, deadline int64, late *bool) error {
	f := c.loop.running()
	if *who != nil {
		panic("loop: two fibers wait for one direction of a connection")
	}
	*until = deadline
	if timeout > 0 {
		if limit := c.loop.in(time.Duration(timeout)); deadline == 0 || limit < deadline {
			*until = limit
		}
	}
	if *until != 0 && *until <= c.loop.now {
		return os.ErrDeadlineExceeded
	}
	c.arm(*until)
	*late = false
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

func (c *Conn) waitReadable() error {
	return c.wait(&c.reader, &c.readUntil, c.readTimeout, c.readDeadline, &c.readLate)
}

func (c *Conn) waitWritable() error {
	return c.wait(&c.writer, &c.writeUntil, c.writeTimeout, c.writeDeadline, &c.writeLate)
}

// arm has the timer fire at that time or before; what fires too early is set again. So most waits do not move the timer.
func (c *Conn) arm(until int64) {
	if until != 0 && (c.timer.when == 0 || until < c.timer.when) {
		c.loop.timers.set(&c.timer, until)
	}
}

func (c *Conn) expired(now int64) {
	if c.reader != nil && c.readUntil != 0 && c.readUntil <= now {
		c.readLate = true
		c.resume(&c.reader)
	}
	if c.writer != nil && c.writeUntil != 0 && c.writeUntil <= now {
		c.writeLate = true
		c.resume(&c.writer)
	}
	if c.idler != nil && c.readUntil != 0 && c.readUntil <= now {
		idler := c.idler
		c.idler = nil
		c.loop.guard(idler.Expired)
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

// Close implements net.Conn. Fibers that wait for the connection are woken with net.ErrClosed; an Idler is told nothing.
func (c *Conn) Close() error {
	if c.closed {
		return net.ErrClosed
	}
	c.loop.drop(c.slot)
	c.release()
	_ = unix.Close(c.fd)
	return nil
}

// stop closes the connection because the loop stops.
func (c *Conn) stop() {
	idler := c.idler
	_ = c.Close()
	if idler != nil {
		c.loop.guard(idler.Expired)
	}
}

// release ends everything that waits for the connection.
func (c *Conn) release() {
	c.closed = true
	c.loop.timers.set(&c.timer, 0)
	c.loop.attached.Add(-1)
	for _, who := range []**fiber{&c.reader, &c.writer} {
		if *who != nil {
			(*who).wake()
			*who = nil
		}
	}
	c.idler, c.watch, c.pending = nil, nil, nil
	if c.accepted != nil {
		c.accepted.open.connected.Add(-1)
	}
}

// SetTimeouts bounds each single wait of a Read and of a Write; 0 means no bound.
func (c *Conn) SetTimeouts(read, write time.Duration) {
	c.readTimeout, c.writeTimeout = int64(read), int64(write)
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn. A wait that has begun ends earlier for it, but not later.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readDeadline = instant(t)
	if c.reader != nil {
		c.shorten(&c.readUntil, c.readDeadline)
	}
	return nil
}

// SetWriteDeadline implements net.Conn. A wait that has begun ends earlier for it, but not later.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeDeadline = instant(t)
	if c.writer != nil {
		c.shorten(&c.writeUntil, c.writeDeadline)
	}
	return nil
}

func (c *Conn) shorten(until *int64, deadline int64) {
	if !c.closed && deadline != 0 && (*until == 0 || deadline < *until) {
		*until = deadline
		c.arm(deadline)
	}
}

// instant is a time as clock tells it; a time before the process started is the first instant.
func instant(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(1, int64(t.Sub(started)))
}

// SetReadTimeout bounds each single wait of a Read; 0 means no bound.
func (c *Conn) SetReadTimeout(d time.Duration) { c.readTimeout = int64(d) }

// Loop is where the connection belongs.
func (c *Conn) Loop() *Loop { return c.loop }

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// Remote is the peer's address. That of an accepted connection has no zone.
func (c *Conn) Remote() netip.AddrPort { return c.remote }

// Local is the address of this side.
func (c *Conn) Local() netip.AddrPort { return c.local }
