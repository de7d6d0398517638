package acme

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/plan"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// Renew asks for a new certificate in place of the one under id, from a time on. reason is kept for people; with vault.ReasonKeyCompromise the key is not used again. It returns
// when the wish is written; who leads fulfils it. Without such a certificate the error wraps ruche.ErrNotFound.
func (e *Engine) Renew(ctx context.Context, id string, at time.Time, reason string) error {
	if _, err := e.cfg.Buckets.Certificates.Get(ctx, id); err != nil {
		return fmt.Errorf("cannot renew certificate %s: %w (ruche certs list shows them)", id, err)
	}
	return e.setState(ctx, id, func(st *vault.State) { st.Asked, st.Reason = at, reason })
}

// Reasons are those of RFC 5280 section 5.3.1 that public CAs take from their customers.
func Reasons() map[string]int {
	return map[string]int{
		"unspecified": acmez.ReasonUnspecified, vault.ReasonKeyCompromise: acmez.ReasonKeyCompromise,
		"superseded": acmez.ReasonSuperseded, "cessation-of-operation": acmez.ReasonCessationOfOperation,
	}
}

// Revoke asks for the certificate under id to be revoked, from a time on, for one of Reasons. If it is wanted, another one with another key takes its place first. It returns
// when the wish is written; who leads fulfils it.
func (e *Engine) Revoke(ctx context.Context, id string, at time.Time, reason string) error {
	code, ok := Reasons()[reason]
	if !ok {
		return fmt.Errorf("cannot revoke certificate %s: %q is no reason that CAs take (%s are)", id, reason, strings.Join(slices.Sorted(maps.Keys(Reasons())), ", "))
	}
	entry, err := e.cfg.Buckets.Certificates.Get(ctx, id)
	if err != nil {
		return fmt.Errorf("cannot revoke certificate %s: %w (ruche certs list shows them)", id, err)
	}
	rec := entry.Value
	switch {
	case rec.Origin == vault.OriginInternal:
		return fmt.Errorf("cannot revoke certificate %s: it is one of Ruche's own authority (ruche ca revoke)", id)
	case rec.Directory == "":
		return fmt.Errorf("cannot revoke certificate %s: it was imported without its CA's directory", id)
	case rec.Account == "" && code != acmez.ReasonKeyCompromise:
		return fmt.Errorf("cannot revoke certificate %s: it was imported, so that its own key has to sign, and CAs take that for %s alone", id, vault.ReasonKeyCompromise)
	case !rec.Revoked.IsZero():
		return fmt.Errorf("cannot revoke certificate %s: it was revoked at %s", id, rec.Revoked.UTC().Format(time.RFC3339))
	}
	return e.setState(ctx, id, func(st *vault.State) {
		known := slices.ContainsFunc(st.Revoke, func(o vault.Revocation) bool { return slices.Equal(o.Certificate, rec.Chain[0]) })
		if !known {
			st.Revoke = append(st.Revoke, vault.Revocation{Certificate: rec.Chain[0], Directory: rec.Directory, Account: rec.Account, Reason: code, Asked: at})
		}
		st.Asked, st.Reason = at, vault.ReasonKeyCompromise // of a revoked certificate the key is not used again
	})
}

// Selection says which certificates are meant: all that fit each field that is set. The zero value fits none.
type Selection struct {
	Issuer string // name of an issuer, or the URL of its directory
	Key    string // SHA-256 of the public key (SubjectPublicKeyInfo), in hexadecimal digits
	Serial string // in hexadecimal digits
}

func (s Selection) fits(rec vault.Record) bool {
	leaf, err := rec.Leaf()
	if err != nil || s == (Selection{}) {
		return false
	}
	key := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return (s.Issuer == "" || s.Issuer == rec.Issuer || s.Issuer == rec.Directory) &&
		(s.Key == "" || strings.EqualFold(s.Key, hex.EncodeToString(key[:]))) &&
		(s.Serial == "" || strings.EqualFold(strings.TrimLeft(s.Serial, "0"), leaf.SerialNumber.Text(16)))
}

// Replace asks for new certificates in place of all selected ones, spread over a time from now on, and gives their IDs.
func (e *Engine) Replace(ctx context.Context, which Selection, over time.Duration, reason string) ([]string, error) {
	records, err := e.cfg.Buckets.Certificates.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot replace certificates: %w", err)
	}
	var ids []string
	now := e.now()
	for _, id := range slices.Sorted(maps.Keys(records)) {
		rec := records[id].Value
		if !rec.Retired.IsZero() || !which.fits(rec) {
			continue
		}
		if err := e.setState(ctx, id, func(st *vault.State) { st.Asked, st.Reason = plan.Spread(id, now, over), reason }); err != nil {
			return ids, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Imported is a certificate from elsewhere.
type Imported struct {
	Chain [][]byte // DER, the certificate first
	Key   []byte   // PKCS #8
	// Directory is that of the CA that it is from, if that is known: it is renewed there where a spec says so.
	Directory string
	// Issuer is the name of the issuer with that directory, if there is one.
	Issuer string
}

// Import keeps a certificate from elsewhere, which serves its names until it is due, and gives its ID. One that is there already and lasts as long stays.
func (e *Engine) Import(ctx context.Context, c Imported) (id string, err error) {
	rec := vault.Record{Origin: vault.OriginImported, Issuer: c.Issuer, Directory: c.Directory, Chain: c.Chain, Issued: e.now()}
	pair, err := rec.Pair(c.Key)
	if err != nil {
		return "", fmt.Errorf("cannot import the certificate: %w", err)
	}
	rec.Names = slices.Clone(pair.Leaf.DNSNames)
	for _, ip := range pair.Leaf.IPAddresses {
		rec.Names = append(rec.Names, ip.String())
	}
	if rec.Names = normalize(rec.Names); len(rec.Names) == 0 {
		return "", errors.New("cannot import the certificate: it names no host (subjectAltName)")
	}
	if !e.now().Before(pair.Leaf.NotAfter) {
		return "", fmt.Errorf("cannot import the certificate of %s: it ended at %s", rec.Names[0], pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	rec.KeyType = keyTypeOf(pair.Leaf.PublicKey)
	id = vault.ID(rec.Names, c.Directory, rec.KeyType)
	rec.Key = e.cfg.Seal.Close(vault.SealedFor(id), c.Key)
	for {
		had, err := e.cfg.Buckets.Certificates.Get(ctx, id)
		if err != nil && !errors.Is(err, ruche.ErrNotFound) {
			return "", fmt.Errorf("cannot import the certificate of %s: %w", rec.Names[0], err)
		}
		if leaf, err := had.Value.Leaf(); err == nil && !leaf.NotAfter.Before(pair.Leaf.NotAfter) && had.Value.Revoked.IsZero() {
			return id, nil
		}
		_, err = e.cfg.Buckets.Certificates.CompareAndSet(ctx, id, rec, had.Revision)
		if !errors.Is(err, ruche.ErrConflict) {
			return id, err
		}
	}
}

// setState changes a certificate's state from any node.
func (e *Engine) setState(ctx context.Context, id string, fn func(*vault.State)) error {
	for {
		st, err := e.cfg.Buckets.States.Get(ctx, id)
		if err != nil && !errors.Is(err, ruche.ErrNotFound) {
			return fmt.Errorf("cannot change what is planned for certificate %s: %w", id, err)
		}
		fn(&st.Value)
		_, err = e.cfg.Buckets.States.CompareAndSet(ctx, id, st.Value, st.Revision)
		if !errors.Is(err, ruche.ErrConflict) {
			return err
		}
	}
}
