package acme

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/match"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

// Want is a certificate that is to be there.
type Want struct {
	// ID is the key of its record, see vault.ID.
	ID   string
	Spec ruche.CertificateSpec // with normalized names
	// Mode is that of the route that it is for; empty when a spec wants it.
	Mode  ruche.TLSMode
	Terms Terms
	// Problem is why it cannot be ordered, Hint what to do; empty when it can be.
	Problem, Hint string
	// Waiting is what the order waits for; empty when it does not.
	Waiting string
}

// Input is what is wanted and what is there, as Wanted reads it.
type Input struct {
	Now          time.Time
	Specs        map[string]ruche.CertificateSpecs
	Declarations map[string]ruche.Declaration
	Served       map[string]vault.Served
	Issuers      []ruche.Issuer
	Routes       []ruche.Route // more than the declarations have
}

// Wanted says which certificates are wanted, ordered by ID, each once: those of the specs, and one for each name of a route that asks for a certificate and that no spec names.
// Names that an edge serves from a file are left to the file where the route leaves the choice.
func Wanted(in Input) []Want {
	bySet := make(map[string]Want)
	named := make(map[string]bool) // by specs
	for _, s := range oldestFirst(in.Specs, func(s ruche.CertificateSpecs) ruche.Workload { return s.Workload }) {
		for _, spec := range s.Specs {
			w := wantOf(in, spec)
			for _, name := range w.Spec.Names {
				named[name] = true
			}
			keepFirst(bySet, w)
		}
	}
	for _, d := range oldestFirst(in.Declarations, func(d ruche.Declaration) ruche.Workload { return d.Workload }) {
		if !d.GoneSince.IsZero() {
			continue
		}
		in.want(bySet, named, d.Routes)
	}
	in.want(bySet, named, in.Routes)
	return slices.SortedFunc(maps.Values(bySet), func(a, b Want) int { return cmp.Compare(a.ID, b.ID) })
}

// want adds what routes want and no spec names.
func (in Input) want(bySet map[string]Want, named map[string]bool, routes []ruche.Route) {
	for _, r := range routes {
		for _, name := range RouteNames(r) {
			if slices.ContainsFunc(vault.Covering(name), func(n string) bool { return named[n] }) {
				continue
			}
			if w, ok := routeWant(in, r, name); ok {
				keepFirst(bySet, w)
			}
		}
	}
}

// keepFirst keeps the want of the older workload, unless that one only would have it perhaps.
func keepFirst(bySet map[string]Want, w Want) {
	set := w.ID[strings.LastIndexByte(w.ID, '-'):] // whichever name comes first
	if had, ok := bySet[set]; ok && (had.Mode != ruche.TLSAuto || w.Mode == ruche.TLSAuto) {
		return
	}
	bySet[set] = w
}

func oldestFirst[T any](all map[string]T, of func(T) ruche.Workload) []T {
	return slices.SortedFunc(maps.Values(all), func(a, b T) int {
		switch {
		case of(a).Older(of(b)):
			return -1
		case of(b).Older(of(a)):
			return 1
		}
		return 0
	})
}

// wantOf makes the want of a spec.
func wantOf(in Input, spec ruche.CertificateSpec) Want {
	spec.Names = normalize(spec.Names)
	declaredDNS, badDNS := dnsOf(spec)
	spec.DNS = declaredDNS
	terms, ok := termsOf(in.Issuers, spec)
	w := Want{Spec: spec, Terms: terms}
	w.ID = vault.ID(spec.Names, cmp.Or(terms.Directory, terms.Name), terms.KeyType)
	wild := slices.IndexFunc(spec.Names, isWildcard)
	switch problem := checkNames(spec.Names); {
	case problem != "":
		w.Problem, w.Hint = problem, "correct "+spec.Source
	case len(spec.Sealed) > 0:
		w.Problem = "the secrets that " + spec.Source + " gives cannot be opened"
		w.Hint = "give this node the sealing key that they were sealed with (--seal-key-file); where that is lost, start Ruche again on the node that the workload runs on: it declares them anew"
	case !ok:
		w.Problem, w.Hint = "no issuer is configured", "give --acme-email, and --acme-ca for another CA than Let's Encrypt"
	case terms.Declared && !strings.HasPrefix(terms.Directory, "https://"):
		w.Problem = "the CA " + terms.Directory + " that " + spec.Source + " names is no https:// URL"
		w.Hint = "correct it, or describe the CA under issuers: in ruche.yaml"
	case misspelt(in.Issuers, spec) != "":
		w.Problem, w.Hint = fmt.Sprintf("issuer %q is not described here, and no other one is asked in its place", spec.Issuer), misspelt(in.Issuers, spec)+", else describe it under issuers: in ruche.yaml"
	case terms.Problem != "":
		w.Problem, w.Hint = "issuer "+terms.Name+" is out of service: "+terms.Problem, terms.Hint
	case badDNS != nil && (wild >= 0 || spec.Challenge == ruche.ChallengeDNS01):
		w.Problem, w.Hint = badDNS.Error(), "correct "+spec.Source+", or describe the provider in the settings of an issuer"
	case wild >= 0 && !terms.Internal() && !terms.wildcards():
		w.Problem = spec.Names[wild] + " is a wildcard, and those are proved by DNS alone"
		w.Hint = "configure a DNS provider for the challenge dns-01, or use dns-persist-01"
	}
	return w
}

