package acme

import (
	"context"
	"errors"
	"log/slog"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche/internal/certs/plan"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// longestSilence is more than a CA is not asked for; what is later was written by a clock that was ahead.
const longestSilence = 48 * time.Hour

// askedAgain is when a CA is asked again for a window that could not be reached at all.
const askedAgain = 10 * time.Minute

// askWindows asks CAs for the renewal windows of the certificates that are looked after (RFC 9773), where that is due.
func (t *term) askWindows(ctx context.Context, v *view) {
	for _, w := range v.wants {
		rec := v.records[w.ID].Value
		if !v.usable(w.ID) || rec.Origin != vault.OriginACME {
			continue
		}
		l, st := v.leaves[w.ID], v.states[w.ID].Value
		if st.Of == l.fingerprint && v.now.Before(st.AskAgain) && st.AskAgain.Before(v.now.Add(longestSilence)) {
			v.at(st.AskAgain)
			continue
		}
		if at := t.triedAgain("window of " + w.ID); v.now.Before(at) {
			v.at(at)
			continue
		}
		terms, ok := t.termsFor(w, rec.Directory)
		if !ok || t.isDown(terms.Directory, v.now) {
			continue
		}
		t.start("window of "+w.ID, t.slots("window", terms.Directory, maxQuestions), t.calmly, func() { t.askWindow(ctx, w.ID, l, terms) })
	}
}

// termsFor are the terms by which a directory is reached that a record is of.
func (t *term) termsFor(w *Want, directory string) (Terms, bool) {
	if w.Terms.Directory == directory {
		return w.Terms, w.Terms.Problem == ""
	}
	for _, i := range t.issuers() {
		if i.Directory == directory && i.Problem == "" {
			return Terms{Issuer: i}, true
		}
	}
	return Terms{}, false
}

func (t *term) askWindow(ctx context.Context, id string, l leaf, terms Terms) {
	if st, _ := t.states.get(id); st.Value.Of == l.fingerprint && t.now().Before(st.Value.AskAgain) && st.Value.AskAgain.Before(t.now().Add(longestSilence)) {
		return // it was asked between the look and now
	}
	life := l.cert.NotAfter.Sub(l.cert.NotBefore)
	client, err := t.client(ctx, terms)
	if err != nil { // an order would say so
		t.tryAgain("window of "+id, t.now().Add(askedAgain))
		return
	}
	info, err := client.GetRenewalInfo(ctx, l.cert)
	if ctx.Err() != nil {
		return
	}
	now := t.now()
	again := plan.AskAgain(now, life, 0)
	switch {
	case errors.Is(err, acmez.ErrUnsupported):
		again = now.Add(24 * time.Hour)
	case err != nil:
		again = plan.AskAgain(now, life, time.Hour)
		t.log.Debug("the CA does not tell when to renew", slog.String("certificate", id), slog.Any("error", err))
	case info.RetryAfter != nil:
		again = plan.AskAgain(now, life, time.Until(*info.RetryAfter))
	}
	err = t.states.change(ctx, id, func(st *vault.State) bool {
		if st.Of != l.fingerprint {
			st.Of, st.WindowStart, st.WindowEnd, st.Explanation = l.fingerprint, time.Time{}, time.Time{}, ""
		}
		if st.AskAgain = again; info.HasWindow() {
			st.WindowStart, st.WindowEnd, st.Explanation = info.SuggestedWindow.Start, info.SuggestedWindow.End, info.ExplanationURL
		}
		return true
	})
	if err == nil && info.ExplanationURL != "" {
		t.log.Info("the CA explains when it wants a certificate renewed", slog.String("certificate", id), slog.String("url", info.ExplanationURL))
	}
}
