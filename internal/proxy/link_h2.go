package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/h1"
)

// speaksHTTP2 reports whether endpoints of the scheme speak HTTP/2.
func speaksHTTP2(scheme string) bool {
	return scheme == ruche.SchemeH2C || scheme == ruche.SchemeGRPC || scheme == ruche.SchemeGRPCS
}

// h2Link is one stream of an HTTP/2 connection, which net/http speaks: on goroutines, so everything here that waits does so where its ground lets it.
type h2Link struct {
	ground   ground
	endpoint *endpointState
	conn     *muxed
	alone    bool // conn is for this exchange only
	reused   bool // conn has had others

	ctx     context.Context // of the stream, which stop ends
	stop    context.CancelFunc
	content *io.PipeWriter // takes the content that is not here at the start, for rest
	rest    *io.PipeReader

	x        *exchange
	rpc      bool // it is a call of gRPC, where either side may be silent for long
	request  *http.Request
	body     *h2Content // the request's content, nil if all of it is here at the start
	sent     bool       // all of the request was sent
	informed chan h2Head
	answered chan h2Answer
	response *http.Response
	wait     time.Duration // for each piece of the answer
	buf      []byte
	ended    bool
}

// h2Head is an informational answer.
type h2Head struct {
	status int
	fields http.Header
}

// h2Answer is what became of a request.
type h2Answer struct {
	response *http.Response
	err      error
}

// openHTTP2 takes a place on an HTTP/2 connection to the endpoint.
func (p *Proxy) openHTTP2(x *exchange, e *endpointState, shared bool) (link, error) {
	l := &h2Link{ground: x.ground, endpoint: e, alone: !shared}
	preamble, err := x.proxyHeader(x.route.route.ProxyProtocol)
	if err != nil {
		return nil, err
	}
	l.informed, l.answered = make(chan h2Head, maxInformed), make(chan h2Answer, 1)
	l.ctx, l.stop = context.WithCancel(httptrace.WithClientTrace(context.Background(), l.trace()))
	l.rest, l.content = io.Pipe()
	wanted, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	x.watch(nil, giveUp)
	defer x.unwatch()
	x.ground.block(func(ctx context.Context) {
		defer context.AfterFunc(ctx, giveUp)()
		if shared {
			l.conn, l.reused, err = p.streams.take(wanted, e)
			return
		}
		l.conn, err = p.streams.dial(wanted, e, preamble)
	})
	return l, err
}

// start implements link.
func (l *h2Link) start(x *exchange, first []byte, whole bool) error {
	l.x = x
	l.rpc = bytes.HasPrefix(x.field(h1.ContentType), []byte("application/grpc"))
	x.body.invite()
	l.request = l.describe()
	l.describeContent(first, whole)
	if l.rpc {
		x.silence = x.proxy.cfg.Timeouts.Upgraded
	}
	conn, request, answered := l.conn, l.request, l.answered
	go func() {
		response, err := conn.RoundTrip(request)
		answered <- h2Answer{response, err}
	}()
	return nil
}

// maxInformed is how many informational answers may wait to be passed on. More are dropped.
const maxInformed = 8

// trace has informational answers told.
func (l *h2Link) trace() *httptrace.ClientTrace {
	informed := l.informed
	return &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		if code == http.StatusContinue {
			return nil // nobody has asked
		}
		select {
		case informed <- h2Head{code, http.Header(header)}:
		default:
		}
		return nil
	}}
}

// describe makes the head of the request.
func (l *h2Link) describe() *http.Request {
	x := l.x
	host := string(x.req.Host)
	if host == "" {
		host = l.endpoint.address
	}
	u := &url.URL{Scheme: ruche.SchemeHTTP, Host: l.endpoint.address, Opaque: strings.Clone(x.target.forwarded(x.route.route))}
	if l.endpoint.scheme == ruche.SchemeGRPCS {
		u.Scheme = ruche.SchemeHTTPS
	}
	if strings.HasPrefix(u.Opaque, "//") {
		u.Opaque = "//" + host + u.Opaque // what net/http takes for an authority, and takes away
	}
	header := make(http.Header, len(x.outbound)+1)
	header["User-Agent"] = nil // net/http would name itself
	for i := range x.outbound {
		f := &x.outbound[i]
		if ofConnection(f.ID) {
			continue
		}
		name := http.CanonicalHeaderKey(string(f.Name))
		header[name] = append(header[name], string(f.Value))
	}
	r := &http.Request{Method: string(x.req.Method), URL: u, Host: host, Header: header, Proto: "HTTP/2.0", ProtoMajor: 2}
	return r.WithContext(l.ctx)
}

