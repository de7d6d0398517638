package table

import (
	"fmt"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
)

// shadow finds the routes whose requests another one takes, and says so in a diagnostic. A route is shadowed when,
// at every exact host and literal path it names, another one that takes whatever comes after that path is looked up. Of
// what does not run nothing is said: it gets no requests anyway.
func (t *Table) shadow() {
	for _, r := range t.Routes {
		if r.ShadowedBy == "" && r.Protocol == "" {
			r.ShadowedBy = t.shadower(r)
		}
		if r.ShadowedBy == "" || r.owner.life != running {
			continue
		}
		d := ruche.Diagnostic{
			Code: ruche.CodeRouteShadowed, Severity: ruche.SeverityWarning, Workload: r.owner.workload.Name, Source: r.Sources[0].Source,
			Message: fmt.Sprintf("the route gets no requests: %s takes them all", r.ShadowedBy),
			Hint:    "remove one of the two; where vocabularies meet, route files win over ruche.*, traefik.* and VIRTUAL_* in this order",
		}
		if len(r.Hosts) > 0 {
			d.Host = r.Hosts[0]
		}
		r.Diagnostics = append(r.Diagnostics, d)
		t.Diagnostics = append(t.Diagnostics, d)
	}
}

// shadower returns the ID of the route that takes all requests of r, or nothing.
func (t *Table) shadower(r *Route) string {
	hosts, paths := r.samples()
	first := ""
	for _, h := range hosts {
		for _, p := range paths {
			if r.rule != nil && !r.rule.Match(match.Request{Host: h, Path: p}) {
				continue
			}
			winner := t.Lookup(h, p).Route
			if winner == nil || winner == r || !winner.takesAllBelow() || winner.owner.life > r.owner.life {
				return ""
			}
			if first == "" {
				first = winner.ID
			}
		}
	}
	return first
}

// samples returns hosts and paths that stand for all requests of the route; none where there are no such.
func (r *Route) samples() (hosts, paths []string) {
	if r.rule == nil {
		if r.host.Kind() != match.HostExact || r.path.Kind() == match.PathRegexp {
			return nil, nil
		}
		return []string{r.host.Key()}, []string{r.path.Value()}
	}
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

// attach gives each route the diagnostics that its workloads were declared with.
func (t *Table) attach(declarations []declaration) {
	byName := make(map[string][]ruche.Diagnostic)
	for _, d := range declarations {
		if d.life != gone && len(d.Diagnostics) > 0 {
			byName[d.Workload.Name] = append(byName[d.Workload.Name], d.Diagnostics...)
		}
	}
	if len(byName) == 0 {
		return
	}
	for _, r := range t.Routes {
		seen := map[string]bool{}
		for _, s := range r.Sources {
			if seen[s.Workload] {
				continue
			}
			seen[s.Workload] = true
			for _, d := range byName[s.Workload] {
				if d.Host == "" || r.names(d.Host) {
					r.Diagnostics = append(r.Diagnostics, d)
				}
			}
		}
	}
}
