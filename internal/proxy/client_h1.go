package proxy

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/ruche-project/ruche/internal/h1"
	"github.com/ruche-project/ruche/internal/loop"
)

// h1Client is a client's HTTP/1.1 connection. Between requests it is this struct and nothing else: no fiber, no buffer.
type h1Client struct {
	worker *worker
	entry  *entry
	conn   *loop.Conn
	secure *secureStream  // nil on the plain listener
	stream io.ReadWriter  // conn or secure
	remote netip.AddrPort // the client's, as a PROXY header tells it
	ticket ticket
	tls    tlsFacts

	seat
	served   bool // it has had a request
	closing  bool // no further request is read
	upgraded bool // it speaks another protocol now

	// While a request is read and answered:
	x        *exchange
	buf      []byte // what was read; its beginning holds the request's head
	from, to int    // what of buf was not looked at yet
	lent     []byte // content is read into this when buf is used up
	content  h1.Body
	short    bool // little of it came at once
	whole    bool // the content has come to its end
	out      []byte
	chunked  bool
	asked    bool // 100 (Continue) is what the client waits for
	discard  int  // how much more content is read that nobody wants; 0 while it is wanted
	// reading and sending are how fast the client lets its content and the answer go on.
	reading, sending pace
}

// Ready implements loop.Idler: there is something to read.
func (c *h1Client) Ready() {
	defer func() {
		if v := recover(); v != nil {
			c.close()
			panic(v)
		}
	}()
	c.wake()
	c.x = c.worker.exchange()
	for {
		if c.from == c.to && !c.more() {
			c.letGo()
			c.rest()
			return
		}
		if !c.exchange() {
			c.letGo()
			c.close()
			return
		}
	}
}

// Expired implements loop.Idler: the client has been silent for too long.
func (c *h1Client) Expired() { c.close() }

// rest leaves the connection to its loop until the next request.
func (c *h1Client) rest() {
	if c.worker.proxy.parted.Load() {
		c.close()
		return
	}
	timeout := c.entry.timeouts.Idle
	if !c.served {
		timeout = c.entry.timeouts.ReadHeader
	}
	c.worker.clients.add(&c.seat)
	c.conn.Idle(timeout, c)
}

// more reads what is here of the next request, and reports false when that is nothing. TLS may have read it already: then no event will
// tell of it.
func (c *h1Client) more() bool {
	if c.buf == nil {
		c.buf = c.worker.buffer(smallBuffer)
	}
	c.conn.SetNoWait(true)
	n, err := c.stream.Read(c.buf)
	c.conn.SetNoWait(false)
	c.from, c.to = 0, n
	return n > 0 || !errors.Is(err, loop.ErrWouldWait)
}

// letGo gives back what is borrowed for a request.
func (c *h1Client) letGo() {
	if c.buf != nil {
		c.worker.giveBack(c.buf)
		c.buf = nil
	}
	if c.lent != nil {
		c.worker.giveBack(c.lent)
		c.lent = nil
	}
	if c.out != nil {
		c.worker.giveBack(c.out)
		c.out = nil
	}
	c.from, c.to = 0, 0
	if c.x != nil {
		c.worker.giveExchange(c.x)
		c.x = nil
	}
}

// dismiss implements resident.
func (c *h1Client) dismiss() { c.close() }

func (c *h1Client) close() {
	c.wake()
	if c.entry != nil {
		c.ticket.giveBack()
		c.entry = nil
	}
	_ = c.conn.Close()
}

// exchange reads a request and has it answered. It reports whether the connection may go on.
func (c *h1Client) exchange() bool {
	x, p := c.x, c.worker.proxy
	c.short, c.whole, c.chunked, c.asked, c.discard = false, false, false, false, 0
	c.reading, c.sending = pace{}, pace{}
	n, err := c.readHead()
	if err != nil {
		return c.refuse(err)
	}
	c.served = true
	c.from += n
	c.conn.SetReadTimeout(c.entry.timeouts.Body)
	c.content.Reset(x.req.Framing, x.req.ContentLength)
	c.whole = x.req.Framing == h1.NoBody || x.req.Framing == h1.Length && x.req.ContentLength == 0
	c.closing = x.req.Close || p.draining.Load()
	c.asked = x.req.Expect100
	c.describe()
	p.exchange(x)
	if c.upgraded || !x.complete {
		return false
	}
	if !c.whole && !c.closing {
		c.discardRest()
	}
	if c.lent != nil { // what follows the content stands there
		c.worker.giveBack(c.buf)
		c.buf, c.lent = c.lent, nil
	}
	switch {
	case !c.whole, c.closing && (c.from < c.to || c.conn.Ready()):
		linger(c.worker, c.conn, c.secure)
		return false
	case c.closing && c.secure != nil:
		_ = c.secure.CloseWrite() // an answer may end with the connection
	}
	return !c.closing
}

