package proxy

import (
	"errors"
	"io"

	"github.com/ruche-project/ruche/internal/loop"
)

// A content of known length goes from one plain socket to another without a copy, through a pipe (loop.Pipe), when much of it is left.

const (
	// spliceFrom is how much has to be left: what is shorter is copied at the same price.
	spliceFrom = 32 << 10
	// shortPiece is what is not worth a pipe. When so little came at once the next piece is copied; when that is longer the one after it is not.
	shortPiece = 16 << 10
)

// plainEnds returns the two sides of the exchange if both are HTTP/1.1 on plain sockets of a loop.
func (x *exchange) plainEnds(l link) (*h1Link, *h1Client) {
	endpoint, ok := l.(*h1Link)
	if !ok {
		return nil, nil
	}
	client, ok := x.client.(*h1Client)
	if _, plain := endpoint.stream.(*loop.Conn); !ok || !plain || client.secure != nil {
		return nil, nil
	}
	return endpoint, client
}

// spliceable reports whether the answer's content may go on without a copy.
func (l *h1Link) spliceable() bool {
	return !l.short && l.from == l.to && l.content.Left() >= spliceFrom
}

// spliceTo has a piece of the answer's content go to the client; see exchange.pass.
func (l *h1Link) spliceTo(c *h1Client) (int, error) {
	if l.buf != nil { // no client need hold a buffer, however slow it is
		l.ground.giveBack(l.buf)
		l.buf, l.from, l.to = nil, 0, 0
	}
	pipe, err := l.stream.(*loop.Conn).Fill(l.content.Left())
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, err
	}
	defer pipe.GiveBack()
	n := pipe.Held()
	l.short = n < shortPiece
	l.complete = l.content.Skip(int64(n))
	if c.pour(pipe) != nil {
		return 0, errClientGone
	}
	return n, nil
}

// pour is write and flush of what a pipe holds.
func (c *h1Client) pour(pipe *loop.Pipe) error {
	if err := c.flush(); err != nil {
		return err
	}
	began := c.worker.loop.Now()
	n, err := c.conn.Pour(pipe)
	return c.judgeWrite(began, n, err)
}

// spliceable reports whether the request's content may go on without a copy.
func (c *h1Client) spliceable() bool {
	return !c.short && c.from == c.to && c.content.Left() >= spliceFrom
}

// spliceTo has a piece of the request's content go to the endpoint; see bodySender.pass.
func (c *h1Client) spliceTo(l *h1Link, b *bodySender) (taken bool, err error) {
	began := c.worker.loop.Now()
	pipe, err := c.conn.Fill(c.content.Left())
	if errors.Is(err, loop.ErrNoPipe) {
		return false, err
	}
	n := 0
	if err == nil {
		defer pipe.GiveBack()
		n = pipe.Held()
		c.short = n < shortPiece
		c.whole = c.content.Skip(int64(n))
	}
	if err = c.judgeRead(began, n, err); err == nil {
		err = b.count(n)
	}
	if err != nil {
		return false, err
	}
	_, err = l.stream.(*loop.Conn).Pour(pipe)
	return err == nil, nil
}
