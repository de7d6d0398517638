package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Issue signs a request, and notes it in the log before anybody gets the certificate. Names are checked against the authority's constraints; the profile says lifetime
// and usages. An error that wraps ErrRefused is the requester's to mend, ErrNoAuthority the operator's.
func (a *Authority) Issue(ctx context.Context, r Request) (Issued, error) {
	p, n, subject, err := a.check(r)
	if err != nil {
		return Issued{}, fmt.Errorf("cannot issue a certificate: %w", err)
	}
	record, err := a.read(ctx, p.Authority)
	if err != nil {
		return Issued{}, err
	}
	now := a.now()
	by, err := record.Value.active(now)
	if err != nil {
		return Issued{}, fmt.Errorf("cannot issue a certificate of %q: %w (\"ruche ca status\" tells more)", p.Authority, err)
	}
	if err := n.allowedBy(by.cert); err != nil {
		return Issued{}, fmt.Errorf("cannot issue a certificate of %q: %w", p.Authority, err)
	}
	template, err := leafTemplate(r, p, n, subject)
	if err != nil {
		return Issued{}, fmt.Errorf("cannot issue a certificate: %w", err)
	}
	template.NotBefore = latest(now.Add(-backdate), by.cert.NotBefore)
	template.NotAfter = earliest(now.Add(p.Lifetime), by.cert.NotAfter)
	if end := r.NotAfter.UTC().Truncate(time.Second); !r.NotAfter.IsZero() {
		if !end.After(now) || end.After(now.Add(p.Lifetime)) {
			return Issued{}, fmt.Errorf("cannot issue a certificate: %w: it cannot end at %s (the profile %s allows at most %s from now)", ErrRefused, end.Format(time.RFC3339), p.Name, p.Lifetime)
		}
		template.NotAfter = earliest(template.NotAfter, end)
	}
	template.CRLDistributionPoints = a.crlURL(by.ID)
	return a.sign(ctx, r, template, n, &record.Value, by)
}

// sign signs what was checked, has the whole chain checked as others will, and notes it.
func (a *Authority) sign(ctx context.Context, r Request, template *x509.Certificate, n names, record *Record, by issuer) (Issued, error) {
	fail := func(err error) (Issued, error) {
		return Issued{}, fmt.Errorf("cannot issue a certificate: %w", err)
	}
	key, err := a.signer(by.Issuer)
	if err != nil {
		return fail(err)
	}
	number, serial := newSerial()
	template.SerialNumber = number
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, r.PublicKey, key)
	if err != nil {
		return fail(err)
	}
	if err := record.verify(der, by, a.now()); err != nil {
		return fail(err)
	}
	hash, err := keyHash(r.PublicKey)
	if err != nil {
		return fail(err)
	}
	e := Entry{
		Serial: serial, Names: n.all, Subject: template.Subject.CommonName, Profile: r.Profile, Issuer: by.ID, KeyHash: hash, Replaces: r.Replaces,
		Requester: r.Requester, Issued: a.now(), NotBefore: template.NotBefore, NotAfter: template.NotAfter,
	}
	if _, err := a.cfg.Issued.Create(ctx, serial, e); err != nil {
		return fail(fmt.Errorf("it cannot be noted: %w", err))
	}
	return Issued{Serial: serial, Chain: record.chain(der, by, a.now()), NotBefore: e.NotBefore, NotAfter: e.NotAfter}, nil
}

// chain is what goes with a certificate of an issuer: what is above it, and the root as the one before has certified it, for as long as somebody may know that one alone.
func (r *Record) chain(leaf []byte, by issuer, now time.Time) [][]byte {
	chain := append([][]byte{leaf, by.Certificate}, by.Above...)
	n := slices.IndexFunc(r.Roots, func(i Issuer) bool { return i.ID == by.Root })
	if n >= 0 && !goodUntil(r.Roots[n].Cross).Before(now) {
		chain = append(chain, r.Roots[n].Cross)
	}
	return chain
}

