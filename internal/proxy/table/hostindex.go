package table

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
)

// hostIndex finds routes that name host and path, in the way nginx finds a server and its location.
type hostIndex struct {
	exact    map[string]*host
	leading  map[string]*host // by the name behind "*."
	trailing map[string]*host // by the name before ".*"
	regexps  []*host          // sorted bytewise
}

// host is all routes of one host pattern.
type host struct {
	pattern match.Host
	exact   map[string]*Route // by path
	// prefixes are keyed by the prefix; lengths are their lengths, longest first.
	prefixes map[string]*Route
	lengths  []int
	slashed  map[string]*Route // prefixes that end in a slash, by what stands before it
	regexps  []*Route          // sorted bytewise
	// routes are all, the one that wins first.
	routes []*Route
}

func newHostIndex(routes []*Route) hostIndex {
	x := hostIndex{exact: map[string]*host{}, leading: map[string]*host{}, trailing: map[string]*host{}}
	ordered := slices.Clone(routes)
	slices.SortStableFunc(ordered, precedence)
	for _, r := range ordered {
		if r.rule == nil && r.Protocol == "" {
			x.host(r.host).add(r)
		}
	}
	slices.SortFunc(x.regexps, func(a, b *host) int { return strings.Compare(a.pattern.Key(), b.pattern.Key()) })
	for _, h := range x.all() {
		h.finish()
	}
	return x
}

// precedence orders routes that claim the same requests: what is more alive, the vocabulary's rank, the oldest.
func precedence(a, b *Route) int {
	return cmp.Or(compareLife(a, b), cmp.Compare(a.Vocabulary.Rank(), b.Vocabulary.Rank()), compareOwners(a.owner, b.owner))
}

func (x *hostIndex) host(p match.Host) *host {
	var m map[string]*host
	switch p.Kind() {
	case match.HostExact:
		m = x.exact
	case match.HostLeading:
		m = x.leading
	case match.HostTrailing:
		m = x.trailing
	default:
		return x.regexpHost(p)
	}
	h := m[p.Key()]
	if h == nil {
		h = newHost(p)
		m[p.Key()] = h
	}
	return h
}

func (x *hostIndex) regexpHost(p match.Host) *host {
	for _, h := range x.regexps {
		if h.pattern.Key() == p.Key() {
			return h
		}
	}
	h := newHost(p)
	x.regexps = append(x.regexps, h)
	return h
}

func (x *hostIndex) all() []*host {
	all := slices.Clone(x.regexps)
	for _, m := range []map[string]*host{x.exact, x.leading, x.trailing} {
		for _, h := range m {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b *host) int { return strings.Compare(a.pattern.String(), b.pattern.String()) })
	return all
}

// find returns the host pattern that takes the host: the exact name, the longest leading wildcard, the longest
// trailing one, the first regular expression.
func (x *hostIndex) find(name string) (first *host) {
	x.each(name, func(h *host) bool {
		first = h
		return true
	})
	return first
}

// lookup returns the host pattern and its route that take host and path. A pattern that nothing alive declares keeps from the
// patterns after it the paths that its routes take, so that nobody else answers for them meanwhile; the others it lets pass.
func (x *hostIndex) lookup(name, path string) (found *host, r *Route, addSlash bool) {
	x.each(name, func(h *host) bool {
		if found == nil {
			found = h
		}
		if r, addSlash = h.find(path); r != nil {
			found = h
		}
		return r != nil || h.lives()
	})
	return found, r, addSlash
}

// each goes through the host patterns that take the host, in the order in which they win, until stop says so.
func (x *hostIndex) each(name string, stop func(*host) bool) {
	if h := x.exact[name]; h != nil && stop(h) {
		return
	}
	if len(x.leading) > 0 {
		for i := range len(name) {
			if name[i] == '.' && i > 0 {
				if h := x.leading[name[i+1:]]; h != nil && stop(h) {
					return
				}
			}
		}
	}
	if len(x.trailing) > 0 {
		for i := len(name) - 2; i > 0; i-- {
			if name[i] == '.' {
				if h := x.trailing[name[:i]]; h != nil && stop(h) {
					return
				}
			}
		}
	}
	for _, h := range x.regexps {
		if h.pattern.Match(name) && stop(h) {
			return
		}
	}
}

