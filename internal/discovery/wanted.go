package discovery

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/match"
)

// noteUnserved tells of names that ACME_HOST wants in a certificate and that no route of the container serves. With acme-companion that is a mistake; here the
// certificate is wanted all the same.
func (d *declared) noteUnserved(c docker.Container, wanted []ruche.CertificateSpec) {
	for _, spec := range wanted {
		for _, name := range spec.Names {
			if d.serves(name) {
				continue
			}
			d.diagnostics = append(d.diagnostics, ruche.Diagnostic{
				Code: ruche.CodeNameUnserved, Severity: ruche.SeverityInfo, Workload: c.Name, Source: spec.Source, Host: name,
				Message: "a certificate is requested for " + name + ", which no route of this container serves",
				Hint:    "add it to VIRTUAL_HOST, or take it out of ACME_HOST",
			})
		}
	}
}

// serves reports whether some route may take requests for a name, or for one below a wildcard.
func (d *declared) serves(name string) bool {
	if ip, err := netip.ParseAddr(name); err == nil && ip.Is6() {
		name = "[" + name + "]"
	}
	for _, route := range d.routes {
		if route.Match.Rule != "" {
			if ruleServes(route, name) {
				return true
			}
			continue
		}
		host, err := match.ParseHost(route.Match.Host)
		if err == nil && (host.String() == name || host.Match(name) || below(host.String(), name)) {
			return true
		}
	}
	return false
}

func ruleServes(route ruche.Route, name string) bool {
	rule, err := ruleOf(route)
	if err != nil {
		return false
	}
	// Of a wildcard any label will do: a rule that asks for a certain one names it.
	if rest, wild := strings.CutPrefix(name, "*."); wild && rule.MayMatchHost("any."+rest) {
		return true
	}
	hosts, _ := rule.Hosts()
	for _, host := range hosts {
		if below(host, name) {
			return true
		}
	}
	return rule.MayMatchHost(name)
}

// below reports whether a host is one that a certificate for the wildcard name is good for.
func below(host, name string) bool {
	rest, wild := strings.CutPrefix(name, "*.")
	_, parent, _ := strings.Cut(host, ".")
	return wild && parent == rest
}

// asked is where certificates of a route are asked for by their names, and what to do where its host is in none of them.
type asked struct {
	place    string
	severity ruche.Severity
	hint     string
}

// noteUncovered tells of hosts of routes that are in none of the certificates that are asked for by name. They are served with another one, which their owner may not notice.
// asks gives where the certificates of a route are asked for; ok is false where they are not.
func (d *declared) noteUncovered(workload string, asks func(ruche.Route) (a asked, ok bool)) {
	told := map[string]bool{}
	for _, route := range d.routes {
		a, ok := asks(route)
		if !ok || !takesIssued(route) {
			continue
		}
		for _, host := range hostsOf([]ruche.Route{route}) {
			if told[host] || d.certifies(host) {
				continue
			}
			told[host] = true
			d.diagnostics = append(d.diagnostics, ruche.Diagnostic{
				Code: ruche.CodeHostUncovered, Severity: a.severity, Workload: workload, Source: a.place, Host: host, Hint: a.hint,
				Message: "no certificate that is asked for here has the name " + host + ", which is served; it gets another one: a file, one that another declaration or the default issuer has for it, else one that is self-signed",
			})
		}
	}
}

// certifies reports whether a certificate that is asked for is good for a host.
func (d *declared) certifies(host string) bool {
	return slices.ContainsFunc(d.certificates, func(s ruche.CertificateSpec) bool {
		return slices.ContainsFunc(s.Names, func(name string) bool { return name == host || below(host, name) })
	})
}

// takesIssued reports whether a route may be served with a certificate that was asked for.
func takesIssued(r ruche.Route) bool {
	switch r.TLS {
	case ruche.TLSOff, ruche.TLSFile, ruche.TLSPassthrough:
		return false
	}
	return r.CertName == "" && r.HTTPSMethod != ruche.HTTPSNoHTTPS && (r.Protocol == "" || r.TLS != "")
}

// askedByContainer finds what of a container asks for the certificates of a route by name.
func (d *declared) askedByContainer(route ruche.Route) (a asked, ok bool) {
	for _, spec := range d.certificates {
		label, isLabel := strings.CutPrefix(strings.ToLower(spec.Source), "label ")
		switch {
		case isLabel && strings.HasPrefix(label, tlsPrefix):
			return asked{spec.Source, ruche.SeverityWarning, "add it to the label " + tlsPrefix + "names, or remove that one: then each host has a certificate of its own"}, true
		case isLabel && route.Vocabulary == ruche.VocabularyTraefik && strings.Contains(label, ".routers."+strings.ToLower(route.Name)+"."):
			return asked{spec.Source, ruche.SeverityWarning, "add it to the tls.domains of the router, or remove these: then the certificate is for the hosts of the rule"}, true
		case !isLabel && route.Vocabulary == ruche.VocabularyNginxProxy: // where some of the names are left out on purpose
			return asked{spec.Source, ruche.SeverityInfo, "add it to ACME_HOST if it is to be in the certificate"}, true
		}
	}
	return asked{}, false
}
