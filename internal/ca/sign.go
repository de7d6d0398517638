package ca

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"time"

	"github.com/ruche-project/ruche"
)

const (
	rootLifetime         = 3650 * day
	intermediateLifetime = 90 * day
	// backdate lets verifiers in whose clock is behind.
	backdate = time.Hour
	// serialBytes: 128 random bits; RFC 5280 section 4.1.2.2 allows 20 octets.
	serialBytes = 16
)

// newSerial makes a serial, also as the log names it.
func newSerial() (*big.Int, string) {
	raw := make([]byte, serialBytes)
	_, _ = rand.Read(raw) // never fails
	n := new(big.Int).SetBytes(raw)
	return n, serialText(n)
}

func serialText(n *big.Int) string { return fmt.Sprintf("%0*x", 2*serialBytes, n) }

// keyHash is the SHA-256 of a public key's SubjectPublicKeyInfo, in hexadecimal digits.
func keyHash(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// subjectKeyID is what RFC 7093 section 2 has as method 4, the hash of the SubjectPublicKeyInfo, cut to 160 bits.
func subjectKeyID(info []byte) []byte {
	sum := sha256.Sum256(info)
	return sum[:20]
}

// issuerName names an issuer so that those of several installations are told apart.
func issuerName(organization, authority, kind, id string, key crypto.PublicKey) (pkix.Name, error) {
	hash, err := keyHash(key)
	if err != nil {
		return pkix.Name{}, err
	}
	return pkix.Name{Organization: []string{cmp.Or(organization, "Ruche")}, CommonName: fmt.Sprintf("%s %s %s %s", authority, kind, id[len(authority)+1:], hash[:8])}, nil
}

// makeRoot makes a root whose turn is at from.
func (a *Authority) makeRoot(name string, r *Record, from time.Time) error {
	id := r.newID(name, "r")
	key, sealed, err := a.newKey(id)
	if err != nil {
		return fmt.Errorf("cannot make a root of %q: %w", name, err)
	}
	now := a.now()
	serial, _ := newSerial()
	template := &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    now.Add(-backdate), NotAfter: now.Add(rootLifetime),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true,
	}
	if template.Subject, err = issuerName(r.Organization, name, "root", id, key.Public()); err != nil {
		return fmt.Errorf("cannot make a root of %q: %w", name, err)
	}
	permit, err := parsePermit(r.Permit)
	if err != nil {
		return fmt.Errorf("cannot make a root of %q: %w", name, err)
	}
	permit.constrain(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("cannot make a root of %q: %w", name, err)
	}
	r.Roots = append(r.Roots, Issuer{ID: id, Certificate: der, Key: sealed, From: from, Made: now})
	return nil
}

func (r *Record) newID(name, kind string) string {
	r.Number++
	return fmt.Sprintf("%s-%s%d", name, kind, r.Number)
}

// makeIntermediate makes an intermediate under the root that signs now.
func (a *Authority) makeIntermediate(name string, r *Record) error {
	now := a.now()
	root, err := r.signing(now)
	if err != nil {
		return err
	}
	rootKey, err := a.signer(root.Issuer)
	if err != nil {
		return err
	}
	id := r.newID(name, "i")
	key, sealed, err := a.newKey(id)
	if err != nil {
		return err
	}
	template, err := intermediateTemplate(name, id, r, key.Public())
	if err != nil {
		return err
	}
	template.SerialNumber, _ = newSerial()
	template.NotBefore, template.NotAfter = latest(now.Add(-backdate), root.cert.NotBefore), earliest(now.Add(intermediateLifetime), root.cert.NotAfter)
	template.CRLDistributionPoints = a.crlURL(root.ID)
	der, err := x509.CreateCertificate(rand.Reader, template, root.cert, key.Public(), rootKey)
	if err != nil {
		return err
	}
	r.Intermediates = append(r.Intermediates, Issuer{ID: id, Certificate: der, Key: sealed, Root: root.ID, Made: now})
	return nil
}

// intermediateTemplate says what an intermediate of an authority may do.
func intermediateTemplate(name, id string, r *Record, key crypto.PublicKey) (*x509.Certificate, error) {
	permit, err := parsePermit(r.Permit)
	if err != nil {
		return nil, err
	}
	subject, err := issuerName(r.Organization, name, "intermediate", id, key)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: subject, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if name == ruche.AuthorityClients {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	permit.constrain(template)
	return template, nil
}

// crlURL is where the list of what an issuer has revoked is reached.
func (a *Authority) crlURL(id string) []string {
	if a.cfg.URL == "" {
		return nil
	}
	return []string{a.cfg.URL + "/ca/" + id + ".crl"}
}

// now is the time in the resolution of certificates.
func (a *Authority) now() time.Time { return a.cfg.Now().UTC().Truncate(time.Second) }

const (
	minRSA = 2048
	maxRSA = 8192
)

// checkKey refuses keys that are weak, or that verifiers do not take.
func checkKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits >= minRSA && bits <= maxRSA && k.E >= 65537 && k.E%2 == 1 {
			return nil
		}
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("%w: the key is none of ECDSA on P-256 or P-384, RSA of %d to %d bits, Ed25519", ErrRefused, minRSA, maxRSA)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
