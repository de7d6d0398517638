// Package watch looks at certificates that others look after, and whether CAs have revoked certificates by themselves. It keeps what it must not ask for again, and no more.
package watch

import (
	"context"
	"crypto/x509"
	"log/slog"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/probe"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

const (
	// again is when an endpoint is looked at again, failedAgain when it showed no certificate: it may just have been started.
	again, failedAgain = time.Hour, 5 * time.Minute
	// listsAgain is when a certificate is looked up again in the list of its CA.
	listsAgain = 24 * time.Hour
	// atOnce is how many endpoints are looked at at a time.
	atOnce = 8
)

// Config is what a Watcher needs. The zero value is good but for the Logger.
type Config struct {
	// Roots gives those that are trusted; nil stands for those of the system.
	Roots func() *x509.CertPool
	// Now tells the time; nil stands for the clock.
	Now    func() time.Time
	Logger *slog.Logger
}

// Target is an endpoint to look at.
type Target struct {
	// Name is under which it is listed.
	Name  string
	Check ruche.CheckTarget
	// Preface is what the endpoint wants to get before TLS begins.
	Preface []byte
}

// Watcher looks at endpoints. It is safe for concurrent use.
type Watcher struct {
	cfg Config

	mu     sync.Mutex
	looked map[string]time.Time // when certificates were found in no list, by fingerprint
}

// New makes a Watcher.
func New(cfg Config) *Watcher {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Roots == nil {
		cfg.Roots = func() *x509.CertPool { return nil }
	}
	return &Watcher{cfg: cfg, looked: make(map[string]time.Time)}
}

// Look looks at those targets whose turn it is, by what was seen of them before, and gives what is known of all of them now.
func (w *Watcher) Look(ctx context.Context, targets []Target, had map[string]vault.Sight) map[string]vault.Sight {
	var mu sync.Mutex
	seen := make(map[string]vault.Sight, len(targets))
	slots := make(chan struct{}, atOnce)
	var looking sync.WaitGroup
	for _, t := range targets {
		before, known := had[t.Name]
		if pause := pauseOf(before); known && w.cfg.Now().Before(before.Seen.Add(pause)) {
			mu.Lock()
			seen[t.Name] = before
			mu.Unlock()
			continue
		}
		slots <- struct{}{}
		looking.Go(func() {
			defer func() { <-slots }()
			s := w.one(ctx, t, before)
			if ctx.Err() != nil {
				s = before // the end of this process is no news of the endpoint
			}
			mu.Lock()
			defer mu.Unlock()
			seen[t.Name] = s
		})
	}
	looking.Wait()
	return seen
}

func pauseOf(s vault.Sight) time.Duration {
	if s.Fingerprint == "" {
		return failedAgain
	}
	return again
}

// one looks at a target.
func (w *Watcher) one(ctx context.Context, t Target, before vault.Sight) vault.Sight {
	cfg := probe.Config{Roots: w.cfg.Roots(), Now: w.cfg.Now, Preface: t.Preface}
	chain, problem := probe.Look(ctx, t.Check, cfg)
	s := vault.Sight{Seen: w.cfg.Now(), Problem: problem}
	if len(chain) == 0 {
		return s
	}
	leaf := chain[0]
	s.Fingerprint, s.Issuer, s.NotBefore, s.NotAfter = vault.Fingerprint(leaf.Raw), issuerOf(leaf), leaf.NotBefore, leaf.NotAfter
	if before.Fingerprint == s.Fingerprint {
		s.Revoked = before.Revoked
	}
	// Where a list is fetched from is the certificate's word. That of one whose CA nobody knows is not followed: it may lead anywhere.
	if problem == "" && s.Revoked.IsZero() && w.turn(s.Fingerprint) {
		at, err := (&probe.Lists{Config: cfg}).Revoked(ctx, chain)
		w.note(s.Fingerprint, err)
		s.Revoked = at
	}
	return s
}

// turn reports whether a certificate is to be looked up in lists now.
func (w *Watcher) turn(fingerprint string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.cfg.Now().Before(w.looked[fingerprint].Add(listsAgain))
}

// note notes that a certificate was looked up. Where that failed it is tried again the next time.
func (w *Watcher) note(fingerprint string, err error) {
	if err != nil {
		w.cfg.Logger.Debug("whether a certificate is revoked is not known", "fingerprint", fingerprint, "error", err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for other, at := range w.looked { // what is not asked about any more
		if w.cfg.Now().After(at.Add(2 * listsAgain)) {
			delete(w.looked, other)
		}
	}
	w.looked[fingerprint] = w.cfg.Now()
}

func issuerOf(c *x509.Certificate) string {
	if c.Issuer.CommonName != "" {
		return c.Issuer.CommonName
	}
	return c.Issuer.String()
}
