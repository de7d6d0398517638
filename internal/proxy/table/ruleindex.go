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

// find returns the first rule in order that takes the request.
func (x *ruleIndex) find(req match.Request) (*Route, match.Specificity) {
	first, closeness := scan(x.byHost[req.Host], req, -1)
	limit := -1
	if first != nil {
		limit = first.place
	}
	if other, s := scan(x.others, req, limit); other != nil {
		first, closeness = other, s
	}
	if first == nil {
		return nil, match.Specificity{Host: match.HostAny}
	}
	return first.route, closeness
}

// scan asks rules in order, up to the place limit unless it is -1.
func scan(rules []*ranked, req match.Request, limit int) (*ranked, match.Specificity) {
	for _, r := range rules {
		if limit >= 0 && r.place > limit {
			break
		}
		if s, ok := r.route.rule.Specificity(req); ok {
			return r, s
		}
	}
	return nil, match.Specificity{}
}

// takes reports whether some rule takes the host with some path, and returns the first that does.
func (x *ruleIndex) takes(host string) *Route {
	var first *ranked
	for _, rules := range [][]*ranked{x.byHost[host], x.others} {
		for _, r := range rules {
			if (first == nil || r.place < first.place) && r.route.rule.MayMatchHost(host) {
				first = r
				break
			}
		}
	}
	if first == nil {
		return nil
	}
	return first.route
}
