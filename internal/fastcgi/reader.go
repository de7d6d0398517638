package fastcgi

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrRefused says that the program did not take the request, in its own words. Another endpoint may take it, whatever the method.
var ErrRefused = errors.New("the program refuses the request")

const (
	readBuffer = 4 << 10
	// maxStderr is how much of the program's messages is kept.
	maxStderr = 4 << 10
	endLen    = 8
)

// The reasons of a record that ends a request.
const (
	complete    = 0
	cannotMix   = 1
	overloaded  = 2
	unknownRole = 3
)

// reader is the reading side of a Conn: it takes the output out of the records.
type reader struct {
	in *bufio.Reader
	// kind, rest and padding are of the record that is being read: its type, and how many bytes it still has.
	kind          byte
	rest, padding int

	output    bool // there was output
	closed    bool // output ended
	ended     bool // the request ended
	appStatus uint32
	stderr    []byte
	err       error
}

// Read reads what the program writes. io.EOF stands for the end of the request, as the program told it: a connection that is cut
// before gives an error that wraps io.ErrUnexpectedEOF, the program's refusal one that wraps ErrRefused. The program's messages are
// collected on the way, however many there are: only a deadline of the connection ends that.
func (c *Conn) Read(p []byte) (int, error) {
	r := &c.r
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = fmt.Errorf("cannot read the FastCGI answer: %w", err)
		return n, r.err
	}
	return n, err
}

func (r *reader) read(p []byte) (int, error) {
	for !r.ended && len(p) > 0 {
		switch {
		case r.rest == 0:
			if err := r.next(); err != nil {
				return 0, err
			}
		case r.kind == typeStdout:
			n, err := r.in.Read(p[:min(len(p), r.rest)])
			r.rest -= n
			if n > 0 {
				return n, nil
			}
			if err != nil {
				return 0, cutOff(err)
			}
		case r.kind == typeStderr:
			if err := r.message(); err != nil {
				return 0, err
			}
		default:
			return 0, r.end()
		}
	}
	if len(p) == 0 {
		return 0, nil
	}
	return 0, io.EOF
}

// next goes to the next record.
func (r *reader) next() error {
	if _, err := r.in.Discard(r.padding); err != nil {
		return cutOff(err)
	}
	r.padding = 0
	h, err := r.in.Peek(headerLen)
	if err != nil {
		if len(h) > 0 && h[0] != version {
			return foreign(h)
		}
		return cutOff(err)
	}
	if h[0] != version {
		return foreign(h)
	}
	r.kind, r.rest, r.padding = h[1], int(binary.BigEndian.Uint16(h[4:])), int(h[6])
	if id := binary.BigEndian.Uint16(h[2:]); id != requestID {
		return fmt.Errorf("a record of type %d is about request %d, which there is not", r.kind, id)
	}
	if _, err := r.in.Discard(headerLen); err != nil {
		return cutOff(err)
	}
	return r.check()
}

// check looks whether the record that begins may come.
func (r *reader) check() error {
	switch r.kind {
	case typeStdout:
		if r.closed && r.rest > 0 {
			return errors.New("the program writes on behind the end of its output")
		}
		r.output = r.output || r.rest > 0
		r.closed = r.rest == 0
	case typeStderr:
	case typeEnd:
		if r.rest != endLen {
			return fmt.Errorf("the record that ends the request has %d bytes instead of %d", r.rest, endLen)
		}
	default:
		return fmt.Errorf("a record has the type %d, which no answer has", r.kind)
	}
	return nil
}

// message keeps what fits of a piece of the program's log.
func (r *reader) message() error {
	if keep := min(r.rest, maxStderr-len(r.stderr)); keep > 0 {
		from := len(r.stderr)
		r.stderr = append(r.stderr, make([]byte, keep)...)
		n, err := io.ReadFull(r.in, r.stderr[from:])
		r.stderr = r.stderr[:from+n]
		r.rest -= n
		if err != nil {
			return cutOff(err)
		}
	}
	n, err := r.in.Discard(r.rest)
	r.rest -= n
	if err != nil {
		return cutOff(err)
	}
	return nil
}

// end reads the end of the request: io.EOF, or why it is no proper one.
func (r *reader) end() error {
	b, err := r.in.Peek(endLen)
	if err != nil {
		return cutOff(err)
	}
	r.appStatus = binary.BigEndian.Uint32(b)
	status := b[4]
	if _, err := r.in.Discard(endLen); err != nil {
		return cutOff(err)
	}
	r.rest, r.ended = 0, true
	switch status {
	case complete:
		if r.appStatus != 0 && !r.output {
			return fmt.Errorf("the program ended with status %d and without an answer", r.appStatus)
		}
		return io.EOF
	case cannotMix, overloaded, unknownRole:
		why := [...]string{
			cannotMix: "it carries another one on this connection", overloaded: "it is overloaded", unknownRole: "it is no responder",
		}[status]
		if r.output {
			return fmt.Errorf("the program gives up in the middle: %s", why)
		}
		return fmt.Errorf("%w: %s", ErrRefused, why)
	}
	return fmt.Errorf("the program ended the request for the unknown reason %d", status)
}

// cutOff is the error of a connection that ends where a request has not.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the connection ends before the request does: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// foreign is the error of somebody who speaks another language.
func foreign(b []byte) error {
	if b[0] == 'H' {
		return fmt.Errorf("%q is no FastCGI record: the endpoint seems to speak HTTP", b)
	}
	return fmt.Errorf("%q is no FastCGI record of version 1", b)
}
