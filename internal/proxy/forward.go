package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/ruche-project/ruche/internal/fastcgi"
	"github.com/ruche-project/ruche/internal/h1"
	"github.com/ruche-project/ruche/internal/loop"
)

// Why an exchange could not be finished. The answers that clients get are made of them.
var (
	errNoEndpoint     = errors.New("no endpoint is ready")
	errUnreachable    = errors.New("cannot connect to the endpoint")
	errRefused        = errors.New("the endpoint refused the request without having looked at it")
	errBroken         = errors.New("the endpoint broke the exchange off")
	errGarbled        = errors.New("the endpoint's answer is malformed")
	errTooSlow        = errors.New("the endpoint is too slow")
	errBodyTooLarge   = errors.New("the body of the request is larger than allowed")
	errLengthRequired = errors.New("the length of the request's body is not known")
	errBodyTooSlow    = errors.New("the client stopped sending the body of the request")
	errBodyMalformed  = errors.New("the body of the request is malformed")
	errClientGone     = errors.New("the client is gone")
	errNoDescriptor   = errors.New("this process may open no more files")
	errStopping       = errors.New("the drain has ended")
	errNoWebSocket    = errors.New("the endpoint speaks HTTP/2, by which WebSockets are not carried")
	errUpgradeFailed  = errors.New("the endpoint switched to another protocol than the one asked for")
)

// forward has the request answered by the first endpoint that can. It tries another one when the request had no
// effect on the last: it could not be reached, or it broke the connection off before the first byte of its answer and the request is
// one that may be repeated (RFC 9110 section 9.2.2) and whose content is still here. again tells that it was called for the request before.
func (p *Proxy) forward(x *exchange, again bool) result {
	if !x.body.arrive() {
		return result{err: errBodyTooLarge}
	}
	x.setOutbound()
	res := result{err: errNoEndpoint}
	x.pick = x.route.picker(x.pickKey(again))
	for tries := 0; ; {
		e := x.pick.next(time.Now())
		if e == nil {
			res.repeatable = true
			return res
		}
		if p.knocksAt(e, &x.pick, x.route.route.ProxyProtocol) {
			continue
		}
		p.try(x, e)
		x.res.endpoint, x.res.retries = e, tries
		tries++
		if res = x.res; res.err == nil || res.sentHead || !x.mayRetry(res.err) {
			return res
		}
	}
}

// pickKey is what of the request matters for the choice of its endpoint.
func (x *exchange) pickKey(again bool) pickKey {
	k := pickKey{client: x.clientAddr, again: again}
	if name := x.route.cookieName(); name != "" {
		for i := range x.req.Fields {
			if f := &x.req.Fields[i]; f.ID == h1.Cookie && k.cookie == nil {
				k.cookie = cookieValue(f.Value, name)
			}
		}
	}
	return k
}

func (x *exchange) mayRetry(err error) bool {
	switch {
	case x.body.touched || x.gone.Load():
		return false
	case errors.Is(err, errUnreachable), errors.Is(err, errRefused), errors.Is(err, fastcgi.ErrRefused):
		return true
	case errors.Is(err, errBroken):
		return idempotent(x.req.Method)
	}
	return false
}

func idempotent(method []byte) bool {
	switch string(method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// try has the request answered by one endpoint, and puts how that ended into x.res.
func (p *Proxy) try(x *exchange, e *endpointState) {
	e.inFlight.Add(1)
	defer e.inFlight.Add(-1)
	started := time.Now()
	if speaksHTTP2(e.scheme) && strings.EqualFold(x.upgrade, "websocket") {
		x.res = result{err: errNoWebSocket}
		return
	}
	if needsLength(e.scheme) {
		if err := x.body.gather(); err != nil {
			x.res = result{err: err}
			return
		}
	}
	for {
		x.res = result{}
		l, err := p.open(x, e)
		switch {
		case err != nil && x.gone.Load(): // which is why
			x.res.err = x.blame(e, err)
			return
		case err != nil:
			x.res.err = p.cannotOpen(e, err)
			return
		}
		if again := p.converse(x, e, l, started); !again {
			return
		}
	}
}

// cannotOpen finds out who is to blame for a connection that did not come about.
func (p *Proxy) cannotOpen(e *endpointState, err error) error {
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return fmt.Errorf("%w: %w", errNoDescriptor, err) // the endpoint is not to blame
	}
	err = fmt.Errorf("%w: %w", errUnreachable, err)
	e.failed(err, time.Now(), true)
	return err
}

// converse has one exchange on a connection. It reports true when the endpoint had closed a connection that was used before, so that
// the request is to be sent again on a new one.
func (p *Proxy) converse(x *exchange, e *endpointState, l link, started time.Time) (again bool) {
	released := false
	defer func() {
		if !released { // because of a panic
			l.abort()
		}
	}()
	x.watch(l, nil)
	err := l.start(x, x.body.first, x.body.whole)
	if err == nil && !x.body.whole {
		x.body.sendBy(l)
	}
	if err == nil {
		err = p.awaitHead(x, e, l)
	}
	x.res.upstream = time.Since(started)
	if err == nil {
		e.answeredWith(x.inbound.Status, time.Now())
		p.answer(x, e, l)
	} else {
		again = l.stale() && !x.body.touched && !x.gone.Load() && idempotent(x.req.Method) &&
			!errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, errLifeless)
		if !again {
			x.res.err = x.blame(e, err)
		}
	}
	x.unwatch()
	if x.res.err != nil {
		l.abort()
	}
	x.body.stop(l)
	l.release()
	released = true
	return again
}

