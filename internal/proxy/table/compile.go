package table

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
)

// Compile joins what is declared with what is live. From the table before, which may be nil, it takes over the routes of hosts about which nothing
// has changed: a declaration or an endpoint has changed when its pointer has, so the values must never change. The result is the
// same with any table before. Neither map is kept or changed. A declaration that cannot be compiled costs itself alone, and a diagnostic says so.
func Compile(before *Table, declarations map[string]*ruche.Declaration, endpoints map[string]*ruche.Endpoint) *Table {
	if before == nil {
		before = &Table{}
	}
	c := &change{before: before, touched: make(map[string]bool), fresh: make(map[string][]*part)}
	c.workloads = c.compare(declarations, endpoints)
	c.spread()
	made := c.settle()
	t := &Table{workloads: c.workloads, Routes: c.merge(made)}
	t.Slots = number(t.Routes, made, before.Slots)
	t.names = before.names.with(c.hosts, made)
	t.rules = before.rules.with(c.dropped, made)
	t.streams = newStreamIndexes(t.Routes)
	t.found = make(map[*Route][]ruche.Diagnostic)
	t.collect()
	t.shadow(c, made)
	return t
}

// change is what makes one table of the one before it.
type change struct {
	before    *Table
	workloads map[string]*workload
	// touched has the IDs of the routes that are compiled anew, fresh the parts of new workloads in them.
	touched map[string]bool
	fresh   map[string][]*part
	hosts   map[string]match.Host // whose routes are compiled anew, by what is written
	dropped map[*Route]bool       // routes of the table before that are not taken over
}

// compare returns the workloads, and notes which routes those have that are new, have changed or are no more.
func (c *change) compare(declarations map[string]*ruche.Declaration, endpoints map[string]*ruche.Endpoint) map[string]*workload {
	workloads := make(map[string]*workload, len(declarations))
	tasks := tasksOf(endpoints)
	var live []*ruche.Endpoint // used again and again, as most of what is compared has not changed
	for id, d := range declarations {
		w := c.before.workloads[id]
		live = live[:0]
		for _, t := range tasks[d.Workload.ID] {
			live = append(live, t.endpoint)
		}
		if own := endpoints[d.Workload.ID]; own != nil {
			live = append(live, own)
		}
		if w == nil || w.declaration != d || !slices.Equal(w.live, live) {
			c.touch(w)
			w = newWorkload(d, slices.Clone(live))
			c.touch(w)
			for i := range w.parts {
				p := &w.parts[i]
				c.fresh[p.id] = append(c.fresh[p.id], p)
			}
		}
		workloads[id] = w
	}
	for id, w := range c.before.workloads {
		if workloads[id] == nil {
			c.touch(w)
		}
	}
	return workloads
}

// task is an endpoint that has an ID of its own. Those of containers have the workload's.
type task struct {
	id       string
	endpoint *ruche.Endpoint
}

// tasksOf gives the tasks by workload, in the order of their IDs.
func tasksOf(endpoints map[string]*ruche.Endpoint) map[string][]task {
	tasks := make(map[string][]task)
	for id, e := range endpoints {
		if e.Workload != id {
			tasks[e.Workload] = append(tasks[e.Workload], task{id, e})
		}
	}
	for _, of := range tasks { // they are few: sorting all at once would compare much more often
		slices.SortFunc(of, func(a, b task) int { return strings.Compare(a.id, b.id) })
	}
	return tasks
}

func (c *change) touch(w *workload) {
	if w == nil {
		return
	}
	for i := range w.parts {
		c.touched[w.parts[i].id] = true
	}
}

// spread takes the other routes of the same hosts in: what one of them leaves open may follow another.
func (c *change) spread() {
	c.hosts, c.dropped = make(map[string]match.Host), make(map[*Route]bool)
	for id := range c.touched {
		if r := c.before.Route(id); r != nil {
			c.takeIn(r)
			c.dropped[r] = true
		}
		for _, p := range c.fresh[id] {
			c.takeIn(p.parsed)
		}
	}
	for _, p := range c.hosts {
		h := c.before.names.get(p)
		if h == nil {
			continue
		}
		for _, r := range h.routes {
			c.touched[r.ID], c.dropped[r] = true, true
		}
	}
}

