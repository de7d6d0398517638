package proxy

import (
	"errors"
	"os"
	"time"

	"github.com/ruche-project/ruche/internal/h1"
	"github.com/ruche-project/ruche/internal/h2"
)

// look looks at the frames that have come. An error ends the connection.
func (c *h2Conn) look() error {
	for !c.ending && !c.closed {
		f, n, err := c.frames.Next(c.buf[c.from:c.to])
		if n == 0 && err == nil {
			return nil
		}
		c.from += n
		if !c.frames.Partial(0) {
			c.headSince = time.Time{}
		}
		if err == nil {
			err = c.frame(&f)
		}
		if err != nil {
			if err = c.endStream(err); err != nil {
				return err
			}
		}
	}
	return nil
}

// endStream resets the stream that an error is about. It returns errors that are about the connection.
func (c *h2Conn) endStream(err error) error {
	var wrong h2.Error
	if !errors.As(err, &wrong) || wrong.Stream == 0 {
		return err
	}
	if c.fresh(wrong.Stream) {
		return h2.Error{Code: wrong.Code, Reason: wrong.Reason, Rule: wrong.Rule}
	}
	c.worker.proxy.cfg.Logger.Debug("an HTTP/2 stream is reset: its client has sent "+wrong.Reason, "peer", c.remote.String(), "rule", wrong.Rule, "code", wrong.Code.String())
	c.sendReset(wrong.Stream, wrong.Code)
	if s := c.stream(wrong.Stream); s != nil {
		s.fail(h1.Error{Status: 400, Reason: wrong.Reason, Rule: wrong.Rule})
	}
	return c.tire()
}

// sendReset resets a stream.
func (c *h2Conn) sendReset(id uint32, code h2.Code) {
	c.resets[c.reset%keptResets] = id
	c.reset++
	c.append(h2.AppendRSTStream(c.begin(), id, code))
}

// wasReset reports whether frames of a stream may come that the client has sent before it knew of its end.
func (c *h2Conn) wasReset(id uint32) bool {
	for _, known := range c.resets {
		if known == id {
			return true
		}
	}
	return false
}

// frame acts on a frame.
func (c *h2Conn) frame(f *h2.Frame) error {
	switch f.Type {
	case h2.Data:
		return c.content(f)
	case h2.Headers:
		return c.head(f)
	case h2.Continuation:
		return c.headPiece(f)
	case h2.RSTStream:
		return c.given(f)
	case h2.Settings:
		return c.settings(f)
	case h2.Ping:
		if f.Flags&h2.Ack != 0 {
			return nil
		}
		c.append(h2.AppendPing(c.begin(), h2.Ack, [8]byte(f.Payload)))
	case h2.WindowUpdate:
		return c.opened(f)
	}
	return c.tire() // PING and what is ignored
}

