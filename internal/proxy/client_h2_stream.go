package proxy

import (
	"errors"
	"io"
	"os"

	"github.com/ruche-project/ruche/internal/h1"
	"github.com/ruche-project/ruche/internal/h2"
	"github.com/ruche-project/ruche/internal/loop"
)

// h2Stream is one request of an HTTP/2 connection. It is used for one after the other.
type h2Stream struct {
	conn    *h2Conn
	id      uint32
	x       *exchange
	head    h2.Head
	refused h1.Error // what its head is answered with, if anything is wrong with it
	runner  func()   // run, made once
	// err says why the stream is over before its end: the client is gone, or has sent what is wrong.
	err  error
	gone func() // see watch

	// The request's content:
	pieces   []piece // what has come and was not taken yet
	lent     []byte  // a buffer whose content somebody has got of next
	lentSize int
	first    []byte    // the buffer of what arrived together with the head
	receive  h2.Window // how much may come
	credit   int       // what was taken of it and not given back yet
	got      int64
	whole    bool // all has come
	unwanted bool // nobody reads it any more
	reader   loop.Sleeper
	reading  pace

	// The answer:
	window    h2.Window // how much content may be sent
	sleeper   loop.Sleeper
	shut      bool // it waits for its window
	turn      bool // it is its turn to send
	needsHead bool // it waits to send a head, for which there is no window
	sending   pace
	frame     int // where its last frame begins in what is to be sent, if flushes is still the connection's
	flushes   int
	ended     bool // all was sent
}

// piece is content in a borrowed buffer.
type piece struct {
	buf []byte
	n   int
}

// keptH2Streams is how many unused ones a worker keeps.
const keptH2Streams = 256

// h2Stream lends one, with an exchange for its head.
func (w *worker) h2Stream(c *h2Conn, id uint32) *h2Stream {
	var s *h2Stream
	if n := len(w.h2Streams); n > 0 {
		s = w.h2Streams[n-1]
		w.h2Streams = w.h2Streams[:n-1]
	} else {
		s = &h2Stream{}
		s.runner = s.run
	}
	*s = h2Stream{conn: c, id: id, x: w.exchange(), head: s.head, runner: s.runner, pieces: s.pieces[:0], receive: receiveWindow, window: c.initial}
	s.head.Request = &s.x.req
	return s
}

func (w *worker) giveH2Stream(s *h2Stream) {
	w.giveExchange(s.x)
	s.conn, s.x, s.gone = nil, nil, nil
	if len(w.h2Streams) < keptH2Streams {
		w.h2Streams = append(w.h2Streams, s)
	}
}

// run has the request answered. It is the task of the stream's fiber.
func (s *h2Stream) run() {
	c, x := s.conn, s.x
	over := false
	defer func() {
		s.finish()
		if over { // else by a panic, after which nobody knows who has what
			c.worker.giveH2Stream(s)
		}
	}()
	x.client, x.proto, x.secure, x.port, x.tls = s, "HTTP/2.0", c.entry.secure, c.entry.port, c.tls
	x.remote, x.peer = c.remote, c.remote.Addr()
	if s.refused.Status != 0 {
		s.refuse()
	} else {
		x.begin()
		s.blame()
		c.worker.proxy.exchange(x)
	}
	over = true
}

// refuse answers a head that is not looked at any further.
func (s *h2Stream) refuse() {
	x := s.x
	x.req = h1.Request{Head: h1.Head{Fields: x.req.Fields[:0], Minor: 1}, Method: x.req.Method, Path: x.req.Path}
	x.begin()
	x.target.raw, x.target.rawPath = text(x.req.Path), text(x.req.Path)
	x.res.err = s.refused
	x.say(refuse(s.refused.Status, "the request has "+s.refused.Reason))
	x.proxy.account(x)
}

// finish ends the stream.
func (s *h2Stream) finish() {
	c := s.conn
	switch {
	case s.err != nil || c.closed:
	case !s.ended:
		c.sendReset(s.id, h2.InternalError)
	case !s.whole: // RFC 9113 section 8.1
		c.sendReset(s.id, h2.NoError)
	default:
		c.ease(2)
	}
	s.giveBackLent()
	s.drop()
	if s.first != nil {
		c.worker.giveBack(s.first)
	}
	c.ended(s)
}

