package proxy

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
)

const (
	// ejectFirst is how long an endpoint is ejected the first time; each further time without an answer in between twice as long, up to ejectLast.
	ejectFirst = 5 * time.Second
	ejectLast  = 60 * time.Second
	// ejectAfter is how many exchanges in a row an endpoint must break before it is ejected. A connection that does not come about ejects it
	// at once, as with nginx: nothing about the request can be the reason.
	ejectAfter = 3
	// comeBackEvery is how long an ejected endpoint that may come back has to answer the one request that it gets, before it gets another one.
	comeBackEvery = 5 * time.Second
)

// ejection says until when an endpoint is the last choice.
type ejection struct {
	until int64 // nanoseconds of the Unix epoch
	lost  bool  // no connection came about, or one led nowhere, as opposed to exchanges that failed
	// probe is when the next request may be sent to see whether the endpoint is back, after until; nanoseconds of the Unix epoch.
	probe atomic.Int64
}

// over reports whether the endpoint may have a request now.
func (e *ejection) over(now int64) bool { return now >= e.until && now >= e.probe.Load() }

// comeBack reports whether a request may go to an endpoint of class well. Where it was ejected and has not answered since, it gets one
// request at a time.
func (e *endpointState) comeBack(now int64) bool {
	ej := e.ejection.Load()
	switch {
	case ej == nil:
		return true
	case now < ej.until:
		return false // it was ejected anew this moment
	}
	next := ej.probe.Load()
	return now >= next && ej.probe.CompareAndSwap(next, now+int64(comeBackEvery))
}

// failed notes that the endpoint did not do its part: unreachable when no connection came about, else it broke an exchange off or was too slow.
func (e *endpointState) failed(err error, now time.Time, unreachable bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.strike(err.Error(), now, unreachable)
}

// strike counts a failure and ejects the endpoint when it is one too many; e.mu is held.
func (e *endpointState) strike(text string, now time.Time, unreachable bool) {
	e.lastError, e.lastErrorAt = text, now
	e.failingSince.CompareAndSwap(0, now.UnixNano())
	e.streak++
	after, first := ejectAfter, ejectFirst
	if declared := e.eject.Load(); declared != nil {
		after = declared.Failures
		if declared.Time > 0 {
			first = declared.Time
		}
	}
	if !unreachable && e.streak < after {
		return
	}
	until := now.UnixNano()
	if before := e.ejection.Load(); before != nil && until < before.until {
		// Requests that ran at the same time fail together; they count as one reason.
		if before.lost || !unreachable {
			return
		}
		until = before.until
	} else {
		until += int64(max(first, min(first<<min(e.ejections, 16), ejectLast)))
		e.ejections++
	}
	e.ejection.Store(&ejection{until: until, lost: unreachable})
}

// answered takes the endpoint back among the others. Its last error is kept to be shown.
func (e *endpointState) answered() {
	if e.failingSince.Load() == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.streak, e.ejections = 0, 0
	e.ejection.Store(nil)
	e.failingSince.Store(0)
}

// answeredWith is answered for a status code: where that was asked for, an answer that tells of a broken endpoint behind the endpoint counts
// as a failure.
func (e *endpointState) answeredWith(status int, now time.Time) {
	if e.eject.Load() == nil || !gatewayFailure(status) {
		e.answered()
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.strike(fmt.Sprintf("it answered with the status %d", status), now, false)
}

func gatewayFailure(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// reached ends an ejection for connections that did not come about: one did.
func (e *endpointState) reached() {
	if ej := e.ejection.Load(); ej != nil && ej.lost {
		e.answered()
	}
}

// lost reports whether no connection came about, or one proved to lead nowhere, since the endpoint last answered.
func (e *endpointState) lost() bool {
	ej := e.ejection.Load()
	return ej != nil && ej.lost
}

// knocksAt reports that an endpoint which no connection came about with, and whose time is over, is tried by a connection of Ruche's own: there is another one for the
// request, and what has died without a goodbye would make it wait.
func (p *Proxy) knocksAt(e *endpointState, pick *picker, proxyProtocol int) bool {
	ej := e.ejection.Load()
	if ej == nil || !ej.lost {
		return false
	}
	now := time.Now()
	if now.UnixNano() < ej.until || !pick.another(now) {
		return false
	}
	if e.knocking.CompareAndSwap(false, true) {
		go func() {
			defer e.knocking.Store(false)
			p.knock(e, proxyPreamble(proxyProtocol))
		}()
	}
	pick.passOver()
	return true
}

// knock takes the endpoint back if a connection comes about, with TLS if it speaks that.
func (p *Proxy) knock(e *endpointState, preamble []byte) {
	ctx, cancel := context.WithTimeout(p.streams.running, p.cfg.Timeouts.Dial)
	defer cancel()
	c, err := dialWithin(ctx, e.address, p.cfg.Timeouts.Connect)
	if err == nil {
		defer func() { _ = c.Close() }()
		err = begin(ctx, c, preamble)
	}
	if err == nil && (e.scheme == ruche.SchemeHTTPS || e.scheme == ruche.SchemeGRPCS) {
		_, err = p.secures.encrypt(ctx, c, e.tls, e.address, protocolOf(e.scheme))
	}
	switch {
	case err == nil:
		e.reached()
	case p.streams.running.Err() == nil: // else it was given up
		_ = p.cannotOpen(e, err)
	}
}

// failingFor is the time since its first failure after it last answered or became ready.
func (e *endpointState) failingFor(now time.Time) time.Duration {
	if since := e.failingSince.Load(); since != 0 {
		return now.Sub(time.Unix(0, since))
	}
	return 0
}

// cooling reports whether it is ejected, and ejectedUntil until when: zero if it is not.
func (e *endpointState) cooling(now time.Time) bool { return !e.ejectedUntil(now).IsZero() }

func (e *endpointState) ejectedUntil(now time.Time) time.Time {
	if ej := e.ejection.Load(); ej != nil && now.UnixNano() < ej.until {
		return time.Unix(0, ej.until)
	}
	return time.Time{}
}

// stricter returns of two rules of ejection the one that ejects sooner.
func stricter(a, b *ruche.Eject) *ruche.Eject {
	if a == nil || b != nil && b.Failures < a.Failures {
		return b
	}
	return a
}
