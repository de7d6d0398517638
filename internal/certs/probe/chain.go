package probe

import (
	"bytes"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// chain looks whether the certificates lead to a root that is trusted, and are sent as they ought to be (RFC 8446 section 4.4.2).
func (p *prober) chain(sent []*x509.Certificate) {
	leaf := sent[0]
	pool := x509.NewCertPool()
	for _, c := range sent[1:] {
		pool.AddCert(c)
	}
	// What has ended is said elsewhere: here it is looked at as if it were good still.
	at := p.Now()
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	} else if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: p.Roots, Intermediates: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		p.untrusted(sent, err)
		return
	}
	before := len(p.result.Findings)
	if !inOrder(sent) {
		p.add(checkChain, ruche.LevelWarning, "send the certificate first, then each one's issuer", "the chain is sent in the wrong order, or has others between: some clients refuse that")
	}
	for i, c := range sent[1:] {
		switch {
		case selfSigned(c):
			p.add(checkChain, ruche.LevelNote, "leave it away: clients have it, or do not believe it", "the root %s is sent too", nameOf(c))
		case slices.ContainsFunc(sent[:i+1], c.Equal):
			p.add(checkChain, ruche.LevelNote, "send each certificate once", "the certificate of %s is sent twice", nameOf(c))
		case !slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool { return slices.ContainsFunc(chain, c.Equal) }) && !signsOne(c, sent):
			p.add(checkChain, ruche.LevelNote, "leave it away", "the certificate of %s is sent, and belongs to nothing", nameOf(c))
		}
	}
	if len(p.result.Findings) == before {
		root := nameOf(chains[0][len(chains[0])-1])
		if len(sent) == 1 {
			p.add(checkChain, ruche.LevelOK, "", "the certificate alone is sent, and is of the root %s itself", root)
		} else {
			p.add(checkChain, ruche.LevelOK, "", "%d certificates are sent, in order, and lead to the root %s", len(sent), root)
		}
	}
}

// untrusted says why a chain leads to no root.
func (p *prober) untrusted(sent []*x509.Certificate, err error) {
	leaf := sent[0]
	top := topOf(sent)
	private := `if this is a CA of your own, let this command know it: SSL_CERT_FILE=ca.pem ruche certs check ...`
	var unknown x509.UnknownAuthorityError
	switch {
	case selfSigned(leaf):
		p.add(checkChain, ruche.LevelError, "have a certificate issued by a CA", "the certificate is self-signed")
	case errors.As(err, &unknown) && top == leaf:
		hint := "send the whole chain (fullchain.pem, not cert.pem); nothing is fetched here, and by many clients neither"
		if len(leaf.IssuingCertificateURL) > 0 {
			hint += ": it is at " + leaf.IssuingCertificateURL[0]
		}
		p.add(checkChain, ruche.LevelError, hint, "the chain is incomplete: the certificate of the issuer %s is not sent", nameOfIssuer(leaf))
	case errors.As(err, &unknown) && selfSigned(top):
		p.add(checkChain, ruche.LevelError, private, "the root %s is not trusted here", nameOf(top))
	case errors.As(err, &unknown):
		p.add(checkChain, ruche.LevelError, private+"; else the chain may be incomplete", "the chain ends at %s, whose issuer %s is not trusted here, or not sent", nameOf(top), nameOfIssuer(top))
	default:
		p.add(checkChain, ruche.LevelError, "have the certificate issued anew", "the chain is not good: %v", err)
	}
}

// inOrder reports whether each certificate is signed by the next one.
func inOrder(sent []*x509.Certificate) bool {
	for i := range len(sent) - 1 {
		if !bytes.Equal(sent[i].RawIssuer, sent[i+1].RawSubject) {
			return false
		}
	}
	return true
}

// topOf follows the issuers that were sent.
func topOf(sent []*x509.Certificate) *x509.Certificate {
	top := sent[0]
	for range sent {
		i := slices.IndexFunc(sent, func(c *x509.Certificate) bool { return signs(c, top) && !c.Equal(top) })
		if i < 0 {
			break
		}
		top = sent[i]
	}
	return top
}

