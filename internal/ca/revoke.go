package ca

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
)

// reasons are the reasons that make sense for certificates of servers and clients (RFC 5280 section 5.3.1).
func reasons() map[string]int {
	return map[string]int{"unspecified": 0, "keyCompromise": 1, "affiliationChanged": 3, "superseded": 4, "cessationOfOperation": 5, "privilegeWithdrawn": 9}
}

func parseReason(text string) (int, error) {
	known := make([]string, 0, len(reasons()))
	for name, code := range reasons() {
		if text == "" || strings.EqualFold(name, text) || text == strconv.Itoa(code) {
			if text == "" {
				return 0, nil
			}
			return code, nil
		}
		known = append(known, name)
	}
	slices.Sort(known)
	return 0, fmt.Errorf("%w: there is no reason %q (there are %s)", ErrRefused, text, strings.Join(known, ", "))
}

// Revoke makes a certificate bad from now on: in the log, in its issuer's list (CRL), and for Revoked on every control node. reason is one of RFC 5280 section 5.3.1: 0, 1, 3, 4,
// 5 or 9; who asked for it is kept. The error wraps ruche.ErrNotFound for an unknown serial, ErrRevoked for one that was revoked before, ErrRefused for another reason.
// An error after the log was written says that the CRL is not made yet: that is tried again every hour, and Revoke may be called again.
func (a *Authority) Revoke(ctx context.Context, serial string, reason int, who string) error {
	if _, err := parseReason(strconv.Itoa(reason)); err != nil {
		return fmt.Errorf("cannot revoke %s: %w", serial, err)
	}
	serial = normalSerial(serial)
	for range tries {
		e, err := a.cfg.Issued.Get(ctx, serial)
		switch {
		case err != nil:
			return fmt.Errorf("cannot revoke %s: %w", serial, err)
		case e.Value.Revoked != nil:
			return fmt.Errorf("cannot revoke %s: %w", serial, ErrRevoked)
		}
		e.Value.Revoked = &ruche.Revocation{At: a.now(), Reason: reason, By: who}
		_, err = a.cfg.Issued.CompareAndSet(ctx, serial, e.Value, e.Revision)
		if errors.Is(err, ruche.ErrConflict) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot revoke %s: %w", serial, err)
		}
		a.denied.add(serial)
		if _, err := a.makeCRL(ctx, e.Value.Issuer); err != nil && !errors.Is(err, ruche.ErrNotFound) { // whose issuer is gone has ended
			return fmt.Errorf("%s is revoked, but that is not in the CRL yet: %w", serial, err)
		}
		return nil
	}
	return fmt.Errorf("cannot revoke %s: %w", serial, ruche.ErrConflict)
}

// Revoked gives a function that reports whether a certificate with a serial (of 32 hexadecimal digits) was revoked. It is cheap, knows of a revocation on any control
// node at once, and says yes to every serial until Run has read the log.
func (a *Authority) Revoked() func(serial string) bool { return a.denied.has }

// denyList holds the serials that were revoked.
type denyList struct {
	mu      sync.RWMutex
	read    bool // the log was read
	serials map[string]bool
	// stale holds those that are to be replaced before their turn, and from when on.
	stale   map[string]time.Time
	changed chan struct{} // closed when there are more; nil while nobody waits
}

func (d *denyList) has(serial string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return !d.read || d.serials[serial]
}

// turn gives when a serial is to be replaced before its turn: at once if it is known to be revoked; zero if there is no such wish.
func (d *denyList) turn(serial string, now time.Time) time.Time {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.serials[serial] {
		return now
	}
	return d.stale[serial]
}

func (d *denyList) replace(serial string, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stale == nil {
		d.stale = map[string]time.Time{}
	}
	if !d.stale[serial].Equal(at) {
		d.stale[serial] = at
		d.tell()
	}
}

// wait gives what is closed when something more is revoked.
func (d *denyList) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return d.changed
}

// tell wakes who waits. The caller holds mu.
func (d *denyList) tell() {
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

func (d *denyList) add(serial string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.serials == nil {
		d.serials = map[string]bool{}
	}
	if !d.serials[serial] {
		d.serials[serial] = true
		d.tell()
	}
}

// follow takes over what has changed in the log.
func (d *denyList) follow(u ruche.Update[Entry]) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if u.Reset || d.serials == nil {
		d.serials, d.stale = map[string]bool{}, map[string]time.Time{}
	}
	if d.stale == nil {
		d.stale = map[string]time.Time{}
	}
	d.read = d.read || u.Reset
	more := false
	for serial, e := range u.Puts {
		if e.Revoked != nil && !d.serials[serial] {
			d.serials[serial], more = true, true
		}
		if !e.Replace.IsZero() && !d.stale[serial].Equal(e.Replace) {
			d.stale[serial], more = e.Replace, true
		}
	}
	for _, serial := range u.Deletes {
		delete(d.serials, serial)
		delete(d.stale, serial)
	}
	if more {
		d.tell()
	}
}
