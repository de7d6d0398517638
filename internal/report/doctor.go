package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/ruche-project/ruche"
)

// Checkup writes what the doctor found as a table, with the hints below what they are about, and how much of it is bad.
func Checkup(w io.Writer, c ruche.Checkup) error {
	p := &printer{w: w}
	rows := make([][]string, 0, 2*len(c.Findings))
	for _, f := range c.Findings {
		rows = append(rows, []string{f.Check, string(f.Level), cmp.Or(f.Subject, "-"), f.Message})
		if f.Hint != "" {
			rows = append(rows, []string{"", "", "", "  hint: " + f.Hint})
		}
	}
	p.table("", []string{"CHECK", "LEVEL", "SUBJECT", "WHAT"}, rows)
	p.line("")
	p.line("As %s sees it: %s.", c.Node, verdict(c))
	return p.err
}

// verdict counts what is not fine.
func verdict(c ruche.Checkup) string {
	var parts []string
	for _, l := range []ruche.Level{ruche.LevelError, ruche.LevelWarning, ruche.LevelNote} {
		switch n := c.Count(l); n {
		case 0:
		case 1:
			parts = append(parts, "1 "+string(l))
		default:
			parts = append(parts, fmt.Sprintf("%d %ss", n, l))
		}
	}
	if len(parts) == 0 {
		return "nothing is wrong or weak"
	}
	return strings.Join(parts, ", ")
}
