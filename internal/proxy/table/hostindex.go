package table

import (
	"cmp"
	"maps"
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

// with returns an index in which these hosts, by what is written, have those routes of made that name them and no others.
func (x *hostIndex) with(hosts map[string]match.Host, made []*Route) hostIndex {
	next := hostIndex{maps.Clone(x.exact), maps.Clone(x.leading), maps.Clone(x.trailing), slices.Clone(x.regexps)}
	if next.exact == nil {
		next = hostIndex{exact: make(map[string]*host, len(hosts)), leading: map[string]*host{}, trailing: map[string]*host{}}
	}
	for _, p := range hosts {
		next.remove(p)
	}
	ordered := slices.DeleteFunc(slices.Clone(made), func(r *Route) bool { return !r.byName() })
	slices.SortStableFunc(ordered, precedence)
	for _, r := range ordered {
		next.host(r.host).add(r)
	}
	for _, p := range hosts {
		if h := next.get(p); h != nil {
			h.finish()
		}
	}
	slices.SortFunc(next.regexps, func(a, b *host) int { return strings.Compare(a.pattern.Key(), b.pattern.Key()) })
	return next
}

// precedence orders routes that claim the same requests: what is more alive, the vocabulary's rank, the oldest.
func precedence(a, b *Route) int {
	return cmp.Or(compareLife(a, b), cmp.Compare(a.Vocabulary.Rank(), b.Vocabulary.Rank()), compareOwners(a.owner, b.owner))
}

// of returns where hosts of a kind are; nil for regular expressions.
func (x *hostIndex) of(kind match.HostKind) map[string]*host {
	switch kind {
	case match.HostExact:
		return x.exact
	case match.HostLeading:
		return x.leading
	case match.HostTrailing:
		return x.trailing
	}
	return nil
}

func (x *hostIndex) isRegexp(p match.Host) func(*host) bool {
	return func(h *host) bool { return h.pattern.Key() == p.Key() }
}

// get returns the host of a pattern, nil if there is none.
func (x *hostIndex) get(p match.Host) *host {
	if m := x.of(p.Kind()); m != nil {
		return m[p.Key()]
	}
	if i := slices.IndexFunc(x.regexps, x.isRegexp(p)); i >= 0 {
		return x.regexps[i]
	}
	return nil
}

func (x *hostIndex) remove(p match.Host) {
	delete(x.of(p.Kind()), p.Key())
	if p.Kind() == match.HostRegexp {
		x.regexps = slices.DeleteFunc(x.regexps, x.isRegexp(p))
	}
}

// host returns the host of a pattern, a new one if there is none.
func (x *hostIndex) host(p match.Host) *host {
	h := x.get(p)
	if h != nil {
		return h
	}
	h = &host{pattern: p, prefixes: map[string]*Route{}}
	if m := x.of(p.Kind()); m != nil {
		m[p.Key()] = h
	} else {
		x.regexps = append(x.regexps, h)
	}
	return h
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

// add gives the route its place, unless another route has it: routes come in the order in which they win.
func (h *host) add(r *Route) {
	h.routes = append(h.routes, r)
	if h.at(r.path) != nil {
		return
	}
	switch r.path.Kind() {
	case match.PathExact:
		if h.exact == nil {
			h.exact = map[string]*Route{}
		}
		h.exact[r.path.Value()] = r
	case match.PathRegexp:
		h.regexps = append(h.regexps, r)
	default:
		h.prefixes[r.path.Value()] = r
	}
}

// at returns the route that has the place of a path pattern, nil if none has.
func (h *host) at(p match.Path) *Route {
	switch p.Kind() {
	case match.PathExact:
		return h.exact[p.Value()]
	case match.PathRegexp:
		if i := slices.IndexFunc(h.regexps, func(o *Route) bool { return o.path.String() == p.String() }); i >= 0 {
			return h.regexps[i]
		}
		return nil
	}
	return h.prefixes[p.Value()]
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
	// HTTPS_METHOD and HSTS are matters of the host: a path that does not say follows those that rule.
	for _, r := range h.routes {
		if r.HTTPSMethod == "" {
			r.HTTPSMethod = h.method(r.Vocabulary)
		}
		if r.HSTS == "" {
			r.HSTS = h.hsts(r.Vocabulary)
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

// defaultHSTS is nginx-proxy's: a year.
const defaultHSTS = "max-age=31536000"

func (h *host) hsts(v ruche.Vocabulary) string {
	for _, r := range h.ruling() {
		if r.Vocabulary == v && r.HSTS != "" {
			return r.HSTS
		}
	}
	if v == ruche.VocabularyNginxProxy {
		return defaultHSTS
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
