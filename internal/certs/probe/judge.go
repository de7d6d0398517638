package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// describe tells what is in a certificate.
func describe(c *x509.Certificate) ruche.CheckedCertificate {
	sum := sha256.Sum256(c.Raw)
	return ruche.CheckedCertificate{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Names: namesOf(c), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		Key: keyName(c), Signature: c.SignatureAlgorithm.String(), Serial: c.SerialNumber.Text(16), Fingerprint: hex.EncodeToString(sum[:]),
		MustStaple: mustStaple(c), CRLs: c.CRLDistributionPoints,
	}
}

func namesOf(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

func keyName(c *x509.Certificate) string {
	switch k := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return c.PublicKeyAlgorithm.String()
}

func nameOf(c *x509.Certificate) string { return orText(c.Subject.CommonName, c.Subject.String()) }

func nameOfIssuer(c *x509.Certificate) string { return orText(c.Issuer.CommonName, c.Issuer.String()) }

func orText(name, full string) string {
	if name == "" {
		name = full
	}
	return fmt.Sprintf("%q", name)
}

// few lists names, of many the first ones.
func few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// span writes a duration in days, or hours where it is short.
func span(d time.Duration) string {
	if d < 4*day {
		return fmt.Sprintf("%d hours", int(d.Round(time.Minute).Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Round(time.Minute)/day))
}

// key looks at keys and signatures.
func (p *prober) key(sent []*x509.Certificate) {
	const shortest = 2048
	before := len(p.result.Findings)
	for i, c := range sent {
		what := "the certificate"
		if i > 0 {
			what = "the certificate of " + nameOf(c) + " in the chain"
		}
		if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() < shortest {
			p.add(checkKey, ruche.LevelError, "have one issued for a key of 2048 bits at least, or P-256", "%s has an RSA key of %d bits", what, k.N.BitLen())
		}
		switch c.SignatureAlgorithm {
		case x509.MD5WithRSA, x509.MD2WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
			if !selfSigned(c) || i == 0 { // nobody looks at a root's own signature
				p.add(checkKey, ruche.LevelError, "have it issued anew", "%s is signed with %s, which nobody accepts", what, c.SignatureAlgorithm)
			}
		}
	}
	if _, ok := sent[0].PublicKey.(ed25519.PublicKey); ok {
		p.add(checkKey, ruche.LevelWarning, "have one issued for a P-256 key", "browsers know no certificates with Ed25519 keys")
	}
	if len(p.result.Findings) == before {
		p.add(checkKey, ruche.LevelOK, "", "the key is %s, signed with %s", keyName(sent[0]), sent[0].SignatureAlgorithm)
	}
}

// mustStaple reports whether a certificate has the extension of RFC 7633 with the feature status_request.
func mustStaple(c *x509.Certificate) bool {
	oid := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}
	const statusRequest = 5
	for _, e := range c.Extensions {
		var features []int
		if e.Id.Equal(oid) {
			if _, err := asn1.Unmarshal(e.Value, &features); err == nil && slices.Contains(features, statusRequest) {
				return true
			}
		}
	}
	return false
}

// staple looks at the OCSP answer in the handshake, if there is to be one.
func (p *prober) staple(leaf *x509.Certificate) {
	switch stapled := p.result.TLS.Stapled; {
	case mustStaple(leaf) && !stapled:
		p.add(checkStaple, ruche.LevelError, "have a certificate issued without must-staple (ACME_OCSP=false): many CAs answer OCSP no more", "the certificate says that an OCSP answer is always stapled, and there is none: some clients refuse it")
	case stapled:
		p.add(checkStaple, ruche.LevelOK, "", "an OCSP answer is stapled; what it says is not looked at")
	default:
		p.add(checkStaple, ruche.LevelOK, "", "no OCSP answer is stapled, and none needs to be")
	}
}

// versions looks which versions of TLS are accepted.
func (p *prober) versions(ctx context.Context) {
	t := p.result.TLS
	t.Versions = []string{}
	for v := uint16(tls.VersionTLS10); v <= tls.VersionTLS13; v++ {
		if _, err := p.handshake(ctx, p.only(v, v)); err == nil {
			t.Versions = append(t.Versions, tls.VersionName(v))
		}
	}
	has := func(v uint16) bool { return slices.Contains(t.Versions, tls.VersionName(v)) }
	before := len(p.result.Findings)
	if has(tls.VersionTLS10) || has(tls.VersionTLS11) {
		p.add(checkVersions, ruche.LevelWarning, "accept TLS 1.2 and 1.3 alone (RFC 8996)", "old versions are accepted: %s", strings.Join(t.Versions, ", "))
	}
	if !has(tls.VersionTLS13) {
		p.add(checkVersions, ruche.LevelNote, "accept TLS 1.3 too: it is faster, and the only one with post-quantum key exchange", "TLS 1.3 is not accepted, but %s", strings.Join(t.Versions, ", "))
	}
	if len(p.result.Findings) == before {
		p.add(checkVersions, ruche.LevelOK, "", "accepted are %s", strings.Join(t.Versions, ", "))
	}
}

func postQuantum(c tls.CurveID) bool {
	return slices.Contains([]tls.CurveID{tls.X25519MLKEM768, tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024}, c)
}

// exchange looks at the key exchange and the cipher.
func (p *prober) exchange() {
	t := p.result.TLS
	weak := slices.ContainsFunc(tls.InsecureCipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == t.Cipher })
	switch {
	case weak:
		p.add(checkExchange, ruche.LevelWarning, "prefer ciphers with AEAD and ECDHE", "the cipher %s is weak", t.Cipher)
	case !t.PostQuantum:
		p.add(checkExchange, ruche.LevelNote, "let the server offer X25519MLKEM768", "the key exchange %s can be broken by a quantum computer, also later, of what is recorded today", t.KeyExchange)
	default:
		p.add(checkExchange, ruche.LevelOK, "", "the key exchange is %s, the cipher %s", t.KeyExchange, t.Cipher)
	}
}

// session looks whether sessions are resumed.
func (p *prober) session(ctx context.Context) {
	t := p.result.TLS
	t.Resumes = p.resumes(ctx)
	switch {
	case t.Resumes:
		p.add(checkSession, ruche.LevelOK, "", "a second connection goes on with the session of a first one")
	default:
		p.add(checkSession, ruche.LevelNote, "share the keys of session tickets among all servers of the name", "sessions are not resumed: each connection costs a whole handshake")
	}
	if t.ClientCertificate {
		p.add(checkSession, ruche.LevelNote, "", "the server asks clients for a certificate; none was given")
	}
}
