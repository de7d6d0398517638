package acme

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/plan"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// pass looks at everything once, and begins what is to be done. It gives the time of the next look, unless something changes before.
func (t *term) pass(ctx context.Context) (next time.Time) {
	v := t.look(t.now())
	t.retire(ctx, v)
	for _, w := range v.byUrgency() {
		t.tend(ctx, v, w)
	}
	t.askWindows(ctx, v)
	t.lookAhead(ctx, v)
	t.revoke(ctx, v)
	t.sweep(ctx, v)
	if ctx.Err() == nil {
		t.warn(t.warnings(v))
	}
	return v.next
}

// tend does what one want needs now.
func (t *term) tend(ctx context.Context, v *view, w *Want) {
	if w.Problem != "" {
		if v.usable(w.ID) {
			return // nothing has failed, and the want itself says what is wrong
		}
		t.note(ctx, w.ID, w.Problem+" ("+w.Hint+")", time.Time{})
		return
	}
	journal, underway := t.orders.get(w.ID)
	if !t.needed(ctx, v, w, underway) {
		return
	}
	missing, done := !v.usable(w.ID), t.calmly
	if missing || len(v.states[w.ID].Value.Revoke) > 0 {
		done = t.poke
	}
	if t.isBusy(w.ID) {
		t.hurry = t.hurry || missing
		return
	}
	st, asked := v.states[w.ID].Value, v.isAsked(w.ID)
	fresh, change := t.fresh(v, w)
	if v.waits(st) && (!asked || st.LastTry.After(st.Asked)) && !fresh {
		v.at(st.NextTry)
		return
	}
	terms := w.Terms
	if !terms.Internal() {
		terms = t.termsNow(w, st, v.now)
	}
	slots := t.pool(terms)
	if len(slots) == cap(slots) {
		return // who is done wakes us
	}
	if !missing && t.renewals <= 0 {
		v.at(v.now.Add(calm))
		return
	}
	seen := v.records[w.ID].Revision
	if terms.Internal() {
		started := t.start(w.ID, slots, done, func() {
			if t.unchanged(w.ID, seen, underway) {
				t.done(ctx, *w, w.Terms, failureOf(t.makeInternal(ctx, *w)))
			}
		})
		if started {
			t.began(w.ID, change, missing)
		}
		return
	}
	if !underway || journal.Value.Directory != terms.Directory {
		order := vault.Issuance{Directory: terms.Directory, Account: accountKey(terms), Names: w.Spec.Names, Renewal: v.leaves[w.ID].cert != nil}
		order.Replaces = order.Renewal && replaces(v.records[w.ID].Value, terms) != ""
		if at, why := plan.Next(v.now, t.ledger(), order); at.After(v.now) {
			t.note(ctx, w.ID, "the order waits: "+why, at)
			v.at(at)
			return
		}
	}
	if !t.reserve(w.Spec.Names) {
		return // likewise
	}
	if ok, at := t.mayAsk(terms.Directory, v.now); !ok {
		t.release(w.Spec.Names)
		v.at(at)
		return
	}
	started := t.start(w.ID, slots, done, func() {
		defer t.release(w.Spec.Names)
		if !t.unchanged(w.ID, seen, underway) {
			t.unused(terms.Directory)
			return
		}
		t.order(ctx, *w, terms)
	})
	if !started {
		t.release(w.Spec.Names)
		t.unused(terms.Directory)
		return
	}
	t.began(w.ID, change, missing)
}

// fresh reports whether who issues a certificate has changed since it was last asked for it, so that what kept it from issuing may be over. change tells changes from one another.
func (t *term) fresh(v *view, w *Want) (fresh bool, change int) {
	if w.Terms.Internal() {
		return t.tried[w.ID] != v.authority, v.authority
	}
	return max(t.tried[w.ID], t.issuersBefore) != t.list.of[3], t.list.of[3]
}

// began notes that a certificate is being had.
func (t *term) began(id string, change int, missing bool) {
	t.tried[id] = change
	if missing {
		t.hurry = true
	} else {
		t.renewals--
	}
}

// unchanged reports whether record and journal still are what the look at them was taken for. Another order may have ended between that look and the begin of
// this work, and what is new must not be renewed.
func (t *term) unchanged(id string, revision int64, underway bool) bool {
	e, _ := t.certificates.get(id)
	_, still := t.orders.get(id)
	return e.Revision == revision && still == underway
}

// needed reports whether there is something to do for a want: there is no certificate, it is due or asked for, or an order is under way.
func (t *term) needed(ctx context.Context, v *view, w *Want, underway bool) bool {
	if !v.usable(w.ID) {
		if v.instead[w.ID] != "" && !v.isAsked(w.ID) {
			return underway
		}
		return w.Waiting == "" || underway
	}
	due := plan.Due(v.plan(w.ID))
	t.setDue(ctx, w.ID, v.leaves[w.ID].fingerprint, due)
	st := v.states[w.ID].Value
	if st.Asked.After(v.now) {
		v.at(st.Asked)
	}
	if v.now.Before(due) && !v.isAsked(w.ID) {
		v.at(due)
		return underway
	}
	return true
}

// termsNow are the terms to order by: after three failures those of the fallback, and after three more the first ones again.
func (t *term) termsNow(w *Want, st vault.State, now time.Time) Terms {
	const turns = 3
	fallback, ok := issuerNamed(t.issuers(), w.Terms.Fallback)
	if !ok || fallback.Problem != "" || w.Terms.Fallback == "" || st.Failures/turns%2 == 0 && !t.isDown(w.Terms.Directory, now) {
		return w.Terms
	}
	terms := w.Terms
	terms.Issuer = fallback
	terms.KeyType = w.Terms.KeyType
	if terms.DNS == nil {
		terms.DNS = w.Terms.DNS
	}
	return terms
}

