package proxy

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cgi"
	"github.com/ruche-project/ruche/internal/fastcgi"
	"github.com/ruche-project/ruche/internal/h1"
	"github.com/ruche-project/ruche/internal/uwsgi"
)

// errHeadTooLarge says that a request's head does not fit into what the endpoint's protocol has for it.
var errHeadTooLarge = errors.New("the head of the request is larger than the endpoint's protocol takes")

// needsLength reports whether endpoints have to be told the length of a request's content before it.
func needsLength(scheme string) bool {
	return scheme == ruche.SchemeFastCGI || scheme == ruche.SchemeUWSGI
}

// cgiLink is what connections to FastCGI and uwsgi programs have in common: one exchange each. A program that was asked to keep its connection
// serves nobody else until that is closed (php-fpm has few processes), and uwsgi knows nothing like it.
type cgiLink struct {
	wire
	x       *exchange
	vars    cgi.Vars
	answer  cgi.Answer
	buf     []byte
	ended   bool
	waiting bool // for the head of the answer
}

// Read gives the codec what the program writes.
func (l *cgiLink) Read(p []byte) (int, error) {
	for {
		n, err := l.stream.Read(p)
		if n > 0 || err == nil || !l.waiting {
			return n, err
		}
		if err = l.x.goOn(err); err != nil { // what the codec gets to know as an error is one for good
			return 0, err
		}
		l.conn.SetReadTimeout(l.x.vigil.next())
	}
}

// Write takes what the codec has to say.
func (l *cgiLink) Write(p []byte) (int, error) { return l.stream.Write(p) }

// begin describes the request.
func (l *cgiLink) begin(x *exchange, whole bool) *cgi.Request {
	l.x = x
	body := x.proxy.cfg.Timeouts.Body
	l.conn.SetTimeouts(body, body)
	x.body.invite()
	route := x.route.route
	r := &cgi.Request{
		Method: text(x.req.Method), URI: x.target.forwarded(route), Path: x.target.path,
		Proto: x.proto, HTTPS: x.encrypted(), Host: text(x.req.Host), ServerName: x.host,
		Client: x.origin(), Server: x.local(), ContentLength: -1, Headers: x.variables(),
	}
	if route.Dest != "" {
		if t, ok := parseTarget(r.URI); ok {
			r.Path = t.path
		}
	}
	switch {
	case x.req.Framing == h1.Length:
		r.ContentLength = x.req.ContentLength
	case x.req.Framing == h1.Chunked && whole:
		r.ContentLength = int64(len(x.body.first))
	}
	return r
}

// variables are the fields that a program is told.
func (x *exchange) variables() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for i := range x.outbound {
			f := &x.outbound[i]
			if ofConnection(f.ID) || f.ID == h1.TE {
				continue
			}
			if !yield(f.Name, f.Value) {
				return
			}
		}
	}
}

// ofConnection reports whether a field among those for endpoints concerns a connection of HTTP/1.1 alone.
func ofConnection(id h1.ID) bool { return id == h1.Connection || id == h1.Upgrade || id == h1.Expect }

// head implements link.
func (l *cgiLink) head(timeout time.Duration) error {
	l.conn.SetReadTimeout(timeout)
	l.waiting = true
	h, err := l.answer.ReadHead(string(l.x.req.Method) == http.MethodHead)
	l.waiting = false
	if err != nil {
		return err
	}
	in := &l.x.inbound
	*in = h1.Response{Head: h1.Head{Minor: 1, Fields: in.Fields[:0]}, Status: h.Status, Reason: h.Reason}
	for _, f := range h.Fields {
		in.Fields = append(in.Fields, h1.Field{ID: h1.Identify(f.Name), Name: f.Name, Value: f.Value})
	}
	in.Framing, in.ContentLength = l.x.framing(h.Status, h.ContentLength)
	return nil
}

