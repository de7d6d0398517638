package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// CertificateCheck writes what a server shows, and what is wrong with it. now is what ages are counted from.
func CertificateCheck(w io.Writer, c ruche.CertificateCheck, now time.Time) error {
	p := &printer{w: w}
	if c.Address == "" {
		p.line("%s, which no connection leads to", c.Target.ServerName)
	} else {
		p.line("%s, looked at %s", c.Target.ServerName, c.Address)
	}
	if len(c.Chain) > 0 {
		p.line("")
		p.line("CERTIFICATE")
		leaf := c.Chain[0]
		p.table("  ", nil, [][]string{
			{"names", someNames(leaf.Names)}, {"issuer", leaf.Issuer},
			{"from", leaf.NotBefore.UTC().Format(time.RFC3339)}, {"to", leaf.NotAfter.UTC().Format(time.RFC3339) + ", " + age(leaf.NotAfter.Sub(now)) + " left"},
			{"key", leaf.Key + ", signed with " + leaf.Signature}, {"serial", leaf.Serial}, {"SHA-256", leaf.Fingerprint},
		})
		for i, above := range c.Chain[1:] {
			if i == 0 {
				p.line("  and then was sent")
			}
			p.line("    %s, until %s", above.Subject, above.NotAfter.UTC().Format(time.DateOnly))
		}
	}
	if t := c.TLS; t != nil {
		p.line("")
		p.line("TLS")
		p.table("  ", nil, [][]string{{"versions", strings.Join(t.Versions, ", ")}, {"agreed", t.Version + ", " + t.KeyExchange + ", " + t.Cipher}, {"ALPN", orNone(t.ALPN, "none")}})
	}
	p.line("")
	rows := make([][]string, 0, 2*len(c.Findings))
	for _, f := range c.Findings {
		rows = append(rows, []string{f.Check, string(f.Level), f.Message})
		if f.Hint != "" {
			rows = append(rows, []string{"", "", "  hint: " + f.Hint})
		}
	}
	p.table("", []string{"CHECK", "LEVEL", "WHAT"}, rows)
	return p.err
}

// Import writes what was imported, or would be, and what was found wrong in what was read. now is what ages are counted from.
func Import(w io.Writer, r ruche.ImportResult, now time.Time) error {
	p := &printer{w: w}
	if len(r.Certificates) == 0 {
		p.line("No certificate was found that can be imported.")
	} else {
		p.table("", []string{"CERTIFICATE", "LEFT", "RENEWED AT", "WHAT", "FROM"}, importRows(r.Certificates, now))
	}
	if len(r.Accounts) > 0 {
		rows := make([][]string, 0, len(r.Accounts))
		for _, a := range r.Accounts {
			rows = append(rows, []string{cmp.Or(strings.Join(a.Names, ", "), "(no e-mail)"), a.Directory, outcome(a), a.Source})
		}
		p.line("")
		p.table("", []string{"ACCOUNT", "AT", "WHAT", "FROM"}, rows)
	}
	if len(r.Problems) > 0 {
		p.line("")
		p.line("FOUND IN WHAT WAS READ")
		for _, f := range r.Problems {
			level := "warning"
			if f.Skipped {
				level = "skipped"
			}
			p.line("  %-7s %s: %s", level, f.Place, f.Message)
			if f.Hint != "" {
				p.line("          hint: %s", f.Hint)
			}
		}
	}
	return p.err
}

func importRows(items []ruche.ImportedItem, now time.Time) [][]string {
	rows := make([][]string, 0, len(items))
	for _, c := range items {
		left, at := "-", cmp.Or(c.Directory, "its issuer is unknown")
		if !c.NotAfter.IsZero() {
			left = age(c.NotAfter.Sub(now))
		}
		if c.Guessed {
			at += " (guessed)"
		}
		rows = append(rows, []string{someNames(c.Names), left, at, outcome(c), c.Source})
	}
	return rows
}

// someNames is one cell for the names of a certificate.
func someNames(names []string) string {
	const shown = 3
	if len(names) > shown {
		return strings.Join(names[:shown-1], ", ") + fmt.Sprintf(" and %d more", len(names)-shown+1)
	}
	return strings.Join(names, ", ")
}

func outcome(i ruche.ImportedItem) string {
	switch i.Outcome {
	case ruche.ImportReady:
		return "can be imported"
	case ruche.ImportDone:
		return "imported"
	case ruche.ImportSame:
		return "is here already"
	case ruche.ImportOlder:
		if i.NotAfter.IsZero() {
			return "left: there is another account here"
		}
		return "left: what is here ends later"
	}
	return "REFUSED: " + i.Reason
}