// ledger is what was ordered, and what is being ordered.
func (t *term) ledger() []vault.Issuance {
	var all []vault.Issuance
	for _, e := range t.issuances.all() {
		all = append(all, e.Value)
	}
	for _, e := range t.orders.all() {
		o := e.Value
		all = append(all, vault.Issuance{At: o.Began, Directory: o.Directory, Account: o.Account, Names: o.Names, Renewal: o.Renewal, Replaces: o.Replaces != ""})
	}
	return all
}

// order orders a certificate, or goes on with its order, and notes how it went.
func (t *term) order(ctx context.Context, w Want, terms Terms) {
	r := &run{term: t, want: w, terms: terms, log: t.log.With(slog.String("certificate", w.ID), slog.String("issuer", terms.Name))}
	bounded, stop := context.WithTimeout(ctx, orderTimeout)
	defer stop()
	err := r.obtain(bounded)
	if problemKind(err) == "accountDoesNotExist" {
		if err = t.lost(ctx, terms, r.account.Location); err == nil {
			err = r.obtain(bounded) // with the account that is registered again
		}
	}
	if ctx.Err() != nil {
		return // the next leader goes on
	}
	f := failureOf(err)
	if f != nil && f.final {
		if err := r.drop(ctx); err != nil {
			r.log.Warn("the journal of an order is left behind", slog.Any("error", err))
		}
	}
	t.done(ctx, w, terms, f)
}

// internalRetry is the longest time between tries at Ruche's own authority, or that fail here before a CA is asked: nobody counts them, and who has just made the authority waits for its certificates.
const internalRetry = 5 * time.Minute

// done notes how an attempt went: after a failure the next one is planned.
func (t *term) done(ctx context.Context, w Want, terms Terms, f *failure) {
	if ctx.Err() != nil {
		return
	}
	now := t.now()
	next := t.told(terms, f, now)
	if f == nil {
		return
	}
	f = f.settingsOf(terms.Name)
	t.log.Warn("a certificate was not issued", slog.String("certificate", w.ID), slog.String("issuer", terms.Name), slog.Any("error", f))
	var end time.Time
	if e, ok := t.certificates.get(w.ID); ok {
		if cert, err := e.Value.Leaf(); err == nil {
			end = cert.NotAfter
		}
	}
	err := t.states.change(ctx, w.ID, func(st *vault.State) bool {
		st.Failures++
		if f.refused && w.Terms.Fallback != "" {
			st.Failures = (st.Failures + 2) / 3 * 3
		}
		st.LastError, st.LastTry = f.Error(), now
		if st.NextTry = next; !f.unreachable {
			st.NextTry = latest(plan.Retry(w.ID, st.Failures, now, end), now.Add(f.wait))
		}
		if soon := now.Add(internalRetry); (w.Terms.Internal() || f.ours) && st.NextTry.After(soon) {
			st.NextTry = soon
		}
		return true
	})
	t.complain(ctx, w.ID, err)
}

// succeeded notes that a certificate was issued.
func (t *term) succeeded(ctx context.Context, id string, rec vault.Record, proved ruche.ChallengeType) error {
	cert, err := rec.Leaf()
	if err != nil {
		return err
	}
	of := vault.Fingerprint(cert.Raw)
	err = t.states.change(ctx, id, func(st *vault.State) bool {
		// A pass between the commit and now may have written whose state it is, but not how the order went.
		if st.Of == of && st.Failures == 0 && st.LastError == "" && !st.LastTry.Before(rec.Issued) {
			return false
		}
		next := vault.State{Of: of, LastTry: t.now(), Proved: cmp.Or(proved, st.Proved), Revoke: st.Revoke}
		next.Due = plan.Due(plan.Certificate{ID: id, NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, Issued: rec.Issued})
		if st.Asked.After(rec.Issued) {
			next.Asked, next.Reason = st.Asked, st.Reason
		}
		*st = next
		return true
	})
	if err != nil {
		return fmt.Errorf("cannot write the state of the certificate: %w", err)
	}
	t.log.Info("a certificate was issued", slog.String("certificate", id), slog.Any("names", rec.Names), slog.String("issuer", rec.Issuer), slog.Time("until", cert.NotAfter))
	return nil
}

// note writes why there is no order, if that is news.
func (t *term) note(ctx context.Context, id, text string, next time.Time) {
	err := t.states.change(ctx, id, func(st *vault.State) bool {
		if st.LastError == text && st.NextTry.Equal(next) {
			return false
		}
		st.LastError, st.NextTry = text, next
		return true
	})
	t.complain(ctx, id, err)
}

// setDue writes when a certificate is due, if that is news.
func (t *term) setDue(ctx context.Context, id, of string, due time.Time) {
	e, _ := t.states.get(id)
	if e.Value.Due.Equal(due) && e.Value.Of == of {
		return
	}
	err := t.states.change(ctx, id, func(st *vault.State) bool {
		if st.Of != of {
			st.Of, st.WindowStart, st.WindowEnd, st.Explanation, st.AskAgain = of, time.Time{}, time.Time{}, "", time.Time{}
		}
		st.Due = due
		return true
	})
	t.complain(ctx, id, err)
}
