package probe

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
)

// identities are how CAs call themselves in CAA records, by the organisation in their certificates, as their documents have it (2026).
func identities() map[string][]string {
	return map[string][]string{
		"Let's Encrypt":         {"letsencrypt.org"},
		"Google Trust Services": {"pki.goog"},
		"ZeroSSL":               {"sectigo.com"},
		"Sectigo Limited":       {"sectigo.com", "comodoca.com"},
		"DigiCert":              {"digicert.com", "www.digicert.com"},
		"GlobalSign nv-sa":      {"globalsign.com"},
		"Buypass AS-983163327":  {"buypass.com", "buypass.no"},
		"Amazon":                {"amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com"},
		"SSL Corporation":       {"ssl.com"},
		"Actalis S.p.A.":        {"actalis.it"},
		"Hellenic Academic and Research Institutions CA": {"harica.gr"},
	}
}

// identitiesOf gives those of the CA of a certificate; none when it is not known.
func identitiesOf(leaf *x509.Certificate) []string {
	for organisation, names := range identities() {
		for _, o := range leaf.Issuer.Organization {
			if strings.HasPrefix(o, organisation) {
				return names
			}
		}
	}
	return nil
}

// caa looks whether the DNS lets the CA issue that did. If not, the next renewal fails.
func (p *prober) caa(ctx context.Context, leaf *x509.Certificate) {
	name := strings.TrimSuffix(p.target.ServerName, ".")
	if p.Resolver == nil || net.ParseIP(name) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	set, err := p.Resolver.CAA(ctx, name)
	switch {
	case err != nil:
		p.add(checkCAA, ruche.LevelNote, "look at the name servers of the domain: CAs refuse to issue when they get no answer", "the CAA records of %s are not known: %v", name, err)
		return
	case len(set) == 0:
		p.add(checkCAA, ruche.LevelOK, "", "no CAA record says which CA may issue for %s: every one may", name)
		return
	}
	records := make([]string, 0, len(set))
	for _, c := range set {
		records = append(records, fmt.Sprint(c))
	}
	cas := identitiesOf(leaf)
	if len(cas) == 0 {
		p.add(checkCAA, ruche.LevelOK, "", "the CAA records of %s are %s; how %s calls itself in them is not known here", name, few(records), nameOfIssuer(leaf))
		return
	}
	reason, err := p.Resolver.Forbids(ctx, dns.Request{Name: name, CAs: cas})
	if err == nil && reason != "" {
		p.add(checkCAA, ruche.LevelWarning, fmt.Sprintf("add the record %s. IN CAA 0 issue %q, or have the certificate issued by a CA that may", name, cas[0]),
			"the CA that issued the certificate may not do so again: %s", reason)
		return
	}
	p.add(checkCAA, ruche.LevelOK, "", "the CAA records of %s let %s issue", name, cas[0])
}
