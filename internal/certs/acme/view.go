package acme

import (
	"crypto/x509"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/plan"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// view is what is wanted and what is there, at one time.
type view struct {
	now     time.Time
	wants   []*Want
	records map[string]ruche.Entry[vault.Record]
	states  map[string]ruche.Entry[vault.State]
	leaves  map[string]leaf
	// own has the wants by ID; instead the record that serves a want in place of its own.
	own     map[string]*Want
	instead map[string]string
	// byName has the records by the names in them; nil before having was asked.
	byName map[string][]string
	// used has the records that are to be served.
	used map[string]bool
	next time.Time
	// authority is which change of Ruche's own authority it knows of.
	authority int
}

// leaf is a record's certificate.
type leaf struct {
	revision    int64
	cert        *x509.Certificate
	fingerprint string
}

// at has the engine look again at a time.
func (v *view) at(at time.Time) {
	if at.Before(v.next) {
		v.next = at
	}
}

func (t *term) look(now time.Time) *view {
	t.Engine.mu.Lock()
	authority := t.authority
	t.Engine.mu.Unlock()
	v := &view{
		now: now, authority: authority, records: t.certificates.all(), states: t.states.all(), next: now.Add(t.rest),
		instead: make(map[string]string), used: make(map[string]bool),
	}
	v.leaves = t.readLeaves(v.records)
	v.wants, v.own = t.wanted(now)
	for _, w := range v.wants {
		v.find(w)
	}
	return v
}

// wantList is what is wanted at a time, and of which versions of what it follows from. Nobody changes it.
type wantList struct {
	at    time.Time
	of    [4]int
	wants []*Want
	byID  map[string]*Want
}

// wanted gives what is wanted, which is found out again when something has changed that it follows from, or after a while, since files end.
func (t *term) wanted(now time.Time) (wants []*Want, byID map[string]*Want) {
	const good = 10 * time.Second
	issuers, version := t.issuersNow()
	of := [...]int{t.specs.version(), t.declarations.version(), t.served.version(), version}
	if age := now.Sub(t.list.at); t.list.of != of || age < 0 || age > good {
		in := Input{Now: now, Specs: t.specs.all(), Declarations: t.declarations.all(), Served: t.served.all(), Issuers: issuers, Routes: t.cfg.Routes}
		t.list = wantList{at: now, of: of, byID: make(map[string]*Want)}
		for _, w := range Wanted(in) {
			t.list.wants, t.list.byID[w.ID] = append(t.list.wants, &w), &w
		}
	}
	return t.list.wants, t.list.byID
}

// readLeaves reads the certificates of the records. Those that cannot be read are left out: they serve nobody.
func (t *term) readLeaves(records map[string]ruche.Entry[vault.Record]) map[string]leaf {
	read := make(map[string]leaf, len(records))
	for id, e := range records {
		l := t.leaves[id]
		if l.cert == nil || l.revision != e.Revision {
			cert, err := e.Value.Leaf()
			if err != nil {
				continue
			}
			l = leaf{revision: e.Revision, cert: cert, fingerprint: vault.Fingerprint(cert.Raw)}
		}
		read[id] = l
	}
	t.leaves = read
	return read
}

// usable reports whether a record can be served.
func (v *view) usable(id string) bool {
	l, ok := v.leaves[id]
	return ok && v.records[id].Value.Revoked.IsZero() && v.now.Before(l.cert.NotAfter)
}

// plan gives what the plan has to know of a record.
func (v *view) plan(id string) plan.Certificate {
	l, st := v.leaves[id], v.states[id].Value
	c := plan.Certificate{ID: id, NotBefore: l.cert.NotBefore, NotAfter: l.cert.NotAfter, Issued: v.issued(id)}
	if w := v.own[id]; w != nil {
		c.RenewAfter = w.Spec.RenewAfter
	}
	if st.Of == l.fingerprint {
		c.WindowStart, c.WindowEnd = st.WindowStart, st.WindowEnd
	}
	return c
}

// byUrgency orders the wants: what is not served at all first, then what ends soonest.
func (v *view) byUrgency() []*Want {
	type ending struct {
		at   time.Time
		want int
	}
	ends := make([]ending, len(v.wants))
	for i, w := range v.wants {
		if ends[i].want = i; v.usable(w.ID) {
			ends[i].at = v.leaves[w.ID].cert.NotAfter
		}
	}
	slices.SortStableFunc(ends, func(a, b ending) int { return a.at.Compare(b.at) })
	sorted := make([]*Want, len(ends))
	for i, e := range ends {
		sorted[i] = v.wants[e.want]
	}
	return sorted
}

// isAsked reports whether somebody wants a new certificate now, and it is not newer than the wish.
func (v *view) isAsked(id string) bool {
	st := v.states[id].Value
	return !st.Asked.IsZero() && !v.now.Before(st.Asked) && st.Asked.After(v.issued(id))
}

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
