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
	routes []*routeState // by table.Route.Index
	// endpoints has every endpoint of the table by table.Endpoint.Key.
	endpoints map[string]*endpointState
	// replaced is closed when a newer snapshot is in force.
	replaced chan struct{}
}

// routeState is a route of one snapshot.
type routeState struct {
	route *table.Route
	// all are the route's endpoints, in the table's order; ready those that take requests.
	all, ready []*endpointState
	life       *routeLife
}

// routeLife is what of a route survives a swap.
type routeLife struct {
	counts counts
	// turn is the round robin's position.
	turn atomic.Uint32
}

// endpointState is what is known about an endpoint. It survives swaps as long as the endpoint is in the table.
type endpointState struct {
	url, scheme, address string
	inFlight             atomic.Int64
	// coolUntil is when it is a choice like others again, in nanoseconds of the Unix epoch.
	coolUntil atomic.Int64
	// failingSince is when it failed first since it last answered or became ready, in nanoseconds of the Unix epoch; 0 if it did not.
	failingSince atomic.Int64
	// ready tells what the newest snapshot says; only newSnapshot reads and writes it.
	ready bool

	mu          sync.Mutex
	lastError   string
	lastErrorAt time.Time
}

func (e *endpointState) cooling(now time.Time) bool { return e.coolUntil.Load() > now.UnixNano() }

// failed notes that the endpoint did not do its part; unreachable makes it the last choice for a while.
func (e *endpointState) failed(err error, now time.Time, unreachable bool) {
	if unreachable {
		e.coolUntil.Store(now.Add(coolDown).UnixNano())
	}
	e.failingSince.CompareAndSwap(0, now.UnixNano())
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastError, e.lastErrorAt = err.Error(), now
}

// failingFor is the time since its first failure after it last answered or became ready.
func (e *endpointState) failingFor(now time.Time) time.Duration {
	if since := e.failingSince.Load(); since != 0 {
		return now.Sub(time.Unix(0, since))
	}
	return 0
}

// answered takes the endpoint back into the rotation. Its last error is kept to be shown.
func (e *endpointState) answered() {
	if e.coolUntil.Load() != 0 {
		e.coolUntil.Store(0)
	}
	if e.failingSince.Load() != 0 {
		e.failingSince.Store(0)
	}
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
	s := &snapshot{table: t, routes: make([]*routeState, len(t.Routes)), endpoints: make(map[string]*endpointState), replaced: make(chan struct{})}
	lives := map[string]*routeLife{}
	known := map[string]*endpointState{}
	if before != nil {
		known = before.endpoints
		for _, r := range before.routes {
			lives[r.route.ID] = r.life
		}
	}
	for i, r := range t.Routes {
		rs := &routeState{route: r, life: lives[r.ID], all: make([]*endpointState, len(r.Endpoints))}
		if rs.life == nil {
			rs.life = &routeLife{}
		}
		for k := range r.Endpoints {
			e := &r.Endpoints[k]
			rs.all[k] = s.endpoint(e, known)
			if rs.all[k].turn(e.Ready()); e.Ready() {
				rs.ready = append(rs.ready, rs.all[k])
			}
		}
		s.routes[i] = rs
	}
	return s
}

func (s *snapshot) endpoint(e *table.Endpoint, known map[string]*endpointState) *endpointState {
	key := e.Key()
	if state := s.endpoints[key]; state != nil {
		return state
	}
	state := known[key]
	if state == nil {
		state = &endpointState{url: e.URL, scheme: e.Scheme, address: e.Address}
	}
	s.endpoints[key] = state
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
