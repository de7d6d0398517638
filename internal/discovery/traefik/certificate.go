package traefik

import (
	"regexp"
	"slices"
	"strconv"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
	"github.com/ruche-project/ruche/internal/match"
)

const (
	resolverPath = "tls.certresolver"
	domainsPath  = "tls.domains"
	// defaultCertificate is where the certificate for names without one is asked for. Traefik has no other store than the default one.
	defaultCertificate = "tls.stores.default.defaultgeneratedcert"
)

// domain is one entry of a list of domains: a certificate.
type domain struct {
	index int
	key   string // of the label that came first
	names []string
}

// readResolver takes note of the certificates that a router asks its resolver for, and reports whether there are any: one for each entry of its domains, else one for the hosts of
// its rule.
func (r *reader) readResolver(e *element, rule *match.Rule, protocol string) bool {
	resolver, given := e.option(resolverPath)
	domains := r.readDomains(e)
	if !given || resolver.value == "" {
		if len(domains) > 0 {
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityInfo, domains[0].key, "add the label traefik."+protocol+".routers."+clip(e.name)+"."+resolverPath,
				"as with Traefik the domains have no effect without a certresolver")
		}
		return false
	}
	if p := setting.Word("certresolver", resolver.value); p != nil {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, resolver.key, "write the name of an issuer", "%s; no certificate is requested", p.Message)
		return false
	}
	if len(domains) == 0 {
		hosts, _ := rule.Hosts()
		hosts = slices.DeleteFunc(hosts, func(h string) bool { return h == "" || h == "*" })
		if len(hosts) == 0 {
			r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, resolver.key, "add the label traefik."+protocol+".routers."+clip(e.name)+"."+domainsPath+"[0].main",
				"the rule names no host, so no certificate is requested")
			return false
		}
		domains = []domain{{key: resolver.key, names: hosts}}
	}
	before := len(r.certificates)
	for _, d := range domains {
		r.want(d, resolver.value)
	}
	return len(r.certificates) > before
}

// want takes note of one certificate.
func (r *reader) want(d domain, resolver string) {
	names, problems := setting.Names(d.names, setting.MaxNames)
	for _, p := range problems {
		r.add(ruche.CodeHostInvalid, p.Severity, d.key, p.Hint, "%s", p.Message)
		r.diagnostics[len(r.diagnostics)-1].Host = clip(p.Name)
	}
	if len(names) > 0 {
		r.certificates = append(r.certificates, ruche.CertificateSpec{Names: names, Source: "label " + clip(d.key), Issuer: resolver})
	}
}

var domainOption = regexp.MustCompile(`^tls\.domains\[([0-9]{1,4})\]\.(main|sans)$`)

// readDomains reads the entries of a router's domains, by index; main is the first name of each.
func (r *reader) readDomains(e *element) []domain {
	var list []domain
	for _, o := range e.options {
		if !below(o.path, domainsPath) {
			if below(o.path, resolverPath) && o.path != resolverPath {
				r.add(ruche.CodeKeyUnknown, ruche.SeverityWarning, o.key, "write "+resolverPath, "option %s is not known; it is ignored", quote(o.path))
			}
			continue
		}
		m := domainOption.FindStringSubmatch(o.path)
		if m == nil {
			r.add(ruche.CodeKeyUnknown, ruche.SeverityWarning, o.key, "write "+domainsPath+"[0].main and "+domainsPath+"[0].sans", "option %s is not known; it is ignored", quote(o.path))
			continue
		}
		index, _ := strconv.Atoi(m[1]) // of digits
		i := slices.IndexFunc(list, func(d domain) bool { return d.index == index })
		if i < 0 {
			i, list = len(list), append(list, domain{index: index, key: o.key})
		}
		if m[2] == "main" {
			list[i].key, list[i].names = o.key, append(words(o.value), list[i].names...)
		} else {
			list[i].names = append(list[i].names, words(o.value)...)
		}
	}
	slices.SortFunc(list, func(a, b domain) int { return a.index - b.index })
	return slices.DeleteFunc(list, func(d domain) bool { return len(d.names) == 0 })
}

// readStreamResolver does the same for a TCP router whose TLS ends here.
func (r *reader) readStreamResolver(e *element, rule *match.Rule, route *ruche.Route) {
	switch {
	case route.TLS == ruche.TLSAuto:
		if r.readResolver(e, rule, "tcp") {
			route.TLS = ruche.TLSACME
		}
	case route.TLS == ruche.TLSPassthrough:
		if o, given := e.option(resolverPath); given {
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityInfo, o.key, "remove one of the two labels", "TLS is passed through, so the certificate is the container's own")
		}
	}
}

// readDefaultCertificate reads the certificate that is to be served for names that have none of their own.
func (r *reader) readDefaultCertificate() {
	var d domain
	var resolver, first option
	for _, o := range r.labels.other {
		if !below(o.path, defaultCertificate) {
			continue
		}
		if first.key == "" {
			first = o
		}
		switch o.path {
		case defaultCertificate + ".resolver":
			resolver = o
		case defaultCertificate + ".domain.main":
			d.key, d.names = o.key, append(words(o.value), d.names...)
		case defaultCertificate + ".domain.sans":
			d.names = append(d.names, words(o.value)...)
		default:
			r.add(ruche.CodeKeyUnknown, ruche.SeverityWarning, o.key, "write resolver, domain.main or domain.sans", "the label is not known; it is ignored")
		}
	}
	switch {
	case first.key == "":
		return
	case resolver.value == "" || d.key == "" || setting.Word("resolver", resolver.value) != nil:
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, first.key, "write traefik."+defaultCertificate+".resolver and traefik."+defaultCertificate+".domain.main",
			"the default certificate needs a resolver and the name of a domain; none is requested")
		return
	}
	r.add(ruche.CodeKeyUnsupported, ruche.SeverityInfo, first.key, "put default.crt into the certificates directory for names that no route has",
		"the certificate is requested, and served for the names in it; other names do not get it")
	r.want(d, resolver.value)
}