func (c *change) takeIn(r *Route) {
	if r.byName() {
		c.hosts[r.Match.Host] = r.host
	}
}

// settle compiles the routes that were touched and are still declared, in the order of their IDs.
func (c *change) settle() []*Route {
	var made []*Route
	for id := range c.touched {
		parts := c.fresh[id]
		if r := c.before.Route(id); r != nil {
			for _, p := range r.parts {
				if c.workloads[p.workload.id] == p.workload {
					parts = append(parts, p)
				}
			}
		}
		if len(parts) > 0 {
			slices.SortFunc(parts, func(a, b *part) int {
				return cmp.Or(compareOwners(a.workload.owner(), b.workload.owner()), cmp.Compare(a.place, b.place))
			})
			made = append(made, settle(parts))
		}
	}
	slices.SortFunc(made, compareIDs)
	return made
}

func compareIDs(a, b *Route) int { return strings.Compare(a.ID, b.ID) }

// merge returns the routes that are taken over and those that were made, in the order of their IDs.
func (c *change) merge(made []*Route) []*Route {
	all := make([]*Route, 0, len(c.before.Routes)+len(made))
	for _, r := range c.before.Routes {
		if c.dropped[r] {
			continue
		}
		for len(made) > 0 && made[0].ID < r.ID {
			all = append(all, made[0])
			made = made[1:]
		}
		all = append(all, r)
	}
	return append(all, made...)
}

// number gives each route that was made a slot that no other route has, and returns how many slots there are.
func number(all, made []*Route, slots int) int {
	slots = max(slots, len(all))
	taken, next := make([]bool, slots), 0
	for _, r := range made {
		r.Index = -1
	}
	for _, r := range all {
		if r.Index >= 0 {
			taken[r.Index] = true
		}
	}
	for _, r := range made {
		for taken[next] {
			next++
		}
		r.Index, taken[next] = next, true
	}
	return slots
}

// collect gathers what was found wrong in workloads and in joining them.
func (t *Table) collect() {
	t.declared = make(map[string][]ruche.Diagnostic)
	var complaining []*workload
	for _, w := range t.workloads {
		if w.life != gone && len(w.declaration.Diagnostics)+len(w.diagnostics) > 0 {
			complaining = append(complaining, w)
		}
	}
	slices.SortFunc(complaining, func(a, b *workload) int { return compareOwners(a.owner(), b.owner()) })
	for _, w := range complaining {
		d := w.declaration
		t.Diagnostics = append(append(t.Diagnostics, d.Diagnostics...), w.diagnostics...)
		t.declared[d.Workload.Name] = append(t.declared[d.Workload.Name], d.Diagnostics...)
	}
	for _, r := range t.Routes {
		t.Diagnostics = append(t.Diagnostics, r.diagnostics...)
	}
}

// Route returns the route of an ID, nil if there is none.
func (t *Table) Route(id string) *Route {
	if i, ok := slices.BinarySearchFunc(t.Routes, id, func(r *Route, id string) int { return strings.Compare(r.ID, id) }); ok {
		return t.Routes[i]
	}
	return nil
}

// DiagnosticsOf returns what was found wrong in a route, and in the workloads that declare it where it may concern the route.
func (t *Table) DiagnosticsOf(r *Route) []ruche.Diagnostic {
	list := slices.Concat(r.diagnostics, t.found[r])
	if len(t.declared) == 0 {
		return list
	}
	for i, s := range r.Sources {
		if slices.ContainsFunc(r.Sources[:i], func(o ruche.RouteSource) bool { return o.Workload == s.Workload }) {
			continue
		}
		for _, d := range t.declared[s.Workload] {
			if d.Host == "" || r.names(d.Host) {
				list = append(list, d)
			}
		}
	}
	return list
}