func newHost(p match.Host) *host {
	return &host{pattern: p, prefixes: map[string]*Route{}}
}

// add gives the route its place, unless another route has it: routes come in the order in which they win.
func (h *host) add(r *Route) {
	h.routes = append(h.routes, r)
	var winner *Route
	switch r.path.Kind() {
	case match.PathExact:
		if h.exact == nil {
			h.exact = map[string]*Route{}
		}
		if winner = h.exact[r.path.Value()]; winner == nil {
			h.exact[r.path.Value()] = r
		}
	case match.PathRegexp:
		i := slices.IndexFunc(h.regexps, func(o *Route) bool { return o.path.String() == r.path.String() })
		if i >= 0 {
			winner = h.regexps[i]
		} else {
			h.regexps = append(h.regexps, r)
		}
	default:
		if winner = h.prefixes[r.path.Value()]; winner == nil {
			h.prefixes[r.path.Value()] = r
		}
	}
	if winner != nil {
		r.ShadowedBy = winner.ID
	}
}

func (h *host) finish() {
	for prefix, r := range h.prefixes {
		if !slices.Contains(h.lengths, len(prefix)) {
			h.lengths = append(h.lengths, len(prefix))
		}
		if before, ok := strings.CutSuffix(prefix, "/"); ok && before != "" {
			if h.slashed == nil {
				h.slashed = map[string]*Route{}
			}
			h.slashed[before] = r
		}
	}
	slices.Sort(h.lengths)
	slices.Reverse(h.lengths)
	slices.SortFunc(h.regexps, func(a, b *Route) int { return strings.Compare(a.path.String(), b.path.String()) })
	// HTTPS_METHOD is a matter of the host: a path that does not say follows those that rule.
	for _, r := range h.routes {
		if r.HTTPSMethod == "" {
			r.HTTPSMethod = h.method(r.Vocabulary)
		}
	}
}

func (h *host) method(v ruche.Vocabulary) ruche.HTTPSMethod {
	for _, r := range h.ruling() {
		if r.Vocabulary == v && r.HTTPSMethod != "" {
			return r.HTTPSMethod
		}
	}
	return ""
}

// lives reports whether anything that declares the host pattern runs.
func (h *host) lives() bool { return h.routes[0].owner.life == running }

// ruling returns the routes that decide what is the same for all paths of the host: those that are most alive.
func (h *host) ruling() []*Route {
	n := slices.IndexFunc(h.routes, func(r *Route) bool { return compareLife(r, h.routes[0]) != 0 })
	if n < 0 {
		return h.routes
	}
	return h.routes[:n]
}

// longest returns the route of the longest prefix of path.
func (h *host) longest(path string) *Route {
	for _, n := range h.lengths {
		if n <= len(path) {
			if r := h.prefixes[path[:n]]; r != nil {
				return r
			}
		}
	}
	return nil
}

// find returns the route for a path: the exact one, else the longest prefix if it ends the search, else the first
// regular expression, else that longest prefix. addSlash reports nginx's answer to the path of a prefix with a
// trailing slash that comes without it: a redirect to it.
func (h *host) find(path string) (r *Route, addSlash bool) {
	if r := h.exact[path]; r != nil {
		return r, false
	}
	prefix := h.longest(path)
	if r := h.slashed[path]; r != nil && (prefix == nil || prefix.path.Value() != path) {
		return r, true
	}
	if prefix != nil && prefix.path.Kind() == match.PathPrefixOnly {
		return prefix, false
	}
	for _, r := range h.regexps {
		if r.path.Match(path) {
			return r, false
		}
	}
	return prefix, false
}
