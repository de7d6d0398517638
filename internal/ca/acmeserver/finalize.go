package acmeserver

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
)

// finalize takes the certificate request of an order that is ready, and signs it (RFC 8555 section 7.4).
func (s *Server) finalize(ctx context.Context, q *query) (*answer, error) {
	e, err := s.find(ctx, q)
	if err != nil {
		return nil, err
	}
	c, err := s.request(q)
	if err != nil {
		return nil, err
	}
	o := e.Value
	if (o.Status == StatusProcessing || o.Status == StatusValid) && bytes.Equal(o.Key, c.spki) {
		return s.orderAnswer(e.Key, o, http.StatusOK), nil // the client has lost the answer
	}
	if o.Status != StatusReady {
		return nil, problem(orderNotReady, "the order is %s, not ready", o.Status)
	}
	if err := s.permit(ctx, q, &o); err != nil { // which may have ended since the order began
		return nil, err
	}
	if !c.fits(&o) {
		return nil, problem(badCSR, "the certificate request has the names %v, and the order %v", c.names, o.names())
	}
	o.Status, o.Key, o.Subject, o.Since = StatusProcessing, c.spki, c.subject, s.now()
	// By this write one node alone signs, and another one can go on if this one dies.
	revision, err := s.cfg.Orders.CompareAndSet(ctx, e.Key, o, e.Revision)
	if errors.Is(err, ruche.ErrConflict) { // the client has sent it twice
		return s.finalize(ctx, q)
	}
	if err != nil {
		return nil, err
	}
	o, err = s.sign(context.WithoutCancel(ctx), e.Key, o, revision)
	if err != nil {
		// The order stays as it is, and is signed by the loop.
		s.cfg.Logger.Error("the ACME server cannot sign a certificate yet", slog.String("order", e.Key), slog.Any("error", err))
	}
	return s.orderAnswer(e.Key, o, http.StatusOK), nil
}

// request reads the certificate request out of a payload.
func (s *Server) request(q *query) (*csr, error) {
	var sent struct {
		CSR string `json:"csr"`
	}
	if err := q.read(&sent); err != nil {
		return nil, err
	}
	der, err := decode(sent.CSR)
	if err != nil {
		return nil, problem(malformed, "the member csr is not in base64url without padding")
	}
	c, err := parseCSR(der)
	if err != nil {
		return nil, problem(badCSR, "the certificate request is refused: %s", err)
	}
	if own, err := x509.MarshalPKIXPublicKey(q.key.public); err == nil && bytes.Equal(own, c.spki) {
		return nil, problem(badCSR, "the certificate's key must not be that of the account")
	}
	return c, nil
}

// sign has the certificate of an order issued that was written as processing. An error means that it may be tried again.
func (s *Server) sign(ctx context.Context, id string, o Order, revision int64) (Order, error) {
	ctx, stop := context.WithTimeout(ctx, s.timing.sign)
	defer stop()
	public, err := x509.ParsePKIXPublicKey(o.Key)
	if err != nil {
		return o, fmt.Errorf("cannot read the key of order %s: %w", id, err)
	}
	issued, err := s.cfg.Authority.Issue(ctx, ca.Request{
		PublicKey: public, Names: o.names(), Subject: o.Subject, Profile: o.Profile, NotAfter: o.NotAfter, Requester: requester(o.Account), Replaces: o.serialOf(),
	})
	done := o
	switch {
	case errors.Is(err, ca.ErrRefused):
		done.Status, done.Error = StatusInvalid, problem(rejectedIdentifier, "the authority does not sign it: %s", err).kept()
		s.audit(ctx, "certificate refused", slog.String("account", o.Account), slog.String("order", id), slog.Any("names", o.names()), slog.String("reason", err.Error()))
	case err != nil:
		return o, err
	default:
		done.Status, done.Issued, done.Chain, done.Expires = StatusValid, true, issued.Chain, s.now().Add(keptLife)
		s.audit(ctx, "certificate issued", slog.String("account", o.Account), slog.String("order", id), slog.String("serial", issued.Serial),
			slog.Any("names", o.names()), slog.String("profile", o.Profile), slog.String("replaces", o.Replaces), slog.Time("not_after", issued.NotAfter))
	}
	if _, err := s.cfg.Orders.CompareAndSet(ctx, id, done, revision); err != nil {
		return o, err
	}
	if done.Issued {
		s.keepAccount(ctx, o.Account, issued.NotAfter)
	}
	return done, nil
}

// keepAccount sees to it that an account outlives its certificates. It writes seldom: by how much it moves the end ahead is more than is needed.
func (s *Server) keepAccount(ctx context.Context, id string, until time.Time) {
	for {
		e, err := s.cfg.Accounts.Get(ctx, id)
		if err == nil && e.Value.Status == StatusValid && e.Value.Expires.Before(until.Add(afterLife)) {
			e.Value.Expires = until.Add(afterLife + aheadLife)
			_, err = s.cfg.Accounts.CompareAndSet(ctx, id, e.Value, e.Revision)
		}
		if errors.Is(err, ruche.ErrConflict) {
			continue
		}
		if err != nil { // the next certificate tries again
			s.cfg.Logger.Warn("the ACME server cannot note that an account is used", slog.String("account", id), slog.Any("error", err))
		}
		return
	}
}

// certificate gives the chain of an order (RFC 8555 section 7.4.2). There is one chain, so there are no links to others.
func (s *Server) certificate(ctx context.Context, q *query) (*answer, error) {
	e, err := s.find(ctx, q)
	if err != nil {
		return nil, err
	}
	if e.Value.Status != StatusValid {
		return nil, problem(orderNotReady, "the order is %s, and has no certificate", e.Value.Status)
	}
	var chain []byte
	for _, der := range e.Value.Chain {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return &answer{pem: chain}, nil
}
