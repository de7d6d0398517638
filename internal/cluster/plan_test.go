package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// members reads "a*", a healthy leader; "b", a healthy one that votes; "c!", one that has just gone down; "c!!", one that is down for long; "d?", a learner;
// "?", a learner that has not come up yet.
func members(text string) []standing {
	var list []standing
	for i, word := range strings.Fields(text) {
		name := strings.TrimRight(word, "*!?")
		m := standing{Member: Member{ID: fmt.Sprint(i), Name: name, Peer: "peer-" + name, Healthy: !strings.Contains(word, "!"), Leader: strings.Contains(word, "*"), Learner: strings.Contains(word, "?")}}
		if name == "" {
			m.Peer = "peer-new"
			m.Healthy = false
		}
		switch {
		case strings.Contains(word, "!!"):
			m.down = time.Hour
		case !m.Healthy:
			m.down = time.Second
		}
		list = append(list, m)
	}
	return list
}

// candidates reads "a", a node; "b+", one that asks.
func candidates(text string) []Candidate {
	var list []Candidate
	for _, word := range strings.Fields(text) {
		name := strings.TrimSuffix(word, "+")
		list = append(list, Candidate{Name: name, Peer: "peer-" + name, Asks: word != name})
	}
	return list
}

func (s step) String() string {
	switch s.do {
	case invite:
		return "invite " + s.candidate.Name
	case remind:
		return "remind " + s.candidate.Name
	case remove:
		if s.member.Name == "" {
			return "remove " + s.member.Peer
		}
		return "remove " + s.member.Name
	}
	return "wait"
}

func TestPlan(t *testing.T) {
	for _, tc := range []struct{ name, members, wanted, want string }{
		{"one of one", "a*", "a", "wait"},
		{"a second node alone does not help", "a*", "a b+", "wait"},
		{"growth begins when three can be reached", "a*", "a c+ b+", "invite b"},
		{"growth goes on", "a* b", "a b c+", "invite c"},
		{"three of three", "a* b c", "a b c", "wait"},
		{"three of four", "a* b c", "a b c d+", "wait"},
		{"five of five", "a* b c", "a b c d+ e+", "invite d"},
		{"five are the most", "a* b c d e", "a b c d e f+ g+", "wait"},
		{"nodes that do not ask are not invited", "a*", "a b c", "wait"},
		{"one that has not come up gets its invitation again", "a* ?", "a new+ c+", "remind new"},
		{"one that has its invitation has time", "a* ?", "a new c+", "wait"},
		{"one that never comes up goes", "a* ?!!", "a new c+", "remove peer-new"},
		{"one that comes up is no candidate any more", "a* ?", "a c+", "remove peer-new"},
		{"a learner catches up before the next step", "a* b?", "a b c+", "wait"},
		{"a learner that lost its data", "a* b?!", "a b+ c+", "invite b"},
		{"a member that lost its data", "a* b c!", "a b c+", "invite c"},
		{"asking is old news when the member is up", "a* b c", "a b c+", "wait"},
		{"lost data without a majority", "a* b!", "a b+", "wait"},
		{"a member whose node is gone", "a* b c!", "a b", "remove c"},
		{"a member whose node was demoted and is up", "a* b c", "a b", "remove c"},
		{"those that are down go first", "a* b! c d e", "a c", "remove b"},
		{"the leader goes last", "c* b a", "a", "remove b"},
		{"two stay two", "a* b", "a b", "wait"},
		{"shrinking to one", "a* b", "a", "remove b"},
		{"the leader itself is not wanted", "a* b", "b", "remove a"},
		{"nobody is wanted: a wrong answer", "a* b c", "", "wait"},
		{"only strangers that do not ask", "a*", "x y", "wait"},
		{"a successor comes before the only member goes", "a*", "b+", "invite b"},
		{"then it goes", "a* b", "b", "remove a"},
		{"four are made three", "a* b c d", "a b c d", "remove d"},
		{"four with one that asks become five", "a* b c d", "a b c d e+", "invite e"},
		{"not without the majority", "a* b! c", "a b", "wait"},
		{"removal would break the majority", "a* b! c d!", "a b d", "wait"},
		{"a member that is away for a moment keeps its place", "a* b c!", "a b c d+", "wait"},
		{"one that is away for long does not", "a* b c!!", "a b c d+", "remove c"},
		{"unless nobody can take it", "a* b c!!", "a b c", "wait"},
		{"nobody joins while one is down", "a* b!", "a b c+", "wait"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := plan(members(tc.members), candidates(tc.wanted)); got.String() != tc.want {
				t.Errorf("members %q, candidates %q: %v (%s), want %s", tc.members, tc.wanted, got, got.why, tc.want)
			}
		})
	}
}

// Whatever is wanted, following the plan ends, at a good number, and every removal leaves a majority.
func TestPlansEnd(t *testing.T) {
	for mask := range 1 << 6 { // which of six nodes are wanted
		for size := 1; size <= 5; size++ {
			var have []standing
			for i := range size {
				name := fmt.Sprint(i)
				have = append(have, standing{Member: Member{ID: name, Name: name, Peer: "peer-" + name, Healthy: true, Leader: i == 0}})
			}
			steps := 0
			for ; steps < 20; steps++ {
				var wanted []Candidate
				for i := range 6 {
					name := fmt.Sprint(i)
					if mask&(1<<i) != 0 {
						wanted = append(wanted, Candidate{Name: name, Peer: "peer-" + name, Asks: !holds(have, name)})
					}
				}
				s := plan(have, wanted)
				if s.do == wait {
					break
				}
				have = follow(have, s)
			}
			n := len(have)
			if steps == 20 || n == 0 || (n%2 == 0 && n != 2 && mask != 0) {
				t.Errorf("of %d members, with the candidates %06b, %d remain after %d steps", size, mask, n, steps)
			}
		}
	}
}

func holds(have []standing, name string) bool {
	for _, m := range have {
		if m.Name == name {
			return true
		}
	}
	return false
}

// follow does a step; whoever is invited comes up at once.
func follow(have []standing, s step) (next []standing) {
	for _, m := range have {
		if s.do != remove || m.ID != s.member.ID {
			next = append(next, m)
		}
	}
	if s.do == invite {
		next = append(next, standing{Member: Member{ID: s.candidate.Name, Name: s.candidate.Name, Peer: s.candidate.Peer, Healthy: true}})
	}
	return next
}
