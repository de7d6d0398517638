package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/h1"
	"github.com/ruche-project/ruche/internal/loop"
)

// link is an exchange's way to an endpoint, whatever protocol is spoken on it. One task may send the request's content while another reads
// the answer; abort may be called by a third.
type link interface {
	// start sends the request's head, with the content that is here already; whole tells that it is all.
	start(x *exchange, first []byte, whole bool) error
	// send sends content, finish ends it.
	send(p []byte) error
	finish(trailer []h1.Field) error
	// head waits for the next head of the answer and puts it into x.inbound. It is called again after os.ErrDeadlineExceeded.
	head(timeout time.Duration) error
	// patience bounds each wait of next.
	patience(d time.Duration)
	// next waits for more content of the answer, which holds until the next call. It is not called when finished is true.
	next() ([]byte, error)
	// finished reports whether the answer is complete, pending whether next would not have to wait.
	finished() bool
	pending() bool
	// trailer is what came behind the answer's content.
	trailer() []h1.Field
	// stale reports whether a connection that was used before seems to have been closed before the endpoint got the request.
	stale() bool
	// lifeless reports whether the endpoint's system gives no sign of life (see loop.Lifeless).
	lifeless() bool
	// abort has every wait for the endpoint end.
	abort()
	// release ends the exchange on this link.
	release()
}

// idleLinkTime is how long an unused connection to an endpoint is kept: below the 5 s after which common servers close theirs, since a
// request that meets the close half-way cannot always be repeated.
const idleLinkTime = 4 * time.Second

// wire is a connection to an endpoint that carries one exchange after the other.
type wire struct {
	ground   ground
	endpoint *endpointState
	conn     line
	stream   io.ReadWriter // conn, or TLS on it
	speaker  link          // what speaks on it
	keep     bool          // for another exchange
	reused   bool          // it has had an answer before
	// checked is by what the endpoint's certificate was last verified; nil where it was not.
	checked *ruche.PeerCheck
	expiry  *time.Timer // of an unused one in a yard
}

// Ready implements loop.Idler: an unused connection has nothing to say, so it is at its end.
func (w *wire) Ready() { w.drop() }

// Expired implements loop.Idler.
func (w *wire) Expired() { w.drop() }

func (w *wire) drop() {
	w.ground.(*worker).forget(w)
	w.close()
}

func (w *wire) close() { _ = w.conn.Close() }

// abort implements link.
func (w *wire) abort() { w.close() }

// lifeless implements link.
func (w *wire) lifeless() bool { return w.conn.Lifeless() }

// patience implements link.
func (w *wire) patience(d time.Duration) { w.conn.SetReadTimeout(d) }

// silent reports whether TLS has nothing to tell. What it has read ahead the socket does not know of any more, and would be taken for the answer to the
// next request.
func (w *wire) silent() bool {
	var one [1]byte
	switch stream := w.stream.(type) {
	case *secureStream:
		stream.raw.SetNoWait(true)
		n, err := stream.Read(one[:])
		stream.raw.SetNoWait(false)
		return n == 0 && errors.Is(err, loop.ErrWouldWait)
	case *tls.Conn:
		w.conn.SetReadTimeout(0)
		_ = w.conn.SetReadDeadline(time.Unix(1, 0))
		n, err := stream.Read(one[:])
		_ = w.conn.SetReadDeadline(time.Time{})
		return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
	}
	return true
}

// rest leaves the connection for another exchange.
func (w *wire) rest() {
	w.reused = true
	w.ground.keepLink(w)
}

// open takes an unused connection to an endpoint, or makes one.
func (p *Proxy) open(x *exchange, e *endpointState) (link, error) {
	route := x.route.route
	// A connection that begins with a client's address is that client's.
	keep := !route.NoKeepAlive && route.ProxyProtocol == 0
	if keep && !speaksHTTP2(e.scheme) && !e.lost() {
		for w := x.ground.idleLink(e); w != nil; w = x.ground.idleLink(e) {
			if p.secures.holds(w) {
				return w.speaker, nil
			}
			w.close()
		}
	}
	switch e.scheme {
	case ruche.SchemeH2C, ruche.SchemeGRPC, ruche.SchemeGRPCS:
		return p.openHTTP2(x, e, keep)
	case ruche.SchemeFastCGI:
		l := &fastcgiLink{}
		return l, p.connect(x, e, &l.wire)
	case ruche.SchemeUWSGI:
		l := &uwsgiLink{}
		return l, p.connect(x, e, &l.wire)
	}
	l := &h1Link{}
	l.speaker, l.keep = l, keep
	return l, p.connect(x, e, &l.wire)
}

// connect makes the connection, with a PROXY header and TLS where they are asked for.
func (p *Proxy) connect(x *exchange, e *endpointState, w *wire) error {
	timeout := p.cfg.Timeouts.Dial
	preamble, err := x.proxyHeader(x.route.route.ProxyProtocol)
	if err != nil {
		return err
	}
	defer x.unwatch()
	conn, err := x.ground.dial(e.address, timeout, func(giveUp func()) { x.watch(nil, giveUp) })
	if err != nil {
		return err
	}
	w.ground, w.endpoint, w.conn, w.stream = x.ground, e, conn, conn
	conn.SetTimeouts(timeout, timeout)
	x.watch(w, nil)
	if len(preamble) > 0 {
		if _, err := conn.Write(preamble); err != nil {
			_ = conn.Close()
			return err
		}
	}
	if e.scheme != ruche.SchemeHTTPS {
		return nil
	}
	w.checked = p.secures.check(e.tls)
	config, err := p.secures.config(e.tls, e.address, protocolHTTP1)
	var secure *tls.Conn
	if err == nil {
		secure = tls.Client(conn, config)
		err = secure.Handshake()
	}
	if err != nil {
		_ = conn.Close()
		return err
	}
	w.stream = secure
	if raw, ok := conn.(*loop.Conn); ok {
		w.stream = newSecureStream(secure, raw)
	}
	return nil
}

func describeAnswer(err error) error {
	var refused h1.Error
	if errors.As(err, &refused) {
		return fmt.Errorf("%w: it has %s", errGarbled, refused.Error())
	}
	return fmt.Errorf("%w: %w", errBroken, err)
}
