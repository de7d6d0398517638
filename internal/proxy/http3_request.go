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
	if r.Body != http.NoBody && strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		w.WriteHeader(http.StatusContinue)
	}
	h.entry.http.Handler.ServeHTTP(w, r)
	if r.Method == http.MethodHead {
		_ = control.Flush() // else the library says that there are 0 bytes
	}
}

const protoHTTP3 = "HTTP/3.0"

// setBody finds out whether the request has content. Where no length is told only the end of the stream says that there is none; methods that have no content
// as a rule are waited for until it is known, which it is as soon as the head has come.
func (h *http3Entry) setBody(r *http.Request, control *http.ResponseController) {
	b := &http3Body{stream: r.Body, control: control}
	r.Body = b
	switch {
	case r.ContentLength == 0:
		r.Body = http.NoBody
	case r.ContentLength > 0:
	case r.Method == http.MethodPost, r.Method == http.MethodPut, r.Method == http.MethodPatch, r.Method == http.MethodConnect:
	default:
		_ = control.SetReadDeadline(time.Now().Add(h.entry.timeouts.ReadHeader))
		n, err := b.some(b.first[:])
		_ = control.SetReadDeadline(time.Time{})
		if b.peeked = n > 0; n == 0 && errors.Is(err, io.EOF) {
			r.Body = http.NoBody
		}
	}
}

// http3Body is the content of a request. To close it ends a Read that waits, but does not tell the client: the answer may have to reach it, and only then does the
// library say that no more is wanted, without making an error of it (RFC 9114 section 4.1).
type http3Body struct {
	stream  io.Reader
	control *http.ResponseController
	first   [1]byte
	peeked  bool // first is to be read yet
	closed  atomic.Bool
}

// Read implements io.Reader.
func (b *http3Body) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, errUnread
	}
	if b.peeked && len(p) > 0 {
		b.peeked = false
		p[0] = b.first[0]
		return 1, nil
	}
	n, err := b.some(p)
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
