package acmeserver

import (
	"context"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
)

const shortLife = 10 * 24 * time.Hour

// parseRenewalID reads ARI's ID of a certificate: authority key identifier and serial, each in base64url (RFC 9773 section 4.1). The serial, of 128
// bits, is enough to find it.
func parseRenewalID(id string) (serial string, ok bool) {
	first, second, ok := strings.Cut(id, ".")
	k, err1 := decode(first)
	n, err2 := decode(second)
	if !ok || err1 != nil || err2 != nil || len(k) == 0 || len(n) == 0 || len(n) > 21 || n[0] >= 0x80 {
		return "", false
	}
	return serialText(new(big.Int).SetBytes(n)), true
}

// byRenewalID finds the certificate of an ID.
func (s *Server) byRenewalID(ctx context.Context, id string) (ca.Entry, error) {
	serial, ok := parseRenewalID(id)
	if !ok {
		return ca.Entry{}, problem(malformed, "%.100q is not authority key identifier and serial of a certificate, in base64url with a full stop between them", id)
	}
	entry, err := s.cfg.Authority.Lookup(ctx, serial)
	if errors.Is(err, ruche.ErrNotFound) {
		p := problem(malformed, "there is no such certificate")
		p.Status = http.StatusNotFound
		return ca.Entry{}, p
	}
	return entry, err
}

// window is when a certificate should be renewed: after two thirds of its life, after half of a short one; one that is no longer good at once, and one that is to be replaced from then on.
func window(e ca.Entry) (start, end time.Time) {
	life := e.NotAfter.Sub(e.NotBefore)
	if e.Revoked != nil {
		return e.Revoked.At.Add(-time.Hour), e.Revoked.At
	}
	start = e.NotBefore.Add(life * 2 / 3)
	if life < shortLife {
		start = e.NotBefore.Add(life / 2)
	}
	if !e.Replace.IsZero() && e.Replace.Before(start) {
		return e.Replace.Add(-time.Hour), e.Replace // who hears of it later renews at once
	}
	return start, start.Add(life / 24)
}

// renewalInfo suggests when to renew a certificate (RFC 9773 section 4).
func (s *Server) renewalInfo(ctx context.Context, r *http.Request) (*answer, error) {
	entry, err := s.byRenewalID(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	start, end := window(entry)
	life := entry.NotAfter.Sub(entry.NotBefore)
	return &answer{
		body:  map[string]any{"suggestedWindow": map[string]time.Time{"start": start.UTC().Truncate(time.Second), "end": end.UTC().Truncate(time.Second)}},
		retry: min(6*time.Hour, max(time.Minute, life/48)),
	}, nil
}
