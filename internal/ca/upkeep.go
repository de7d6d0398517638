package ca

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
)

const (
	// A look is taken every lookEvery, after a failure every lookAgain.
	lookEvery = time.Hour
	lookAgain = time.Minute
	// turnBefore is how much is left of an intermediate when the next one takes over: about the half, and a week more than the longest certificate has, which so gets its whole time
	// although nobody could lead for some days.
	turnBefore = longest + 7*day
	// nextRootBefore is how much is left of a root when the next one is made, rootNotice how long that is then in the bundle before it signs.
	nextRootBefore = 730 * day
	rootNotice     = 365 * day
	// minNotice is the shortest notice, when nobody has looked for years.
	minNotice = 30 * day
	// logKept is how long a certificate stays in the log after its end.
	logKept = 30 * day
	// issuerKept is how long an intermediate stays after its end.
	issuerKept = day
)

// Run looks after the authorities until ctx ends: on the leader it makes the next issuers, signs the CRLs anew and prunes the log; on every control node it follows what is revoked.
func (a *Authority) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	wait.Go(func() {
		if err := a.cfg.Issued.Watch(ctx, a.denied.follow); err != nil && ctx.Err() == nil {
			a.cfg.Logger.Error("cannot follow what is revoked any longer", "error", err)
			cancel() // a verifier must not go on with what was true once
		}
	})
	return a.cfg.Lead(ctx, "ca", func(ctx context.Context, _ int64) error { return a.look(ctx) })
}

// look is the leader's loop.
func (a *Authority) look(ctx context.Context) error {
	defer a.warn(nil) // whoever leads next says it
	for {
		pause := lookEvery
		if err := a.Upkeep(ctx); err != nil && ctx.Err() == nil {
			a.cfg.Logger.Warn("the authority could not be looked after as it should, trying again", "in", lookAgain, "error", err)
			pause = lookAgain
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-a.poke:
			timer.Stop()
		}
	}
}

// wake has the leader, if that is here, look at once.
func (a *Authority) wake() {
	select {
	case a.poke <- struct{}{}:
	default:
	}
}

// Upkeep does once what is due: issuers that rotate, CRLs, the log, the warnings. One authority's trouble keeps no other from its own.
func (a *Authority) Upkeep(ctx context.Context) error {
	all, err := a.cfg.Authorities.List(ctx)
	if err != nil {
		return fmt.Errorf("cannot list the authorities: %w", err)
	}
	var errs []error
	for name := range all {
		errs = append(errs, a.change(ctx, name, func(r *Record) (bool, error) { return a.rotate(name, r) }))
	}
	if all, err = a.cfg.Authorities.List(ctx); err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, a.renewCRLs(ctx, all))
	if now := a.now(); now.Sub(a.pruned) >= day {
		if err := a.prune(ctx, now); err != nil {
			errs = append(errs, err)
		} else {
			a.pruned = now
		}
	}
	a.examine(ctx, all)
	return errors.Join(errs...)
}

// rotate does what is due in one authority, and reports whether it changed it.
func (a *Authority) rotate(name string, r *Record) (changed bool, err error) {
	now := a.now()
	changed = !r.Parent && a.crossSign(name, r) // before the root that it is by may be dropped
	changed = r.drop(now) || changed
	if r.Parent {
		return changed, nil // what is next is asked of the parent, by people
	}
	newest, err := r.Roots[len(r.Roots)-1].parse()
	if err != nil {
		return false, err
	}
	if newest.cert.NotAfter.Sub(now) < nextRootBefore {
		from := nextTurn(now, newest.cert.NotAfter)
		if err := a.makeRoot(name, r, from); err != nil {
			return false, err
		}
		changed = true
		a.cfg.Logger.Info("made the next root; have it trusted before its turn", "authority", name, "turn", from, "trust", "ruche ca export")
	}
	due, err := a.intermediateDue(r, now)
	if err != nil || !due {
		return changed, err
	}
	if err := a.makeIntermediate(name, r); err != nil {
		return false, fmt.Errorf("cannot make the next intermediate of %q: %w", name, err)
	}
	a.cfg.Logger.Info("made the next intermediate", "authority", name, "id", r.Intermediates[len(r.Intermediates)-1].ID)
	return true, nil
}

