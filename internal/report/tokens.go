package report

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// Tokens writes the join tokens as a table. now is what tells which have expired.
func Tokens(w io.Writer, list ruche.TokenList, now time.Time) error {
	p := &printer{w: w}
	if len(list.Tokens) == 0 {
		p.line("There is no join token: no node can join. \"ruche nodes token\" makes one.")
		return p.err
	}
	rows := make([][]string, 0, len(list.Tokens))
	for _, t := range list.Tokens {
		uses, used, expires := strconv.Itoa(t.Uses), "no", "never"
		if t.Uses < 0 {
			uses = "any number"
		}
		if t.Used {
			used = "yes"
		}
		if !t.Expires.IsZero() {
			expires = t.Expires.UTC().Format(time.RFC3339)
			if !now.Before(t.Expires) {
				expires += " (past)"
			}
		}
		rows = append(rows, []string{t.ID, strings.Join(t.Roles, ","), uses, used, t.Created.UTC().Format(time.RFC3339), expires})
	}
	p.table("", []string{"ID", "ROLES", "USES LEFT", "USED", "CREATED", "EXPIRES"}, rows)
	return p.err
}
