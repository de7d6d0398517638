package table

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ruche-project/ruche/internal/match"
)

// ruleIndex finds the router rule of the highest priority that takes a request.
type ruleIndex struct {
	byHost map[string][]*ranked
	// others can take a host that they do not name: they are asked about every request.
	others []*ranked
}

// ranked is a rule's route with its place in the order of all rules.
type ranked struct {
	route *Route
	place int
}

func newRuleIndex(routes []*Route) ruleIndex {
	x := ruleIndex{byHost: map[string][]*ranked{}}
	var ordered []*Route
	for _, r := range routes {
		if r.rule != nil {
			ordered = append(ordered, r)
		}
	}
	slices.SortStableFunc(ordered, func(a, b *Route) int {
		return cmp.Or(
			cmp.Compare(b.priority, a.priority),
			compareLife(a, b),
			cmp.Compare(a.Vocabulary.Rank(), b.Vocabulary.Rank()),
			strings.Compare(a.ID, b.ID),
			compareOwners(a.owner, b.owner),
		)
	})
	for place, r := range ordered {
		hosts, exact := r.rule.Hosts()
		entry := &ranked{r, place}
		if !exact {
			x.others = append(x.others, entry)
			continue
		}
		for _, h := range hosts {
			x.byHost[h] = append(x.byHost[h], entry)
		}
	}
	return x
}

// find returns the first rule in order that takes the request and wins over the pattern that takes it too, nil if none does. One
// that is more alive and describes the request as closely goes before it.
func (x *ruleIndex) find(req match.Request, pattern *Route) (*Route, match.Specificity) {
	var best *Route
	closeness := match.Specificity{Host: match.HostAny}
	rules := merged{x.byHost[req.Host], x.others}
	for r := rules.next(); r != nil; r = rules.next() {
		if best != nil && compareLife(r, best) >= 0 {
			continue
		}
		s, ok := r.rule.Specificity(req)
		if !ok || pattern != nil && !ruleWins(r, s, pattern) || best != nil && !asClose(s, closeness) {
			continue
		}
		best, closeness = r, s
		if r.owner.life == running {
			break
		}
	}
	return best, closeness
}

// asClose reports whether a describes a request as closely as b, or more so.
func asClose(a, b match.Specificity) bool {
	return a.Host == b.Host && a.HostLen >= b.HostLen && pathLen(a.PathLen) >= pathLen(b.PathLen)
}

// merged goes through two lists of rules in the order of all rules.
type merged [2][]*ranked

func (m *merged) next() *Route {
	from := 0
	if len(m[0]) == 0 || len(m[1]) > 0 && m[1][0].place < m[0][0].place {
		from = 1
	}
	if len(m[from]) == 0 {
		return nil
	}
	r := m[from][0].route
	m[from] = m[from][1:]
	return r
}

// takes returns the first rule that takes the host with some path, and the first that does so and names it. One that is more
// alive goes before others that name the host no better.
func (x *ruleIndex) takes(host string) (first, naming *Route) {
	rules := merged{x.byHost[host], x.others}
	for r := rules.next(); r != nil; r = rules.next() {
		names := r.names(host)
		better := first == nil || compareLife(r, first) < 0 && (names || first != naming)
		betterName := names && (naming == nil || compareLife(r, naming) < 0)
		if !better && !betterName || !r.rule.MayMatchHost(host) {
			continue
		}
		if better {
			first = r
		}
		if betterName {
			naming = r
		}
	}
	return first, naming
}

// takesHost reports whether some rule takes the host with some path.
func (x *ruleIndex) takesHost(host string) bool {
	first, _ := x.takes(host)
	return first != nil
}
