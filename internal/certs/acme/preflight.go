package acme

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
)

// Records looks up what the DNS says about who may have a certificate for a name.
type Records interface {
	// Forbids says why CAA records forbid what is going to be asked for, and "" when they do not.
	Forbids(ctx context.Context, q dns.Request) (reason string, err error)
	// Persist looks for the standing record of dns-persist-01.
	Persist(ctx context.Context, q dns.Request, now time.Time) (dns.Standing, error)
}

// preflight is what was found out about a want, so that people know before the CA says no. It never keeps an order from being made: the resolver of this host may see
// another DNS than the CA does.
type preflight struct {
	at       time.Time
	warnings []ruche.Warning
}

const (
	// lookAgain is when the DNS is looked at again for a certificate that is missing, lookAgainKept for one that is there.
	lookAgain, lookAgainKept = time.Hour, 6 * time.Hour
	// lookTimeout bounds a look.
	lookTimeout = time.Minute
)

// lookAhead has the DNS looked at for what is about to be ordered, or could not be, and for standing records.
func (t *term) lookAhead(ctx context.Context, v *view) {
	if t.cfg.Records == nil {
		return
	}
	t.forgetPreflights(v)
	for _, w := range v.wants {
		again := lookAgainKept
		switch {
		case w.Problem != "" || w.Waiting != "" || w.Terms.Internal() || t.isDown(w.Terms.Directory, v.now):
			continue
		case v.missing(w):
			again = lookAgain
		case !t.standing(w, v):
			continue
		}
		p, st := t.preflight(w.ID), v.states[w.ID].Value
		if v.now.Before(p.at.Add(again)) && !st.LastTry.After(p.at) {
			continue // the next look that is made anyway is soon enough
		}
		t.start("records of "+w.ID, t.slots("records", w.Terms.Directory, maxQuestions), t.calmly, func() { t.lookUp(ctx, v, w) })
	}
}

// missing reports whether there is no certificate for a want, or no next one although it was tried.
func (v *view) missing(w *Want) bool {
	return v.states[w.ID].Value.Failures > 0 || !v.usable(w.ID) && v.instead[w.ID] == ""
}

// standing reports whether a want depends on a standing record.
func (t *term) standing(w *Want, v *view) bool {
	types := w.Terms.types(v.states[w.ID].Value.Proved)
	return len(types) > 0 && types[0] == ruche.ChallengeDNSPersist01
}

func (t *term) preflight(id string) preflight {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.preflights[id]
}

// forgetPreflights drops what is known of wants that are no more.
func (t *term) forgetPreflights(v *view) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.preflights {
		if _, wanted := v.own[id]; !wanted {
			delete(t.preflights, id)
		}
	}
}

// lookUp asks the DNS about all names of a want. An answer that does not come is no reason to warn.
func (t *term) lookUp(ctx context.Context, v *view, w *Want) {
	ctx, stop := context.WithTimeout(ctx, lookTimeout)
	defer stop()
	found := preflight{at: t.now()}
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.preflights[w.ID] = found // also when nothing could be found out: else each pass would try again
	}()
	client, err := t.client(ctx, w.Terms)
	if err != nil {
		return // the order says so
	}
	dir, err := client.GetDirectory(withCall(ctx, &call{}))
	if err != nil || dir.Meta == nil || len(dir.Meta.CAAIdentities) == 0 {
		return
	}
	account, _ := t.accounts.get(accountKey(w.Terms))
	for _, name := range w.Spec.Names {
		if isAddress(name) {
			continue
		}
		q := dns.Request{Name: name, CAs: dir.Meta.CAAIdentities, Account: account.Value.URL, Challenges: w.Terms.usableFor(name)}
		if reason, err := t.cfg.Records.Forbids(ctx, q); err != nil {
			t.log.Debug("the CAA records of a name are not known", slog.String("name", name), slog.Any("error", err))
		} else if reason != "" && v.missing(w) {
			found.warnings = append(found.warnings, forbidden(w, q, reason))
		}
		if q.Account == "" || !t.standing(w, v) {
			continue
		}
		s, err := t.cfg.Records.Persist(ctx, q, found.at)
		if err != nil {
			t.log.Debug("the standing record of a name is not known", slog.String("name", name), slog.Any("error", err))
		} else if warning, bad := t.ending(v, w, name, s); bad {
			found.warnings = append(found.warnings, warning)
		}
	}
}

// usableFor are the challenge types by which a name may be proved.
func (t Terms) usableFor(name string) []ruche.ChallengeType {
	return slices.DeleteFunc(t.types(""), func(c ruche.ChallengeType) bool {
		return isWildcard(name) && c != ruche.ChallengeDNS01 && c != ruche.ChallengeDNSPersist01
	})
}

func forbidden(w *Want, q dns.Request, reason string) ruche.Warning {
	tag, owner := "issue", q.Name
	if rest, wild := strings.CutPrefix(q.Name, "*."); wild {
		tag, owner = "issuewild", rest
	}
	return ruche.Warning{
		Code: ruche.CodeCAAForbids, Severity: ruche.SeverityWarning, Subject: w.ID + " " + q.Name,
		Message: fmt.Sprintf("issuer %s is going to refuse %s, for the DNS forbids it: the record %s", w.Terms.Name, q.Name, reason),
		Hint:    fmt.Sprintf("add the record %s. IN CAA 0 %s %q; it is ordered all the same, in case the CA sees other records", owner, tag, q.CAs[0]),
	}
}

// ending warns of a standing record that is missing, or ends before the next renewal is done.
func (t *term) ending(v *view, w *Want, name string, s dns.Standing) (ruche.Warning, bool) {
	warning := ruche.Warning{
		Code: ruche.CodePersistRecord, Severity: ruche.SeverityWarning, Subject: w.ID + " " + name,
		Hint: fmt.Sprintf("write the record %s. IN TXT %q, without an end, or with a later one (persistUntil)", s.Name, s.Value),
	}
	st := v.states[w.ID].Value
	switch {
	case !s.Good && (v.usable(w.ID) || st.LastError == ""): // else the CA has said it
		warning.Message = fmt.Sprintf("the standing record by which %s is proved does not do: %s", name, s.Reason)
	case s.Good && !s.Until.IsZero() && v.usable(w.ID) && s.Until.Before(v.leaves[w.ID].cert.NotAfter):
		warning.Message = fmt.Sprintf("the standing record by which %s is proved ends at %s, before its certificate does: the renewal may come too late", name, s.Until.Format(time.RFC3339))
	default:
		return warning, false
	}
	return warning, true
}

// foreseen are the warnings of what the DNS says.
func (t *term) foreseen(v *view) []ruche.Warning {
	var all []ruche.Warning
	for _, w := range v.wants {
		for _, warning := range t.preflight(w.ID).warnings {
			if warning.Code != ruche.CodeCAAForbids || v.missing(w) { // the CA has seen it otherwise
				all = append(all, warning)
			}
		}
	}
	return all
}