// describeContent says what the request's content is: what is here, and what send brings.
func (l *h2Link) describeContent(first []byte, whole bool) {
	r, req := l.request, &l.x.req
	if req.Framing == h1.Length {
		r.ContentLength = req.ContentLength
	} else {
		r.ContentLength = -1
	}
	early := bytes.NewReader(bytes.Clone(first))
	switch {
	case whole && len(first) == 0:
		r.Body, r.ContentLength = http.NoBody, 0
		l.sent = true
	case whole:
		r.Body = io.NopCloser(early)
		r.Trailer = l.announced()
		addTrailer(r.Trailer, l.x.client.trailer())
		l.sent = true
	default:
		r.Trailer = l.announced()
		l.body = &h2Content{Reader: io.MultiReader(early, l.rest), rest: l.rest, trailer: r.Trailer}
		r.Body = l.body
	}
}

// announced has the names of the fields that may come behind the content, for endpoints that want to know them before.
func (l *h2Link) announced() http.Header {
	trailer := http.Header{}
	if c, ok := l.x.client.(*httpClient); ok { // net/http has taken the field away
		for name := range c.r.Trailer {
			if !h1.NotInTrailer(h1.IdentifyString(name)) {
				trailer[name] = nil
			}
		}
	}
	for i := range l.x.req.Fields {
		f := &l.x.req.Fields[i]
		if f.ID != h1.Trailer {
			continue
		}
		for name := range strings.SplitSeq(string(f.Value), ",") {
			name = strings.TrimSpace(name)
			if h1.ValidFieldName([]byte(name)) && !h1.NotInTrailer(h1.IdentifyString(name)) {
				trailer[http.CanonicalHeaderKey(name)] = nil
			}
		}
	}
	return trailer
}

func addTrailer(to http.Header, fields []h1.Field) {
	for _, f := range fields {
		to.Add(string(f.Name), string(f.Value))
	}
}

// h2Content is content of which a part is here already.
type h2Content struct {
	io.Reader
	rest    *io.PipeReader
	trailer http.Header // the request's, which is whole when the content has been read
	extra   []h1.Field  // what comes into it
}

// Read implements io.Reader.
func (c *h2Content) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		addTrailer(c.trailer, c.extra)
		c.extra = nil
	}
	return n, err
}

// Close implements io.Closer: who sends the rest learns that nobody wants it.
func (c *h2Content) Close() error { return c.rest.Close() }

// send implements link.
func (l *h2Link) send(p []byte) (err error) {
	l.ground.block(func(ctx context.Context) {
		late := time.AfterFunc(l.patienceFor(l.x.proxy.cfg.Timeouts.Body), func() { _ = l.content.CloseWithError(os.ErrDeadlineExceeded) })
		defer late.Stop()
		defer context.AfterFunc(ctx, l.abort)()
		_, err = l.content.Write(p)
	})
	return err
}

// finish implements link.
func (l *h2Link) finish(trailer []h1.Field) error {
	for _, f := range trailer {
		l.body.extra = append(l.body.extra, h1.Field{Name: bytes.Clone(f.Name), Value: bytes.Clone(f.Value)})
	}
	l.sent = true
	return l.content.Close()
}

// patienceFor is d, or as long as one may be silent on a connection that is no mere exchange.
func (l *h2Link) patienceFor(d time.Duration) time.Duration {
	if l.rpc {
		return max(d, l.x.proxy.cfg.Timeouts.Upgraded)
	}
	return d
}

// patience implements link.
func (l *h2Link) patience(d time.Duration) { l.wait = l.patienceFor(d) }

