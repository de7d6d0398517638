package proxy

import (
	"slices"
	"time"
)

// picker chooses endpoints for one request: round robin over those that are ready, each at most once, those that
// could not be reached a moment ago last.
type picker struct {
	ready []*endpointState
	start int
	tried []*endpointState
}

func (r *routeState) picker() picker {
	p := picker{ready: r.ready}
	if len(p.ready) > 1 {
		p.start = int(r.life.turn.Add(1) % uint32(len(p.ready)))
	}
	return p
}

// next returns the endpoint to try now, or nil when all were tried.
func (p *picker) next(now time.Time) *endpointState {
	var last *endpointState
	for i := range p.ready {
		e := p.ready[(p.start+i)%len(p.ready)]
		switch {
		case slices.Contains(p.tried, e):
		case !e.cooling(now):
			p.tried = append(p.tried, e)
			return e
		case last == nil:
			last = e
		}
	}
	if last != nil {
		p.tried = append(p.tried, last)
	}
	return last
}
