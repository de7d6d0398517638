package acme

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// Renew asks for a new certificate in place of the one under id, from a time on; of one that is wanted and failed so far, it asks for the next try. reason is kept for people; with
// vault.ReasonKeyCompromise the key is not used again. It returns when the wish is written; who leads fulfils it. Without such a certificate the error wraps ruche.ErrNotFound.
func (e *Engine) Renew(ctx context.Context, id string, at time.Time, reason string) error {
	_, err := e.cfg.Buckets.Certificates.Get(ctx, id)
	if errors.Is(err, ruche.ErrNotFound) {
		_, err = e.cfg.Buckets.States.Get(ctx, id)
	}
	if err != nil {
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
	if errors.Is(err, ruche.ErrNotFound) {
		return fmt.Errorf("cannot revoke certificate %s: there is none yet: %w", id, ruche.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("cannot revoke certificate %s: %w (ruche certs list shows them)", id, err)
	}
	rec := entry.Value
	switch {
	case !rec.Revoked.IsZero():
		return fmt.Errorf("cannot revoke certificate %s: it was revoked at %s", id, rec.Revoked.UTC().Format(time.RFC3339))
	case rec.Origin == vault.OriginInternal: // our own authority asks for no account
	case rec.Directory == "":
		return fmt.Errorf("cannot revoke certificate %s: it was imported without its CA's directory", id)
	case rec.Account == "" && code != acmez.ReasonKeyCompromise:
		return fmt.Errorf("cannot revoke certificate %s: it was imported, so that its own key has to sign, and CAs take that for %s alone", id, vault.ReasonKeyCompromise)
	}
	return e.setState(ctx, id, func(st *vault.State) {
		known := slices.ContainsFunc(st.Revoke, func(o vault.Revocation) bool { return slices.Equal(o.Certificate, rec.Chain[0]) })
		if !known {
			st.Revoke = append(st.Revoke, vault.Revocation{Certificate: rec.Chain[0], Directory: rec.Directory, Account: rec.Account, Reason: code, Asked: at})
		}
		st.Asked, st.Reason = at, vault.ReasonKeyCompromise // of a revoked certificate the key is not used again
	})
}

// Withdrawn notes that a CA has revoked the certificate under id by itself. It is replaced at once, with another key, if it is wanted.
func (e *Engine) Withdrawn(ctx context.Context, id string, w vault.Withdrawal) error {
	return e.setState(ctx, id, func(st *vault.State) {
		if st.Withdrawn != nil && st.Withdrawn.Of == w.Of {
			return
		}
		st.Withdrawn, st.Asked, st.Reason = &w, e.now(), vault.ReasonKeyCompromise
	})
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
