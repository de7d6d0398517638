package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche/internal/h1"
)

// httpClient is one request of a client whose protocol a library speaks: HTTP/3.
type httpClient struct {
	x       *exchange
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	timeout time.Duration
	timer   *time.Timer // runs while something is written: a deadline would end the stream even while nothing is
	buffer  []byte
	extra   []h1.Field // the trailer of the request
	unwatch func()
	// reading and sending are how fast the client lets its content and the answer go on; begun tells that the answer has begun.
	reading, sending pace
	begun            atomic.Bool
}

// handler serves the requests of one listener's HTTP/3 clients.
type handler struct {
	entry *entry
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := h.entry.proxy
	x := p.yard.exchange()
	c := &httpClient{x: x, w: w, r: r, control: http.NewResponseController(w), timeout: p.cfg.Timeouts.Body}
	x.client, x.secure, x.port, x.proto = c, h.entry.secure, h.entry.port, r.Proto
	x.tls = tlsFacts{}
	if r.TLS != nil {
		x.tls = factsOf(r.TLS)
		if c, ok := r.Context().Value(quicConnKey{}).(*quicConn); ok {
			x.tls.peer = c.shown(x.tls.peer)
		}
	}
	x.remote, _ = netip.ParseAddrPort(r.RemoteAddr)
	x.peer = x.remote.Addr().Unmap()
	c.request(&x.req)
	x.begin()
	p.exchange(x)
	c.stop()
	complete := x.complete
	p.yard.giveExchange(x)
	if !complete {
		panic(http.ErrAbortHandler)
	}
}

func factsOf(s *tls.ConnectionState) tlsFacts {
	return tlsFacts{version: s.Version, serverName: s.ServerName, peer: peerOf(s)}
}

// request writes what net/http has parsed in the terms of the codec.
func (c *httpClient) request(q *h1.Request) {
	r := c.r
	*q = h1.Request{Head: h1.Head{Fields: q.Fields[:0], Minor: 1}}
	q.Method, q.Target, q.Path, q.Host = []byte(r.Method), []byte(r.RequestURI), []byte(r.RequestURI), []byte(r.Host)
	for name, values := range r.Header {
		id := h1.IdentifyString(name)
		for _, value := range values {
			q.Fields = append(q.Fields, h1.Field{ID: id, Name: []byte(name), Value: []byte(value)})
			if id == h1.TE && value == "trailers" {
				q.TETrailers = true
			}
		}
	}
	switch {
	case r.Body == nil || r.Body == http.NoBody:
	case r.ContentLength > 0:
		q.Framing, q.ContentLength = h1.Length, r.ContentLength
	case r.ContentLength < 0:
		q.Framing = h1.Chunked
	}
}

// stop gives back what was borrowed.
func (c *httpClient) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.buffer != nil {
		c.x.proxy.yard.giveBack(c.buffer)
	}
}

func (c *httpClient) arrived() ([]byte, bool) { return nil, c.x.req.Framing == h1.NoBody }

func (c *httpClient) next() ([]byte, error) {
	if c.x.req.Framing == h1.NoBody {
		return nil, io.EOF
	}
	if c.buffer == nil {
		c.buffer = c.x.proxy.yard.buffer(largeBuffer)
	}
	began := time.Now()
	timeout := max(c.timeout, c.x.silence)
	_ = c.control.SetReadDeadline(began.Add(timeout))
	n, err := c.r.Body.Read(c.buffer)
	if c.reading.tooSlow(time.Since(began), n, timeout) && !c.begun.Load() {
		return nil, os.ErrDeadlineExceeded
	}
	if n > 0 {
		return c.buffer[:n], nil
	}
	if err == io.EOF {
		_ = c.control.SetReadDeadline(time.Time{})
	}
	return nil, err
}

func (c *httpClient) trailer() []h1.Field {
	for name, values := range c.r.Trailer {
		id := h1.IdentifyString(name)
		if h1.NotInTrailer(id) {
			continue
		}
		for _, value := range values {
			c.extra = append(c.extra, h1.Field{ID: id, Name: []byte(name), Value: []byte(value)})
		}
	}
	return c.extra
}

func (c *httpClient) watch(f func()) {
	if c.unwatch != nil {
		c.unwatch()
		c.unwatch = nil
	}
	if f != nil {
		told := make(chan struct{})
		stop := context.AfterFunc(c.r.Context(), func() {
			defer close(told)
			f()
		})
		c.unwatch = func() {
			if !stop() { // what f works with may belong to somebody else afterwards
				<-told
			}
		}
	}
}

func (c *httpClient) unread() { _ = c.r.Body.Close() }

func (c *httpClient) closeAfter() {}

func (c *httpClient) inform(status int, fields []h1.Field) error {
	if status == http.StatusContinue { // the library says that when it reads
		return nil
	}
	c.header(fields)
	c.w.WriteHeader(status)
	clear(c.w.Header())
	return nil
}

func (c *httpClient) header(fields []h1.Field) {
	h := c.w.Header()
	for i := range fields {
		name := http.CanonicalHeaderKey(string(fields[i].Name))
		h[name] = append(h[name], string(fields[i].Value))
	}
}

func (c *httpClient) begin(status int, _ []byte, fields []h1.Field, length int64) error {
	c.header(fields)
	h := c.w.Header()
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // keeps net/http from guessing
	}
	if length >= 0 && !c.x.bodyless(status) {
		h["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	}
	c.begun.Store(true)
	c.wind()
	defer c.rest()
	c.w.WriteHeader(status)
	return nil
}

func (c *httpClient) write(p []byte, flush bool) error {
	c.wind()
	defer c.rest()
	began := time.Now()
	if len(p) > 0 {
		if _, err := c.w.Write(p); err != nil {
			return err
		}
	}
	if flush {
		if err := c.control.Flush(); err != nil {
			return err
		}
	}
	if c.sending.tooSlow(time.Since(began), len(p), c.timeout) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (c *httpClient) end(trailer []h1.Field) error {
	h := c.w.Header()
	for i := range trailer {
		name := http.TrailerPrefix + http.CanonicalHeaderKey(string(trailer[i].Name))
		h[name] = append(h[name], string(trailer[i].Value))
	}
	return nil
}

// wind bounds how long the client may take to accept what is written.
func (c *httpClient) wind() {
	if c.timer == nil {
		c.timer = time.AfterFunc(c.timeout, func() { _ = c.control.SetWriteDeadline(time.Unix(1, 0)) })
		return
	}
	c.timer.Reset(c.timeout)
}

func (c *httpClient) rest() { c.timer.Stop() }
