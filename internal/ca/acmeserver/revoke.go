package acmeserver

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"slices"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
)

// revoke makes a certificate bad (RFC 8555 section 7.6): for the account that had it, one that has proven all of its names, or who has its key.
func (s *Server) revoke(ctx context.Context, q *query) (*answer, error) {
	var wish struct {
		Certificate string `json:"certificate"`
		Reason      int    `json:"reason"`
	}
	if err := q.read(&wish); err != nil {
		return nil, err
	}
	der, err := decode(wish.Certificate)
	if err != nil {
		return nil, problem(malformed, "the member certificate is not in base64url without padding")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, problem(malformed, "the member certificate is no certificate in DER")
	}
	// unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation, privilegeWithdrawn (RFC 5280 section 5.3.1)
	if !slices.Contains([]int{0, 1, 3, 4, 5, 9}, wish.Reason) {
		return nil, problem(badRevocationReason, "the reason %d is not taken (0, 1, 3, 4, 5 and 9 are)", wish.Reason)
	}
	entry, err := s.issued(ctx, cert)
	if err != nil {
		return nil, err
	}
	by, ok := s.mayRevoke(q, entry)
	if !ok {
		s.audit(ctx, "revocation refused", append(q.who(), slog.String("serial", entry.Serial))...)
		return nil, problem(unauthorized, "the request is signed neither by the account that the certificate was issued to, nor by one with valid authorizations for all of its names, nor by the certificate's key")
	}
	revoked := problem(alreadyRevoked, "the certificate is revoked already")
	if entry.Revoked != nil {
		return nil, revoked
	}
	if err := s.cfg.Authority.Revoke(ctx, entry.Serial, wish.Reason, by); errors.Is(err, ca.ErrRevoked) {
		return nil, revoked
	} else if err != nil {
		return nil, err
	}
	s.audit(ctx, "certificate revoked", append(q.who(), slog.String("by", by), slog.String("serial", entry.Serial), slog.Any("names", entry.Names), slog.Int("reason", wish.Reason))...)
	return &answer{status: http.StatusOK}, nil
}

// serialText writes a serial as the authority's log does.
func serialText(n *big.Int) string { return fmt.Sprintf("%032x", n) }

// issued finds a certificate in the authority's log, where the log has it with this key.
func (s *Server) issued(ctx context.Context, cert *x509.Certificate) (ca.Entry, error) {
	unknown := problem(malformed, "the certificate is not of this authority")
	unknown.Status = http.StatusNotFound
	if cert.SerialNumber == nil || cert.SerialNumber.Sign() <= 0 {
		return ca.Entry{}, unknown
	}
	entry, err := s.cfg.Authority.Lookup(ctx, serialText(cert.SerialNumber))
	if errors.Is(err, ruche.ErrNotFound) || err == nil && entry.KeyHash != hashOf(cert.RawSubjectPublicKeyInfo) {
		return ca.Entry{}, unknown
	}
	return entry, err
}

func hashOf(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

// mayRevoke tells whether who has signed a request may revoke the certificate, and as whom.
func (s *Server) mayRevoke(q *query, entry ca.Entry) (by string, ok bool) {
	if q.account.Key == "" {
		spki, err := x509.MarshalPKIXPublicKey(q.key.public)
		return "acme:certificate key", err == nil && hashOf(spki) == entry.KeyHash
	}
	by = requester(q.account.Key)
	if entry.Requester == by {
		return by, true
	}
	proven := map[string]bool{}
	for _, o := range s.orders.of(q.account.Key, "") {
		for _, a := range o.at(s.now()).Authorizations {
			if a.Status == StatusValid {
				proven[a.Name] = true
			}
		}
	}
	return by, len(entry.Names) > 0 && !slices.ContainsFunc(entry.Names, func(n string) bool { return !proven[n] })
}
