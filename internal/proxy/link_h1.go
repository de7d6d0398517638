package proxy

import (
	"errors"
	"io"
	"time"

	"github.com/ruche-project/ruche/internal/h1"
)

// h1Link is a connection to an endpoint that speaks HTTP/1.1.
type h1Link struct {
	wire

	// Of the exchange that has it:
	x        *exchange
	chunked  bool // how the request's content is framed
	sent     bool // all of the request was sent
	heard    bool // something of the answer has come
	buf      []byte
	from, to int // what of buf was not looked at yet
	content  h1.Body
	short    bool // little of it came at once
	complete bool // all of the answer has come
	frame    []byte
}

// start sends the request's head, with the content that is here already.
func (l *h1Link) start(x *exchange, first []byte, whole bool) error {
	l.x, l.sent, l.heard, l.short, l.complete, l.from, l.to = x, false, false, false, false, 0, 0
	l.chunked = x.req.Framing == h1.Chunked
	x.inbound.Reset() // another endpoint may have begun a head in the same buffer
	body := x.proxy.cfg.Timeouts.Body
	l.conn.SetTimeouts(body, body)
	out := h1.AppendRequestLine(l.ground.buffer(smallBuffer)[:0], x.req.Method, bytesOf(x.target.forwarded(x.route.route)))
	out = h1.AppendField(out, "Host", x.req.Host)
	for i := range x.outbound {
		out = h1.AppendField(out, x.outbound[i].Name, x.outbound[i].Value)
	}
	switch {
	case l.chunked:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case x.req.Framing == h1.Length:
		out = h1.AppendIntField(out, "Content-Length", x.req.ContentLength)
	}
	if !l.keep && x.upgrade == "" {
		out = append(out, "Connection: close\r\n"...)
	}
	out = append(out, h1.CRLF...)
	if len(first) > 0 {
		out = l.appendContent(out, first)
	}
	if whole {
		out = l.appendEnd(out, x.client.trailer())
		l.sent = true
	}
	_, err := l.stream.Write(out)
	l.ground.giveBack(out)
	return err
}

func (l *h1Link) appendContent(out, p []byte) []byte {
	if !l.chunked {
		return append(out, p...)
	}
	out = h1.AppendChunkSize(out, len(p))
	out = append(out, p...)
	return append(out, h1.CRLF...)
}

func (l *h1Link) appendEnd(out []byte, trailer []h1.Field) []byte {
	if !l.chunked {
		return out
	}
	return h1.AppendTrailer(out, trailer)
}

// send sends content.
func (l *h1Link) send(p []byte) error {
	if !l.chunked {
		_, err := l.stream.Write(p)
		return err
	}
	size := h1.AppendChunkSize(l.frame[:0], len(p))
	out := append(append(append(l.ground.buffer(len(p) + len(size) + 2)[:0], size...), p...), h1.CRLF...)
	_, err := l.stream.Write(out)
	l.ground.giveBack(out)
	return err
}

// finish ends the content.
func (l *h1Link) finish(trailer []h1.Field) error {
	l.sent = true
	if !l.chunked {
		return nil
	}
	_, err := l.stream.Write(h1.AppendTrailer(nil, trailer))
	return err
}

// answerLimits bound the head of an endpoint's answer.
func answerLimits() h1.Limits { return h1.Limits{HeadBytes: 256 << 10, Fields: 1000} }

// head waits for the next head of the answer and puts it into x.inbound.
func (l *h1Link) head(timeout time.Duration) error {
	l.conn.SetReadTimeout(timeout)
	for {
		if l.from < l.to {
			n, err := l.x.inbound.Parse(l.buf[l.from:l.to], l.x.req.Method, answerLimits())
			if err != nil {
				return err
			}
			if n > 0 {
				l.from += n
				l.content.Reset(l.x.inbound.Framing, l.x.inbound.ContentLength)
				return nil
			}
		}
		if err := l.fill(); err != nil {
			return err
		}
	}
}

// fill reads more into the buffer, of which nothing is lost.
func (l *h1Link) fill() error {
	switch {
	case l.buf == nil:
		if _, plain := l.stream.(line); plain {
			if err := l.conn.WaitReadable(); err != nil {
				return err
			}
		}
		l.buf, l.from, l.to = l.ground.buffer(mediumBuffer), 0, 0
	case l.from == l.to:
		l.from, l.to = 0, 0
	case l.to == len(l.buf) && l.from > 0:
		l.to = copy(l.buf, l.buf[l.from:l.to])
		l.from = 0
	case l.to == len(l.buf):
		bigger := l.ground.buffer(2 * len(l.buf))
		copy(bigger, l.buf)
		l.ground.giveBack(l.buf)
		l.buf = bigger
	}
	n, err := l.stream.Read(l.buf[l.to:])
	l.to += n
	if n > 0 {
		l.heard = true
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next waits for more content of the answer, which holds until the next call. The answer is complete when finished says so.
func (l *h1Link) next() ([]byte, error) {
	for {
		data, n, done, err := l.content.Next(l.buf[l.from:l.to])
		l.from += n
		l.complete = done
		switch {
		case err != nil:
			return nil, err
		case len(data) > 0 || done:
			return data, nil
		}
		if l.from == l.to && len(l.buf) < largeBuffer {
			l.ground.giveBack(l.buf)
			l.buf, l.from, l.to = l.ground.buffer(largeBuffer), 0, 0
		}
		if err := l.fill(); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) && l.content.EOF() == nil {
				l.complete = true
				return nil, nil
			}
			return nil, err
		}
		l.short = l.to-l.from < shortPiece
	}
}

func (l *h1Link) finished() bool { return l.complete }

func (l *h1Link) pending() bool { return l.from < l.to }

func (l *h1Link) trailer() []h1.Field { return l.content.Trailer() }

// stale implements link: the endpoint may have closed the connection when the request was under way.
func (l *h1Link) stale() bool { return l.reused && !l.heard }

// release ends the exchange on this link. It is kept for another one when both messages have come to their ends.
func (l *h1Link) release() {
	reusable := l.keep && l.complete && l.sent && l.from == l.to && !l.x.inbound.Close && l.silent()
	if l.buf != nil {
		l.ground.giveBack(l.buf)
		l.buf = nil
	}
	l.x = nil
	if !reusable {
		l.close()
		return
	}
	l.rest()
}
