package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// snapshot is what a request sees: a table, and for each of its routes what is counted and known of its endpoints.
// The snapshot is immutable; the states are shared with earlier and later ones.
type snapshot struct {
	table  *table.Table
	routes []*routeState // by table.Route.Index; nil where no route has the index
	// endpoints has every endpoint of the newest table by table.Endpoint.Key; only newSnapshot reads and writes it.
	endpoints map[string]*endpointState
	// checks has every check of a ready endpoint by its key.
	checks map[string]*checkState
	// ruled tells that some endpoint has a rule of ejection.
	ruled bool
	// replaced is closed when a newer snapshot is in force.
	replaced chan struct{}
}

// routeState is what snapshots know of a route while their tables share it.
type routeState struct {
	route *table.Route
	// all are the route's endpoints, in the table's order; ready those that take requests.
	all   []*endpointState
	ready []choice
	// checks are those of all, nil where an endpoint has none; nil when nothing is checked.
	checks []*checkState
	policy ruche.Policy
	sticky *ruche.Sticky // nil when there is no cookie
	even   bool          // all of ready weigh the same
	shares shares        // of ready, when they do not
	life   *routeLife
	// starting tells that none is ready, but one is about to be.
	starting bool
}

// routeLife is what of a route survives a swap.
type routeLife struct {
	counts  counts
	streams streamCounts
	// turn is the round robin's position.
	turn   atomic.Uint32
	budget budget
	// emptied is when its last ready endpoint left, in nanoseconds of the Unix epoch; 0 when there was none.
	emptied atomic.Int64
}

// endpointState is what is known about an endpoint. It survives swaps as long as the endpoint is in the table.
type endpointState struct {
	key, url, scheme, address string
	tls                       *ruche.EndpointTLS // nil: it is not verified
	token                     string             // for cookies
	seed                      uint64             // for hashing
	inFlight                  atomic.Int64
	// ejection is nil unless the endpoint is ejected, or was and has not answered since.
	ejection atomic.Pointer[ejection]
	// failingSince is when it failed first since it last answered or became ready, in nanoseconds of the Unix epoch; 0 if it did not.
	failingSince atomic.Int64
	// knocking is set while a connection is made to see whether the endpoint is back.
	knocking atomic.Bool
	// eject is the rule that its routes declare; nil: none.
	eject atomic.Pointer[ruche.Eject]
	// ready tells what the newest snapshot says, uses how often its routes have the endpoint; only newSnapshot reads and writes them.
	ready bool
	uses  int

	mu          sync.Mutex // held for a moment
	lastError   string
	lastErrorAt time.Time
	streak      int // failures since it last answered or became ready
	ejections   int // the same of ejections
}

// turn notes whether the endpoint is ready now. One that becomes ready has been started anew: what it failed at before says nothing.
func (e *endpointState) turn(ready bool) {
	if ready && !e.ready {
		e.answered()
	}
	e.ready = ready
}

func (e *endpointState) failure() (string, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lastError, e.lastErrorAt
}

// newSnapshot gives a table its states, taking over those of the snapshot before it. Two must not be made at once.
func newSnapshot(t *table.Table, before *snapshot) *snapshot {
	if before == nil {
		before = &snapshot{table: &table.Table{}, endpoints: make(map[string]*endpointState)}
	}
	s := &snapshot{
		table: t, routes: make([]*routeState, t.Slots), endpoints: before.endpoints,
		checks: make(map[string]*checkState, len(before.checks)), replaced: make(chan struct{}),
	}
	for _, r := range t.Routes {
		if rs := before.at(r.Index); rs != nil && rs.route == r {
			s.takeOver(rs)
		} else {
			s.routes[r.Index] = s.newRoute(r, before, before.of(before.table.Route(r.ID)))
		}
	}
	for i, rs := range before.routes {
		if rs != nil && s.at(i) != rs {
			s.release(rs)
		}
	}
	s.setRules(before)
	return s
}

// of returns the state of a route of the snapshot's table; nil for nil.
func (s *snapshot) of(r *table.Route) *routeState {
	if r == nil {
		return nil
	}
	return s.routes[r.Index]
}

func (s *snapshot) at(i int) *routeState {
	if i >= len(s.routes) {
		return nil
	}
	return s.routes[i]
}

// takeOver keeps the state of a route about which nothing has changed.
func (s *snapshot) takeOver(rs *routeState) {
	s.routes[rs.route.Index] = rs
	for _, c := range rs.checks {
		if c != nil {
			s.checks[c.key] = c
		}
	}
}