// nextTurn is when the root that follows one with this end signs first: after a year, but while the one before can still sign whole intermediates; and never at once, if that one lasts.
func nextTurn(now, end time.Time) time.Time {
	turn := latest(earliest(now.Add(rootNotice), end.Add(-2*intermediateLifetime)), now.Add(minNotice))
	if turn.After(end) {
		return now
	}
	return turn
}

// intermediateDue reports whether it is time for another intermediate.
func (a *Authority) intermediateDue(r *Record, now time.Time) (bool, error) {
	root, err := r.signing(now)
	if err != nil {
		return false, err
	}
	if len(r.Intermediates) == 0 {
		return true, nil
	}
	current, err := r.Intermediates[len(r.Intermediates)-1].parse()
	if err != nil {
		return false, err
	}
	if current.Root != root.ID {
		return true, nil
	}
	// One that would end as early as the one that is there, because the root ends, is no help.
	lasts := earliest(now.Add(intermediateLifetime), root.cert.NotAfter)
	return current.cert.NotAfter.Sub(now) < turnBefore && lasts.Sub(current.cert.NotAfter) > day, nil
}

// drop removes issuers by which nothing is checked any more: intermediates that have ended, and roots before the present one that have no intermediate, and have not certified a root, or have
// ended.
func (r *Record) drop(now time.Time) bool {
	before := len(r.Roots) + len(r.Intermediates)
	r.Intermediates = slices.DeleteFunc(r.Intermediates, func(i Issuer) bool {
		cert, err := i.parse()
		return err == nil && now.Sub(cert.cert.NotAfter) > issuerKept
	})
	signing, err := r.signing(now)
	if err != nil {
		return before != len(r.Roots)+len(r.Intermediates)
	}
	all := slices.Clone(r.Roots)
	r.Roots = slices.DeleteFunc(r.Roots, func(i Issuer) bool {
		used := slices.ContainsFunc(r.Intermediates, func(under Issuer) bool { return under.Root == i.ID })
		return !used && i.ID != signing.ID && !i.From.After(now) && !crossed(all, i.ID, now)
	})
	return before != len(r.Roots)+len(r.Intermediates)
}

// renewCRLs signs lists that are a day old, and removes those of issuers that are gone.
func (a *Authority) renewCRLs(ctx context.Context, all map[string]ruche.Entry[Record]) error {
	kept, err := a.cfg.CRLs.List(ctx)
	if err != nil {
		return fmt.Errorf("cannot list the CRLs: %w", err)
	}
	var due []Issuer
	known := map[string]bool{}
	for _, e := range all {
		for _, i := range slices.Concat(e.Value.Roots, e.Value.Intermediates) {
			known[i.ID] = true
			if len(i.Key) > 0 && a.now().Sub(kept[i.ID].Value.Made) >= crlRenewed {
				due = append(due, i)
			}
		}
	}
	errs := []error{a.signCRLs(ctx, due, kept)}
	for id := range kept {
		if !known[id] {
			errs = append(errs, a.cfg.CRLs.Delete(ctx, id))
		}
	}
	return errors.Join(errs...)
}

func (a *Authority) signCRLs(ctx context.Context, due []Issuer, kept map[string]ruche.Entry[CRL]) error {
	if len(due) == 0 {
		return nil
	}
	log, err := a.cfg.Issued.List(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the log of what was issued: %w", err)
	}
	var errs []error
	for _, i := range due {
		by, err := i.parse()
		if err == nil {
			_, err = a.signCRL(ctx, by, kept[i.ID], log)
		}
		if err != nil && !errors.Is(err, ruche.ErrConflict) { // then somebody has just made a newer one
			errs = append(errs, fmt.Errorf("cannot make the CRL of %s: %w", i.ID, err))
		}
	}
	return errors.Join(errs...)
}

// prune removes from the log what has ended long ago.
func (a *Authority) prune(ctx context.Context, now time.Time) error {
	log, err := a.cfg.Issued.List(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the log of what was issued: %w", err)
	}
	for serial, e := range log {
		if now.Sub(e.Value.NotAfter) > logKept {
			if err := a.cfg.Issued.Delete(ctx, serial); err != nil {
				return fmt.Errorf("cannot prune the log of what was issued: %w", err)
			}
		}
	}
	return nil
}
