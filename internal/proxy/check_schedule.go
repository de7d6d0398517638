package proxy

import (
	"container/heap"
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// maxProbes is how many endpoints are checked at the same time.
	maxProbes = 64
	// firstProbe is within what time a new endpoint is checked first, unless its interval is shorter.
	firstProbe = time.Second
)

// checker decides when which endpoint is checked. It belongs to one goroutine; each probe runs in one of its own.
type checker struct {
	logger  *slog.Logger
	plans   map[*checkState]*plan
	due     schedule
	running int
	results chan outcome
	probes  sync.WaitGroup
}

// plan is when an endpoint is to be checked.
type plan struct {
	state *checkState
	at    time.Time
	// place is where it stands in the schedule; -1 while its probe is running.
	place int
}

// outcome is the result of one probe.
type outcome struct {
	plan *plan
	err  error
}

func newChecker(logger *slog.Logger) *checker {
	return &checker{logger: logger, plans: map[*checkState]*plan{}, results: make(chan outcome, maxProbes)}
}

// follow makes these checks the ones to run. New ones are spread over a moment, so that a start does not probe everything at once.
func (c *checker) follow(states map[string]*checkState, now time.Time) {
	wanted := make(map[*checkState]bool, len(states))
	for _, s := range states {
		wanted[s] = true
		if c.plans[s] == nil {
			p := &plan{state: s, at: now.Add(rand.N(min(firstProbe, s.interval())))}
			c.plans[s] = p
			heap.Push(&c.due, p)
		}
	}
	for s, p := range c.plans {
		if wanted[s] {
			continue
		}
		delete(c.plans, s)
		if p.place >= 0 {
			heap.Remove(&c.due, p.place)
		}
	}
}

// run checks what is due until changed is closed (true) or ctx ends (false).
func (c *checker) run(ctx context.Context, changed <-chan struct{}) bool {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		c.launch(ctx, time.Now())
		var wake <-chan time.Time
		if len(c.due) > 0 && c.running < maxProbes {
			timer.Reset(time.Until(c.due[0].at))
			wake = timer.C
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
			return true
		case o := <-c.results:
			c.finish(ctx, o, time.Now())
		case <-wake:
		}
	}
}

// launch starts the probes that are due, as many as may run.
func (c *checker) launch(ctx context.Context, now time.Time) {
	for c.running < maxProbes && len(c.due) > 0 && !c.due[0].at.After(now) {
		p := heap.Pop(&c.due).(*plan)
		// From one beginning to the next it is the interval, a tenth more or less, so that checks do not fall into step.
		interval := p.state.interval()
		p.at = now.Add(interval - interval/10 + rand.N(interval/5+1))
		c.running++
		c.probes.Go(func() {
			c.results <- outcome{p, p.state.probe.run(ctx, p.state.timeout())}
		})
	}
}

// finish takes over the outcome of a probe and plans the next one.
func (c *checker) finish(ctx context.Context, o outcome, now time.Time) {
	c.running--
	s := o.plan.state
	if c.plans[s] != o.plan || ctx.Err() != nil {
		return // nobody asks for it any more, or it failed because of the end
	}
	if s.note(o.err, now) {
		if o.err != nil {
			c.logger.Warn("an endpoint fails its health check and gets no requests", "endpoint", s.endpoint.url, "error", o.err)
		} else {
			c.logger.Info("an endpoint passes its health check again", "endpoint", s.endpoint.url)
		}
	}
	if o.err == nil && s.probe.own {
		s.endpoint.reached()
	}
	if d := s.interval(); o.plan.at.After(now.Add(d + d/10)) {
		o.plan.at = now.Add(d) // the interval has become the shorter one of an endpoint that is not well
	}
	heap.Push(&c.due, o.plan)
}

// schedule is a heap of plans, the earliest first.
type schedule []*plan

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, k int) bool { return s[i].at.Before(s[k].at) }
func (s schedule) Swap(i, k int) {
	s[i], s[k] = s[k], s[i]
	s[i].place, s[k].place = i, k
}

// Push implements heap.Interface.
func (s *schedule) Push(x any) {
	p := x.(*plan)
	p.place = len(*s)
	*s = append(*s, p)
}

// Pop implements heap.Interface.
func (s *schedule) Pop() any {
	last := len(*s) - 1
	p := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	p.place = -1
	return p
}
