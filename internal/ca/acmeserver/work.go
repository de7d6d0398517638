package acmeserver

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
)

// timing is how long things take; tests are in a hurry.
type timing struct {
	again   time.Duration   // until the state is read again
	tries   []time.Duration // how long to wait before each look for an answer to a challenge
	look    time.Duration   // between looks for what another node left behind
	orphan  time.Duration   // after which it is taken to be left behind: longer than all tries together
	sign    time.Duration   // of one call of the authority
	prune   time.Duration   // between rounds
	attempt time.Duration   // of one look for an answer
}

func usual() timing {
	return timing{
		again: 2 * time.Second, tries: []time.Duration{0, 3 * time.Second, 9 * time.Second}, look: 5 * time.Second, orphan: 90 * time.Second,
		sign: 30 * time.Second, prune: 10 * time.Minute, attempt: 15 * time.Second,
	}
}

const (
	maxJobs       = 64 // orders that a node works on at once
	maxJobsOfOne  = 8  // of one account; of one client, and of the queue, its share
	maxProofs     = 8  // names of one order that are looked for at once
	maxJobsQueued = 1024
)

// jobs are the orders on which this node works. It is safe for concurrent use.
type jobs struct {
	wake chan struct{}

	mu      sync.Mutex
	mine    map[string]job // orders that this node has to go on with
	running map[string]job
}

// job is whose order it is.
type job struct{ account, client string }

// of counts jobs that are for the same account, and for the same client.
func (j job) of(all map[string]job) (account, client int) {
	for _, other := range all {
		if other.account == j.account {
			account++
		}
		if other.client == j.client {
			client++
		}
	}
	return account, client
}

func newJobs() *jobs {
	return &jobs{wake: make(chan struct{}, 1), mine: map[string]job{}, running: map[string]job{}}
}

// add takes over an order. With too many in the queue it is left to whoever finds it later.
func (j *jobs) add(id string, o *Order) {
	j.mu.Lock()
	next := job{o.Account, o.client()}
	if _, its := next.of(j.mine); len(j.mine) < maxJobsQueued && its < share(maxJobsQueued) {
		j.mine[id] = next
	}
	j.mu.Unlock()
	j.look()
}

// look wakes the loop.
func (j *jobs) look() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// next gives the orders to be begun now, and counts them as running.
func (j *jobs) next() (ids []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for id, next := range j.mine {
		account, client := next.of(j.running)
		if _, runs := j.running[id]; runs || account >= maxJobsOfOne || client >= share(maxJobs) || len(j.running) >= maxJobs {
			continue
		}
		delete(j.mine, id)
		j.running[id] = next
		ids = append(ids, id)
	}
	return ids
}

func (j *jobs) done(id string) {
	j.mu.Lock()
	delete(j.running, id)
	j.mu.Unlock()
	j.look()
}

// work goes on with orders, those of this node at once, those of a node that has died after a while, until ctx ends.
func (s *Server) work(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	tick := time.NewTicker(s.timing.look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.tell()
			for id, o := range s.orders.all() {
				if since, ok := o.waiting(); ok && s.now().Sub(since) > s.timing.orphan {
					s.jobs.add(id, &o)
				}
			}
		case <-s.jobs.wake:
		}
		for _, id := range s.jobs.next() {
			running.Go(func() {
				defer s.jobs.done(id)
				if err := s.advance(ctx, id); err != nil && ctx.Err() == nil && !errors.Is(err, ruche.ErrNotFound) {
					s.cfg.Logger.Warn("the ACME server cannot go on with an order now", slog.String("order", id), slog.Any("error", err))
				}
			})
		}
	}
}

// waiting tells since when something is to be done for the order by a node.
func (o *Order) waiting() (since time.Time, ok bool) {
	if o.Status == StatusProcessing {
		return o.Since, true
	}
	if o.Status != StatusPending {
		return time.Time{}, false
	}
	for _, a := range o.Authorizations {
		if a.Status == StatusProcessing && (!ok || a.Since.Before(since)) {
			since, ok = a.Since, true
		}
	}
	return since, ok
}

// advance proves what is to be proven of an order, or signs its certificate.
func (s *Server) advance(ctx context.Context, id string) error {
	for {
		e, err := s.cfg.Orders.Get(ctx, id)
		if err != nil {
			return err
		}
		o := e.Value.at(s.now())
		if o.Status == StatusProcessing {
			if s.now().Sub(o.Since) > s.timing.orphan {
				_, err = s.sign(ctx, id, o, e.Revision)
			}
			return err
		}
		if _, ok := o.waiting(); !ok {
			return nil
		}
		if err := s.prove(ctx, id, &o); err != nil {
			return err
		}
	}
}

// result is what came of proving a name.
type result struct {
	problem *Problem // nil: it is proven
	at      time.Time
}

// prove looks for the answers to all challenges of the order that are to be met, and writes down what came of it, all at once.
func (s *Server) prove(ctx context.Context, id string, o *Order) error {
	account, err := s.cfg.Accounts.Get(ctx, o.Account)
	if err != nil {
		return err
	}
	key := jwk{canonical: account.Value.Key}
	results := make([]*result, len(o.Authorizations))
	var all sync.WaitGroup
	free := make(chan struct{}, maxProofs)
	for n, a := range o.Authorizations {
		if a.Status != StatusProcessing {
			continue
		}
		all.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			p := problem(unauthorized, "the account is %s", account.Value.Status)
			if account.Value.Status == StatusValid {
				token := s.token(id, n, a.By)
				p = s.prover.try(ctx, s.timing, proof{by: a.By, name: a.Name, token: token, authorization: token + "." + key.thumbprint()})
			}
			results[n] = &result{problem: p, at: s.now()}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err = s.update(ctx, id, func(o *Order) bool { return note(results, o) })
	for n, r := range results {
		if r != nil && err == nil {
			s.auditProof(ctx, id, o, n, r)
		}
	}
	return err
}

// note writes results into the order.
func note(results []*result, o *Order) (changed bool) {
	for n, r := range results {
		a := &o.Authorizations[n]
		if r == nil || a.Status != StatusProcessing {
			continue
		}
		changed = true
		if r.problem != nil {
			a.Status, a.Error = StatusInvalid, r.problem.about(identifierOf(a.Name)).kept()
			continue
		}
		a.Status, a.Validated, a.Expires = StatusValid, r.at, o.Expires
	}
	o.settle()
	if o.Status == StatusInvalid {
		for _, a := range o.Authorizations {
			if a.Error != nil {
				o.Error = a.Error
				break
			}
		}
	}
	return changed
}

func (s *Server) auditProof(ctx context.Context, id string, o *Order, n int, r *result) {
	a := o.Authorizations[n]
	attrs := []slog.Attr{slog.String("account", o.Account), slog.String("order", id), slog.String("name", a.Name), slog.String("challenge", string(a.By))}
	if r.problem != nil {
		s.audit(ctx, "challenge failed", append(attrs, slog.String("reason", r.problem.Detail))...)
		return
	}
	s.audit(ctx, "challenge met", attrs...)
}
