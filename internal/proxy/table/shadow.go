package table

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
)

// shadow finds the routes whose requests another one takes, and says so in a diagnostic. A route is shadowed when,
// at every exact host and literal path it names, another one that takes whatever comes after that path is looked up. Of
// what does not run nothing is said: it gets no requests anyway. It looks at those alone that the change concerns.
func (t *Table) shadow(c *change, made []*Route) {
	t.shadowed = maps.Clone(c.before.shadowed)
	if t.shadowed == nil {
		t.shadowed = make(map[*Route]string)
	}
	for r := range c.dropped {
		delete(t.shadowed, r)
	}
	for _, r := range t.concerned(c, made) {
		if by := t.shadower(r); by != "" {
			t.shadowed[r] = by
		} else {
			delete(t.shadowed, r)
		}
	}
	for _, r := range slices.SortedFunc(maps.Keys(t.shadowed), compareIDs) {
		if r.owner.life != running {
			continue
		}
		d := ruche.Diagnostic{
			Code: ruche.CodeRouteShadowed, Severity: ruche.SeverityWarning, Workload: r.owner.workload.Name, Source: r.Sources[0].Source,
			Message: fmt.Sprintf("the route gets no requests: %s takes them all", t.shadowed[r]),
			Hint:    "remove one of the two; where vocabularies meet, route files win over ruche.*, traefik.* and VIRTUAL_* in this order",
		}
		if len(r.Hosts) > 0 {
			d.Host = r.Hosts[0]
		}
		t.find(r, d)
	}
}

// concerned returns the routes that may be shadowed, or no more be, by the routes that are dropped and made: those that name one of their
// hosts, or all of them when one takes hosts that it does not name.
func (t *Table) concerned(c *change, made []*Route) []*Route {
	hosts := make(map[string]bool)
	for r := range c.dropped {
		if !r.namesAll(hosts) {
			return t.Routes
		}
	}
	for _, r := range made {
		if !r.namesAll(hosts) {
			return t.Routes
		}
	}
	list := slices.Clone(made)
	for name := range hosts {
		if h := t.names.exact[name]; h != nil {
			list = append(list, h.routes...)
		}
		list = append(list, t.rules.byHost[name]...)
	}
	return list
}

// namesAll adds the hosts that the route takes, and reports false when it takes others than it names.
func (r *Route) namesAll(hosts map[string]bool) bool {
	switch {
	case r.Protocol != "":
		return false
	case r.rule == nil:
		hosts[r.host.Key()] = true
		return r.host.Kind() == match.HostExact
	}
	names, exact := r.rule.Hosts()
	for _, name := range names {
		hosts[name] = true
	}
	return exact
}

// find adds what was found wrong in a route beside the others of this table.
func (t *Table) find(r *Route, d ruche.Diagnostic) {
	t.found[r] = append(t.found[r], d)
	t.Diagnostics = append(t.Diagnostics, d)
}

// ShadowedBy returns the ID of the route that takes all requests of r, or nothing.
func (t *Table) ShadowedBy(r *Route) string { return t.shadowed[r] }

// place returns the route that has the place of r in its index.
func (t *Table) place(r *Route) *Route {
	switch {
	case r.Protocol != "":
		return t.streams[listener{r.Protocol, r.Match.EntryPoint}].of(r).at(r)
	case r.rule == nil:
		return t.names.get(r.host).at(r.path)
	}
	return r
}

func (t *Table) shadower(r *Route) string {
	if winner := t.place(r); winner != r {
		return winner.ID
	}
	if r.Protocol != "" {
		return ""
	}
	if r.rule == nil {
		if r.host.Kind() == match.HostExact && r.path.Kind() != match.PathRegexp {
			return t.takes(r, r.host.Key(), r.path.Value())
		}
		return ""
	}
	hosts, paths := r.samples()
	first := ""
	for _, h := range hosts {
		for _, p := range paths {
			if !r.rule.Match(match.Request{Host: h, Path: p}) {
				continue
			}
			by := t.takes(r, h, p)
			if by == "" {
				return ""
			}
			first = cmp.Or(first, by)
		}
	}
	return first
}

// takes returns the ID of the route that takes the requests of r for this host and whatever comes after this path, or nothing.
func (t *Table) takes(r *Route, host, path string) string {
	winner := t.Lookup(host, path).Route
	if winner == nil || winner == r || !winner.takesAllBelow() || winner.owner.life > r.owner.life {
		return ""
	}
	return winner.ID
}

// samples returns hosts and paths that stand for all requests of a rule; none where there are no such.
func (r *Route) samples() (hosts, paths []string) {
	hosts, exact := r.rule.Hosts()
	paths, _ = r.rule.Paths()
	if !exact {
		return nil, nil
	}
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	return hosts, paths
}

// takesAllBelow reports whether the route, when it takes a path, takes every path that begins with it.
func (r *Route) takesAllBelow() bool {
	if r.rule == nil {
		return r.path.Kind() != match.PathRegexp && r.path.Kind() != match.PathExact
	}
	_, plain := r.rule.Paths()
	return plain
}
