package ca

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// crossSign has each root certified by the one before it, for as long as that lasts: who knows only that one believes, until its end, also what is under the next. It reports whether there
// is something new.
func (a *Authority) crossSign(name string, r *Record) (changed bool) {
	for n := 1; n < len(r.Roots); n++ {
		next, old := &r.Roots[n], r.Roots[n-1]
		if next.Cross != nil || len(old.Key) == 0 || len(next.Key) == 0 {
			continue
		}
		cross, err := a.cross(*next, old)
		if err != nil { // roots are trusted without it
			a.cfg.Logger.Warn("cannot have the next root certified by the one before: who does not know it will not believe what it signs", "authority", name, "root", next.ID, "error", err)
			continue
		}
		if cross != nil {
			next.Cross, next.CrossBy, changed = cross, old.ID, true
		}
	}
	return changed
}

// cross gives a certificate of a root by another, or nothing when that has ended.
func (a *Authority) cross(of, by Issuer) ([]byte, error) {
	root, err := of.parse()
	if err != nil {
		return nil, err
	}
	old, err := by.parse()
	if err != nil {
		return nil, err
	}
	if !a.now().Before(old.cert.NotAfter) {
		return nil, nil
	}
	key, err := a.signer(by)
	if err != nil {
		return nil, err
	}
	c := root.cert
	template := &x509.Certificate{
		RawSubject: c.RawSubject, SubjectKeyId: c.SubjectKeyId, KeyUsage: c.KeyUsage, IsCA: true, BasicConstraintsValid: true,
		NotBefore: latest(c.NotBefore, old.cert.NotBefore), NotAfter: earliest(c.NotAfter, old.cert.NotAfter), CRLDistributionPoints: a.crlURL(by.ID),
		PermittedDNSDomainsCritical: c.PermittedDNSDomainsCritical, PermittedDNSDomains: c.PermittedDNSDomains, ExcludedDNSDomains: c.ExcludedDNSDomains,
		PermittedIPRanges: c.PermittedIPRanges, ExcludedIPRanges: c.ExcludedIPRanges,
		PermittedEmailAddresses: c.PermittedEmailAddresses, ExcludedEmailAddresses: c.ExcludedEmailAddresses,
	}
	template.SerialNumber, _ = newSerial()
	der, err := x509.CreateCertificate(rand.Reader, template, old.cert, c.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("cannot sign it as %s: %w", by.ID, err)
	}
	return der, nil
}

// crossed reports whether a root is known by the certificate of another that is good still.
func crossed(roots []Issuer, id string, now time.Time) bool {
	return slices.ContainsFunc(roots, func(i Issuer) bool { return i.CrossBy == id && goodUntil(i.Cross).After(now) })
}

// goodUntil is the end of a certificate; the zero time where it cannot be read.
func goodUntil(der []byte) time.Time {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return time.Time{}
	}
	return cert.NotAfter
}