// verify checks a new certificate up to the root, so that none leaves that nobody would believe.
func (r *Record) verify(der []byte, by issuer, now time.Time) error {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	root, err := r.root(by.Root)
	if err != nil {
		return err
	}
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: leaf.ExtKeyUsage,
	}
	options.Roots.AddCert(root.cert)
	options.Intermediates.AddCert(by.cert)
	for _, above := range by.Above {
		cert, err := x509.ParseCertificate(above)
		if err != nil {
			return err
		}
		options.Intermediates.AddCert(cert)
	}
	if _, err := leaf.Verify(options); err != nil {
		return fmt.Errorf("%w: it would not be believed: %w", ErrRefused, err)
	}
	return nil
}

// check reads what can be told without the authority.
func (a *Authority) check(r Request) (p Profile, n names, subject string, err error) {
	if p, err = a.profile(r.Profile); err != nil {
		return p, n, "", err
	}
	if err = checkKey(r.PublicKey); err != nil {
		return p, n, "", err
	}
	if n, err = parseNames(r.Names, p.names); err != nil {
		return p, n, "", err
	}
	if subject, err = checkSubject(r.Subject, p, n); err != nil {
		return p, n, "", err
	}
	switch {
	case p.server() && len(n.all) == 0:
		return p, n, "", fmt.Errorf("%w: it has no name", ErrRefused)
	case len(n.all) == 0 && subject == "":
		return p, n, "", fmt.Errorf("%w: it has neither a name nor a subject", ErrRefused)
	}
	return p, n, subject, nil
}

// checkSubject gives the common name: the one that was asked for, else the first name that fits.
func checkSubject(given string, p Profile, n names) (string, error) {
	if given == "" {
		for _, name := range slices.Concat(n.dns, n.emails) {
			if len(name) <= maxSubject {
				return name, nil
			}
		}
		return "", nil
	}
	subject := strings.TrimSpace(given)
	switch {
	case subject == "" || len([]rune(subject)) > maxSubject || strings.ContainsFunc(subject, func(c rune) bool { return !unicode.IsPrint(c) }):
		return "", fmt.Errorf("%w: the subject must have 1 to %d characters that can be printed", ErrRefused, maxSubject)
	case p.server() && !slices.Contains(n.all, strings.ToLower(subject)):
		return "", fmt.Errorf("%w: the subject %q is none of its names, by which alone servers are known", ErrRefused, subject)
	}
	return subject, nil
}

// leafTemplate says what is in a certificate, but for its times and its serial.
func leafTemplate(r Request, p Profile, n names, subject string) (*x509.Certificate, error) {
	id, err := x509.MarshalPKIXPublicKey(r.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: subject}, SubjectKeyId: subjectKeyID(id),
		DNSNames: n.dns, IPAddresses: n.ips, EmailAddresses: n.emails, URIs: n.uris,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: p.Usages,
		BasicConstraintsValid: true,
	}
	if p.role != "" {
		template.Subject.OrganizationalUnit = []string{p.role}
	}
	if _, ok := r.PublicKey.(*rsa.PublicKey); ok && p.server() {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment // for TLS 1.2 without forward secrecy, which appliances still ask for
	}
	return template, nil
}

// IssueFor signs a certificate for servers with these names, as what renews the certificates of routes asks for it. The chain is in DER, without the root.
func (a *Authority) IssueFor(ctx context.Context, names []string, key crypto.PublicKey) (chain [][]byte, err error) {
	issued, err := a.Issue(ctx, Request{PublicKey: key, Names: names, Profile: ProfileServer, Requester: "routes"})
	return issued.Chain, err
}

// Lookup gives a certificate from the log. The error wraps ruche.ErrNotFound for an unknown serial.
func (a *Authority) Lookup(ctx context.Context, serial string) (Entry, error) {
	e, err := a.cfg.Issued.Get(ctx, normalSerial(serial))
	return e.Value, err
}

// normalSerial takes a serial in the forms that tools print: upper case, with colons, without zeros in front.
func normalSerial(serial string) string {
	text := strings.TrimLeft(strings.ToLower(strings.ReplaceAll(strings.TrimSpace(serial), ":", "")), "0")
	return strings.Repeat("0", max(0, 2*serialBytes-len(text))) + text
}