func signs(issuer, c *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(issuer) == nil
}

func signsOne(c *x509.Certificate, sent []*x509.Certificate) bool {
	return slices.ContainsFunc(sent, func(other *x509.Certificate) bool { return !other.Equal(c) && signs(c, other) })
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// name looks whether the certificate is good for the name that was asked for.
func (p *prober) name(leaf *x509.Certificate) {
	names := namesOf(leaf)
	err := leaf.VerifyHostname(hostOf(p.target.ServerName))
	switch {
	case err == nil:
		p.add(checkName, ruche.LevelOK, "", "the certificate is good for %s", p.target.ServerName)
	case len(names) == 0:
		p.add(checkName, ruche.LevelError, "have one issued with the name as a subject alternative name", "the certificate names no host at all: its common name %q does not count", leaf.Subject.CommonName)
	default:
		p.add(checkName, ruche.LevelError, "publish the name with a certificate of its own, or ask for another name (--server-name)", "the certificate is not good for %s, but for %s", p.target.ServerName, few(names))
	}
}

// hostOf gives a name as VerifyHostname wants it.
func hostOf(name string) string {
	if net.ParseIP(name) != nil {
		return "[" + name + "]"
	}
	return strings.TrimSuffix(name, ".")
}

// margin is how much of a certificate of some lifetime is left at least, when it is renewed as it ought to be.
type margin struct{ lifetime, warn, critical time.Duration }

const day = 24 * time.Hour

// margins are in the order of lifetimes up to which they hold.
func margins() []margin {
	return []margin{
		{2 * day, 6 * time.Hour, 3 * time.Hour},
		{10 * day, 40 * time.Hour, day},
		{50 * day, 8 * day, 4 * day},
		{70 * day, 11 * day, 5 * day},
		{100 * day, 15 * day, 7 * day},
	}
}

// marginOf gives that of a lifetime. Certificates that live for long are renewed by hand, which takes time.
func marginOf(lifetime time.Duration) margin {
	for _, m := range margins() {
		if lifetime <= m.lifetime {
			return m
		}
	}
	return margin{lifetime, 30 * day, 7 * day}
}

// validity looks at the time that is left, of all certificates that were sent, by how long they live.
func (p *prober) validity(sent []*x509.Certificate) {
	const renew = "have it renewed; if Ruche is to do that, ruche explain says why it does not"
	leaf, now := sent[0], p.Now()
	lifetime, left := leaf.NotAfter.Sub(leaf.NotBefore), leaf.NotAfter.Sub(now)
	m := marginOf(lifetime)
	switch {
	case left < 0:
		p.add(checkValidity, ruche.LevelError, renew, "the certificate has ended on %s", date(leaf.NotAfter))
	case now.Before(leaf.NotBefore):
		p.add(checkValidity, ruche.LevelError, "look at the clock of this host", "the certificate begins on %s only", date(leaf.NotBefore))
	case left < m.critical:
		p.add(checkValidity, ruche.LevelError, renew, "the certificate ends on %s, in %s; of one for %s that is far too little", date(leaf.NotAfter), span(left), span(lifetime))
	case left < m.warn:
		p.add(checkValidity, ruche.LevelWarning, renew, "the certificate ends on %s, in %s: one for %s ought to have been renewed", date(leaf.NotAfter), span(left), span(lifetime))
	default:
		p.add(checkValidity, ruche.LevelOK, "", "the certificate is good until %s, for %s of %s", date(leaf.NotAfter), span(left), span(lifetime))
	}
	for _, c := range sent[1:] {
		switch {
		case now.After(c.NotAfter):
			p.add(checkValidity, ruche.LevelWarning, "send the chain that the CA gives today", "the certificate of %s in the chain has ended on %s", nameOf(c), date(c.NotAfter))
		case c.NotAfter.Before(leaf.NotAfter) && !selfSigned(c):
			p.add(checkValidity, ruche.LevelWarning, "send the chain that the CA gives today", "the certificate of %s in the chain ends on %s, before the server's own", nameOf(c), date(c.NotAfter))
		}
	}
}
