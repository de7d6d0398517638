package inventory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// Warnings says what is wrong with certificates, beyond what whoever renews them says of their renewal.
func Warnings(in Input) []ruche.Warning {
	l := newLister(in)
	var all []ruche.Warning
	for _, id := range slices.Sorted(maps.Keys(l.infos)) {
		info := l.infos[id]
		if problems := l.unfit[id]; len(problems) > 0 {
			all = append(all, unfit(info, problems))
		}
		if !stored(info) {
			continue
		}
		if unserved := l.unserved(info); len(unserved) > 0 {
			all = append(all, notServed(info, unserved))
		}
		if !info.Withdrawn.IsZero() {
			all = append(all, l.withdrawn(info))
		}
		if _, wanted := in.Wants[id]; wanted {
			all = append(all, short(info)...)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(in.Served)) {
		for _, name := range slices.Sorted(maps.Keys(in.Served[node].Seen)) {
			s := in.Served[node].Seen[name]
			s.Problem = "" // whom an endpoint behind us is good enough for is its owner's affair
			all = append(all, foreign(name, "the endpoint, to which edge "+node+" passes it through,", s, in.Now)...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Sights)) {
		all = append(all, foreign(name, "the server, which is watched,", in.Sights[name], in.Now)...)
	}
	return all
}

func notServed(info *ruche.CertificateInfo, problems []string) ruche.Warning {
	text := problems[0]
	if len(problems) > 1 {
		text += fmt.Sprintf(", and %d more", len(problems)-1)
	}
	return ruche.Warning{
		Code: ruche.CodeCertNotServed, Severity: ruche.SeverityWarning, Subject: info.ID,
		Message: fmt.Sprintf("the certificate of %s is there since %s and not served: %s", first(info.Names), info.Issued.UTC().Format(time.RFC3339), text),
		Hint:    "look at the warnings of that edge (ruche doctor); ruche explain URL there says why it chose the other one",
	}
}

// unfit warns of a file that is for other names than those that are served with it.
func unfit(info *ruche.CertificateInfo, problems []string) ruche.Warning {
	text := problems[0]
	if len(problems) > 1 {
		text += fmt.Sprintf(", and %d more", len(problems)-1)
	}
	return ruche.Warning{
		Code: ruche.CodeCertUnfit, Severity: ruche.SeverityError, Subject: info.ID,
		Message: fmt.Sprintf("%s on edge %s: %s, so that clients refuse it", cmp.Or(info.Source, info.ID), strings.Join(slices.Compact(slices.Sorted(slices.Values(info.ServedBy))), ", "), text),
		Hint:    "put a certificate that has the name into the file, or take the file away: then another one serves; docs/certificates.md says which",
	}
}

func (l *lister) withdrawn(info *ruche.CertificateInfo) ruche.Warning {
	hint := "it is being replaced; ruche certs show " + info.ID + " says how far that is"
	if _, wanted := l.in.Wants[info.ID]; !wanted {
		hint = "nobody orders it here: bring another one, or have one ordered for its names"
	}
	return ruche.Warning{
		Code: ruche.CodeCertRevoked, Severity: ruche.SeverityError, Subject: info.ID,
		Message: fmt.Sprintf("the certificate of %s was revoked by its CA at %s", first(info.Names), info.Withdrawn.UTC().Format(time.RFC3339)), Hint: hint,
	}
}

// short warns of a certificate that ends before it would be renewed.
func short(info *ruche.CertificateInfo) []ruche.Warning {
	var late time.Time
	what := ""
	switch {
	case !info.Due.Before(info.NotAfter):
		late, what = info.Due, "is to be renewed"
	case !info.WindowStart.Before(info.NotAfter):
		late, what = info.WindowStart, "is to be renewed, by its CA's word,"
	default:
		return nil
	}
	return []ruche.Warning{{
		Code: ruche.CodeCertShort, Severity: ruche.SeverityWarning, Subject: info.ID,
		Message: fmt.Sprintf("the certificate of %s ends at %s and %s at %s only", first(info.Names), info.NotAfter.UTC().Format(time.RFC3339), what, late.UTC().Format(time.RFC3339)),
		Hint:    "ruche certs renew gets another one now; when that is as short, look at the clock here, at the CA and at the profile",
	}}
}

const (
	// Whoever renews in time has more than a quarter of the life left. What lives for long is renewed by hand, and more than a month ahead nobody acts.
	foreignWarns, foreignWarnsMost = 4, 30 * 24 * time.Hour
	foreignFails, foreignFailsMost = 12, 7 * 24 * time.Hour
)

// foreign warns of a certificate that others look after.
func foreign(name, who string, s vault.Sight, now time.Time) []ruche.Warning {
	w := ruche.Warning{Code: ruche.CodeCertElsewhere, Severity: ruche.SeverityWarning, Subject: name, Hint: "nothing renews it here: whoever runs the server has to; ruche certs check " + name + " says more"}
	life, left := s.NotAfter.Sub(s.NotBefore), s.NotAfter.Sub(now)
	end := s.NotAfter.UTC().Format(time.RFC3339)
	switch {
	case s.Fingerprint == "" && s.Problem == "":
		return nil
	case s.Fingerprint == "":
		w.Message = fmt.Sprintf("%s: %s shows no certificate: %s", name, who, s.Problem)
	case left <= 0:
		w.Severity, w.Message = ruche.SeverityError, fmt.Sprintf("%s: %s shows a certificate that ended at %s", name, who, end)
	case !s.Revoked.IsZero():
		w.Severity, w.Message = ruche.SeverityError, fmt.Sprintf("%s: %s shows a certificate that its CA revoked at %s", name, who, s.Revoked.UTC().Format(time.RFC3339))
	case left < min(life/foreignFails, foreignFailsMost):
		w.Severity, w.Message = ruche.SeverityError, fmt.Sprintf("%s: the certificate that %s shows ends at %s", name, who, end)
	case s.Problem != "":
		w.Message = fmt.Sprintf("%s: %s shows a certificate that is not good: %s", name, who, s.Problem)
	case left < min(life/foreignWarns, foreignWarnsMost):
		w.Message = fmt.Sprintf("%s: the certificate that %s shows ends at %s and ought to have been renewed", name, who, end)
	default:
		return nil
	}
	return []ruche.Warning{w}
}
