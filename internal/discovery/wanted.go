package discovery

import (
	"net/netip"
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