// misspelt says which issuer is meant where the one that is named is not described, and has almost the name of one that is: a typing error must not bring names to a public CA, for all to see,
// that were meant for one of the house. Other unknown names are those of resolvers from Traefik's days, and stand for the default issuer.
func misspelt(issuers []ruche.Issuer, spec ruche.CertificateSpec) string {
	if _, known := issuerNamed(issuers, spec.Issuer); known || spec.Issuer == "" || spec.Issuer == ruche.IssuerInternal || spec.Directory != "" {
		return ""
	}
	names := []string{ruche.IssuerInternal}
	for _, i := range issuers {
		names = append(names, i.Name)
	}
	return strictyaml.DidYouMean(spec.Issuer, names)
}

// dnsOf gives the DNS provider that a workload names, by Ruche's names, or says why it cannot be used. Whoever starts containers must not run programs here, nor read files.
func dnsOf(spec ruche.CertificateSpec) (*ruche.DNSProvider, error) {
	if spec.DNS == nil {
		return nil, nil
	}
	p, err := dns.Resolve(spec.DNS.Name, spec.DNS.Settings)
	if err == nil {
		err = dns.CheckDeclared(p)
	}
	if err != nil {
		return nil, err
	}
	p.Wait, p.Declared = cmp.Or(p.Wait, spec.DNS.Wait), true
	return &p, nil
}

// routeWant makes the want for one name of a route; ok is false when the route wants none.
func routeWant(in Input, r ruche.Route, name string) (w Want, ok bool) {
	spec := ruche.CertificateSpec{Names: []string{name}, Source: r.Source}
	mode := modeOf(r)
	switch mode {
	case ruche.TLSInternal:
		spec.Issuer = ruche.IssuerInternal
	case ruche.TLSACME:
	case ruche.TLSAuto:
		// The default issuer is there also where nobody has agreed to its terms, which an e-mail address tells.
		if i, configured := issuerNamed(in.Issuers, ruche.IssuerDefault); !configured || i.Email == "" && i.Directory != ruche.DirectoryInternal {
			return Want{}, false
		}
	default:
		return Want{}, false
	}
	w = wantOf(in, spec)
	w.Mode = mode
	if mode != ruche.TLSAuto {
		return w, true
	}
	served, byFile := servedBy(in, name)
	if byFile {
		return Want{}, false
	}
	// A CA with roots of its own is not a public one; it issues for what it likes.
	if w.Problem == "" && len(w.Terms.Bundle) == 0 && !w.Terms.Internal() {
		if w.Problem = notPublic(name); w.Problem != "" {
			w.Hint = "use tls: internal for it, or a CA of your own (--acme-ca, --acme-ca-bundle)"
		} else if isAddress(name) && w.Terms.Profile == "" {
			w.Problem, w.Hint = name+" is an address, and public CAs issue for those in a profile of their own alone", "ask for it by a certificate spec with the CA's profile, such as shortlived"
		}
	}
	if !served {
		w.Waiting = "no edge has said yet that it serves " + name
	}
	return w, true
}

// modeOf says how a route gets its certificate; TLSOff when it needs none of ours.
func modeOf(r ruche.Route) ruche.TLSMode {
	mode := r.TLS
	if mode == "" && r.Protocol == "" {
		mode = ruche.TLSAuto
	}
	switch {
	case r.Protocol == ruche.ProtocolUDP, r.HTTPSMethod == ruche.HTTPSNoHTTPS:
		return ruche.TLSOff
	case mode == ruche.TLSAuto && r.CertName != "": // a file is named, and no other certificate is meant
		return ruche.TLSOff
	}
	return mode
}

// servedBy says whether an edge serves the name, and whether all that do so have a file for it that is good: an edge without one needs another certificate.
func servedBy(in Input, name string) (served, byFile bool) {
	byFile = true
	keys := []string{name}
	if strings.Contains(name, ":") {
		keys = append(keys, "["+name+"]")
	}
	for _, edge := range in.Served {
		for _, key := range keys {
			s, ok := edge.Names[key]
			served = served || ok
			byFile = byFile && (!ok || s.Kind == ruche.CertificateFile && !s.Stopgap && s.NotAfter.After(in.Now) && !s.NotBefore.After(in.Now))
		}
	}
	return served, served && byFile
}

// RouteNames gives the names of a route that a certificate can have: exact ones and leading wildcards.
func RouteNames(r ruche.Route) []string {
	var hosts []string
	switch {
	case r.Match.Rule != "":
		parse := match.ParseRule
		if r.Protocol != "" {
			parse = match.ParseConnectionRule
		}
		rule, err := parse(r.Match.Rule)
		if err != nil {
			return nil // discovery says so
		}
		hosts, _ = rule.Hosts()
	case r.Match.Host != "":
		hosts = []string{r.Match.Host}
	}
	names := normalize(hosts)
	return slices.DeleteFunc(names, func(n string) bool { return checkNames([]string{n}) != "" })
}

// String says what the want is, for logs.
func (w Want) String() string {
	if len(w.Spec.Names) == 1 {
		return w.Spec.Names[0]
	}
	return fmt.Sprintf("%s and %d more", cmp.Or(strings.Join(w.Spec.Names[:min(1, len(w.Spec.Names))], ""), "no name"), max(len(w.Spec.Names)-1, 0))
}