// head implements link.
func (l *h2Link) head(timeout time.Duration) error {
	var h h2Head
	var err error
	l.ground.block(func(ctx context.Context) { h, err = l.await(ctx, timeout) })
	if err != nil {
		return err
	}
	in := &l.x.inbound
	*in = h1.Response{Head: h1.Head{Minor: 1, Fields: in.Fields[:0]}, Status: h.status}
	for name, values := range h.fields {
		id := h1.IdentifyString(name)
		for _, value := range values {
			in.Fields = append(in.Fields, h1.Field{ID: id, Name: bytesOf(name), Value: bytesOf(value)})
		}
	}
	if l.response != nil {
		in.Framing, in.ContentLength = l.x.framing(h.status, l.response.ContentLength)
	}
	return nil
}

// await waits for a head.
func (l *h2Link) await(ctx context.Context, timeout time.Duration) (h2Head, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case h := <-l.informed:
		return h, nil
	case a := <-l.answered:
		if len(l.informed) > 0 {
			l.answered <- a
			return <-l.informed, nil
		}
		if a.err != nil {
			return h2Head{}, describeStream(a.err)
		}
		l.response = a.response
		return h2Head{a.response.StatusCode, a.response.Header}, nil
	case <-timer.C:
		return h2Head{}, os.ErrDeadlineExceeded
	case <-ctx.Done():
		return h2Head{}, net.ErrClosed
	}
}

// describeStream finds out whether the endpoint has refused a stream (RFC 9113 section 8.7), so that another one can have the request whatever its
// method. net/http tells it in words alone.
func describeStream(err error) error {
	if strings.Contains(err.Error(), "REFUSED_STREAM") {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	return err
}

// next implements link.
func (l *h2Link) next() ([]byte, error) {
	if l.buf == nil {
		l.buf = l.ground.buffer(mediumBuffer)
	}
	var n int
	var err error
	l.ground.block(func(ctx context.Context) { n, err = l.read(ctx) })
	switch {
	case errors.Is(err, io.EOF):
		l.ended, err = true, nil
	case n > 0:
		err = nil // it comes again
	}
	return l.buf[:n], err
}

// read reads a piece of the answer.
func (l *h2Link) read(ctx context.Context) (int, error) {
	late := time.AfterFunc(l.wait, l.stop)
	defer context.AfterFunc(ctx, l.stop)()
	n, err := l.response.Body.Read(l.buf)
	if !late.Stop() && n == 0 && errors.Is(err, context.Canceled) {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

func (l *h2Link) finished() bool { return l.ended }

func (l *h2Link) pending() bool { return false }

// trailer implements link.
func (l *h2Link) trailer() (trailer []h1.Field) {
	for name, values := range l.response.Trailer {
		id := h1.IdentifyString(name)
		if h1.NotInTrailer(id) {
			continue
		}
		for _, value := range values {
			trailer = append(trailer, h1.Field{ID: id, Name: bytesOf(name), Value: bytesOf(value)})
		}
	}
	return trailer
}

// stale implements link. Where the connection can have other streams the endpoint has ended this one for a reason of its own.
func (l *h2Link) stale() bool { return l.reused && l.response == nil && l.conn.Available() == 0 }

// lifeless implements link. Others are not to meet such a connection again.
func (l *h2Link) lifeless() bool {
	if !lifeless(l.conn.tcp) {
		return false
	}
	l.x.proxy.streams.forget(l.endpoint, l.conn)
	return true
}

// abort implements link: the endpoint gets a RST_STREAM.
func (l *h2Link) abort() {
	l.stop()
	_ = l.content.CloseWithError(net.ErrClosed)
}

// release implements link.
func (l *h2Link) release() {
	if !l.ended || !l.sent {
		l.abort()
		if l.response != nil {
			go func() { _ = l.response.Body.Close() }() // it may wait for the connection
		}
	}
	if l.alone {
		go func() { _ = l.conn.Close() }()
	}
	if l.buf != nil {
		l.ground.giveBack(l.buf)
		l.buf = nil
	}
}
