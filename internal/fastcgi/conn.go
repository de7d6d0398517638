package fastcgi

import (
	"bufio"
	"io"
)

// The record types that a web server meets.
const (
	typeBegin  = 1
	typeEnd    = 3
	typeParams = 4
	typeStdin  = 5
	typeStdout = 6
	typeStderr = 7
)

const (
	version = 1
	// requestID is always the same: there is one request at a time.
	requestID     = 1
	roleResponder = 1
	headerLen     = 8
)

// Conn is one connection to a FastCGI program, for one exchange:
//
//	WriteBegin, WriteBody and Flush as often as there is something, CloseBody
//	Read until io.EOF; it gives what the program wrote: a head in CGI's form and the body (cgi.Answer)
//
// Two callers may use it at once, one of them writing and the other one reading: a program may answer while it is still being
// sent the body, and it may stop reading the body until its answer is read. WriteBegin comes before all else. An
// error of the writing or reading side is final: close the connection. That is also how a request is given up.
type Conn struct {
	w writer
	r reader
}

// NewConn makes a Conn of a connection that carries nothing else.
func NewConn(rw io.ReadWriter) *Conn {
	return &Conn{w: writer{w: rw}, r: reader{in: bufio.NewReaderSize(rw, readBuffer)}}
}

// Stderr is what the program wrote to its log, the first 4 KiB of it.
func (c *Conn) Stderr() []byte { return c.r.stderr }

// AppStatus is the program's exit status once Read gave io.EOF. Many programs leave it 0; one that answered and failed
// afterwards has still answered.
func (c *Conn) AppStatus() uint32 { return c.r.appStatus }
