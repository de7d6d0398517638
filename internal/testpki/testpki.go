// Package testpki makes authorities, certificates and revocation lists for tests: good ones, and ones that are wrong in one way.
package testpki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	t           testing.TB
	Certificate *x509.Certificate
	parent      *Authority // nil: a root
	key         *ecdsa.PrivateKey
}

// New makes a root.
func New(t testing.TB, name string) *Authority {
	t.Helper()
	a := &Authority{t: t}
	a.Certificate, a.key = a.sign(authorityTemplate(name), a)
	return a
}

// Intermediate makes an authority below this one.
func (a *Authority) Intermediate(name string) *Authority {
	a.t.Helper()
	below := &Authority{t: a.t, parent: a}
	below.Certificate, below.key = a.sign(authorityTemplate(name), below)
	return below
}

func authorityTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// sign makes a certificate with a new key, for who may be the authority itself.
func (a *Authority) sign(template *x509.Certificate, owner *Authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	must(a.t, err)
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	parent, signer := a.Certificate, a.key
	if owner == a {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(a.t, err)
	made, err := x509.ParseCertificate(der)
	must(a.t, err)
	return made, key
}

// Leaf says what a certificate is to be.
type Leaf struct {
	Name      string // the subject's common name
	Hosts     []string
	Server    bool // it is for servers, else for clients
	Life      time.Duration
	OmitChain bool // intermediates are left out
}

// Issue makes a certificate, with the intermediates above it. Without a Life it is good for an hour; a negative one has ended.
func (a *Authority) Issue(l Leaf) tls.Certificate {
	a.t.Helper()
	if l.Life == 0 {
		l.Life = time.Hour
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: l.Name}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(l.Life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if l.Server {
		template.ExtKeyUsage[0] = x509.ExtKeyUsageServerAuth
	}
	for _, host := range l.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	leaf, key := a.sign(template, nil)
	made := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for above := a; above.parent != nil && !l.OmitChain; above = above.parent {
		made.Certificate = append(made.Certificate, above.Certificate.Raw)
	}
	return made
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte { return encode("CERTIFICATE", a.Certificate.Raw) }

// Pool is a set with the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

// Revoke makes a revocation list, PEM, that ends after so long; a negative time has passed.
func (a *Authority) Revoke(life time.Duration, revoked ...tls.Certificate) []byte {
	a.t.Helper()
	return a.List(&x509.RevocationList{ThisUpdate: time.Now().Add(-48 * time.Hour), NextUpdate: time.Now().Add(life)}, revoked...)
}

// List makes a revocation list, PEM, of a template.
func (a *Authority) List(template *x509.RevocationList, revoked ...tls.Certificate) []byte {
	a.t.Helper()
	template.Number = big.NewInt(time.Now().UnixNano())
	for _, c := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.Certificate, a.key)
	must(a.t, err)
	return encode("X509 CRL", der)
}

// Files are a certificate with its chain, and its key, PEM.
func Files(t testing.TB, c tls.Certificate) (chain, key []byte) {
	t.Helper()
	for _, der := range c.Certificate {
		chain = append(chain, encode("CERTIFICATE", der)...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	must(t, err)
	return chain, encode("PRIVATE KEY", der)
}

// Chain is the certificates of a chain.
func Chain(t testing.TB, c tls.Certificate) (chain []*x509.Certificate) {
	t.Helper()
	for _, der := range c.Certificate {
		parsed, err := x509.ParseCertificate(der)
		must(t, err)
		chain = append(chain, parsed)
	}
	return chain
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
