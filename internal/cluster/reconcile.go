package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

const (
	// reconcileLook is the time between two looks at members and candidates when nobody asks for one.
	reconcileLook = 5 * time.Second
	// stepTime is how long one step may take. A new member is let in when all others have been connected for 5 s.
	stepTime = 30 * time.Second
)

// Candidates is where Reconcile learns who is wanted.
type Candidates struct {
	// List names the nodes that may hold a member: all of them, or an error. What it lacks is removed, so half an answer must be an error.
	List func(context.Context) ([]Candidate, error)
	// Invite hands an invitation to the node of this name, which opens its member with it. It may come more than once.
	Invite func(ctx context.Context, name string, inv *Invitation) error
	// Changed asks for a look at once.
	Changed <-chan struct{}
}

// Reconcile lets the members follow the candidates: nodes that ask are invited, members whose node is no candidate any more are removed, an odd number of
// at most five is kept where possible. Of all members one does that at a time, and lets another one do it when it cannot learn who is wanted. It returns nil when
// ctx ends, and an error that wraps ErrClosed when the cluster is closed.
func (c *Cluster) Reconcile(ctx context.Context, from Candidates) error {
	for {
		err := c.Lead(ctx, "members", func(ctx context.Context, _ int64) error { return c.reconcile(ctx, from) })
		if !errors.Is(err, errBlind) {
			return err
		}
		c.logger.Warn("this node cannot learn which nodes may hold the state: another one is to look after its members")
		timer := time.NewTimer(blindPause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-c.closed:
			timer.Stop()
			return fmt.Errorf("cannot look after the members: %w", ErrClosed)
		case <-timer.C:
		}
	}
}

const (
	// blindLooks is how many looks in a row may fail to learn who is wanted until another member is to do it, blindPause how long this one stays away then.
	blindLooks = 3
	blindPause = 20 * time.Second
)

// errBlind tells that this member cannot learn who is wanted.
var errBlind = errors.New("the candidates cannot be learned here")

func (c *Cluster) reconcile(ctx context.Context, from Candidates) error {
	r := reconciling{c: c, from: from, unhealthy: make(map[string]time.Time), late: make(map[string]time.Time)}
	ticker := time.NewTicker(reconcileLook)
	defer ticker.Stop()
	for {
		for r.look(ctx) && ctx.Err() == nil { // a step was done: there may be another one
		}
		if r.blind >= blindLooks && ctx.Err() == nil {
			return errBlind
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-from.Changed:
		}
	}
}

type reconciling struct {
	c         *Cluster
	from      Candidates
	unhealthy map[string]time.Time // since when, by the member's ID
	late      map[string]time.Time // when those were given up who were invited and did not come up, by their peer URLs
	blind     int                  // how many looks in a row could not learn who is wanted
	why       string               // of the last look
}

// look does the next step, and reports whether it changed the members.
func (r *reconciling) look(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	wanted, err := r.from.List(ctx)
	if err != nil {
		r.blind++
		r.c.logger.Warn("cannot learn which nodes may hold the state; its members stay as they are", slog.Any("error", err))
		return false
	}
	r.blind = 0
	r.putOff(wanted)
	members, err := r.c.Members(ctx)
	if err != nil {
		r.c.logger.Warn("cannot look after the members of the state", slog.Any("error", err))
		return false
	}
	s := plan(r.standings(members), wanted)
	if s.why != r.why {
		r.c.logger.Debug("looked after the members of the state", "result", s.why)
		r.why = s.why
	}
	changed, err := r.do(ctx, s)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		r.c.logger.Warn("cannot change the members of the state, trying on", slog.Any("error", err))
	}
	return changed && err == nil
}

func (r *reconciling) do(ctx context.Context, s step) (changed bool, err error) {
	switch s.do {
	case remove:
		r.c.logger.Info("removing a member of the state", "member", s.member.Name, "peer", s.member.Peer, "reason", s.why)
		if s.member.Learner {
			r.late[s.member.Peer] = time.Now()
		}
		return true, r.c.Remove(ctx, s.member.ID)
	case invite:
		r.c.logger.Info("inviting a node to hold the state", "node", s.candidate.Name, "peer", s.candidate.Peer, "reason", s.why)
		inv, err := r.c.Replace(ctx, s.candidate.Name, s.candidate.Peer)
		if err != nil {
			return false, err
		}
		return false, r.from.Invite(ctx, s.candidate.Name, inv)
	case remind:
		inv, err := r.c.invitation(ctx)
		if err != nil {
			return false, err
		}
		return false, r.from.Invite(ctx, s.candidate.Name, inv)
	}
	return false, nil
}

// putOff lets others go first, for a while, where somebody was invited and did not come up: else it would be invited again and again.
func (r *reconciling) putOff(wanted []Candidate) {
	others := slices.ContainsFunc(wanted, func(w Candidate) bool { return w.Asks && r.isPunctual(w) })
	for i, w := range wanted {
		if others && w.Asks && !r.isPunctual(w) {
			wanted[i].Asks = false
		}
	}
}

func (r *reconciling) isPunctual(w Candidate) bool {
	at, late := r.late[w.Peer]
	return !late || time.Since(at) > beingAway
}

// standings adds how long members have not been healthy.
func (r *reconciling) standings(members []Member) []standing {
	now := time.Now()
	list := make([]standing, len(members))
	seen := make(map[string]time.Time)
	for i, m := range members {
		list[i].Member = m
		if m.Healthy {
			continue
		}
		since, ok := r.unhealthy[m.ID]
		if !ok {
			since = now
		}
		seen[m.ID] = since
		list[i].down = now.Sub(since)
	}
	r.unhealthy = seen
	return list
}
