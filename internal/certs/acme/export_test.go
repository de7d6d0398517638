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

// RetryAfter reads the header of that name.
func RetryAfter(value string, now time.Time) time.Duration { return retryAfter(value, now) }

// NextPage finds the link to the next page of a list.
func NextPage(h http.Header) string { return nextPage(h) }

// ParseChain reads what a CA gives as a certificate.
func ParseChain(text []byte) (der [][]byte, err error) {
	der, _, err = parseChain(text)
	return der, err
}

// Normalize brings names into the form of certificates, and CheckNames says what is wrong with them.
func Normalize(names []string) []string { return normalize(names) }

// CheckNames says what keeps names out of a certificate.
func CheckNames(names []string) string { return checkNames(names) }
