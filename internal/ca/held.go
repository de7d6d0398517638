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
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
)

// Held is a certificate that Ruche itself serves with, and the roots by which it knows who comes. The key is in memory alone, but for where Keep says. It is renewed at half its life, and before
// that when it was revoked, or is to be replaced.
type Held struct {
	a       *Authority
	profile Profile
	names   []string
	by      string
	before  *tls.Certificate
	save    func(*tls.Certificate) error

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

// Keep has the certificate outlive the process: before is that of the process before, nil without one, and goes on where it is good; save is given each new one, with a key of ECDSA. It is to be
// called before Run.
func (h *Held) Keep(before *tls.Certificate, save func(*tls.Certificate) error) {
	h.before, h.save = before, save
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
	permitted, err := h.a.permitted(ctx, h.profile, h.names)
	if err != nil {
		return err
	}
	old := h.current.Load()
	if old == nil {
		old = h.goesOn(next.roots, permitted)
	}
	if old != nil && h.a.now().Before(h.due(old)) {
		next.certificate, next.serial, next.due = old.certificate, old.serial, old.due
	} else if err := h.issue(ctx, &next, permitted); err != nil {
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

// goesOn gives the certificate of the process before, if it leads to one of the roots and is for these names and no others; else nil. Whether it is due is asked later.
func (h *Held) goesOn(roots *x509.CertPool, names []string) *held {
	if h.before == nil {
		return nil
	}
	leaf := h.before.Leaf
	between := x509.NewCertPool()
	for _, der := range h.before.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: h.a.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if _, err := leaf.Verify(options); err != nil {
		return nil
	}
	has := map[string]bool{}
	for _, name := range leaf.DNSNames {
		has[name] = true
	}
	for _, ip := range leaf.IPAddresses {
		has[ip.String()] = true
	}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[strings.ToLower(name)] = true
	}
	if !maps.Equal(has, wanted) {
		return nil
	}
	return &held{certificate: h.before, serial: serialText(leaf.SerialNumber), due: leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)}
}

func (h *Held) issue(ctx context.Context, next *held, permitted []string) error {
	if len(permitted) == 0 {
		return fmt.Errorf("%w: the authority %q may issue for none of %v", ErrRefused, h.profile.Authority, h.names)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	issued, err := h.a.Issue(ctx, Request{PublicKey: key.Public(), Names: permitted, Profile: h.profile.Name, Requester: h.by})
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(issued.Chain[0])
	if err != nil {
		return err
	}
	now := h.a.now()
	next.certificate, next.serial, next.due = &tls.Certificate{Certificate: issued.Chain, PrivateKey: key, Leaf: leaf}, issued.Serial, now.Add(issued.NotAfter.Sub(now)/2)
	if h.save == nil {
		return nil
	}
	if err := h.save(next.certificate); err != nil { // it serves all the same
		h.a.cfg.Logger.Warn("cannot keep a certificate of Ruche's own, the next start has another one made", "profile", h.profile.Name, "error", err)
	}
	return nil
}
