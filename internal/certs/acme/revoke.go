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
	"sync"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

const (
	// compromised is how long the revocation of a certificate whose key is not secret any more waits for its successor; CAs want it within a day.
	compromised = 24 * time.Hour
	retryRevoke = 5 * time.Minute
	// outOfService is how long a revocation waits at most, once there is a successor, for edges that say that they serve the old one: one that is away says so for good.
	outOfService = 2 * time.Minute
)

// revoke has certificates revoked that somebody asked for, as soon as their successors are served. Each is tried by itself: one that its CA does not revoke keeps none after it waiting.
func (t *term) revoke(ctx context.Context, v *view) {
	served := sync.OnceValue(t.fingerprints)
	for id, e := range v.states {
		for _, rv := range e.Value.Revoke {
			print := vault.Fingerprint(rv.Certificate)
			what := "revocation of " + id + " " + print
			at := latest(t.triedAgain(what), rv.Asked)
			if _, wanted := v.own[id]; !v.now.Before(at) && wanted {
				at = v.revocable(id, rv, func() bool { return served()[print] })
			}
			if v.now.Before(at) {
				v.at(at)
				continue
			}
			t.start(what, t.slots("revocation", rv.Directory, maxQuestions), t.poke, func() { t.tryRevoke(ctx, id, what, rv) })
		}
	}
}

// revocable is when a certificate that is wanted may be revoked: once it has a successor, and no edge says any more that it serves the old one.
func (v *view) revocable(id string, rv vault.Revocation, served func() bool) time.Time {
	stands := v.leaves[id].cert != nil && bytes.Equal(v.leaves[id].cert.Raw, rv.Certificate)
	switch {
	case stands && rv.Account == "" && rv.Directory != "": // its own key has to sign, which goes with the record
		return v.now
	case stands && rv.Reason == acmez.ReasonKeyCompromise:
		return rv.Asked.Add(compromised)
	case stands:
		return v.next // its successor's commit wakes us
	case served():
		return v.issued(id).Add(outOfService) // and so does what an edge says next
	}
	return v.now
}

// tryRevoke has one certificate revoked, and notes why if it is not.
func (t *term) tryRevoke(ctx context.Context, id, what string, rv vault.Revocation) {
	err := t.revokeOne(ctx, id, rv)
	if err == nil || ended(ctx, err) {
		return
	}
	t.log.Warn("a certificate was not revoked", slog.String("certificate", id), slog.Any("error", err))
	t.tryAgain(what, t.now().Add(retryRevoke))
	t.changeRevocation(ctx, id, rv, func(had *vault.Revocation) bool {
		changed := had.LastError != err.Error()
		had.LastError = err.Error()
		return changed
	})
}

// changeRevocation changes the wish that a certificate be revoked, or takes it back when fn is nil.
func (t *term) changeRevocation(ctx context.Context, id string, rv vault.Revocation, fn func(*vault.Revocation) bool) {
	err := t.states.change(ctx, id, func(st *vault.State) bool {
		all := slices.Clone(st.Revoke)
		n := slices.IndexFunc(all, func(o vault.Revocation) bool { return bytes.Equal(o.Certificate, rv.Certificate) })
		if n < 0 || fn != nil && !fn(&all[n]) {
			return false
		}
		if fn == nil {
			all = slices.Delete(all, n, n+1)
		}
		st.Revoke = all
		return true
	})
	t.complain(ctx, id, err)
}

// notRevoked warns of certificates that should be revoked and are not, although that was tried.
func (t *term) notRevoked(v *view) []ruche.Warning {
	var all []ruche.Warning
	for id, e := range v.states {
		for _, rv := range e.Value.Revoke {
			cert, err := x509.ParseCertificate(rv.Certificate)
			if rv.LastError == "" || err != nil {
				continue
			}
			severity := ruche.SeverityWarning
			if rv.Reason == acmez.ReasonKeyCompromise {
				severity = ruche.SeverityError
			}
			all = append(all, ruche.Warning{
				Code: ruche.CodeCertNotRevoked, Severity: severity, Subject: id + " " + cert.SerialNumber.Text(16),
				Message: fmt.Sprintf("the certificate %s of %s was to be revoked at %s, and is not: %s", cert.SerialNumber.Text(16), id, rv.Asked.UTC().Format(time.RFC3339), rv.LastError),
				Hint:    "it is tried again every five minutes until the certificate has ended; if its CA does not know it any more, there is nothing to be done",
			})
		}
	}
	return all
}

func (t *term) triedAgain(what string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.later[what]
}

func (t *term) tryAgain(what string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.later[what] = at
}

// fingerprints are those of the certificates that edges say they serve.
func (t *term) fingerprints() map[string]bool {
	all := make(map[string]bool)
	for _, row := range t.served.all() {
		for _, s := range row.Names {
			all[s.Fingerprint] = true
		}
	}
	return all
}

func (t *term) revokeOne(ctx context.Context, id string, rv vault.Revocation) error {
	cert, err := x509.ParseCertificate(rv.Certificate)
	if err != nil {
		return fmt.Errorf("the certificate cannot be read: %w", err)
	}
	if t.now().After(cert.NotAfter) {
		t.log.Info("a certificate has ended before it was revoked", slog.String("certificate", id), slog.String("serial", cert.SerialNumber.Text(16)))
		t.changeRevocation(ctx, id, rv, nil)
		return nil
	}
	if err := t.haveRevoked(ctx, id, rv, cert); err != nil {
		return err
	}
	t.log.Info("a certificate was revoked", slog.String("certificate", id), slog.String("serial", cert.SerialNumber.Text(16)), slog.Int("reason", rv.Reason))
	if err := t.markRevoked(ctx, id, rv); err != nil {
		return err
	}
	t.changeRevocation(ctx, id, rv, nil)
	return nil
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
		terms.Bundle, terms.Problem, terms.Declared = i.Bundle, i.Problem, true
	} else {
		terms.Declared = true
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