// fail ends the stream before its end. Further calls do nothing.
func (s *h2Stream) fail(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	s.blame()
	s.reader.Wake()
	s.sleeper.Wake()
	s.drop()
	if f := s.gone; f != nil {
		s.gone = nil
		f()
	}
}

// blame has the exchange know what the client has done wrong, if it did.
func (s *h2Stream) blame() {
	if s.err != nil && !errors.Is(s.err, errClientGone) {
		s.x.body.fail(blameClient(s.err))
	}
}

// drop gives back what has come and nobody will take.
func (s *h2Stream) drop() {
	for i, p := range s.pieces {
		s.conn.refund(p.n)
		s.conn.worker.giveBack(p.buf)
		s.pieces[i] = piece{}
	}
	s.pieces = s.pieces[:0]
}

// take keeps a piece of content until somebody wants it.
func (s *h2Stream) take(p []byte) error {
	s.got += int64(len(p))
	if q := &s.x.req; q.Framing == h1.Length && s.got > q.ContentLength {
		return s.wrongLength()
	}
	if s.unwanted {
		s.conn.refund(len(p))
		return nil
	}
	for len(p) > 0 {
		last := len(s.pieces) - 1
		if last < 0 || s.pieces[last].n == len(s.pieces[last].buf) {
			size := len(p)
			if last >= 0 {
				size = largeBuffer
			}
			s.pieces = append(s.pieces, piece{buf: s.conn.worker.buffer(size)})
			last++
		}
		at := &s.pieces[last]
		n := copy(at.buf[at.n:], p)
		at.n += n
		p = p[n:]
	}
	s.reader.Wake()
	return nil
}

// lastPiece notes that all of the content has come.
func (s *h2Stream) lastPiece() error {
	if q := &s.x.req; q.Framing == h1.Length && s.got != q.ContentLength {
		return s.wrongLength()
	}
	s.whole = true
	s.reader.Wake()
	return nil
}

func (s *h2Stream) wrongLength() error {
	return h2.Error{Code: h2.ProtocolError, Stream: s.id, Reason: "content that has not the length of Content-Length", Rule: "RFC 9113 8.1.1"}
}

// refund lets the client send so much more, in steps of half the window.
func (s *h2Stream) refund(n int) {
	c := s.conn
	c.refund(n)
	if s.credit += n; s.credit >= receiveWindow/2 && !s.whole && s.err == nil && !c.closed {
		s.receive += h2.Window(s.credit)
		c.append(h2.AppendWindowUpdate(c.begin(), s.id, s.credit))
		s.credit = 0
	}
}

// giveBackLent ends the use of what next has returned.
func (s *h2Stream) giveBackLent() {
	if s.lent != nil {
		s.conn.worker.giveBack(s.lent)
		s.lent = nil
		s.refund(s.lentSize)
	}
}

// shift takes the first piece.
func (s *h2Stream) shift() piece {
	p := s.pieces[0]
	n := copy(s.pieces, s.pieces[1:])
	s.pieces[n] = piece{}
	s.pieces = s.pieces[:n]
	return p
}

// arrived implements client.
func (s *h2Stream) arrived() (data []byte, whole bool) {
	if len(s.pieces) == 0 {
		return nil, s.whole
	}
	p := s.shift()
	s.first = p.buf
	s.refund(p.n)
	return p.buf[:p.n], s.whole && len(s.pieces) == 0
}

// next implements client.
func (s *h2Stream) next() ([]byte, error) {
	s.giveBackLent()
	for {
		switch {
		case s.err != nil:
			return nil, s.err
		case s.unwanted:
			return nil, errUnread
		case len(s.pieces) > 0:
			p := s.shift()
			s.lent, s.lentSize = p.buf, p.n
			return p.buf[:p.n], nil
		case s.whole:
			return nil, io.EOF
		}
		l := s.conn.worker.loop
		began, got := l.Now(), s.got
		timeout := max(s.conn.entry.timeouts.Body, s.x.silence)
		late := l.Sleep(&s.reader, timeout)
		slow := s.reading.tooSlow(l.Now().Sub(began), int(s.got-got), timeout)
		if s.err == nil && (late || slow && !s.x.res.sentHead) { // an answer that has begun makes it a conversation, which may have its silences
			return nil, os.ErrDeadlineExceeded
		}
	}
}

