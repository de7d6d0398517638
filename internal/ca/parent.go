package ca

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/ruche-project/ruche"
)

// askParent makes the key of an intermediate and the request for it, or gives the request that is open. The authority is made if it is not there; one with a root of its own goes over
// to the parent when the answer comes.
func (a *Authority) askParent(ctx context.Context, r ruche.AuthorityRequest) (ruche.AuthorityAnswer, error) {
	if len(r.Names) != 1 {
		return ruche.AuthorityAnswer{}, fmt.Errorf("%w: a request to a parent is for one authority, %d are named", ErrRefused, len(r.Names))
	}
	name := r.Names[0]
	_, err := a.cfg.Authorities.Create(ctx, name, Record{Organization: r.Organization, Permit: r.Permit, Parent: true, Created: a.now()})
	if err != nil && !errors.Is(err, ruche.ErrExists) {
		return ruche.AuthorityAnswer{}, err
	}
	var request []byte
	err = a.change(ctx, name, func(record *Record) (bool, error) {
		if record.Wanted != nil {
			request = record.Wanted.Request
			return false, nil
		}
		asked := *record // what it asks for counts when it is signed
		asked.Organization = cmp.Or(r.Organization, record.Organization)
		if len(r.Permit) > 0 {
			asked.Permit = r.Permit
		}
		wanted, err := a.want(name, &asked)
		record.Wanted, record.Number, request = wanted, asked.Number, wanted.Request
		return err == nil, err
	})
	return ruche.AuthorityAnswer{Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})}, err
}

func (a *Authority) want(name string, r *Record) (*Wanted, error) {
	id := r.newID(name, "i")
	key, sealed, err := a.newKey(id)
	if err != nil {
		return &Wanted{}, err
	}
	template, err := intermediateTemplate(name, id, r, key.Public())
	if err != nil {
		return &Wanted{}, err
	}
	extensions, err := a.extensions(template, key)
	if err != nil {
		return &Wanted{}, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: template.Subject, ExtraExtensions: extensions}, key)
	if err != nil {
		return &Wanted{}, err
	}
	return &Wanted{ID: id, Key: sealed, Request: request, Created: a.now(), Organization: r.Organization}, nil
}

// extensions are those that the request asks for: what it is to be, and what it is to be bound to. They are taken from a certificate with them, so that they are coded alike.
func (a *Authority) extensions(template *x509.Certificate, key crypto.Signer) ([]pkix.Extension, error) {
	sample := *template
	sample.SerialNumber, _ = newSerial()
	sample.NotBefore, sample.NotAfter = a.now(), a.now().Add(day)
	der, err := x509.CreateCertificate(rand.Reader, &sample, &sample, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	wanted := []asn1.ObjectIdentifier{{2, 5, 29, 15}, {2, 5, 29, 19}, {2, 5, 29, 30}, {2, 5, 29, 37}} // key usage, basic constraints, name constraints, extended key usage
	return slices.DeleteFunc(cert.Extensions, func(e pkix.Extension) bool {
		return !slices.ContainsFunc(wanted, e.Id.Equal)
	}), nil
}

// Import takes what the parent has signed: the intermediate first, those above it, and the root, in PEM.
func (a *Authority) Import(ctx context.Context, p ruche.ParentChain) error {
	fail := func(err error) error { return fmt.Errorf("cannot import the intermediate of %q: %w", p.Authority, err) }
	chain, err := parseChain(p.Chain)
	if err != nil {
		return fail(err)
	}
	err = a.change(ctx, p.Authority, func(r *Record) (bool, error) {
		if r.Wanted == nil {
			return false, fmt.Errorf("%w: no request is open (\"ruche ca init %s --parent\" makes one)", ErrRefused, p.Authority)
		}
		if err := a.checkChain(chain, r.Wanted); err != nil {
			return false, err
		}
		r.adopt(p.Authority, chain, a)
		return true, nil
	})
	if err != nil {
		return fail(err)
	}
	a.wake()
	return nil
}

func parseChain(text []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%w: the file has a block %q; give certificates alone", ErrRefused, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		chain = append(chain, cert)
	}
	if len(chain) < 2 {
		return nil, fmt.Errorf("%w: it has %d certificates; give the intermediate, those above it, and the root", ErrRefused, len(chain))
	}
	return chain, nil
}

// checkChain says why a chain cannot be used.
func (a *Authority) checkChain(chain []*x509.Certificate, w *Wanted) error {
	request, err := x509.ParseCertificateRequest(w.Request)
	if err != nil {
		return err
	}
	cert, root := chain[0], chain[len(chain)-1]
	now := a.now()
	const signs = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	switch {
	case !request.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(cert.PublicKey):
		return fmt.Errorf("%w: the first certificate is not for the key of the open request", ErrRefused)
	case !cert.IsCA || cert.KeyUsage&signs != signs:
		return fmt.Errorf("%w: the parent has signed no authority: it needs CA:TRUE and the usages keyCertSign and cRLSign", ErrRefused)
	case !bytes.Equal(root.RawIssuer, root.RawSubject) || root.CheckSignatureFrom(root) != nil:
		return fmt.Errorf("%w: the last certificate is no root; add it, it goes into the bundle of who trusts", ErrRefused)
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	options.Roots.AddCert(root)
	for _, above := range chain[1 : len(chain)-1] {
		options.Intermediates.AddCert(above)
	}
	if _, err := cert.Verify(options); err != nil {
		return fmt.Errorf("%w: the chain does not hold: %w", ErrRefused, err)
	}
	return nil
}

// adopt makes the intermediate of the open request the one that signs.
func (r *Record) adopt(name string, chain []*x509.Certificate, a *Authority) {
	root := chain[len(chain)-1]
	n := slices.IndexFunc(r.Roots, func(i Issuer) bool { return bytes.Equal(i.Certificate, root.Raw) })
	if n < 0 {
		r.Roots = append(r.Roots, Issuer{ID: r.newID(name, "r"), Certificate: root.Raw, From: a.now()})
		n = len(r.Roots) - 1
	}
	i := Issuer{ID: r.Wanted.ID, Certificate: chain[0].Raw, Key: r.Wanted.Key, Root: r.Roots[n].ID}
	for _, above := range chain[1 : len(chain)-1] {
		i.Above = append(i.Above, above.Raw)
	}
	r.Organization, r.Permit = r.Wanted.Organization, permitted(chain[0])
	r.Intermediates, r.Wanted, r.Parent = append(r.Intermediates, i), nil, true
}

// permitted is what an intermediate may sign for, as people write it.
func permitted(cert *x509.Certificate) []string {
	list := slices.Clone(cert.PermittedDNSDomains)
	for _, n := range cert.PermittedIPRanges {
		list = append(list, n.String())
	}
	return list
}
