package acme

import (
	"net/http"
	"time"
)

// SetPoll sets how often a CA is asked that does not say how often.
func (e *Engine) SetPoll(d time.Duration) { e.poll = d }

// SetRest sets how long the engine does nothing at most.
func (e *Engine) SetRest(d time.Duration) { e.rest = d }

// SetTransport sets how CAs are reached.
func (e *Engine) SetTransport(rt http.RoundTripper) {
	e.transport = func(Terms) (http.RoundTripper, error) { return rt, nil }
}
