package proxy

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// defaultInterval and defaultTimeout stand for what a declaration leaves out. They are Traefik's.
const (
	defaultInterval = 30 * time.Second
	defaultTimeout  = 5 * time.Second
)

// checks is what the active checks of one route's endpoints have in common.
type checks struct {
	declared      *ruche.Check
	proxyProtocol int
	fingerprint   string
}

func newChecks(r *table.Route) *checks {
	data, _ := json.Marshal(r.Check) // a noun of plain fields cannot fail
	return &checks{r.Check, r.ProxyProtocol, strconv.Itoa(r.ProxyProtocol) + " " + string(data)}
}

// checkState is the active check of one endpoint. It survives swaps as long as the endpoint is ready and the check is the same; routes
// that check an endpoint in the same way share it. Until a check has failed, the endpoint counts as well.
type checkState struct {
	key      string
	endpoint *endpointState
	declared *ruche.Check
	probe    probe

	// down takes the endpoint out. It is written by the checker alone.
	down atomic.Bool

	mu     sync.Mutex // held for a moment
	streak int        // results in a row that contradict down
	at     time.Time
	err    string
}

// check returns the state of an endpoint's check, the one it had if it had it.
func (s *snapshot) check(c *checks, e *table.Endpoint, state *endpointState, known map[string]*checkState) *checkState {
	key := e.Key() + " " + c.fingerprint
	cs := s.checks[key]
	if cs == nil {
		cs = known[key]
	}
	if cs == nil {
		cs = &checkState{key: key, endpoint: state, declared: c.declared, probe: newProbe(c.declared, e, c.proxyProtocol)}
	}
	s.checks[key] = cs
	return cs
}

// interval is the time from one check to the next.
func (c *checkState) interval() time.Duration {
	if c.down.Load() && c.declared.UnhealthyInterval > 0 {
		return c.declared.UnhealthyInterval
	}
	if c.declared.Interval > 0 {
		return c.declared.Interval
	}
	return defaultInterval
}

// timeout is how long one check may take.
func (c *checkState) timeout() time.Duration {
	if c.declared.Timeout > 0 {
		return c.declared.Timeout
	}
	return defaultTimeout
}

// note takes over a result, and reports whether the endpoint went out or in by it.
func (c *checkState) note(err error, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.err = now, ""
	if err != nil {
		c.err = err.Error()
	}
	down := c.down.Load()
	if (err != nil) == down {
		c.streak = 0
		return false
	}
	needed := c.declared.Failures
	if down {
		needed = c.declared.Successes
	}
	if c.streak++; c.streak < needed {
		return false
	}
	c.streak = 0
	c.down.Store(!down)
	return true
}

// status is what people are shown; nil when there is no check.
func (c *checkState) status() *ruche.CheckStatus {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return &ruche.CheckStatus{Healthy: !c.down.Load(), At: c.at, Error: c.err}
}

// check runs the active checks of the snapshot in force until ctx ends, and returns when none is running any more.
func (p *Proxy) check(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-p.compiled:
	}
	c := newChecker(p.cfg.Logger)
	defer c.probes.Wait()
	ctx = context.WithValue(ctx, securesKey{}, p.secures)
	for {
		s := p.current.Load()
		c.follow(s.checks, time.Now())
		if !c.run(ctx, s.replaced) {
			return
		}
	}
}
