package proxy

import (
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	// glance is how long an endpoint is silent, while the head of its answer is awaited, before Ruche looks whether its system lives; later the wait grows by a quarter each
	// time. So what has died is known after 1 or 1.5 s, and a wait of minutes costs some twenty looks.
	glance = 500 * time.Millisecond
	// askAfter is how long an endpoint's system is silent before it is asked for a sign of life: its acknowledgement of a request says nothing about what came later. Where
	// both sides may be silent for hours it is askUpgradedAfter.
	askAfter         = 3 * time.Second
	askUpgradedAfter = time.Minute
)

// errLifeless is why an endpoint is given up that has died, or been cut off, without a goodbye.
var errLifeless = fmt.Errorf("%w: its system acknowledges nothing", errBroken)

// vigil is the wait for the head of an answer. An endpoint may take its time, as long as its system lives.
type vigil struct {
	endpoint *endpointState
	link     link
	timeout  time.Duration // in all, from when the endpoint has the request
	waited   time.Duration
}

// next is how long to wait now.
func (v *vigil) next() time.Duration { return min(max(glance, v.waited/4), v.timeout-v.waited) }

// goOn is told how a wait ended, and returns nil when another one is to follow. An endpoint without a sign of life gets no new requests; those that it has are taken from it where
// another one can answer them. The others wait on: it may have been a pause.
func (x *exchange) goOn(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	v := &x.vigil
	if v.link.lifeless() {
		now := time.Now()
		v.endpoint.failed(errLifeless, now, true)
		if x.mayRetry(errLifeless) && x.pick.another(now) {
			return errLifeless
		}
	}
	v.waited += v.next()
	switch {
	case v.waited < v.timeout:
		return nil
	case x.body.busy(v.timeout):
		v.waited = 0
		return nil
	}
	return err
}
