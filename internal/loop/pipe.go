package loop

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Pipe is memory of the kernel through which bytes go from one connection to another: Fill and Pour move the pages in which they came (splice(2)), and copy
// nothing. It belongs to its loop.
type Pipe struct {
	loop    *Loop
	in, out int // file descriptors
	held    int // bytes in it
}

const (
	// maxPipes bounds the pipes of a group, of which each loop may have at least one. Each takes two descriptors, and memory for what a slow peer has not taken yet.
	maxPipes = 32
	// pipeSize is how much a pipe holds if each page is full. Together they are a quarter of what the kernel gives a user without privileges before it makes
	// all new pipes of that user small (pipe-user-pages-soft).
	pipeSize = 512 << 10
	// spliceShare is what part of the price of copying a byte it costs to splice it.
	spliceShare = 4
)

// ErrNoPipe is what Fill returns when all pipes are in use, or the system has none: then bytes have to be copied.
var ErrNoPipe = errors.New("no pipe is free")

// pipe lends an empty one, or nil.
func (l *Loop) pipe() *Pipe {
	if n := len(l.pipes); n > 0 {
		p := l.pipes[n-1]
		l.pipes = l.pipes[:n-1]
		return p
	}
	if l.pipesMade >= max(maxPipes/len(l.group.loops), 1) {
		return nil
	}
	var ends [2]int
	if unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil
	}
	p := &Pipe{loop: l, out: ends[0], in: ends[1]}
	if _, err := splice(p.out, p.in, 0); err != 0 { // a sandbox may forbid it
		p.close()
		return nil
	}
	l.pipesMade++
	_, _ = unix.FcntlInt(uintptr(p.in), unix.F_SETPIPE_SZ, pipeSize) // else it is smaller
	return p
}

// Held is how many bytes are in the pipe.
func (p *Pipe) Held() int { return p.held }

// GiveBack has the pipe be used by others. What it still holds is lost.
func (p *Pipe) GiveBack() {
	if p.held == 0 {
		p.loop.pipes = append(p.loop.pipes, p)
		return
	}
	p.loop.pipesMade--
	p.close()
}

func (p *Pipe) close() {
	_ = unix.Close(p.in)
	_ = unix.Close(p.out)
}

// Fill is Read of at most so many bytes into a pipe, which the caller has to give back. While it waits it holds none. The connection must not be under TLS.
func (c *Conn) Fill(most int64) (*Pipe, error) {
	for {
		if err := c.mayRead(); err != nil {
			return nil, err
		}
		p := c.loop.pipe()
		if p == nil {
			return nil, ErrNoPipe
		}
		n, err := splice(c.fd, p.in, int(min(most, pipeSize)))
		c.loop.spent += n/spliceShare + callCost
		if n > 0 { // which says nothing of what is left: the pipe takes pages, be they full or not
			p.held = n
			return p, nil
		}
		p.GiveBack()
		switch err {
		case 0:
			return nil, io.EOF
		case unix.EAGAIN:
			c.disprove()
		case unix.EINTR:
		default:
			c.gone = true
			return nil, os.NewSyscallError("splice", err)
		}
	}
}

// Pour is Write of all that the pipe holds. After an error that is what was not written. The connection must not be under TLS.
func (c *Conn) Pour(p *Pipe) (written int, err error) {
	for p.held > 0 {
		if err := c.mayWrite(); err != nil {
			return written, err
		}
		n, err := splice(p.out, c.fd, p.held)
		c.loop.spent += n/spliceShare + callCost
		p.held -= n
		written += n
		switch err {
		case 0: // which says nothing of what the socket would take yet
		case unix.EAGAIN:
			c.writable = false
		case unix.EINTR:
		default:
			c.gone = true
			return written, os.NewSyscallError("splice", err)
		}
	}
	return written, nil
}

func splice(from, to, n int) (int, syscall.Errno) {
	moved, _, err := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_NONBLOCK)
	if err != 0 {
		return 0, err
	}
	return int(moved), 0
}
