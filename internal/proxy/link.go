package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ruche-project/ruche/internal/h1"
	"github.com/ruche-project/ruche/internal/loop"
)

// idleLinkTime is how long an unused connection to an endpoint is kept: below the 5 s after which common servers close theirs, since a
// request that meets the close half-way cannot always be repeated.
const idleLinkTime = 4 * time.Second

// link is a connection to an endpoint that speaks HTTP/1.1. One task may send the request's content while another reads the answer.
type link struct {
	ground   ground
	endpoint *endpointState
	conn     line
	stream   io.ReadWriter // conn, or TLS on it
	reused   bool          // it has had an answer before
	expiry   *time.Timer   // of an unused one in a yard

	// Of the exchange that has it:
	x        *exchange
	chunked  bool // how the request's content is framed
	sent     bool // all of the request was sent
	heard    bool // something of the answer has come
	buf      []byte
	from, to int // what of buf was not looked at yet
	content  h1.Body
	finished bool // the answer is complete
	frame    []byte
}

// Ready implements loop.Idler: an unused connection has nothing to say, so it is at its end.
func (l *link) Ready() { l.drop() }

// Expired implements loop.Idler.
func (l *link) Expired() { l.drop() }

func (l *link) drop() {
	l.ground.(*worker).forget(l)
	l.close()
}

func (l *link) close() { _ = l.conn.Close() }

// abort has every wait for the endpoint end.
func (l *link) abort() { l.close() }

// open connects to an endpoint, with TLS where its scheme asks for it.
func (p *Proxy) open(g ground, e *endpointState) (*link, error) {
	timeout := p.cfg.Timeouts.Dial
	conn, err := g.dial(e.address, timeout)
	if err != nil {
		return nil, err
	}
	l := &link{ground: g, endpoint: e, conn: conn, stream: conn}
	conn.SetTimeouts(timeout, timeout)
	if e.scheme == "https" {
		secure := tls.Client(conn, p.endpointTLS)
		if err := secure.Handshake(); err != nil {
			_ = conn.Close()
			return nil, err
		}
		l.stream = secure
		if raw, ok := conn.(*loop.Conn); ok {
			l.stream = newSecureStream(secure, raw)
		}
	}
	return l, nil
}

// start sends the request's head, with the content that is here already.
func (l *link) start(x *exchange, first []byte, whole bool) error {
	l.x, l.sent, l.heard, l.finished, l.from, l.to = x, false, false, false, 0, 0
	l.chunked = x.req.Framing == h1.Chunked
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

func (l *link) appendContent(out, p []byte) []byte {
	if !l.chunked {
		return append(out, p...)
	}
	out = h1.AppendChunkSize(out, len(p))
	out = append(out, p...)
	return append(out, h1.CRLF...)
}

func (l *link) appendEnd(out []byte, trailer []h1.Field) []byte {
	if !l.chunked {
		return out
	}
	return h1.AppendTrailer(out, trailer)
}

// send sends content.
func (l *link) send(p []byte) error {
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
func (l *link) finish(trailer []h1.Field) error {
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
func (l *link) head(timeout time.Duration) error {
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
func (l *link) fill() error {
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

// next waits for more content of the answer, which holds until the next call. The answer is complete when l.finished is set.
func (l *link) next() ([]byte, error) {
	for {
		data, n, done, err := l.content.Next(l.buf[l.from:l.to])
		l.from += n
		l.finished = done
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
				l.finished = true
				return nil, nil
			}
			return nil, err
		}
	}
}

// pending reports whether next would not have to wait.
func (l *link) pending() bool { return l.from < l.to }

// release ends the exchange on this link. It is kept for another one when both messages have come to their ends.
func (l *link) release() {
	reusable := l.finished && l.sent && l.from == l.to && !l.x.inbound.Close
	if l.buf != nil {
		l.ground.giveBack(l.buf)
		l.buf = nil
	}
	l.x = nil
	if !reusable {
		l.close()
		return
	}
	l.reused = true
	l.ground.keepLink(l)
}

func describeAnswer(err error) error {
	var refused h1.Error
	if errors.As(err, &refused) {
		return fmt.Errorf("%w: its answer has %s", errBroken, refused.Error())
	}
	return fmt.Errorf("%w: %w", errBroken, err)
}