// describe tells the exchange what is known of the connection.
func (c *h1Client) describe() {
	x := c.x
	x.client, x.proto, x.secure, x.port, x.tls = c, "HTTP/1.1", c.entry.secure, c.entry.port, c.tls
	if x.req.Minor == 0 {
		x.proto = "HTTP/1.0"
	}
	x.remote, x.peer = c.remote, c.remote.Addr()
	x.begin()
}

// headLimits bound the head of a request.
func headLimits() h1.Limits { return h1.Limits{HeadBytes: maxHeaderBytes, Fields: maxHeaderFields} }

// readHead reads until the head of a request is whole, and parses it.
func (c *h1Client) readHead() (int, error) {
	c.conn.SetTimeouts(c.entry.timeouts.ReadHeader, c.entry.timeouts.Body)
	defer c.wake()
	timed := false
	for {
		if c.from < c.to {
			if n, err := c.x.req.Parse(c.buf[c.from:c.to], headLimits()); n > 0 || err != nil {
				if timed {
					_ = c.conn.SetReadDeadline(time.Time{})
				}
				return n, err
			}
			if !timed { // the whole head has to come in this time, not each byte of it
				timed = true
				c.worker.heads.add(&c.seat)
				_ = c.conn.SetReadDeadline(c.worker.loop.Now().Add(c.entry.timeouts.ReadHeader))
			}
		}
		c.room()
		n, err := c.stream.Read(c.buf[c.to:])
		c.to += n
		if n == 0 && err != nil {
			return 0, err
		}
	}
}

// room makes room in the buffer. What was not looked at yet stays.
func (c *h1Client) room() {
	switch {
	case c.buf == nil:
		c.buf, c.from, c.to = c.worker.buffer(smallBuffer), 0, 0
	case c.from == c.to:
		c.from, c.to = 0, 0
	case c.to == len(c.buf) && c.from > 0:
		c.to = copy(c.buf, c.buf[c.from:c.to])
		c.from = 0
	case c.to == len(c.buf):
		bigger := c.worker.buffer(4 * len(c.buf))
		copy(bigger, c.buf)
		c.worker.giveBack(c.buf)
		c.buf = bigger
	}
}

// refuse answers what is no request, when there is somebody to answer. It always reports false.
func (c *h1Client) refuse(err error) bool {
	var refused h1.Error
	x := c.x
	switch {
	case errors.As(err, &refused):
	case errors.Is(err, os.ErrDeadlineExceeded) && c.to > c.from:
		_, _ = x.req.Parse(c.buf[c.from:c.to], headLimits()) // room may have moved what it refers to
		refused = h1.Error{Status: http.StatusRequestTimeout, Reason: "a head that did not come in time", Rule: "RFC 9110 15.5.9"}
	default:
		return false // gone, or silent
	}
	x.req = h1.Request{Head: h1.Head{Fields: x.req.Fields[:0]}, Method: x.req.Method, Target: x.req.Target}
	x.req.Minor = 1
	c.whole, c.closing = true, true
	c.describe()
	x.target.raw, x.target.rawPath = text(x.req.Target), text(x.req.Target)
	x.res.err = refused
	x.say(refuse(refused.Status, "the request has "+refused.Reason).closing())
	x.proxy.account(x)
	c.from = c.to
	linger(c.worker, c.conn, c.secure)
	return false
}

// arrived implements client.
func (c *h1Client) arrived() (data []byte, whole bool) {
	if c.whole {
		return nil, true
	}
	if c.from == c.to {
		return nil, false
	}
	data, n, done, err := c.content.Next(c.buf[c.from:c.to])
	if err != nil {
		return nil, false // next finds it again
	}
	c.from += n
	c.whole = done
	return data, done
}

