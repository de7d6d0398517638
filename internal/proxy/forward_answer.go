package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// answer copies an endpoint's answer to the client.
func (f *forwarder) answer(ctx context.Context, cancel context.CancelCauseFunc, x *exchange, e *endpointState, resp *http.Response, res *result) {
	announced := copyAnswerHeader(x.w.Header(), resp)
	out := newAnswerWriter(x, f.timeouts.Body)
	streams := resp.ContentLength < 0
	res.status, res.sentHead = resp.StatusCode, true
	if !out.head(resp.StatusCode, streams) {
		res.err = errClientGone
		return
	}
	// The endpoint may pause this long within a body.
	idle := time.AfterFunc(f.timeouts.Body, func() { cancel(errTooSlow) })
	defer idle.Stop()
	buffer := f.buffers.get()
	defer f.buffers.put(buffer)
	for {
		n, err := resp.Body.Read(*buffer)
		if n > 0 {
			idle.Stop()
			if !out.write((*buffer)[:n], streams) {
				res.err = errClientGone
				return
			}
			res.sent += int64(n)
			idle.Reset(f.timeouts.Body)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			res.err = f.brokenAnswer(ctx, x, e, err)
			return
		}
	}
	copyTrailer(x.w.Header(), resp.Trailer, announced)
}

// brokenAnswer tells whose fault it is that an answer ended before its end.
func (f *forwarder) brokenAnswer(ctx context.Context, x *exchange, e *endpointState, err error) error {
	switch {
	case x.r.Context().Err() != nil:
		return errClientGone
	case errors.Is(context.Cause(ctx), errTooSlow):
		err = fmt.Errorf("%w: nothing came for %s within the body of its answer", errTooSlow, f.timeouts.Body)
	default:
		err = fmt.Errorf("%w: %w", errBroken, err)
	}
	e.failed(err, time.Now(), false)
	return err
}

// copyAnswerHeader takes over the endpoint's header and announces its trailers, which it returns.
func copyAnswerHeader(h http.Header, resp *http.Response) (announced []string) {
	removeHopByHop(resp.Header)
	for name, values := range resp.Header {
		h[name] = values
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // keeps net/http from guessing
	}
	if len(resp.Trailer) == 0 {
		return nil
	}
	for name := range resp.Trailer {
		announced = append(announced, name)
	}
	slices.Sort(announced)
	for _, name := range announced {
		h.Add("Trailer", name)
	}
	return announced
}

func copyTrailer(h, trailer http.Header, announced []string) {
	for name, values := range trailer {
		if !slices.Contains(announced, name) {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
}

// answerWriter writes to the client and bounds how long it may take to accept what is written.
type answerWriter struct {
	x *exchange
	// On HTTP/1 the connection's deadline is extended. On HTTP/2 a deadline would end the stream even while
	// nothing is written, so a timer runs during writes only.
	clock clock
	timer *time.Timer
}

func newAnswerWriter(x *exchange, timeout time.Duration) *answerWriter {
	return &answerWriter{x: x, clock: clock{timeout: timeout, set: x.control.SetWriteDeadline}}
}

func (o *answerWriter) wind() {
	switch {
	case o.x.r.ProtoMajor == 1:
		o.clock.wind()
	case o.timer == nil:
		o.timer = time.AfterFunc(o.clock.timeout, func() { _ = o.clock.set(time.Unix(1, 0)) })
	default:
		o.timer.Reset(o.clock.timeout)
	}
}

func (o *answerWriter) stop() {
	if o.timer != nil {
		o.timer.Stop()
	}
}

// head reports false when the client does not take it.
func (o *answerWriter) head(status int, flush bool) bool {
	o.wind()
	defer o.stop()
	o.x.w.WriteHeader(status)
	return !flush || o.x.control.Flush() == nil
}

// write reports false when the client does not take it any more.
func (o *answerWriter) write(p []byte, flush bool) bool {
	o.wind()
	defer o.stop()
	if _, err := o.x.w.Write(p); err != nil {
		return false
	}
	return !flush || o.x.control.Flush() == nil
}