// settings takes the client's.
func (c *h2Conn) settings(f *h2.Frame) error {
	if f.Flags&h2.Ack != 0 {
		return nil
	}
	err := h2.EachSetting(f.Payload, func(s h2.Setting, value uint32) error {
		switch s {
		case h2.HeaderTableSize:
			c.retable = true
		case h2.InitialWindowSize:
			more := int64(value) - int64(c.initial)
			c.initial = h2.Window(value)
			for _, s := range c.streams {
				if !s.window.Add(more) {
					return h2.Error{Code: h2.FlowControlError, Reason: "an INITIAL_WINDOW_SIZE that makes a window too large", Rule: "RFC 9113 6.9.2"}
				}
				s.wakeSender()
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.append(h2.AppendSettingsAck(c.begin()))
	return c.tire()
}

// opened takes a WINDOW_UPDATE.
func (c *h2Conn) opened(f *h2.Frame) error {
	if f.Stream == 0 {
		if !c.window.Add(f.Increment()) {
			return h2.Error{Code: h2.FlowControlError, Reason: "a WINDOW_UPDATE that makes the window too large", Rule: "RFC 9113 6.9.1"}
		}
		c.wakeSenders()
		return c.tire()
	}
	if c.fresh(f.Stream) {
		return h2.Error{Code: h2.ProtocolError, Reason: "a WINDOW_UPDATE of a stream that has not begun", Rule: "RFC 9113 5.1"}
	}
	if s := c.stream(f.Stream); s != nil && s.err == nil {
		if !s.window.Add(f.Increment()) {
			return h2.Error{Code: h2.FlowControlError, Stream: f.Stream, Reason: "a WINDOW_UPDATE that makes the window too large", Rule: "RFC 9113 6.9.1"}
		}
		s.wakeSender()
	}
	return c.tire()
}

// given takes a RST_STREAM: the client has given the stream up.
func (c *h2Conn) given(f *h2.Frame) error {
	if c.fresh(f.Stream) {
		return h2.Error{Code: h2.ProtocolError, Reason: "a RST_STREAM of a stream that has not begun", Rule: "RFC 9113 5.1"}
	}
	if s := c.stream(f.Stream); s != nil {
		s.fail(errClientGone)
	}
	return c.tire()
}

// head begins a stream, or the trailer of one.
func (c *h2Conn) head(f *h2.Frame) error {
	s := c.stream(f.Stream)
	c.block, c.blockError, c.blockFlags = s, nil, f.Flags
	switch {
	case c.wasReset(f.Stream):
		c.block = nil
	case s != nil && (s.whole || s.err != nil):
		c.block, c.blockError = nil, h2.Error{Code: h2.StreamClosed, Stream: f.Stream, Reason: "a head behind the end of its stream", Rule: "RFC 9113 5.1"}
	case s != nil && f.Flags&h2.EndStream == 0:
		c.block, c.blockError = nil, h2.Error{Code: h2.ProtocolError, Stream: f.Stream, Reason: "a trailer that does not end its stream", Rule: "RFC 9113 8.1"}
	case s != nil:
	case f.Stream%2 == 0:
		return h2.Error{Code: h2.ProtocolError, Reason: "a stream with a server's number", Rule: "RFC 9113 5.1.1"}
	case f.Stream <= c.last:
		return h2.Error{Code: h2.StreamClosed, Reason: "a head of a stream that has ended", Rule: "RFC 9113 5.1"}
	default:
		c.last = f.Stream
		c.block = c.newStream(f)
	}
	switch {
	case c.block == nil:
		c.heads.Skip()
	case s == nil:
		c.heads.Begin(&c.block.head, false)
	default:
		c.heads.Begin(&s.head, true)
	}
	return c.headPiece(f)
}

// newStream returns a stream that is about to begin; nil when there are too many.
func (c *h2Conn) newStream(f *h2.Frame) *h2Stream {
	open := 0
	for _, s := range c.streams {
		if s.err == nil {
			open++
		}
	}
	if open >= maxOpenStreams || c.running >= maxRunning {
		c.blockError = h2.Error{Code: h2.RefusedStream, Stream: f.Stream, Reason: "more streams than it may have", Rule: "RFC 9113 5.1.2"}
		return nil
	}
	return c.worker.h2Stream(c, f.Stream)
}

// headPiece takes a piece of a header block.
func (c *h2Conn) headPiece(f *h2.Frame) error {
	if err := c.heads.Write(f.Payload); err != nil {
		c.dropBlock(f.Stream)
		return err
	}
	if f.Flags&h2.EndHeaders == 0 {
		return nil
	}
	return c.endBlock(f.Stream)
}

// endBlock does what a header block was for.
func (c *h2Conn) endBlock(id uint32) error {
	whole := c.blockFlags&h2.EndStream != 0
	err := c.heads.End(id, whole)
	s := c.block
	switch {
	case s == nil && err != nil:
		return err
	case s == nil:
		return c.blockError
	case c.stream(id) != nil:
		if c.block = nil; err != nil {
			return err
		}
		return s.lastPiece()
	}
	if err != nil && !errors.As(err, &s.refused) {
		c.dropBlock(id)
		return err
	}
	c.block = nil
	s.whole, c.served = whole, true
	c.running++
	c.streams = append(c.streams, s)
	c.worker.loop.Go(s.runner)
	return nil
}

// dropBlock forgets a stream that has not begun because of its head.
func (c *h2Conn) dropBlock(id uint32) {
	if c.block != nil && c.stream(id) == nil {
		c.worker.giveH2Stream(c.block)
	}
	c.block = nil
}

// content takes a piece of a request's content.
func (c *h2Conn) content(f *h2.Frame) error {
	if c.fresh(f.Stream) {
		return h2.Error{Code: h2.ProtocolError, Reason: "content of a stream that has not begun", Rule: "RFC 9113 5.1"}
	}
	if f.Used > int(c.receive) {
		return h2.Error{Code: h2.FlowControlError, Reason: "more content than the connection's window has room for", Rule: "RFC 9113 6.9.1"}
	}
	c.receive -= h2.Window(f.Used)
	s := c.stream(f.Stream)
	switch {
	case c.wasReset(f.Stream):
		c.refund(f.Used)
		return nil
	case s == nil, s.whole, s.err != nil:
		c.refund(f.Used)
		return h2.Error{Code: h2.StreamClosed, Stream: f.Stream, Reason: "content behind the end of its stream", Rule: "RFC 9113 5.1"}
	case f.Used > int(s.receive):
		c.refund(f.Used)
		return h2.Error{Code: h2.FlowControlError, Stream: f.Stream, Reason: "more content than the window of its stream has room for", Rule: "RFC 9113 6.9.1"}
	}
	s.receive -= h2.Window(f.Used)
	s.refund(f.Used - len(f.Payload))
	if err := s.take(f.Payload); err != nil {
		return err
	}
	if f.Last && f.Flags&h2.EndStream != 0 {
		return s.lastPiece()
	}
	if f.Last && f.Used == 0 {
		return c.tire()
	}
	return nil
}

// refund lets the client send so much more on the connection, in steps of a quarter of the window.
func (c *h2Conn) refund(n int) {
	if c.ending || c.closed {
		return
	}
	if c.credit += n; c.credit >= connReceiveWindow/4 {
		c.receive += h2.Window(c.credit)
		c.append(h2.AppendWindowUpdate(c.begin(), 0, c.credit))
		c.credit = 0
	}
}

// awaitFlush waits, as reader, until the client has taken answers to what it has sent.
func (c *h2Conn) awaitFlush() error {
	for len(c.out) > 2*maxOut && !c.closed && !c.ending {
		if c.worker.loop.Sleep(&c.room, c.entry.timeouts.Body) {
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}
