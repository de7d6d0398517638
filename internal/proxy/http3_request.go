package proxy

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche/internal/h1"
)

// ServeHTTP has a request answered as those of HTTP/2 are, where the library does what net/http does.
func (h *http3Entry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c, ok := r.Context().Value(quicConnKey{}).(*quicConn); ok {
		c.begin()
		defer c.end()
	}
	h.running.Add(1)
	defer h.running.Add(-1)
	r.Proto = protoHTTP3 // an extended CONNECT brings a name of its own (RFC 9220)
	control := http.NewResponseController(w)
	h.setBody(r, control)
	if r.Body != http.NoBody && expectsContinue(r) {
		w.WriteHeader(http.StatusContinue)
	}
	h.requests.ServeHTTP(w, r)
	if r.Method == http.MethodHead {
		_ = control.Flush() // else the library says that there are 0 bytes
	}
}

const protoHTTP3 = "HTTP/3.0"

// contentTime is how long it may take until the first content comes of a request that most likely has some. Who takes longer has it sent on as it comes.
const contentTime = time.Second

// setBody finds out whether the request has content. Where no length is told only the end of the stream says that there is none, which is known as soon
// as the head has come: other protocols, and their endpoints, want to be told.
func (h *http3Entry) setBody(r *http.Request, control *http.ResponseController) {
	b := &http3Body{stream: r.Body, control: control}
	r.Body = b
	wait := h.entry.timeouts.ReadHeader
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		wait = contentTime
	}
	switch {
	case r.ContentLength == 0:
		r.Body = http.NoBody
	case r.ContentLength > 0, r.Method == http.MethodConnect, expectsContinue(r): // which has content
	case b.endsWithin(wait):
		r.Body = http.NoBody
	}
}

func expectsContinue(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Expect"), "100-continue")
}

// http3Body is the content of a request. To close it ends a Read that waits, but does not tell the client: the answer may have to reach it, and only then does the
// library say that no more is wanted, without making an error of it (RFC 9114 section 4.1).
type http3Body struct {
	stream  io.Reader
	control *http.ResponseController
	closed  atomic.Bool

	ahead chan struct{} // closed when the first bytes have come, or the end; nil unless they are to be read yet
	first []byte
	err   error // which comes behind them
}

// endsWithin reports whether there is no content. It takes so long at most to find out, and does not end the reading: the library would lose its
// place between two frames.
func (b *http3Body) endsWithin(wait time.Duration) bool {
	b.ahead = make(chan struct{})
	go func() {
		defer close(b.ahead)
		first := make([]byte, 512)
		n, err := b.some(first)
		b.first, b.err = first[:n], err
	}()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-b.ahead:
		return len(b.first) == 0 && errors.Is(b.err, io.EOF)
	case <-timer.C:
		return false
	}
}

// Read implements io.Reader.
func (b *http3Body) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, errUnread
	}
	var n int
	var err error
	if b.ahead != nil && len(p) > 0 {
		<-b.ahead
		n = copy(p, b.first)
		if b.first = b.first[n:]; len(b.first) == 0 {
			b.ahead, err = nil, b.err
		}
	} else {
		n, err = b.some(p)
	}
	if err != nil && !errors.Is(err, io.EOF) && b.closed.Load() {
		return n, errUnread
	}
	return n, err
}

// some reads until there is something: at a trailer the library returns without a byte or an error.
func (b *http3Body) some(p []byte) (n int, err error) {
	for n == 0 && err == nil && len(p) > 0 {
		n, err = b.stream.Read(p)
	}
	return n, err
}

// Close implements io.Closer. It may be called while Read waits.
func (b *http3Body) Close() error {
	b.closed.Store(true)
	return b.control.SetReadDeadline(time.Unix(1, 0))
}

// advertise tells clients of HTTPS by Alt-Svc (RFC 7838) that HTTP/3 is served, unless the endpoint has told them something else.
func (x *exchange) advertise() {
	value := x.proxy.altSvc.Load()
	if value == nil || !x.secure || x.proto == protoHTTP3 {
		return
	}
	for i := range x.answered {
		if x.answered[i].ID == h1.AltSvc {
			return
		}
	}
	x.answered = append(x.answered, h1.Field{ID: h1.AltSvc, Name: bytesOf("Alt-Svc"), Value: bytesOf(*value)})
}
