package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"
)

// The forwarder takes an exchange and a picker and has the request answered by an endpoint. It is the one part that
// knows how endpoints are spoken to; the files forward*.go are all of it.

// Why an exchange could not be finished. The handler makes answers of them.
var (
	errNoEndpoint    = errors.New("no endpoint is ready")
	errUnreachable   = errors.New("cannot connect to the endpoint")
	errBroken        = errors.New("the endpoint broke the exchange off")
	errTooSlow       = errors.New("the endpoint is too slow")
	errBodyTooLarge  = errors.New("the body of the request is larger than allowed")
	errBodyTooSlow   = errors.New("the client stopped sending the body of the request")
	errBodyMalformed = errors.New("the body of the request is malformed")
	errClientGone    = errors.New("the client is gone")
	errNoDescriptor  = errors.New("this process may open no more files")
	errStopping      = errors.New("the drain has ended")
	errUpgradeFailed = errors.New("the endpoint switched to another protocol than the one asked for")
)

// result is how a forwarded exchange ended.
type result struct {
	// status is the answer's status code; sentHead tells that the client has it. When it has not, err says why.
	status   int
	sentHead bool
	sent     int64 // bytes of the answer's body
	endpoint *endpointState
	// upstream is the time from choosing the endpoint to the head of its answer.
	upstream time.Duration
	retries  int
	// repeatable tells that every endpoint was tried in vain and the request may go to another one yet.
	repeatable bool
	// err is what went wrong, also after the status was sent; then the connection must be broken off.
	err error
}

// forward has the request answered by the first endpoint that can. It tries another one when the request had no
// effect on the last: it could not be reached, or it broke the connection off before the first byte of its answer and the request is
// one that may be repeated (RFC 9110 section 9.2.2) and whose body nobody has read from.
func (f *forwarder) forward(x *exchange) result {
	res := result{err: errNoEndpoint}
	body := newRequestBody(x, f.maxBody, f.timeouts.Body)
	defer body.revoke()
	pick := x.route.picker(pickKey{client: x.client})
	for tries := 0; ; tries++ {
		e := pick.next(time.Now())
		if e == nil {
			res.repeatable = res.endpoint != nil
			return res
		}
		res = f.try(x, e, body)
		res.endpoint, res.retries = e, tries
		if res.err == nil || res.sentHead || !mayRetry(x, res.err, body) {
			return res
		}
	}
}

func mayRetry(x *exchange, err error, body *requestBody) bool {
	if body.revoke() {
		return false
	}
	switch {
	case errors.Is(err, errUnreachable):
		return true
	case errors.Is(err, errBroken):
		return idempotent(x.r.Method)
	}
	return false
}

func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// try has the request answered by one endpoint.
func (f *forwarder) try(x *exchange, e *endpointState, body *requestBody) result {
	e.inFlight.Add(1)
	defer e.inFlight.Add(-1)
	ctx, cancel := context.WithCancelCause(x.r.Context())
	defer cancel(nil)

	started := time.Now()
	resp, err := f.transport.RoundTrip(f.request(ctx, x, e, body))
	res := result{upstream: time.Since(started)}
	if err != nil {
		res.err = f.explain(x, e, body, err)
		return res
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
		res.err = fmt.Errorf("%w: it answered with the status %d", errBroken, resp.StatusCode)
		e.failed(res.err, time.Now(), false)
		return res
	}
	e.answered()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		f.upgrade(x, e, resp, &res)
		return res
	}
	f.answer(ctx, cancel, x, e, resp, &res)
	return res
}

// explain finds out who is to blame for a failed attempt, and notes it if it is the endpoint.
func (f *forwarder) explain(x *exchange, e *endpointState, body *requestBody, err error) error {
	if cause := body.failure(); cause != nil {
		return cause
	}
	if x.r.Context().Err() != nil {
		return errClientGone
	}
	var dial *dialError
	var slow interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("%w: %w", errNoDescriptor, err) // the endpoint is not to blame
	case errors.As(err, &dial):
		err = fmt.Errorf("%w: %w", errUnreachable, dial.cause)
		e.failed(err, time.Now(), true)
		return err
	case errors.As(err, &slow) && slow.Timeout():
		err = fmt.Errorf("%w: %w", errTooSlow, err)
	default:
		err = fmt.Errorf("%w: %w", errBroken, err)
	}
	e.failed(err, time.Now(), false)
	return err
}