// trailer implements client.
func (s *h2Stream) trailer() []h1.Field { return s.head.Trailer }

// unread implements client.
func (s *h2Stream) unread() {
	s.unwanted = true
	s.drop()
	s.reader.Wake()
}

// watch implements client.
func (s *h2Stream) watch(f func()) {
	if f != nil && s.err != nil {
		f()
		return
	}
	s.gone = f
}

// closeAfter implements client. The end of a stream does not concern the connection.
func (s *h2Stream) closeAfter() {}

// inform implements client.
func (s *h2Stream) inform(status int, fields []h1.Field) error {
	if err := s.awaitRoom(); err != nil {
		return err
	}
	start := s.beginHead(status)
	s.endHead(start, fields, 0)
	s.frame = -1
	return nil
}

// begin implements client.
func (s *h2Stream) begin(status int, _ []byte, fields []h1.Field, length int64) error {
	if err := s.awaitRoom(); err != nil {
		return err
	}
	c := s.conn
	if c.worker.proxy.draining.Load() {
		c.goAway()
	}
	start := s.beginHead(status)
	dated := false
	for i := range fields {
		dated = dated || fields[i].ID == h1.Date
	}
	if !dated {
		c.out = h2.AppendField(c.out, bytesOf("date"), c.worker.today())
	}
	if length >= 0 && !s.x.bodyless(status) {
		c.out = h2.AppendIntField(c.out, "content-length", length)
	}
	s.endHead(start, fields, 0)
	return nil
}

// beginHead begins a head with its status; 0 stands for a trailer's, which has none.
func (s *h2Stream) beginHead(status int) (start int) {
	c := s.conn
	out := c.beginLong(1 << 10) // most are shorter
	start = len(out)
	out = h2.BeginHeaders(out)
	if c.retable {
		c.retable = false
		out = append(out, 0x20) // a table of 0 bytes (RFC 7541 section 6.3)
	}
	if status > 0 {
		out = h2.AppendStatus(out, status)
	}
	c.out = out
	return start
}

// endHead adds the fields of a head and has it sent.
func (s *h2Stream) endHead(start int, fields []h1.Field, flags h2.Flags) {
	c := s.conn
	for i := range fields {
		c.out = h2.AppendField(c.out, fields[i].Name, fields[i].Value)
	}
	s.frame, s.flushes = start, c.flushes
	c.append(h2.EndHeadersFrame(c.out, start, flags, s.id, h2.MaxFrame))
}

// write implements client. What is taken is sent at the end of the loop's turn in any case.
func (s *h2Stream) write(p []byte, _ bool) error {
	c := s.conn
	for len(p) > 0 {
		n, err := s.await(len(p))
		if err != nil {
			return err
		}
		s.window -= h2.Window(n)
		c.window -= h2.Window(n)
		c.ease(2 + n/(2<<10)) // clients answer to content with PING and WINDOW_UPDATE
		out := c.beginLong(h2.FrameHeaderLen + n)
		s.frame, s.flushes = len(out), c.flushes
		c.append(append(h2.AppendFrameHeader(out, n, h2.Data, 0, s.id), p[:n]...))
		p = p[n:]
	}
	return s.err
}

// end implements client.
func (s *h2Stream) end(trailer []h1.Field) error {
	c := s.conn
	switch {
	case s.err != nil:
		return s.err
	case len(trailer) > 0:
		if err := s.awaitRoom(); err != nil {
			return err
		}
		s.endHead(s.beginHead(0), trailer, h2.EndStream)
	case s.flushes == c.flushes && s.frame >= 0:
		c.out[s.frame+4] |= byte(h2.EndStream)
	default:
		c.append(h2.AppendFrameHeader(c.begin(), 0, h2.Data, h2.EndStream, s.id))
	}
	s.ended = true
	return nil
}
