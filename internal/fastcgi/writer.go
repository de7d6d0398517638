package fastcgi

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"
)

const (
	// maxParams is how many bytes of variables a record has. Up to 65,535 are allowed, but php-fpm wants that with the padding.
	maxParams = 65528
	// maxBody is how many bytes of the body a record has. A record is sent from a copy, in one write.
	maxBody = 32 << 10
	// keptBuffer is the largest buffer that is kept for the next write.
	keptBuffer = 64 << 10
)

// writer is the writing side of a Conn.
type writer struct {
	w   io.Writer
	out []byte // records that were not sent yet
	err error
}

// WriteBegin begins a request with its variables, in their order, after which the program is to close the connection. Nothing is sent yet:
// that is done by the next WriteBody, CloseBody or Flush, so that a request without a body goes out at once.
//
// A variable of more than 65,520 bytes or so is refused; then the connection is as it was.
func (c *Conn) WriteBegin(params iter.Seq2[[]byte, []byte]) error {
	w := &c.w
	start := w.open(typeBegin)
	w.out = append(w.out, 0, roleResponder, 0, 0, 0, 0, 0, 0) // no FCGI_KEEP_CONN
	w.close(start)
	if err := w.params(params); err != nil {
		w.out = w.out[:0]
		return fmt.Errorf("cannot begin a FastCGI request: %w", err)
	}
	return nil
}

// params adds the records of variables, and the empty one behind them. No variable goes over a record's end: the specification
// allows that, but php-fpm does not.
func (w *writer) params(params iter.Seq2[[]byte, []byte]) error {
	start := w.open(typeParams)
	for name, value := range params {
		size := pairLen(name) + pairLen(value)
		if size > maxParams {
			return fmt.Errorf("the variable %.60q has %d bytes, more than fit in a record", name, len(value))
		}
		if len(w.out)-start-headerLen+size > maxParams {
			w.close(start)
			start = w.open(typeParams)
		}
		w.out = appendLen(appendLen(w.out, len(name)), len(value))
		w.out = append(append(w.out, name...), value...)
	}
	if w.close(start) > 0 {
		w.close(w.open(typeParams))
	}
	return nil
}

// pairLen is how many bytes s takes in a record of variables, with its length.
func pairLen(s []byte) int {
	if len(s) > 127 {
		return 4 + len(s)
	}
	return 1 + len(s)
}

func appendLen(b []byte, n int) []byte {
	if n > 127 {
		return binary.BigEndian.AppendUint32(b, uint32(n)|1<<31)
	}
	return append(b, byte(n))
}

// WriteBody sends a piece of the request's body, and what is not sent of the request so far. An empty piece sends nothing.
func (c *Conn) WriteBody(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), maxBody)
		start := c.w.open(typeStdin)
		c.w.out = append(c.w.out, p[:n]...)
		c.w.close(start)
		p = p[n:]
		if err := c.w.flush(); err != nil {
			return err
		}
	}
	return nil
}

// CloseBody sends the end of the request's body. Every request has one, also one without a body.
func (c *Conn) CloseBody() error {
	c.w.close(c.w.open(typeStdin))
	return c.w.flush()
}

// Flush sends what WriteBegin left. It is of use where the body lets wait for itself.
func (c *Conn) Flush() error { return c.w.flush() }

// open begins a record, and returns where. close ends it.
func (w *writer) open(kind byte) int {
	w.out = append(w.out, version, kind, 0, requestID, 0, 0, 0, 0)
	return len(w.out) - headerLen
}

// close sets the lengths of the record that begins at start, pads it to a multiple of 8 bytes, and returns the length of its content.
func (w *writer) close(start int) int {
	n := len(w.out) - start - headerLen
	padding := -n & 7
	binary.BigEndian.PutUint16(w.out[start+4:], uint16(n))
	w.out[start+6] = byte(padding)
	w.out = append(w.out, make([]byte, padding)...)
	return n
}

// flush sends what there is. After an error nothing is sent any more.
func (w *writer) flush() error {
	if w.err == nil && len(w.out) > 0 {
		if _, err := w.w.Write(w.out); err != nil {
			w.err = fmt.Errorf("cannot send to the FastCGI program: %w", err)
		}
	}
	if w.out = w.out[:0]; cap(w.out) > keptBuffer {
		w.out = nil
	}
	return w.err
}
