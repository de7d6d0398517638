package ca

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

const (
	// crlLifetime is how long a list of revoked certificates is good, crlRenewed after how long it is signed anew.
	crlLifetime = 7 * day
	crlRenewed  = day
	// crlKept is how long a revoked certificate stays in the list after its end: at least one list issued after that has it (RFC 5280 section 3.3).
	crlKept = crlLifetime
)

// CRL is the list of what an issuer has revoked, as it is kept.
type CRL struct {
	DER    []byte    `json:"der"`
	Number int64     `json:"number"`
	Made   time.Time `json:"made"`
	Until  time.Time `json:"until"` // nextUpdate
}

// CRL gives the list of revoked certificates of an issuer ("services-i3", Entry.Issuer; "services-r1" is a root), in DER. It is kept until a day has passed or something
// is revoked. The error wraps ruche.ErrNotFound for an unknown issuer.
func (a *Authority) CRL(ctx context.Context, issuer string) ([]byte, error) {
	e, err := a.cfg.CRLs.Get(ctx, issuer)
	if err == nil && a.now().Sub(e.Value.Made) < crlRenewed {
		return e.Value.DER, nil
	}
	if err != nil && !errors.Is(err, ruche.ErrNotFound) {
		return nil, fmt.Errorf("cannot read the CRL of %s: %w", issuer, err)
	}
	made, failed := a.makeCRL(ctx, issuer)
	if failed != nil && err == nil && a.now().Before(e.Value.Until) {
		return e.Value.DER, nil // it is good still; that it is not renewed is a warning
	}
	return made.DER, failed
}

// makeCRL signs the list of an issuer anew, from the log.
func (a *Authority) makeCRL(ctx context.Context, id string) (CRL, error) {
	fail := func(err error) (CRL, error) { return CRL{}, fmt.Errorf("cannot make the CRL of %s: %w", id, err) }
	by, err := a.issuer(ctx, id)
	if err != nil {
		return fail(err)
	}
	for range tries {
		old, err := a.cfg.CRLs.Get(ctx, id) // before the log is read: who revokes meanwhile writes the list too, and this one is then made again
		if err != nil && !errors.Is(err, ruche.ErrNotFound) {
			return fail(err)
		}
		log, err := a.cfg.Issued.List(ctx)
		if err != nil {
			return fail(err)
		}
		made, err := a.signCRL(ctx, by, old, log)
		if err == nil {
			return made, nil
		}
		if !errors.Is(err, ruche.ErrConflict) {
			return fail(err)
		}
	}
	return fail(ruche.ErrConflict)
}

// signCRL signs the list of an issuer, and writes it if there is none newer than the old one, which was read before the log was.
func (a *Authority) signCRL(ctx context.Context, by issuer, old ruche.Entry[CRL], log map[string]ruche.Entry[Entry]) (CRL, error) {
	key, err := a.signer(by.Issuer)
	if err != nil {
		return CRL{}, err
	}
	now := a.now()
	revoked, err := revokedBy(by.ID, log, now)
	if err != nil {
		return CRL{}, err
	}
	made := CRL{Number: max(old.Value.Number+1, now.Unix()), Made: now, Until: now.Add(crlLifetime)}
	made.DER, err = x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(made.Number), ThisUpdate: now, NextUpdate: made.Until, RevokedCertificateEntries: revoked,
	}, by.cert, key)
	if err != nil {
		return CRL{}, err
	}
	_, err = a.cfg.CRLs.CompareAndSet(ctx, by.ID, made, old.Revision)
	return made, err
}

// issuer finds a root or an intermediate by its ID.
func (a *Authority) issuer(ctx context.Context, id string) (issuer, error) {
	name, _, _ := cutLast(id, "-")
	e, err := a.cfg.Authorities.Get(ctx, name)
	if err != nil {
		return issuer{}, fmt.Errorf("there is no issuer %q: %w", id, err)
	}
	for _, i := range slices.Concat(e.Value.Roots, e.Value.Intermediates) {
		if i.ID == id {
			return i.parse()
		}
	}
	return issuer{}, fmt.Errorf("there is no issuer %q: %w", id, ruche.ErrNotFound)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if n := strings.LastIndex(s, sep); n >= 0 {
		return s[:n], s[n+len(sep):], true
	}
	return s, "", false
}

// revokedBy lists what an issuer has revoked.
func revokedBy(id string, log map[string]ruche.Entry[Entry], now time.Time) ([]x509.RevocationListEntry, error) {
	var list []x509.RevocationListEntry
	for serial, e := range log {
		v := e.Value
		if v.Issuer != id || v.Revoked == nil || now.Sub(v.NotAfter) > crlKept {
			continue
		}
		number, ok := new(big.Int).SetString(serial, 16)
		if !ok {
			return nil, fmt.Errorf("the log has the serial %q, which is none", serial)
		}
		list = append(list, x509.RevocationListEntry{SerialNumber: number, RevocationTime: v.Revoked.At, ReasonCode: v.Revoked.Reason})
	}
	slices.SortFunc(list, func(a, b x509.RevocationListEntry) int { return a.SerialNumber.Cmp(b.SerialNumber) })
	return list, nil
}
