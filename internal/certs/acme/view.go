package acme

import (
	"github.com/ruche-project/ruche/internal/certs/plan"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// find says which records serve a want: its own, another that does as well, or, until its own is there, whatever has one of its names.
func (v *view) find(w *Want) {
	if v.usable(w.ID) {
		v.used[w.ID] = true
		return
	}
	for id := range v.having(w.Spec.Names) {
		if id == w.ID || !v.usable(id) {
			continue
		}
		if v.standsIn(w, id, v.records[id].Value) && (v.instead[w.ID] == "" || id < v.instead[w.ID]) {
			v.instead[w.ID] = id
		}
		v.used[id] = true
	}
}

// having gives the records that are good for one of these names at least.
func (v *view) having(names []string) map[string]bool {
	if v.byName == nil {
		v.byName = make(map[string][]string)
		for id, e := range v.records {
			for _, n := range e.Value.Names {
				v.byName[n] = append(v.byName[n], id)
			}
		}
	}
	ids := make(map[string]bool)
	for _, n := range names {
		for _, by := range vault.Covering(n) {
			for _, id := range v.byName[by] {
				ids[id] = true
			}
		}
	}
	return ids
}

// standsIn reports whether a record makes an order unnecessary: it has all names, is not about to need renewal itself, or is renewed by somebody who wants it, and nobody meant
// another CA.
func (v *view) standsIn(w *Want, id string, r vault.Record) bool {
	if !vault.CoversAll(r.Names, w.Spec.Names) {
		return false
	}
	switch {
	case w.Terms.Internal() != (r.Origin == vault.OriginInternal):
		return false
	case r.Origin == vault.OriginImported:
		if w.Mode == "" && r.Directory != "" && r.Directory != w.Terms.Directory {
			return false
		}
	case w.Mode == "" && r.Directory == w.Terms.Directory && r.KeyType == w.Terms.KeyType && len(r.Names) == len(w.Spec.Names):
		// It is the same but for the name that comes first.
	case w.Mode == "" || r.Origin == vault.OriginACME && r.Directory != w.Terms.Directory && r.Issuer != w.Terms.Fallback:
		return false
	}
	c := v.plan(id)
	_, wanted := v.own[id]
	return v.now.Before(plan.Due(c)) || wanted && plan.LevelAt(c, v.now) != plan.Critical
}
