package table

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
)

// Difference tells where two tables that should be the same differ; empty: nowhere.
func Difference(a, b *Table) string {
	taken := make([]bool, a.Slots)
	for _, r := range a.Routes {
		if taken[r.Index] {
			return fmt.Sprintf("%s has the index %d of another", r.ID, r.Index)
		}
		taken[r.Index] = true
	}
	if x, y := a.dump(), b.dump(); !reflect.DeepEqual(x, y) {
		for i := range min(len(x), len(y)) {
			if x[i] != y[i] {
				return fmt.Sprintf("\n%s\n%s", x[i], y[i])
			}
		}
		return fmt.Sprintf("%d and %d facts", len(x), len(y))
	}
	return ""
}

// dump tells all that a table says and how its indexes are made, but not which routes have which numbers.
func (t *Table) dump() []string {
	facts := []string{fmt.Sprintf("diagnostics %v", t.Diagnostics)}
	for _, r := range t.Routes {
		plain := *r
		plain.Index, plain.parts, plain.host, plain.path = 0, nil, match.Host{}, match.Path{}
		plain.rule, plain.Sticky, plain.Check, plain.Eject = nil, nil, nil, nil
		facts = append(facts, fmt.Sprintf("route %+v host %v path %v rule %v settings %+v", plain, r.host, r.path, r.rule, []any{value(r.Sticky), value(r.Check), value(r.Eject)}),
			fmt.Sprintf("%s shadowed by %q with %v", r.ID, t.ShadowedBy(r), t.DiagnosticsOf(r)))
	}
	for _, kind := range []map[string]*host{t.names.exact, t.names.leading, t.names.trailing} {
		for _, key := range slices.Sorted(maps.Keys(kind)) {
			facts = append(facts, kind[key].dump())
		}
	}
	for _, h := range t.names.regexps {
		facts = append(facts, h.dump())
	}
	for _, key := range slices.Sorted(maps.Keys(t.rules.byHost)) {
		facts = append(facts, fmt.Sprintf("rules for %s: %v", key, ids(t.rules.byHost[key])))
	}
	facts = append(facts, fmt.Sprintf("other rules: %v", ids(t.rules.others)))
	byName := func(a, b listener) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }
	for _, key := range slices.SortedFunc(maps.Keys(t.streams), byName) {
		x := t.streams[key]
		for _, s := range []streamSet{x.secure, x.plain} {
			facts = append(facts, fmt.Sprintf("streams of %s: %v %v %v, by rule %v", key, byKey(s.exact), ids(s.patterns), ids([]*Route{s.any}), byKey(s.byText)))
			for _, name := range slices.Sorted(maps.Keys(s.rules.byHost)) {
				facts = append(facts, fmt.Sprintf("stream rules for %s: %v", name, ids(s.rules.byHost[name])))
			}
			facts = append(facts, fmt.Sprintf("other stream rules: %v", ids(s.rules.others)))
		}
	}
	return facts
}

func (h *host) dump() string {
	return fmt.Sprintf("host %s: exact %v, prefixes %v of lengths %v, with slash %v, regexps %v, all %v", h.pattern,
		byKey(h.exact), byKey(h.prefixes), h.lengths, byKey(h.slashed), ids(h.regexps), ids(h.routes))
}

func byKey(m map[string]*Route) (list []string) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		list = append(list, key+" "+m[key].ID)
	}
	return list
}

func ids(routes []*Route) (list []string) {
	for _, r := range routes {
		if r != nil {
			list = append(list, r.ID)
		}
	}
	return list
}

func value[T ruche.Sticky | ruche.Check | ruche.Eject](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}
