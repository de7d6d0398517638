package table

import (
	"iter"

	"github.com/ruche-project/ruche"
)

// Takers gives the routes that may take requests for a host, as match.CanonicalHost returns it, with some path. One that is given may take none after all.
func (t *Table) Takers(name string) iter.Seq[*Route] {
	return func(yield func(*Route) bool) {
		more := true
		t.names.each(name, func(h *host) bool {
			for _, r := range h.routes {
				if more = more && yield(r); !more {
					return true
				}
			}
			return h.lives()
		})
		rules := merged{t.rules.byHost[name], t.rules.others}
		for r := rules.next(); more && r != nil; r = rules.next() {
			if r.rule.MayMatchHost(name) {
				more = yield(r)
			}
		}
	}
}

// opens reports whether the endpoints of a part would be opened by the settings of the route: its owner wants client certificates to be checked, and
// those that are in force check them otherwise. What is in force is the first that was declared.
func (r *Route) opens(p *part) bool {
	wants := p.route.ClientAuth
	return wants != nil && wants.Mode != ruche.ClientAuthOff && (r.ClientAuth == nil || *r.ClientAuth != *wants)
}
