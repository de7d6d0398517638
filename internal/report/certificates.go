package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// Certificates writes the inventory of certificates as a table, then what is wrong. now is what ages are counted from.
func Certificates(w io.Writer, list ruche.CertificateList, now time.Time) error {
	p := &printer{w: w}
	if len(list.Certificates) == 0 {
		p.line("No certificates. Give --acme-email to have them ordered for published names, or put files into the certificates directory.")
	} else {
		rows := make([][]string, 0, len(list.Certificates))
		for _, c := range list.Certificates {
			rows = append(rows, []string{Some(c.Names, 2), string(c.Kind), string(c.State), expiry(c, now), due(c, now), cmp.Or(c.CA, c.Issuer, "-"), cmp.Or(Some(c.ServedBy, 3), "-")})
		}
		p.table("", []string{"NAMES", "KIND", "STATE", "EXPIRES", "RENEWAL", "ISSUER", "SERVED BY"}, rows)
		p.line("")
		p.line("%s", inStates(list.Certificates))
	}
	for _, c := range list.Certificates {
		troubled := (c.LastError != "" || len(c.Problems) > 0) && c.State != ruche.CertificateRetired
		if !troubled && c.Asked.IsZero() && len(c.Revocations) == 0 {
			continue
		}
		p.line("")
		p.line("%s:", Some(c.Names, 2))
		p.wishes(c, now)
		if troubled {
			p.troubles(c, now)
		}
	}
	p.silent(list.Silent, now)
	p.warnings(slices.DeleteFunc(slices.Clone(list.Warnings), told))
	if slices.ContainsFunc(list.Warnings, told) {
		p.line("")
		p.line(`"ruche certs renew NAME" tries at once.`)
	}
	return p.err
}

// told reports whether a warning says what stands with the certificates already.
func told(w ruche.Warning) bool { return w.Code == ruche.CodeCertNotIssued }

// inStates says how many certificates are in which state.
func inStates(list []ruche.CertificateInfo) string {
	by := map[ruche.CertificateState]int{}
	for _, c := range list {
		by[c.State]++
	}
	var parts []string
	for _, s := range ruche.CertificateStates() {
		if by[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", by[s], s))
		}
	}
	return strings.Join(parts, ", ")
}

// silent tells of edges that were not heard of lately.
func (p *printer) silent(edges map[string]time.Time, now time.Time) {
	if len(edges) > 0 {
		p.line("")
	}
	for _, name := range slices.Sorted(maps.Keys(edges)) {
		p.line("Edge %s was last heard of %s ago; what it serves is not listed.", name, age(now.Sub(edges[name])))
	}
}

// wishes writes what was asked for and is not done yet.
func (p *printer) wishes(c ruche.CertificateInfo, now time.Time) {
	write := func(what, done string, at time.Time, reason string) {
		when, yet := "in "+age(at.Sub(now)), ""
		if !at.After(now) {
			when, yet = age(now.Sub(at))+" ago", ", and not "+done+" yet"
		}
		if reason == "asked" { // no reason was given
			reason = ""
		}
		if reason != "" {
			reason = " (" + reason + ")"
		}
		p.line("  %s to be %s at %s, %s%s%s", what, done, at.UTC().Format(time.RFC3339), when, yet, reason)
	}
	if !c.Asked.IsZero() {
		write("it is asked", "renewed", c.Asked, c.AskedReason)
	}
	for _, r := range c.Revocations {
		write("the one with the serial number "+r.Serial+" is asked", "revoked", r.At, r.Reason)
		if r.LastError != "" {
			p.line("    it is not, and tried again: %s", r.LastError)
		}
	}
}

// troubles writes what is wrong with a certificate.
func (p *printer) troubles(c ruche.CertificateInfo, now time.Time) {
	if c.LastError != "" {
		var more []string
		if c.Failures > 0 {
			more = append(more, fmt.Sprintf("%d failed", c.Failures))
		}
		if c.NextTry.After(now) {
			more = append(more, "next try in "+age(c.NextTry.Sub(now)))
		}
		line := c.LastError
		if len(more) > 0 {
			line += " (" + strings.Join(more, "; ") + ")"
		}
		p.line("  %s", line)
	}
	for _, problem := range c.Problems {
		if problem != c.LastError {
			p.line("  %s", problem)
		}
	}
}

