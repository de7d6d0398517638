package cgi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrEmpty says that a program ended without a byte of an answer.
var ErrEmpty = errors.New("the program ended without an answer")

const (
	firstBuffer = 4 << 10
	// keptBuffer is the largest buffer that is kept for the next answer.
	keptBuffer = 16 << 10
)

// Answer reads the answer of a program: ReadHead, then Read for the body. It reads from a fastcgi.Conn or, for uwsgi,
// from the connection itself. Reset comes first. Not safe for concurrent use, but independent of whoever writes the request's
// body meanwhile.
type Answer struct {
	r        io.Reader
	buf      []byte // buf[pos:end] was read and not yet given away
	pos, end int
	head     Head
	left     int64 // of the body in bytes; to the end of the answer if below zero
}

// Reset makes the answer read from r, from the start of another answer. What the one before gave away is no longer valid.
func (a *Answer) Reset(r io.Reader) {
	if len(a.buf) > keptBuffer {
		*a = Answer{}
	}
	a.r, a.pos, a.end, a.left = r, 0, 0, 0
}

// ReadHead reads the head of the answer. noBody says that the answer has no body whatever its head says, as it is with those to
// HEAD requests. After a head with a status of 1xx but 101 another one follows: call it again.
//
// The head is valid until the next one is read. The error wraps ErrEmpty where nothing came, io.ErrUnexpectedEOF where a head was
// cut off, or is what the reader said; any other is about what the program wrote, and names the line.
func (a *Answer) ReadHead(noBody bool) (*Head, error) {
	n, err := a.fetchHead()
	if err == nil {
		err = a.head.parse(a.buf[:n])
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the head of the answer: %w", err)
	}
	a.pos = n
	switch s := a.head.Status; {
	case s == 101: // what follows is the other protocol
		a.left = -1
	case noBody, s < 200, s == 204, s == 304:
		a.left = 0
	default:
		a.left = a.head.ContentLength
	}
	return &a.head, nil
}

// fetchHead reads until the buffer begins with a whole head, and returns the length of that.
func (a *Answer) fetchHead() (int, error) {
	a.end = copy(a.buf, a.buf[a.pos:a.end])
	a.pos = 0
	for line, seen := 0, 0; ; {
		for {
			i := bytes.IndexByte(a.buf[seen:a.end], '\n')
			if i < 0 {
				seen = a.end
				break
			}
			seen += i + 1
			if length := seen - 1 - line; length == 0 || length == 1 && a.buf[line] == '\r' {
				return seen, nil
			}
			line = seen
		}
		if err := a.fill(); err != nil {
			return 0, err
		}
	}
}

// fill reads once, and makes room for that before.
func (a *Answer) fill() error {
	switch {
	case a.end < len(a.buf):
	case a.end >= maxHead:
		return fmt.Errorf("it has more than %d bytes", maxHead)
	default:
		grown := make([]byte, max(firstBuffer, 2*len(a.buf)))
		copy(grown, a.buf)
		a.buf = grown
	}
	n, err := a.r.Read(a.buf[a.end:])
	a.end += n
	switch {
	case n > 0 || err == nil:
		return nil // the error comes again
	case err != io.EOF:
		return err
	case a.end == 0:
		return ErrEmpty
	}
	return fmt.Errorf("it ends after %d bytes: %w", a.end, io.ErrUnexpectedEOF)
}

// Read reads the body: io.EOF stands for its end, which is where Content-Length puts it or, without that, where the answer ends. It
// never waits for the end of an answer whose body it has given away in full. An answer that ends before its Content-Length gives
// io.ErrUnexpectedEOF. What a program writes behind its Content-Length is not given away.
func (a *Answer) Read(p []byte) (int, error) {
	if a.left == 0 {
		return 0, io.EOF
	}
	if a.left > 0 && int64(len(p)) > a.left {
		p = p[:a.left]
	}
	var n int
	var err error
	if a.pos < a.end {
		n = copy(p, a.buf[a.pos:a.end])
		a.pos += n
	} else {
		n, err = a.r.Read(p)
	}
	if a.left < 0 {
		return n, err
	}
	a.left -= int64(n)
	switch {
	case a.left == 0:
		return n, nil
	case err == io.EOF:
		return n, fmt.Errorf("cannot read the body of the answer: it ends %d bytes before its Content-Length: %w", a.left, io.ErrUnexpectedEOF)
	}
	return n, err
}

// Buffered is how many bytes the next Read can give away without reading itself.
func (a *Answer) Buffered() int { return a.end - a.pos }
