package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

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
