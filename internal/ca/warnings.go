package ca

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
)

const (
	// overdue is how much is left of an intermediate when it is wrong that there is no next one; urgent when it is an error.
	overdue = 30 * day
	urgent  = 7 * day
	// rootOverdue is how much is left of a root when it is wrong that there is no next one.
	rootOverdue = nextRootBefore - 30*day
	// crlOverdue is how old a list is when it is wrong that there is none newer.
	crlOverdue = 2 * crlRenewed
)

// examine raises what is wrong with the authorities now, and clears what is no longer.
func (a *Authority) examine(ctx context.Context, all map[string]ruche.Entry[Record]) {
	crls, err := a.cfg.CRLs.List(ctx)
	if err != nil {
		return // nothing is known, so nothing is said
	}
	now := a.now()
	var found []ruche.Warning
	for name, e := range all {
		found = append(found, a.keyWarnings(name, e.Value)...)
		found = append(found, rotationWarnings(name, e.Value, now)...)
		for _, i := range slices.Concat(e.Value.Roots, e.Value.Intermediates) {
			if c, ok := crls[i.ID]; ok && now.Sub(c.Value.Made) > crlOverdue {
				found = append(found, crlWarning(i.ID, c.Value, now))
			}
		}
	}
	a.warn(found)
}

// warn makes these the warnings that stand.
func (a *Authority) warn(found []ruche.Warning) {
	for _, w := range a.warnings.Stand(found) {
		a.cfg.Logger.Warn(w.Message, "subject", w.Subject, "code", w.Code, "hint", w.Hint)
	}
}

func (a *Authority) keyWarnings(name string, r Record) []ruche.Warning {
	for _, i := range slices.Concat(r.Roots, r.Intermediates) {
		if len(i.Key) == 0 {
			continue
		}
		if _, err := a.signer(i); err != nil {
			return []ruche.Warning{{
				Code: ruche.CodeCAKeyUnreadable, Severity: ruche.SeverityError, Subject: name,
				Message: fmt.Sprintf("the key of %s does not open: no certificate of this authority can be issued or revoked", i.ID),
				Hint:    "give the sealing key that it was made with (--seal-key-file); docs/ca.md tells what to do when that is lost",
			}}
		}
	}
	return nil
}

func rotationWarnings(name string, r Record, now time.Time) []ruche.Warning {
	var found []ruche.Warning
	add := func(code ruche.Code, subject string, left time.Duration, message, hint string) {
		w := ruche.Warning{Code: code, Severity: ruche.SeverityWarning, Subject: subject, Message: message, Hint: hint}
		if left < urgent {
			w.Severity = ruche.SeverityError
		}
		found = append(found, w)
	}
	const hint = "the log of the control node that leads says why; \"ruche ca status\" shows what is there"
	if n := len(r.Roots); n > 0 && !r.Parent {
		if root, err := r.Roots[n-1].parse(); err == nil && root.cert.NotAfter.Sub(now) < rootOverdue {
			add(ruche.CodeCARotationOverdue, root.ID, root.cert.NotAfter.Sub(now), "it ends at "+stamp(root.cert.NotAfter)+", and there is no next root", hint)
		}
	}
	if len(r.Intermediates) == 0 {
		if !r.Parent {
			add(ruche.CodeCARotationOverdue, name, 0, "it has no intermediate: no certificate can be issued", hint)
		}
		return found
	}
	last, err := r.Intermediates[len(r.Intermediates)-1].parse()
	if err != nil {
		return found
	}
	left, life := last.cert.NotAfter.Sub(now), last.cert.NotAfter.Sub(last.cert.NotBefore)
	switch {
	case r.Parent && left < life/3:
		add(ruche.CodeCAParentDue, last.ID, left, "it ends at "+stamp(last.cert.NotAfter)+", and the parent has signed no next one; certificates end with it",
			"run \"ruche ca init "+name+" --parent\", have the request signed, and run \"ruche ca init "+name+" --import chain.pem\"")
	case !r.Parent && left < overdue:
		add(ruche.CodeCARotationOverdue, last.ID, left, "it ends at "+stamp(last.cert.NotAfter)+", and there is no next intermediate; certificates end with it", hint)
	}
	return found
}

func crlWarning(id string, c CRL, now time.Time) ruche.Warning {
	w := ruche.Warning{
		Code: ruche.CodeCACRLStale, Severity: ruche.SeverityWarning, Subject: id,
		Message: "its list of revoked certificates is of " + stamp(c.Made) + " and good until " + stamp(c.Until) + "; it was to be signed anew every day",
		Hint:    "the log of the control node that leads says why; verifiers that check lists refuse every certificate when the list has ended",
	}
	if !now.Before(c.Until) {
		w.Severity = ruche.SeverityError
	}
	return w
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