// next implements client.
func (c *h1Client) next() ([]byte, error) {
	for {
		if c.whole {
			return nil, io.EOF
		}
		data, n, done, err := c.content.Next(c.source()[c.from:c.to])
		if err != nil {
			return nil, err
		}
		c.from += n
		c.whole = done
		if c.discard > 0 && len(data) > 0 {
			if c.discard -= len(data); c.discard <= 0 {
				return nil, errUnread
			}
			continue
		}
		if len(data) > 0 {
			return data, nil
		}
		if !done {
			if err := c.readContent(); err != nil {
				return nil, err
			}
		}
	}
}

// source is the buffer that from and to are of.
func (c *h1Client) source() []byte {
	if c.lent != nil {
		return c.lent
	}
	return c.buf
}

// readContent reads more content, into a buffer of its own: the head has to stay.
func (c *h1Client) readContent() error {
	began := c.worker.loop.Now()
	if c.lent == nil {
		if c.secure == nil { // TLS may hold content already, of which no event would tell
			if err := c.conn.WaitReadable(); err != nil {
				return err
			}
		}
		c.lent = c.worker.buffer(largeBuffer)
	}
	p := c.lent
	if c.x.req.Framing == h1.Length {
		p = p[:min(int64(len(p)), c.content.Left())] // so that nothing of the next request is read
	}
	n, err := c.stream.Read(p)
	c.from, c.to, c.short = 0, n, n < shortPiece
	return c.judgeRead(began, n, err)
}

