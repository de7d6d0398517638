package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
)

// Held is a certificate that Ruche itself serves with, and the roots by which it knows who comes. The key is in memory alone. It is renewed at half its life, and before that when it was
// revoked, or is to be replaced.
type Held struct {
	a       *Authority
	profile Profile
	names   []string
	by      string

	current atomic.Pointer[held]
}

type held struct {
	certificate *tls.Certificate
	serial      string
	roots       *x509.CertPool
	due         time.Time
}

// heldLook is how often the roots are read again; a next root is there for a year before it signs.
const heldLook = time.Hour

// errNotHeld tells that there is no certificate yet.
var errNotHeld = errors.New("none was issued yet")

// Hold gives a certificate of a profile, for those of these names that the authority may issue for; Run has it made, and the Docker authority too if it is not there.
func (a *Authority) Hold(profile string, names []string, requester string) (*Held, error) {
	p, err := a.profile(profile)
	return &Held{a: a, profile: p, names: names, by: requester}, err
}

// Certificate gives the certificate of now.
func (h *Held) Certificate() (*tls.Certificate, error) {
	c := h.current.Load()
	if c == nil {
		return nil, errNotHeld
	}
	return c.certificate, nil
}

// Roots gives those by which clients of the same authority are known.
func (h *Held) Roots() (*x509.CertPool, error) {
	c := h.current.Load()
	if c == nil {
		return nil, errNotHeld
	}
	return c.roots, nil
}

// Run keeps the certificate good until ctx ends. What cannot be renewed stays, and is tried again every minute.
func (h *Held) Run(ctx context.Context) error {
	for {
		changed := h.a.denied.wait()
		pause := heldLook
		if err := h.renew(ctx); err != nil && ctx.Err() == nil {
			h.a.cfg.Logger.Warn("cannot renew a certificate of Ruche's own, trying again", "profile", h.profile.Name, "in", lookAgain, "error", err)
			pause = lookAgain
		} else if c := h.current.Load(); c != nil {
			pause = min(pause, max(h.due(c).Sub(h.a.now()), time.Second))
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-changed:
			timer.Stop()
		}
	}
}

func (h *Held) renew(ctx context.Context) error {
	// The others are made by people, who say what they may certify.
	if h.profile.Authority == ruche.AuthorityDocker {
		if err := h.a.Ensure(ctx, h.profile.Authority); err != nil {
			return err
		}
	}
	roots, err := h.a.RootsOf(ctx, h.profile.Authority)
	if err != nil {
		return err
	}
	next := held{roots: x509.NewCertPool()}
	for _, root := range roots {
		next.roots.AddCert(root)
	}
	if old := h.current.Load(); old != nil && h.a.now().Before(h.due(old)) {
		next.certificate, next.serial, next.due = old.certificate, old.serial, old.due
	} else if err := h.issue(ctx, &next); err != nil {
		return err
	}
	h.current.Store(&next)
	return nil
}

// due is when a certificate is to be renewed.
func (h *Held) due(c *held) time.Time {
	if turn := h.a.denied.turn(c.serial, h.a.now()); !turn.IsZero() {
		return earliest(turn, c.due)
	}
	return c.due
}

func (h *Held) issue(ctx context.Context, next *held) error {
	permitted, err := h.a.permitted(ctx, h.profile, h.names)
	if err == nil && len(permitted) == 0 {
		err = fmt.Errorf("%w: the authority %q may issue for none of %v", ErrRefused, h.profile.Authority, h.names)
	}
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	issued, err := h.a.Issue(ctx, Request{PublicKey: key.Public(), Names: permitted, Profile: h.profile.Name, Requester: h.by})
	if err != nil {
		return err
	}
	now := h.a.now()
	next.certificate, next.serial, next.due = &tls.Certificate{Certificate: issued.Chain, PrivateKey: key}, issued.Serial, now.Add(issued.NotAfter.Sub(now)/2)
	return nil
}
