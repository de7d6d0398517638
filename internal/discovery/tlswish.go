package discovery

import (
	"cmp"
	"slices"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
	"github.com/ruche-project/ruche/internal/match"
)

// tlsWish is what labels of Ruche's own, or the key tls of a route file, say of the certificate of routes.
type tlsWish struct {
	mode ruche.TLSMode
	// spec is how the certificate is to be. Its names are empty where it is to be for the hosts of the routes.
	spec ruche.CertificateSpec
}

// knownMode checks a mode that people write; an empty one is none.
func knownMode(mode ruche.TLSMode) *setting.Problem {
	switch mode {
	case "", ruche.TLSAuto, ruche.TLSACME, ruche.TLSInternal, ruche.TLSFile, ruche.TLSOff:
		return nil
	}
	return &setting.Problem{Message: "mode " + setting.Quote(string(mode)) + " is not known", Hint: "write auto, acme, internal, file or off"}
}

// settle makes mode and issuer agree: naming an issuer asks for a certificate of it, and the mode internal has an issuer of its own.
func (w *tlsWish) settle() *setting.Problem {
	internal := w.spec.Issuer == ruche.IssuerInternal
	switch {
	case w.mode == "" && internal:
		w.mode = ruche.TLSInternal
	case w.mode == "" && w.spec.Issuer != "":
		w.mode = ruche.TLSACME
	case w.mode == ruche.TLSInternal && w.spec.Issuer != "" && !internal:
		issuer := w.spec.Issuer
		w.spec.Issuer = ruche.IssuerInternal
		return &setting.Problem{Message: "the mode internal takes certificates of Ruche's own authority, not of the issuer " + setting.Quote(issuer), Hint: "write acme, or remove the issuer"}
	case w.mode == ruche.TLSACME && internal:
		w.mode = ruche.TLSInternal
		return &setting.Problem{Message: "the issuer internal is not asked by ACME; the mode internal is used", Hint: "write the mode internal, or name another issuer"}
	}
	if w.mode == ruche.TLSInternal && w.orders() {
		w.spec.Issuer = ruche.IssuerInternal
	}
	return nil
}

// orders reports whether a certificate is asked for beyond what the mode alone says of each route.
func (w *tlsWish) orders() bool {
	s := &w.spec
	return w.mode != ruche.TLSFile && w.mode != ruche.TLSOff &&
		(len(s.Names) > 0 || s.Issuer != "" || s.KeyType != "" || s.Profile != "" || s.Challenge != "")
}

// excludes reports whether nothing is left of what other vocabularies ask for.
func (w *tlsWish) excludes() bool {
	return len(w.spec.Names) > 0 || w.mode == ruche.TLSInternal || w.mode == ruche.TLSFile || w.mode == ruche.TLSOff
}

// overlay has a certificate that another vocabulary asks for be as the wish says.
func (w *tlsWish) overlay(spec *ruche.CertificateSpec) {
	if w.spec.Issuer != "" {
		spec.Issuer, spec.Directory, spec.EAB = w.spec.Issuer, "", nil
	}
	spec.KeyType = cmp.Or(w.spec.KeyType, spec.KeyType)
	spec.Profile = cmp.Or(w.spec.Profile, spec.Profile)
	spec.Challenge = cmp.Or(w.spec.Challenge, spec.Challenge)
}

// specs gives the certificates: one for all names that are listed, else one for each host but those that have one.
func (w *tlsWish) specs(hosts, named []string) []ruche.CertificateSpec {
	if len(w.spec.Names) > 0 {
		return []ruche.CertificateSpec{w.spec}
	}
	var specs []ruche.CertificateSpec
	for _, host := range hosts {
		if slices.Contains(named, host) {
			continue
		}
		spec := w.spec
		spec.Names = []string{host}
		specs = append(specs, spec)
	}
	return specs
}

// hostsOf gives the names that routes are declared for and that a certificate can have, each once.
func hostsOf(routes []ruche.Route) []string {
	var names []string
	for _, route := range routes {
		if route.TLS == ruche.TLSPassthrough || route.Protocol == ruche.ProtocolUDP {
			continue
		}
		hosts := []string{route.Match.Host}
		if rule, err := ruleOf(route); err == nil {
			hosts, _ = rule.Hosts()
		}
		for _, host := range hosts {
			if name, p := setting.Name(host); p == nil && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// ruleOf parses the rule of a route. There is an error where it has none.
func ruleOf(route ruche.Route) (*match.Rule, error) {
	if route.Protocol == ruche.ProtocolTCP {
		return match.ParseConnectionRule(route.Match.Rule)
	}
	return match.ParseRule(route.Match.Rule)
}