// judgeRead tells what reading content, which began then, has come to.
func (c *h1Client) judgeRead(began time.Time, n int, err error) error {
	slow := c.reading.tooSlow(c.worker.loop.Now().Sub(began), n, c.entry.timeouts.Body)
	switch {
	case slow && !c.x.res.sentHead: // an answer that has begun makes it a conversation, which may have its silences
		return os.ErrDeadlineExceeded
	case n > 0:
		return nil
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}

// trailer implements client.
func (c *h1Client) trailer() []h1.Field { return c.content.Trailer() }

// unread implements client: somebody reads content that nobody wants any more.
func (c *h1Client) unread() {
	switch {
	case c.whole || c.discard > 0:
	case c.x.res.sentHead:
		c.skip()
	default: // the answer is one of ours, which need not wait for a client that dawdles
		c.discard, c.closing = 1, true
		_ = c.conn.SetReadDeadline(c.worker.loop.Now())
	}
}

// skip has the content read that nobody wants any more, as long as that is little and does not take long.
func (c *h1Client) skip() {
	c.discard = maxDiscard
	c.worker.loop.After(lingerTime, c.giveUpReading(c.x.started))
}

// giveUpReading returns what ends the reading for the exchange that began then.
func (c *h1Client) giveUpReading(started time.Time) func() {
	return func() {
		if c.x != nil && c.x.started.Equal(started) && c.discard > 0 && !c.whole {
			_ = c.conn.Close()
		}
	}
}

const (
	// maxDiscard is how much of a request's content is read for the sake of the connection when nobody wants it.
	maxDiscard = 256 << 10
	// lingerTime is for how long, and how long a client has to take notice that its connection is being closed.
	lingerTime = 2 * time.Second
)

// discardRest reads what is left of the content, if that is little.
func (c *h1Client) discardRest() {
	if c.asked || c.content.Left() > maxDiscard {
		return
	}
	if c.discard == 0 {
		c.skip()
	}
	_, _ = c.next()
}

// linger lets the client read the answer before the connection is closed: what it still sends would otherwise have the system throw the answer away (RFC 9112
// section 9.6). secure is nil without TLS.
func linger(w *worker, conn *loop.Conn, secure *secureStream) {
	if secure != nil {
		_ = secure.CloseWrite()
	}
	if conn.CloseWrite() != nil {
		return
	}
	conn.SetTimeouts(lingerTime, lingerTime)
	_ = conn.SetReadDeadline(w.loop.Now().Add(lingerTime))
	scratch := w.buffer(mediumBuffer)
	defer w.giveBack(scratch)
	for total := 0; total < maxLinger; {
		n, err := conn.Read(scratch)
		if err != nil {
			return
		}
		total += n
	}
}

// maxLinger is how much is read of a client that does not stop.
const maxLinger = 4 << 20

// watch implements client. A client that has ended its direction is gone, see DESIGN.md.
func (c *h1Client) watch(f func()) {
	if f != nil && c.conn.Gone() {
		f()
		return
	}
	c.conn.WatchGone(f)
}

// closeAfter implements client.
func (c *h1Client) closeAfter() { c.closing = true }

// inform implements client.
func (c *h1Client) inform(status int, fields []h1.Field) error {
	if c.x.req.Minor == 0 {
		return nil // which knows none (RFC 9110 section 15.2)
	}
	if status == http.StatusContinue {
		c.asked = false
	}
	out := h1.AppendStatusLine(c.worker.buffer(smallBuffer)[:0], status, nil)
	for i := range fields {
		out = h1.AppendField(out, fields[i].Name, fields[i].Value)
	}
	_, err := c.stream.Write(append(out, h1.CRLF...))
	c.worker.giveBack(out)
	return err
}

// begin implements client.
func (c *h1Client) begin(status int, reason []byte, fields []h1.Field, length int64) error {
	x := c.x
	out := h1.AppendStatusLine(c.worker.buffer(mediumBuffer)[:0], status, reason)
	dated := false
	for i := range fields {
		dated = dated || fields[i].ID == h1.Date
		out = h1.AppendField(out, fields[i].Name, fields[i].Value)
	}
	if !dated {
		out = h1.AppendField(out, "Date", c.worker.today())
	}
	if !x.bodyless(status) {
		switch {
		case length >= 0:
			out = h1.AppendIntField(out, "Content-Length", length)
		case x.req.Minor == 0:
			c.closing = true
		default:
			c.chunked = true
			out = append(out, "Transfer-Encoding: chunked\r\n"...)
		}
	}
	// A client that waits for 100 (Continue) and gets this instead need not send its content: what it sends next cannot be told.
	c.closing = c.closing || c.asked && !c.whole
	switch {
	case c.closing:
		out = append(out, "Connection: close\r\n"...)
	case x.req.Minor == 0:
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	c.out = append(out, h1.CRLF...)
	return nil
}

// write implements client.
func (c *h1Client) write(p []byte, flush bool) error {
	if len(p) > 0 {
		if c.chunked {
			c.out = h1.AppendChunkSize(c.out, len(p))
		}
		if len(c.out)+len(p)+2 > cap(c.out) && len(c.out) > 0 {
			if err := c.flush(); err != nil {
				return err
			}
		}
		if len(p) >= mediumBuffer-2 {
			if err := c.send(p); err != nil {
				return err
			}
		} else {
			c.out = append(c.out, p...)
		}
		if c.chunked {
			c.out = append(c.out, h1.CRLF...)
		}
	}
	if flush {
		return c.flush()
	}
	return nil
}

func (c *h1Client) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	err := c.send(c.out)
	c.out = c.out[:0]
	return err
}

// send sends a piece of an answer.
func (c *h1Client) send(p []byte) error {
	began := c.worker.loop.Now()
	n, err := c.stream.Write(p)
	return c.judgeWrite(began, n, err)
}

// judgeWrite tells what sending a piece, which began then, has come to.
func (c *h1Client) judgeWrite(began time.Time, n int, err error) error {
	if c.sending.tooSlow(c.worker.loop.Now().Sub(began), n, c.entry.timeouts.Body) {
		return os.ErrDeadlineExceeded
	}
	return err
}

// end implements client.
func (c *h1Client) end(trailer []h1.Field) error {
	if c.chunked {
		c.out = h1.AppendTrailer(c.out, trailer)
	}
	err := c.flush()
	c.worker.giveBack(c.out)
	c.out = nil
	return err
}

// bodyless reports whether an answer with the status has no content, and no length of it that is ours to tell.
func (x *exchange) bodyless(status int) bool {
	return status < 200 || status == http.StatusNoContent || status == http.StatusNotModified || string(x.req.Method) == http.MethodHead
}
