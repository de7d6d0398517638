package table

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/ruche-project/ruche/internal/match"
)

// ruleIndex finds the router rule of the highest priority that takes a request.
type ruleIndex struct {
	byHost map[string][]*Route // each list in the order of ranks
	// others can take a host that they do not name: they are asked about every request.
	others []*Route
}

// ranks is the order in which rules are asked. No two routes of a table are equal in it.
func ranks(a, b *Route) int {
	return cmp.Or(
		cmp.Compare(b.priority, a.priority),
		compareLife(a, b),
		cmp.Compare(a.Vocabulary.Rank(), b.Vocabulary.Rank()),
		strings.Compare(a.ID, b.ID),
	)
}

// with returns an index without the routes that are dropped and with those that were made.
func (x *ruleIndex) with(dropped map[*Route]bool, made []*Route) ruleIndex {
	leave, come := ruleSets{}, ruleSets{}
	for r := range dropped {
		leave.add(r)
	}
	for _, r := range made {
		come.add(r)
	}
	if len(leave)+len(come) == 0 {
		return *x
	}
	next := ruleIndex{byHost: maps.Clone(x.byHost), others: x.others}
	if next.byHost == nil {
		next.byHost = make(map[string][]*Route, len(come))
	}
	replace := func(list []*Route, key ruleKey) []*Route {
		list = slices.DeleteFunc(slices.Clone(list), func(r *Route) bool { return dropped[r] })
		list = append(list, come[key]...)
		slices.SortFunc(list, ranks)
		return list
	}
	for _, sets := range []ruleSets{leave, come} {
		for key := range sets {
			if !key.named {
				next.others = replace(x.others, key)
			} else if next.byHost[key.host] = replace(x.byHost[key.host], key); len(next.byHost[key.host]) == 0 {
				delete(next.byHost, key.host)
			}
		}
	}
	return next
}

// ruleKey is where rules stand in the index: under a host that they name, or among the others.
type ruleKey struct {
	host  string
	named bool
}

type ruleSets map[ruleKey][]*Route

func (s ruleSets) add(r *Route) {
	if r.rule == nil || r.Protocol != "" {
		return
	}
	hosts, exact := r.rule.Hosts()
	if !exact {
		s[ruleKey{}] = append(s[ruleKey{}], r)
		return
	}
	for _, h := range hosts {
		key := ruleKey{h, true}
		s[key] = append(s[key], r)
	}
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
type merged [2][]*Route

func (m *merged) next() *Route {
	from := 0
	if len(m[0]) == 0 || len(m[1]) > 0 && ranks(m[1][0], m[0][0]) < 0 {
		from = 1
	}
	if len(m[from]) == 0 {
		return nil
	}
	r := m[from][0]
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
