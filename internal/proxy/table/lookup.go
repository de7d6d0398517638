package table

import (
	"cmp"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
)

// Result is what a lookup found.
type Result struct {
	// Route serves the request; nil when none does.
	Route *Route
	// KnownHost tells that some route takes the host, with this path or another.
	KnownHost bool
	// AddSlash asks for a redirect to the path with a slash at its end: the route's prefix ends in one.
	AddSlash bool
}

// Lookup finds the route for a host, as match.CanonicalHost returns it, and a decoded path. Where the
// vocabularies both have one, the more specific host wins, then the longer path, then the vocabulary's rank. It does not
// allocate for hosts that are declared by name.
func (t *Table) Lookup(host, path string) Result {
	named, byName, addSlash := t.names.lookup(host, path)
	if byRule, _ := t.rules.find(match.Request{Host: host, Path: path}, byName); byRule != nil {
		return Result{Route: byRule, KnownHost: true}
	}
	if byName != nil {
		return Result{Route: byName, KnownHost: true, AddSlash: addSlash}
	}
	return Result{KnownHost: named != nil || t.rules.takesHost(host)}
}

// ruleWins decides between a rule and a pattern that both take a request.
func ruleWins(rule *Route, closeness match.Specificity, pattern *Route) bool {
	order := cmp.Or(
		cmp.Compare(closeness.Host, pattern.hostKind()),
		cmp.Compare(len(pattern.host.Key()), lenOfHost(closeness, pattern)),
		cmp.Compare(pathLen(pattern.path.Len()), pathLen(closeness.PathLen)),
		compareLife(rule, pattern),
		cmp.Compare(rule.Vocabulary.Rank(), pattern.Vocabulary.Rank()),
	)
	return order < 0
}

// hostKind is the form of the route's host.
func (r *Route) hostKind() match.HostKind {
	if r.Match.Host == "" {
		return match.HostAny
	}
	return r.host.Kind()
}

func compareLife(a, b *Route) int { return cmp.Compare(a.owner.life, b.owner.life) }

// lenOfHost compares lengths where they mean something: between two wildcards of one kind.
func lenOfHost(s match.Specificity, pattern *Route) int {
	if s.Host == match.HostLeading {
		return s.HostLen
	}
	return len(pattern.host.Key())
}

// pathLen makes the prefix "/" and no condition on the path the same: they take the same requests.
func pathLen(n int) int {
	if n == 1 {
		return 0
	}
	return n
}

// Certificate says by what the certificate for a server name is chosen, and false when no route takes the name. The
// mode is TLSOff when none of the name's routes is served by HTTPS. Routes that do not run have a say where none runs.
func (t *Table) Certificate(name string) (ruche.CertificateQuery, bool) {
	named := t.names.find(name)
	byRule, naming := t.rules.takes(name)
	switch {
	case named == nil && byRule == nil:
		return ruche.CertificateQuery{ServerName: name}, false
	case named == nil:
		return byRule.certificate(name, naming != nil), true
	case naming != nil && (named.pattern.Kind() != match.HostExact || naming.owner.life == running && !named.lives()):
		return naming.certificate(name, true), true
	}
	declared := named.pattern.Kind() == match.HostExact || naming != nil
	q := ruche.CertificateQuery{ServerName: name, Host: named.pattern.String(), Declared: declared, Mode: ruche.TLSOff}
	for _, r := range named.ruling() {
		if q.Mode == ruche.TLSOff && r.HTTPSMethod != ruche.HTTPSNoHTTPS {
			q.Mode = cmp.Or(r.TLS, ruche.TLSAuto)
		}
		q.CertName = cmp.Or(q.CertName, r.CertName)
	}
	if q.Mode == ruche.TLSOff && byRule != nil {
		return byRule.certificate(name, declared), true
	}
	return q, true
}

// certificate is what a rule's route asks for under a name that it takes.
func (r *Route) certificate(name string, declared bool) ruche.CertificateQuery {
	return ruche.CertificateQuery{ServerName: name, Host: name, Declared: declared, Mode: r.TLS, CertName: r.CertName}
}

func (r *Route) names(host string) bool {
	for _, h := range r.Hosts {
		if h == host {
			return true
		}
	}
	return false
}