// blame finds out whose fault a broken exchange is, and notes it if it is the endpoint's.
func (x *exchange) blame(e *endpointState, err error) error {
	if cause := x.body.failure(); cause != nil {
		return cause
	}
	switch {
	case x.gone.Load():
		return errClientGone
	case errors.Is(err, errHeadTooLarge):
		return err
	case errors.Is(err, errUpgradeFailed), errors.Is(err, errBroken), errors.Is(err, errGarbled):
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("%w: %w", errTooSlow, err)
	default:
		err = describeAnswer(err)
	}
	e.failed(err, time.Now(), false)
	return err
}

// awaitHead waits for the head of the answer; informational ones before it are passed on. The endpoint's time begins when it has
// all of the request.
func (p *Proxy) awaitHead(x *exchange, e *endpointState, l link) error {
	v := &x.vigil
	*v = vigil{endpoint: e, link: l, timeout: max(p.cfg.Timeouts.ResponseHeader, x.silence)}
	for informed := 0; ; {
		if err := l.head(v.next()); err != nil {
			if err = x.goOn(err); err != nil {
				return err
			}
			continue
		}
		v.waited = 0
		status := x.inbound.Status
		if status >= 200 || status == http.StatusSwitchingProtocols {
			return nil
		}
		if informed++; informed > maxInformational {
			return fmt.Errorf("%w: it sends nothing but informational ones", errGarbled)
		}
		x.setAnswered()
		if err := x.client.inform(status, x.answered); err != nil {
			x.gone.Store(true)
			return err
		}
	}
}

// maxInformational is how many informational answers may precede the final one: enough for one a minute for hours.
const maxInformational = 1000

// answer passes the endpoint's answer on.
func (p *Proxy) answer(x *exchange, e *endpointState, l link) {
	in := &x.inbound
	if in.Status == http.StatusSwitchingProtocols {
		p.upgrade(x, e, l)
		return
	}
	if in.Status > 599 {
		x.res.err = x.blame(e, fmt.Errorf("%w: its status is %d", errGarbled, in.Status))
		return
	}
	x.setAnswered()
	if cookie := x.pick.stickyCookie(e, x.encrypted()); cookie != "" {
		x.answered = append(x.answered, h1.Field{ID: h1.SetCookie, Name: bytesOf("Set-Cookie"), Value: bytesOf(cookie)})
	}
	x.advertise()
	x.insist()
	length := int64(-1)
	if in.Framing == h1.Length || in.Framing == h1.NoBody {
		length = in.ContentLength
	}
	if err := x.client.begin(in.Status, in.Reason, x.answered, length); err != nil {
		x.clientGone()
		return
	}
	x.res.status, x.res.sentHead = in.Status, true
	l.patience(p.cfg.Timeouts.Body)
	if in.Framing != h1.NoBody && length != 0 && !l.pending() && x.client.write(nil, true) != nil { // the client need not wait for the content
		x.clientGone()
		return
	}
	for !l.finished() {
		n, err := x.pass(l)
		if errors.Is(err, errClientGone) {
			x.clientGone()
			return
		}
		if err != nil {
			_ = x.client.write(nil, true) // what has come is the client's
			x.res.err = p.brokenAnswer(x, e, err)
			return
		}
		x.res.sent += int64(n)
	}
	if err := x.client.end(l.trailer()); err != nil {
		x.clientGone()
		return
	}
	x.complete = true
}

// pass passes a piece of the answer's content on, and returns how long it is. errClientGone is the client's fault, all else the endpoint's.
func (x *exchange) pass(l link) (int, error) {
	if from, to := x.plainEnds(l); from != nil && from.spliceable() {
		if n, err := from.spliceTo(to); !errors.Is(err, loop.ErrNoPipe) {
			return n, err
		}
	}
	data, err := l.next()
	if err != nil {
		return 0, err
	}
	if x.client.write(data, !l.finished() && !l.pending()) != nil {
		return 0, errClientGone
	}
	return len(data), nil
}

func (x *exchange) clientGone() { x.res.err = errClientGone }

// brokenAnswer tells whose fault it is that an answer ended before its end.
func (p *Proxy) brokenAnswer(x *exchange, e *endpointState, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w: nothing came for %s within the body of its answer", errTooSlow, p.cfg.Timeouts.Body)
		e.failed(err, time.Now(), false)
		return err
	}
	return x.blame(e, err)
}
