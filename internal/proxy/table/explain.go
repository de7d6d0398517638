package table

import (
	"fmt"

	"github.com/ruche-project/ruche/internal/match"
)

// Why tells step by step how Lookup comes to its result for a host and a path. The sentences are for people: lower
// case, no period.
func (t *Table) Why(host, path string) []string {
	var why []string
	named, byName, _ := t.names.lookup(host, path)
	switch first := t.names.find(host); {
	case named == nil:
		why = append(why, fmt.Sprintf("no host pattern takes %q", host))
	case named != first:
		why = append(why, fmt.Sprintf("host pattern %s takes %q first, but nothing that declares it runs, and none of its paths takes %q; %s is the next that does",
			first.pattern, host, path, named.pattern))
		why = append(why, named.why(path)...)
	default:
		why = append(why, t.whyHost(named, host))
		why = append(why, named.why(path)...)
	}
	return append(why, t.whyRule(byName, match.Request{Host: host, Path: path})...)
}

func (t *Table) whyHost(h *host, name string) string {
	p := h.pattern
	switch p.Kind() {
	case match.HostExact:
		return fmt.Sprintf("host matches %q exactly", name)
	case match.HostLeading:
		return fmt.Sprintf("host %q is not declared itself; %s is the longest leading wildcard that takes it", name, p)
	case match.HostTrailing:
		return fmt.Sprintf("host %q is not declared itself and no leading wildcard takes it; %s is the longest trailing wildcard that does", name, p)
	}
	return fmt.Sprintf("neither a name nor a wildcard takes host %q; %s is the first of %s that does", name, p, count(len(t.names.regexps), "regular expression"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// why tells how find chooses.
func (h *host) why(path string) []string {
	r, addSlash := h.find(path)
	prefix := h.longest(path)
	switch {
	case r == nil:
		return []string{fmt.Sprintf("none of the %s declared for it takes the path %q", count(len(h.routes), "path"), path)}
	case addSlash:
		return []string{fmt.Sprintf("path %q is the prefix %q without its slash, so a redirect adds it", path, r.path.Value())}
	case r.path.Kind() == match.PathExact:
		return []string{fmt.Sprintf("path %q is declared as an exact path", path)}
	case r.path.Kind() == match.PathRegexp && prefix != nil:
		return []string{
			fmt.Sprintf("prefix %q is the longest of %d, but does not end the search", prefix.path.Value(), len(h.prefixes)),
			fmt.Sprintf("%q is the first of %s that takes the path %q", r.path, count(len(h.regexps), "regular expression"), path),
		}
	case r.path.Kind() == match.PathRegexp:
		return []string{fmt.Sprintf("%q is the first of %s that takes the path %q", r.path, count(len(h.regexps), "regular expression"), path)}
	case r.path.Kind() == match.PathPrefixOnly:
		return []string{fmt.Sprintf("path %q begins with %q, the longest prefix of the %s, which keeps regular expressions from being asked",
			path, r.path.Value(), fmt.Sprintf("%d declared", len(h.prefixes)))}
	}
	return []string{fmt.Sprintf("path %q begins with %q, the longest prefix of the %d declared that it has", path, r.path.Value(), len(h.prefixes))}
}

// whyRule tells of the rules that take the request, up to the one that serves it, if any does.
func (t *Table) whyRule(pattern *Route, req match.Request) []string {
	serves, closeness := t.rules.find(req, pattern)
	var why []string
	rules := merged{t.rules.byHost[req.Host], t.rules.others}
	asked := len(rules[0]) + len(rules[1])
	for r := rules.next(); r != nil && r != serves; r = rules.next() {
		s, ok := r.rule.Specificity(req)
		switch {
		case !ok:
		case pattern != nil && !ruleWins(r, s, pattern):
			why = append(why, whyBoth(r, s, pattern))
		default:
			why = append(why, fmt.Sprintf("router rule %s of priority %d takes the request, but what declares it does not run", r.rule, r.priority))
		}
	}
	switch {
	case serves != nil && len(why) == 0:
		why = append(why, fmt.Sprintf("router rule %s takes the request: it has the highest priority (%d) of those that do", serves.rule, serves.priority))
	case serves != nil:
		why = append(why, fmt.Sprintf("router rule %s of priority %d takes the request in its place", serves.rule, serves.priority))
	case len(why) > 0 || asked == 0:
		return why
	case !t.rules.takesHost(req.Host):
		return []string{"no router rule takes the host"}
	default:
		return []string{fmt.Sprintf("a router rule takes the host, but none takes the path %q", req.Path)}
	}
	if pattern != nil {
		why = append(why, whyBoth(serves, closeness, pattern))
	}
	return why
}

func whyBoth(rule *Route, closeness match.Specificity, pattern *Route) string {
	winner, loser := pattern, rule
	if ruleWins(rule, closeness, pattern) {
		winner, loser = rule, pattern
	}
	reason := fmt.Sprintf("%s goes before %s where both say the same", winner.Vocabulary, loser.Vocabulary)
	switch {
	case closeness.Host != pattern.host.Kind() || lenOfHost(closeness, pattern) != len(pattern.host.Key()):
		reason = "it names the host more closely"
	case pathLen(closeness.PathLen) != pathLen(pattern.path.Len()):
		reason = "it names more of the path"
	case compareLife(rule, pattern) != 0:
		reason = "what declares the other one does not run"
	}
	return fmt.Sprintf("%s and %s both take the request; %s serves it: %s", winner.ID, loser.ID, winner.ID, reason)
}