// CertificateNames writes what each name is served with.
func CertificateNames(w io.Writer, list ruche.CertificateList, now time.Time) error {
	p := &printer{w: w}
	if len(list.Names) == 0 {
		p.line("No edge has said yet what it serves.")
		return p.err
	}
	rows := make([][]string, 0, len(list.Names))
	for _, n := range list.Names {
		expires := "-"
		if !n.NotAfter.IsZero() {
			expires = leftOf(n.NotAfter, now)
		}
		word := ""
		switch {
		case !n.Withdrawn.IsZero():
			word = "REVOKED by its CA"
		case n.Problem != "":
			word = n.Problem
		case len(n.Others) > 0:
			word = "otherwise on " + Some(slices.Sorted(maps.Keys(n.Others)), 3)
		}
		rows = append(rows, []string{n.Name, string(n.Kind), expires, cmp.Or(n.Certificate, n.CA, "-"), cmp.Or(Some(n.Edges, 3), "-"), word})
	}
	p.table("", []string{"NAME", "KIND", "EXPIRES", "CERTIFICATE", "EDGES", ""}, rows)
	p.silent(list.Silent, now)
	return p.err
}

// CertificateDetails writes all that is known of certificates.
func CertificateDetails(w io.Writer, list []ruche.CertificateInfo, now time.Time) error {
	p := &printer{w: w}
	for i, c := range list {
		if i > 0 {
			p.line("")
		}
		p.line("%s", c.ID)
		moment := func(t time.Time) string {
			if t.IsZero() {
				return ""
			}
			if t.After(now) {
				return t.UTC().Format(time.RFC3339) + ", in " + age(t.Sub(now))
			}
			return t.UTC().Format(time.RFC3339) + ", " + age(now.Sub(t)) + " ago"
		}
		window := ""
		if !c.WindowStart.IsZero() {
			window = c.WindowStart.UTC().Format(time.RFC3339) + " to " + c.WindowEnd.UTC().Format(time.RFC3339)
		}
		for _, row := range [][2]string{
			{"names", strings.Join(c.Names, ", ")}, {"kind", string(c.Kind)}, {"state", string(c.State)}, {"wanted by", c.Source}, {"issuer", c.Issuer},
			{"directory", c.Directory}, {"CA", c.CA}, {"profile", c.Profile}, {"key", c.KeyType}, {"serial", c.Serial}, {"SHA-256", c.Fingerprint}, {"key SHA-256", c.Key},
			{"valid from", moment(c.NotBefore)}, {"valid until", moment(c.NotAfter)}, {"issued", moment(c.Issued)}, {"renewal due", moment(c.Due)},
			{"CA suggests", window}, {"CA explains", c.Explanation}, {"retired", moment(c.Retired)}, {"revoked", moment(c.Revoked)}, {"withdrawn", moment(c.Withdrawn)}, {"served by", strings.Join(c.ServedBy, ", ")},
		} {
			if row[1] != "" {
				p.line("  %-12s %s", row[0], row[1])
			}
		}
		p.wishes(c, now)
		p.troubles(c, now)
	}
	return p.err
}

// CertificateTasks writes what becomes of certificates that somebody asked about.
func CertificateTasks(w io.Writer, tasks []ruche.CertificateTask, done string, now time.Time) error {
	p := &printer{w: w}
	if len(tasks) == 0 {
		return nil // the command says so
	}
	rows := make([][]string, 0, len(tasks))
	for _, t := range tasks {
		when := "now"
		switch {
		case t.Error != "":
			when = "not: " + t.Error
		case t.At.After(now):
			when = "in " + age(t.At.Sub(now))
		}
		rows = append(rows, []string{Some(t.Names, 2), t.ID, when})
	}
	p.table("", []string{"NAMES", "ID", "WILL BE " + strings.ToUpper(done)}, rows)
	if slices.ContainsFunc(tasks, func(t ruche.CertificateTask) bool { return t.Error == "" }) {
		p.line("")
		p.line(`"ruche certs list" shows how far it is.`)
	}
	return p.err
}

// Some lists the first few of a list, and how many more there are.
func Some(list []string, most int) string {
	if len(list) > most {
		return strings.Join(list[:most], ", ") + fmt.Sprintf(" and %d more", len(list)-most)
	}
	return strings.Join(list, ", ")
}

func expiry(c ruche.CertificateInfo, now time.Time) string {
	if c.NotAfter.IsZero() {
		return "-"
	}
	return leftOf(c.NotAfter, now)
}

func leftOf(t, now time.Time) string {
	if left := t.Sub(now); left > 0 {
		return "in " + age(left)
	}
	return "EXPIRED " + age(now.Sub(t)) + " ago"
}

func due(c ruche.CertificateInfo, now time.Time) string {
	at, asked := c.Due, ""
	if !c.Asked.IsZero() && (at.IsZero() || c.Asked.Before(at)) {
		at, asked = c.Asked, ", asked"
	}
	switch {
	case c.Kind == ruche.CertificateFile:
		return "by whoever wrote it"
	case c.State == ruche.CertificateRetired || !c.Revoked.IsZero() || !c.Wanted:
		return "none"
	case at.IsZero():
		return "-"
	case at.After(now):
		return "in " + age(at.Sub(now)) + asked
	}
	return "due since " + age(now.Sub(at)) + asked
}
