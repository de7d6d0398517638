package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
	"github.com/ruche-project/ruche/internal/certs/acme"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// authority is the installation's own, as people look after it: what is replaced or revoked in it is renewed here, where routes have it.
type authority struct {
	*ca.Authority
	issuing *acme.Engine
}

// Begin makes authorities. What routes have of one that is forgotten is replaced at once, so that who trusts the new root is served.
func (a authority) Begin(ctx context.Context, r ruche.AuthorityRequest) (ruche.AuthorityAnswer, error) {
	answer, err := a.Authority.Begin(ctx, r)
	if err != nil || !r.Again {
		return answer, err
	}
	now := time.Now()
	return answer, a.eachOfRoutes(ctx, func(id string, leaf *x509.Certificate, _ bool) error {
		e, err := a.Lookup(ctx, serialOf(leaf))
		if err != nil || e.Replace.IsZero() || e.Replace.After(now) {
			return err
		}
		return a.issuing.Renew(ctx, id, now, "its authority was begun anew")
	})
}

// Replace has certificates replaced before their turn.
func (a authority) Replace(ctx context.Context, r ruche.ReplacementRequest) (ruche.IssuedList, error) {
	list, err := a.Authority.Replace(ctx, r)
	if err != nil {
		return list, err
	}
	times := make(map[string]time.Time, len(list.Certificates))
	for _, c := range list.Certificates {
		times[c.Serial] = c.Replace
	}
	now := time.Now()
	return list, a.eachOfRoutes(ctx, func(id string, leaf *x509.Certificate, _ bool) error {
		at, ok := times[serialOf(leaf)]
		if !ok {
			return nil
		}
		if at.Before(now) {
			at = now // a wish counts that is later than the certificate
		}
		return a.issuing.Renew(ctx, id, at, "replaced by its authority")
	})
}

// Withdraw revokes certificates. What routes have of them is listed as revoked, and replaced at once where it is wanted. That is looked up in the log, so that it is done again for what was revoked
// in a call that broke off.
func (a authority) Withdraw(ctx context.Context, r ruche.RevocationRequest) (ruche.IssuedList, error) {
	list, failure := a.Authority.Withdraw(ctx, r)
	err := a.eachOfRoutes(ctx, func(id string, leaf *x509.Certificate, wanted bool) error {
		e, err := a.Lookup(ctx, serialOf(leaf))
		if err != nil || e.Revoked == nil {
			return err
		}
		if !wanted { // then it is only noted, and edges drop it: to be revoked once more does no harm
			return a.issuing.Revoke(ctx, id, e.Revoked.At, "unspecified")
		}
		return a.issuing.Withdrawn(ctx, id, vault.Withdrawal{Of: vault.Fingerprint(leaf.Raw), At: e.Revoked.At})
	})
	return list, errors.Join(failure, err)
}

// eachOfRoutes calls fn for each certificate of routes that the authority has issued and that is not noted as revoked, until it fails; wanted tells that one is asked for. What fn does not find
// is gone, and passed over.
func (a authority) eachOfRoutes(ctx context.Context, fn func(id string, leaf *x509.Certificate, wanted bool) error) error {
	s, err := a.issuing.Snapshot(ctx)
	if err != nil {
		return err
	}
	for id, rec := range s.Records {
		leaf, err := rec.Leaf()
		if err != nil || rec.Origin != vault.OriginInternal || !rec.Revoked.IsZero() {
			continue
		}
		wanted := slices.ContainsFunc(s.Wants, func(w acme.Want) bool { return w.ID == id })
		if err := fn(id, leaf, wanted); err != nil && !errors.Is(err, ruche.ErrNotFound) {
			return err
		}
	}
	return nil
}

// serialOf is a certificate's serial as the authority's log has it.
func serialOf(leaf *x509.Certificate) string { return fmt.Sprintf("%032x", leaf.SerialNumber) }