// release forgets the endpoints that no route has any more.
func (s *snapshot) release(rs *routeState) {
	for _, e := range rs.all {
		if e.uses--; e.uses == 0 {
			delete(s.endpoints, e.key)
		}
	}
}

// setRules gives each endpoint the strictest rule of ejection that its routes declare.
func (s *snapshot) setRules(before *snapshot) {
	rules := make(map[*endpointState]*ruche.Eject)
	for _, r := range s.table.Routes {
		if r.Eject == nil {
			continue
		}
		s.ruled = true
		for _, e := range s.of(r).all {
			rules[e] = stricter(rules[e], r.Eject)
		}
	}
	if !s.ruled && !before.ruled {
		return
	}
	for _, e := range s.endpoints {
		e.eject.Store(rules[e])
	}
}

// newRoute gives a route its states. earlier is what it was in the snapshot before; nil if it is new.
func (s *snapshot) newRoute(r *table.Route, before *snapshot, earlier *routeState) *routeState {
	rs := &routeState{
		route: r, policy: r.Policy, sticky: r.Sticky, even: true,
		all: make([]*endpointState, len(r.Endpoints)), ready: make([]choice, 0, len(r.Endpoints)),
	}
	var c *checks
	if r.Check != nil {
		c = newChecks(r)
		rs.checks = make([]*checkState, len(r.Endpoints))
	}
	for k := range r.Endpoints {
		e := &r.Endpoints[k]
		state := s.endpoint(e)
		rs.all[k] = state
		if state.turn(e.Ready()); !e.Ready() {
			rs.starting = rs.starting || e.State == ruche.EndpointStarting
			continue
		}
		one := choice{endpoint: state, weight: int64(e.Weight)}
		if c != nil {
			one.check = s.check(c, e, state, before.checks)
			rs.checks[k] = one.check
		}
		if e.Weight > 0 {
			rs.ready = append(rs.ready, one)
			rs.even = rs.even && one.weight == rs.ready[0].weight
		}
	}
	if earlier == nil {
		rs.life = &routeLife{}
	} else {
		rs.life = earlier.life
		if len(earlier.ready) > 0 && len(rs.ready) == 0 {
			rs.life.emptied.Store(time.Now().UnixNano())
		}
	}
	if !rs.even {
		rs.shares.owed = make([]int64, len(rs.ready))
		if earlier != nil {
			rs.inherit(earlier)
		}
	}
	return rs
}

// inherit takes over what each endpoint is owed, so that frequent swaps do not begin with the heaviest endpoint every time.
func (r *routeState) inherit(earlier *routeState) {
	earlier.shares.mu.Lock()
	defer earlier.shares.mu.Unlock()
	owed := make(map[*endpointState]int64, len(earlier.shares.owed))
	for i, n := range earlier.shares.owed {
		owed[earlier.ready[i].endpoint] = n
	}
	for i := range r.ready {
		r.shares.owed[i] = owed[r.ready[i].endpoint]
	}
}

func (s *snapshot) endpoint(e *table.Endpoint) *endpointState {
	key := e.Key()
	state := s.endpoints[key]
	if state == nil {
		state = &endpointState{key: key, url: e.URL, scheme: e.Scheme, address: e.Address, tls: e.TLS}
		state.token, state.seed = identity(key)
		s.endpoints[key] = state
	}
	state.uses++
	return state
}

// counts are of one route.
type counts struct {
	byClass [5]atomic.Uint64
	buckets [len(ruche.LatencyBounds) + 1]atomic.Uint64
	nanos   atomic.Uint64
}

func (c *counts) add(status int, took time.Duration) {
	class := min(max(status/100, 1), 5)
	c.byClass[class-1].Add(1)
	seconds, i := took.Seconds(), 0
	for i < len(ruche.LatencyBounds) && seconds > ruche.LatencyBounds[i] {
		i++
	}
	c.buckets[i].Add(1)
	c.nanos.Add(uint64(max(took, 0)))
}

func (c *counts) read(id string) ruche.RouteCount {
	rc := ruche.RouteCount{RouteID: id, ByClass: c.classes(), Seconds: time.Duration(c.nanos.Load()).Seconds()}
	for i := range c.buckets {
		rc.Buckets[i] = c.buckets[i].Load()
	}
	return rc
}

func (c *counts) classes() (n [5]uint64) {
	for i := range c.byClass {
		n[i] = c.byClass[i].Load()
	}
	return n
}
