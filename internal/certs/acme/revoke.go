package acme

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

const (
	// compromised is how long the revocation of a certificate whose key is not secret any more waits for its successor; CAs want it within a day.
	compromised = 24 * time.Hour
	retryRevoke = 5 * time.Minute
)

// revoke has certificates revoked that somebody asked for, as soon as their successors are served.
func (t *term) revoke(ctx context.Context, v *view) {
	for id, e := range v.states {
		if len(e.Value.Revoke) == 0 {
			continue
		}
		if at := t.triedAgain(id); v.now.Before(at) {
			v.at(at)
			continue
		}
		rv := e.Value.Revoke[0]
		if v.now.Before(rv.Asked) {
			v.at(rv.Asked)
			continue
		}
		_, wanted := v.own[id]
		stands := v.leaves[id].cert != nil && bytes.Equal(v.leaves[id].cert.Raw, rv.Certificate)
		if wanted && stands && (rv.Account != "" || rv.Directory == "") {
			urgent := rv.Reason == acmez.ReasonKeyCompromise && v.now.After(rv.Asked.Add(compromised))
			if !urgent {
				continue // its successor's commit wakes us
			}
		}
		revision := v.records[id].Revision
		t.start("revocation of "+id, t.slots("revocation", rv.Directory, maxQuestions), t.poke, func() {
			err := t.revokeOne(ctx, id, rv, revision)
			if err == nil || ended(ctx, err) {
				return
			}
			t.log.Warn("a certificate was not revoked", slog.String("certificate", id), slog.Any("error", err))
			t.mu.Lock()
			t.later[id] = t.now().Add(retryRevoke)
			t.mu.Unlock()
			t.note(ctx, id, "cannot revoke: "+err.Error(), e.Value.NextTry)
		})
	}
}

func (t *term) triedAgain(id string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.later[id]
}

func (t *term) revokeOne(ctx context.Context, id string, rv vault.Revocation, revision int64) error {
	cert, err := x509.ParseCertificate(rv.Certificate)
	if err != nil {
		return fmt.Errorf("the certificate cannot be read: %w", err)
	}
	if revision > 0 {
		t.published(ctx, revision) // edges have the successor before the old one is worth nothing
	}
	if err := t.haveRevoked(ctx, id, rv, cert); err != nil {
		return err
	}
	t.log.Info("a certificate was revoked", slog.String("certificate", id), slog.String("serial", cert.SerialNumber.Text(16)), slog.Int("reason", rv.Reason))
	if err := t.markRevoked(ctx, id, rv); err != nil {
		return err
	}
	return t.states.change(ctx, id, func(st *vault.State) bool {
		st.Revoke = slices.DeleteFunc(slices.Clone(st.Revoke), func(o vault.Revocation) bool { return bytes.Equal(o.Certificate, rv.Certificate) })
		return true
	})
}

// haveRevoked has the CA revoke a certificate.
func (t *term) haveRevoked(ctx context.Context, id string, rv vault.Revocation, cert *x509.Certificate) error {
	if rv.Directory == "" {
		if t.cfg.RevokeInternal == nil {
			return errors.New("there is no internal authority")
		}
		return t.cfg.RevokeInternal(ctx, cert, rv.Reason)
	}
	terms, account, key, err := t.revoker(id, rv)
	if err != nil {
		return err
	}
	client, err := t.client(ctx, terms)
	if err != nil {
		return err
	}
	c := &call{}
	err = client.RevokeCertificate(withCall(ctx, c), account, cert, key, rv.Reason)
	if err != nil && problemKind(err) != "alreadyRevoked" {
		return explain(err, c)
	}
	return nil
}

// revoker says who signs the revocation: the account that ordered the certificate, or else the certificate's own key (RFC 8555 section 7.6).
func (t *term) revoker(id string, rv vault.Revocation) (terms Terms, account acmez.Account, key crypto.Signer, err error) {
	terms.Directory = rv.Directory
	issuers := t.issuers()
	if n := slices.IndexFunc(issuers, func(i ruche.Issuer) bool { return i.Directory == rv.Directory }); n >= 0 {
		terms.Issuer = issuers[n]
	} else if i, ok := issuerNamed(issuers, ruche.IssuerDefault); ok {
		terms.Bundle, terms.Problem = i.Bundle, i.Problem
	}
	if terms.Problem != "" { // the roots by which the CA is known may be missing
		return terms, account, nil, errors.New(terms.Problem)
	}
	if row, ok := t.accounts.get(rv.Account); ok && rv.Account != "" {
		signer, err := t.open(vault.AccountSealedFor(rv.Account), row.Value.Key)
		return terms, acmez.Account{Location: row.Value.URL, PrivateKey: signer}, nil, err
	}
	rec, _ := t.certificates.get(id)
	if leaf, err := rec.Value.Leaf(); err != nil || !bytes.Equal(leaf.Raw, rv.Certificate) {
		return terms, account, nil, fmt.Errorf("neither the account that ordered the certificate nor its key is here any more (the CA's support can revoke it)")
	}
	key, err = t.open(vault.SealedFor(id), rec.Value.Key)
	return terms, account, key, err
}

// markRevoked notes that the record was revoked, if it still is the one.
func (t *term) markRevoked(ctx context.Context, id string, rv vault.Revocation) error {
	return t.certificates.change(ctx, id, func(r *vault.Record) bool {
		if len(r.Chain) == 0 || !bytes.Equal(r.Chain[0], rv.Certificate) {
			return false
		}
		r.Revoked, r.Retired = t.now(), t.now()
		return true
	})
}
