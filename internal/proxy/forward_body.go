package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// clock extends a deadline when something is about to happen, but not at every byte: when a quarter of the
// time has passed. What is bounded by timeout therefore ends after three quarters of it at the earliest.
type clock struct {
	timeout time.Duration
	set     func(time.Time) error
	last    time.Time
}

func (c *clock) wind() {
	if now := time.Now(); now.Sub(c.last) > c.timeout/4 {
		c.last = now
		_ = c.set(now.Add(c.timeout))
	}
}

// stop takes the deadline away.
func (c *clock) stop() {
	if !c.last.IsZero() {
		c.last = time.Time{}
		_ = c.set(time.Time{})
	}
}

// requestBody is the client's body, of which at most one attempt reads.
type requestBody struct {
	x     *exchange
	limit int64
	clock clock

	mu      sync.Mutex
	current *bodyAttempt // who may read
	started bool         // something was asked of the client
	err     error        // the client's failure
}

func newRequestBody(x *exchange, limit int64, timeout time.Duration) *requestBody {
	b := &requestBody{x: x, limit: limit}
	b.clock = clock{timeout: timeout, set: x.control.SetReadDeadline}
	return b
}

func (b *requestBody) present() bool {
	return b.x.r.Body != nil && b.x.r.Body != http.NoBody && b.x.r.ContentLength != 0
}

// attempt gives the body to a new attempt.
func (b *requestBody) attempt() *bodyAttempt {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.current = &bodyAttempt{body: b}
	return b.current
}

// revoke takes the body away from its attempt, and reports whether that one has read of it.
func (b *requestBody) revoke() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.current = nil
	return b.started
}

// failure is what the client did wrong, if it did.
func (b *requestBody) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *requestBody) fail(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	return b.err
}

// bodyAttempt is the body as one attempt sees it.
type bodyAttempt struct{ body *requestBody }

var errRevoked = errors.New("the body belongs to another attempt")

func (a *bodyAttempt) Read(p []byte) (int, error) {
	b := a.body
	b.mu.Lock()
	if b.current != a {
		b.mu.Unlock()
		return 0, errRevoked
	}
	b.started = true
	b.mu.Unlock()

	b.clock.wind()
	n, err := b.x.r.Body.Read(p)
	total := b.x.received.Add(int64(n))
	switch {
	case b.limit > 0 && total > b.limit:
		return 0, b.fail(errBodyTooLarge)
	case err == io.EOF:
		cleanTrailer(b.x.r.Trailer) // its values come with the end
		b.clock.stop()
		b.x.bodyRead.Store(true)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, b.fail(errBodyTooSlow)
	case err != nil:
		return n, b.fail(b.blame(err))
	}
	return n, err
}

// blame tells a client that broke off from one whose chunks are malformed.
func (b *requestBody) blame(err error) error {
	var netErr net.Error
	if b.x.r.ProtoMajor != 1 || b.x.r.Context().Err() != nil || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &netErr) {
		return errClientGone
	}
	return fmt.Errorf("%w: %w", errBodyMalformed, err)
}

// Close leaves the client's body open: another attempt may need it, and the server closes it in the end.
func (a *bodyAttempt) Close() error { return nil }

// again lets net/http use another connection when the one it chose turned out to be closed.
func (a *bodyAttempt) again() (io.ReadCloser, error) {
	b := a.body
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.started || b.current == nil {
		return nil, errRevoked
	}
	b.current = &bodyAttempt{body: b}
	return b.current, nil
}

// bufferPool keeps the buffers that bodies are copied through.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 32<<10)
	return &b
}

func (p *bufferPool) put(b *[]byte) { p.pool.Put(b) }

// counter is an atomic count of bytes.
type counter struct{ atomic.Int64 }
