package acme

import (
	"cmp"
	"context"
	"crypto/x509"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// makeInternal has a certificate made by Ruche's own authority. There is no journal: nothing is lost when it is done again.
func (t *term) makeInternal(ctx context.Context, w Want) error {
	if t.cfg.Internal == nil {
		return &failure{text: "there is no internal authority", hint: "make one: ruche ca init"}
	}
	r := &run{term: t, want: w, terms: w.Terms}
	had, _ := t.certificates.get(w.ID)
	sealed, err := r.newKey(had.Value)
	if err != nil {
		return err
	}
	key, err := t.open(vault.SealedFor(w.ID), sealed)
	if err != nil {
		return err
	}
	der, err := request(w.Spec.Names, key)
	if err != nil {
		return err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return err
	}
	spec := w.Spec
	spec.Profile = cmp.Or(spec.Profile, w.Terms.Profile)
	chain, err := t.cfg.Internal(ctx, spec, csr)
	if err != nil {
		return err
	}
	if err := check(chain, key, w.Spec.Names, t.now()); err != nil {
		return err
	}
	rec := vault.Record{
		Names: w.Spec.Names, Origin: vault.OriginInternal, Issuer: ruche.IssuerInternal, KeyType: w.Terms.KeyType, Chain: chain, Key: sealed, Issued: t.now(),
	}
	if err := t.commit(ctx, w.ID, rec); err != nil {
		return err
	}
	return t.succeeded(ctx, w.ID, rec, "")
}
