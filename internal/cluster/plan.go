package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Candidate is a node that may hold a member.
type Candidate struct {
	Name string // of the node, and of its member
	Peer string // the URL at which its member is reached, or will be
	// Asks tells that the node runs, has no data of this cluster, and waits for an invitation.
	Asks bool
}

const (
	// maxMembers is the most that are kept: each write waits for a majority of them.
	maxMembers = 5
	// comingUp is how long an invited member may take until it is healthy.
	comingUp = 2 * time.Minute
	// beingAway is how long a member may be down before another node takes its place, if there is one.
	beingAway = 5 * time.Minute
)

// standing is a member and how long it has not been healthy.
type standing struct {
	Member
	down time.Duration
}

// action is what a step does.
type action int

const (
	wait   action = iota // nothing, now
	invite               // the candidate becomes a member, in place of what is left of it if there is something
	remind               // the candidate gets its invitation once more
	remove               // the member goes
)

// step is one change towards the wanted members.
type step struct {
	do        action
	candidate Candidate // for invite and remind
	member    Member    // for remove
	why       string
}

// plan says what to do next to get from the members to the candidates, one step at a time. The majority is never given up; numbers are odd where there are
// nodes enough, since an even number survives no more losses than one less. Two are left as they are all the same: the second copy of the data is worth more than
// writes that go on when one is down. When nobody at all is wanted, nothing is done: somebody has asked wrongly.
func plan(members []standing, wanted []Candidate) step {
	p := planning{wanted: make(map[string]Candidate, len(wanted)), names: make(map[string]bool)}
	for _, w := range wanted {
		p.wanted[w.Name] = w
	}
	for _, m := range members {
		p.names[m.Name] = true
		if m.Learner {
			return p.learner(m, wanted) // one change at a time
		}
		p.voters = append(p.voters, m)
	}
	// Whom to part with first: those who are down longest, then all but the leader, then the last by name.
	slices.SortFunc(p.voters, func(a, b standing) int {
		return cmp.Or(-cmp.Compare(a.down, b.down), compareBool(a.Leader, b.Leader), -cmp.Compare(a.Name, b.Name))
	})
	for _, w := range wanted {
		if w.Asks && !p.names[w.Name] {
			p.asking = append(p.asking, w)
		}
	}
	slices.SortFunc(p.asking, func(a, b Candidate) int { return cmp.Compare(a.Name, b.Name) })
	return p.next()
}

// planning is what plan sorts out.
type planning struct {
	wanted map[string]Candidate
	names  map[string]bool // of members
	voters []standing      // in the order in which they may go
	asking []Candidate     // who are no members, by name
}

func (p *planning) next() step {
	var keep, rest []standing
	for _, v := range p.voters {
		if w, ok := p.wanted[v.Name]; !ok {
			rest = append(rest, v)
		} else {
			keep = append(keep, v)
			if w.Asks && !v.Healthy && p.safe(v) {
				return step{do: invite, candidate: w, why: "its data is lost"}
			}
		}
	}
	size := min(maxMembers, len(keep)+len(p.asking))
	if size%2 == 0 {
		size = max(size-1, 1)
	}
	switch {
	case len(p.voters) == 0 || len(keep) == 0 && len(p.asking) == 0:
		return step{why: "no candidate is a member or asks to be one"}
	case len(keep) > 0 && len(rest) > 0:
		return p.part(rest[0], "its node is no candidate any more")
	case len(keep) < size && p.unhealthy() == nil:
		return step{do: invite, candidate: p.asking[0], why: fmt.Sprintf("%d members are wanted, there are %d", size, len(keep))}
	case len(p.asking) > 0 && p.unhealthy() != nil && p.unhealthy().down > beingAway:
		return p.part(*p.unhealthy(), "it is down, and another node can take its place")
	case len(keep) > size && len(keep) != 2:
		return p.part(keep[0], fmt.Sprintf("%d members survive as many losses as %d", size, len(keep)))
	}
	return step{why: "the members are as wanted"}
}

// unhealthy gives the voter that is down longest.
func (p *planning) unhealthy() *standing {
	if v := &p.voters[0]; !v.Healthy {
		return v
	}
	return nil
}

func (p *planning) part(v standing, why string) step {
	if !p.safe(v) {
		return step{why: fmt.Sprintf("%s cannot go (%s): the healthy ones of the others would be no majority", v.Name, why)}
	}
	return step{do: remove, member: v.Member, why: why}
}

// safe reports whether there is a healthy majority, with v, which decides that v goes, and without.
func (p *planning) safe(v standing) bool {
	healthy := 0
	for _, o := range p.voters {
		if o.Healthy {
			healthy++
		}
	}
	all, without := len(p.voters), healthy
	if v.Healthy {
		without--
	}
	return healthy > all/2 && without > (all-1)/2
}

// learner says what to do about one that does not vote yet.
func (p *planning) learner(m standing, wanted []Candidate) step {
	n := slices.IndexFunc(wanted, func(w Candidate) bool { return w.Peer == m.Peer && (m.Name == "" || m.Name == w.Name) })
	switch {
	case n < 0:
		return step{do: remove, member: m.Member, why: "its node is no candidate any more"}
	case wanted[n].Asks && m.Name == "":
		return step{do: remind, candidate: wanted[n], why: "it has not come up yet"}
	case wanted[n].Asks && !m.Healthy:
		return step{do: invite, candidate: wanted[n], why: "its data is lost"}
	case m.down > comingUp:
		return step{do: remove, member: m.Member, why: "it has not come up"}
	}
	return step{why: "a new member is catching up"}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