// framing says how the content ends of an answer that is not framed as one of HTTP/1.1. length is -1 where it is not known.
func (x *exchange) framing(status int, length int64) (h1.Framing, int64) {
	switch {
	case x.bodyless(status):
		return h1.NoBody, 0
	case length >= 0:
		return h1.Length, length
	}
	return h1.UntilClose, 0
}

// next implements link.
func (l *cgiLink) next() ([]byte, error) {
	if l.buf == nil {
		l.buf = l.ground.buffer(mediumBuffer)
	}
	n, err := l.answer.Read(l.buf)
	switch {
	case errors.Is(err, io.EOF):
		l.ended, err = true, nil
	case n > 0:
		err = nil // it comes again
	}
	return l.buf[:n], err
}

func (l *cgiLink) finished() bool { return l.ended }

func (l *cgiLink) pending() bool { return l.answer.Buffered() > 0 }

func (l *cgiLink) trailer() []h1.Field { return nil }

func (l *cgiLink) stale() bool { return false }

// release implements link.
func (l *cgiLink) release() {
	if l.buf != nil {
		l.ground.giveBack(l.buf)
		l.buf = nil
	}
	l.close()
}

// fastcgiLink is a connection to a FastCGI program.
type fastcgiLink struct {
	cgiLink
	fcgi *fastcgi.Conn
}

// start implements link.
func (l *fastcgiLink) start(x *exchange, first []byte, whole bool) error {
	r := l.begin(x, whole)
	l.fcgi = fastcgi.NewConn(&l.cgiLink)
	if err := l.vars.FastCGI(r, x.route.route.Root); err != nil {
		return err
	}
	if err := l.fcgi.WriteBegin(l.vars.All()); err != nil {
		return fmt.Errorf("%w: %w", errHeadTooLarge, err)
	}
	l.answer.Reset(l.fcgi)
	if err := l.fcgi.WriteBody(first); err != nil {
		return err
	}
	if whole {
		return l.fcgi.CloseBody()
	}
	return l.fcgi.Flush()
}

func (l *fastcgiLink) send(p []byte) error { return l.fcgi.WriteBody(p) }

func (l *fastcgiLink) finish([]h1.Field) error { return l.fcgi.CloseBody() }

// release implements link.
func (l *fastcgiLink) release() {
	l.complain()
	l.cgiLink.release()
}

// complain notes what the program wrote to its log: it is often the only trace of what went wrong, also where the answer looks well.
func (l *fastcgiLink) complain() {
	said := l.fcgi.Stderr()
	if len(said) == 0 {
		return
	}
	x := l.x
	x.proxy.cfg.Logger.Debug("a FastCGI program wrote to its log", "endpoint", l.endpoint.url, "request", strings.Clone(x.id), "text", string(said))
	const most = 1 << 10
	complaint := fmt.Errorf("the program says: %s", said[:min(len(said), most)])
	if x.res.err != nil {
		complaint = fmt.Errorf("%w; %w", x.res.err, complaint)
	}
	x.res.err = complaint
}

// uwsgiLink is a connection to a program that speaks the uwsgi protocol.
type uwsgiLink struct{ cgiLink }

// start implements link.
func (l *uwsgiLink) start(x *exchange, first []byte, whole bool) error {
	r := l.begin(x, whole)
	if err := l.vars.UWSGI(r); err != nil {
		return err
	}
	out, err := uwsgi.AppendPacket(l.ground.buffer(smallBuffer)[:0], l.vars.All())
	if err != nil {
		return fmt.Errorf("%w: %w", errHeadTooLarge, err)
	}
	l.answer.Reset(&l.cgiLink)
	out = append(out, first...)
	_, err = l.stream.Write(out)
	l.ground.giveBack(out)
	return err
}

func (l *uwsgiLink) send(p []byte) error {
	_, err := l.stream.Write(p)
	return err
}

func (l *uwsgiLink) finish([]h1.Field) error { return nil }
