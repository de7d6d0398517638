package acme

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/plan"
)

// warnings says what is wrong now.
func (t *term) warnings(v *view) []ruche.Warning {
	all := slices.Concat(t.outages(), t.unknownIssuers(v), t.wrongClocks(), t.refusals(), t.foreseen(v), t.notRevoked(v))
	for _, w := range v.wants {
		if v.usable(w.ID) {
			if warning, ok := t.notRenewed(v, w); ok {
				all = append(all, warning)
			}
		} else if v.instead[w.ID] == "" {
			if warning, ok := t.notIssued(v, w); ok {
				all = append(all, warning)
			}
		}
	}
	return all
}

// unknownIssuers tells of issuers that somebody names and nobody describes, for whom the default one stands in.
func (t *term) unknownIssuers(v *view) []ruche.Warning {
	wanted := make(map[string][]*Want)
	for _, w := range v.wants {
		name := w.Spec.Issuer
		if _, known := issuerNamed(t.issuers(), name); name != "" && name != ruche.IssuerInternal && !known && w.Problem == "" && w.Spec.Directory == "" {
			wanted[name] = append(wanted[name], w)
		}
	}
	var all []ruche.Warning
	for name, by := range wanted {
		who := by[0].Spec.Source
		if more := len(by) - 1; more > 0 {
			who += fmt.Sprintf(", and %d more", more)
		}
		all = append(all, ruche.Warning{
			Code: ruche.CodeIssuerUnknown, Severity: ruche.SeverityInfo, Subject: name,
			Message: fmt.Sprintf("certificates are to be of issuer %q (%s), which is not described here, and are ordered from the default one: %s", name, who, by[0].Terms.Directory),
			Hint:    "correct the name, or describe the issuer under issuers: in ruche.yaml",
		})
	}
	return all
}

func (t *term) outages() []ruche.Warning {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []ruche.Warning
	for directory, o := range t.down {
		if o.failures >= outageTells {
			all = append(all, ruche.Warning{
				Code: ruche.CodeIssuerUnreachable, Severity: ruche.SeverityWarning, Subject: directory,
				Message: fmt.Sprintf("issuer %s does not answer since %s: %s", o.issuer, o.since.UTC().Format(time.RFC3339), o.reason),
				Hint:    "certificates that are there are served; what is due is ordered as soon as the CA answers",
			})
		}
	}
	return all
}

// notRenewed warns of a certificate that is behind its plan.
func (t *term) notRenewed(v *view, w *Want) (ruche.Warning, bool) {
	level := plan.LevelAt(v.plan(w.ID), v.now)
	if level == plan.Fine {
		return ruche.Warning{}, false
	}
	severity := ruche.SeverityWarning
	if level == plan.Critical {
		severity = ruche.SeverityError
	}
	st, end := v.states[w.ID].Value, v.leaves[w.ID].cert.NotAfter
	reason := cmp.Or(w.Problem, st.LastError, "no reason is known")
	return ruche.Warning{
		Code: ruche.CodeCertNotRenewed, Severity: severity, Subject: w.ID,
		Message: fmt.Sprintf("the certificate of %s was due at %s, ends at %s, and is not renewed: %s", w, st.Due.UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339), reason),
		Hint:    "mend what the message says; ruche certs renew tries at once",
	}, true
}

// notIssued warns of a name that has no certificate, unless the CA is away, which is told once, or nobody asked for one in so many words.
func (t *term) notIssued(v *view, w *Want) (ruche.Warning, bool) {
	st := v.states[w.ID].Value
	problem := st.LastError
	switch {
	case w.Problem != "":
		if w.Mode == ruche.TLSAuto {
			return ruche.Warning{}, false
		}
		problem = w.Problem + " (" + w.Hint + ")"
	case problem == "" || t.isDown(w.Terms.Directory, v.now):
		return ruche.Warning{}, false
	}
	hint := "mend what the message says; ruche certs renew tries at once"
	if !st.NextTry.IsZero() {
		hint = fmt.Sprintf("it is tried again at %s; ruche certs renew tries at once", st.NextTry.UTC().Format(time.RFC3339))
	}
	return ruche.Warning{
		Code: ruche.CodeCertNotIssued, Severity: ruche.SeverityWarning, Subject: w.ID,
		Message: fmt.Sprintf("there is no certificate for %s (%s): %s", w, w.Spec.Source, problem), Hint: hint,
	}, true
}

// warn makes the standing warnings of this engine those given, and takes back the others.
func (e *Engine) warn(all []ruche.Warning) {
	if e.cfg.Health == nil {
		return
	}
	for _, w := range e.warnings.Stand(all) {
		e.log.Warn(w.Message, slog.String("code", string(w.Code)), slog.String("hint", w.Hint))
	}
}
