package report

import (
	"cmp"
	"io"
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
)

// Seals writes what is sealed in the state, with which keys, and what to do next.
func Seals(w io.Writer, s ruche.SealStatus) error {
	p := &printer{w: w}
	if len(s.Keys) > 1 {
		p.line("%s seals with key %s, and opens with %s too.", s.Node, s.Keys[0], strings.Join(s.Keys[1:], ", "))
	} else {
		p.line("%s seals with key %s.", s.Node, strings.Join(s.Keys, ""))
	}
	if len(s.Values) > 0 {
		rows := make([][]string, 0, len(s.Values))
		for _, c := range s.Values {
			state := "in order"
			switch {
			case !c.Opens:
				state = "CANNOT BE OPENED"
			case c.Stale && len(s.Keys) > 0 && c.Key == s.Keys[0]:
				state = "to be sealed anew (it does not name its key)"
			case c.Stale && c.Key == "":
				c.Key, state = "none", "to be sealed (it is in the clear)"
			case c.Stale:
				state = "to be sealed anew"
			}
			rows = append(rows, []string{c.Bucket, cmp.Or(c.Key, "unknown"), strconv.Itoa(c.Count), state})
		}
		p.line("")
		p.table("", []string{"WHAT", "KEY", "VALUES", "STATE"}, rows)
	}
	for i, place := range s.Unopened {
		if i == 0 {
			p.line("")
		}
		p.line("cannot be opened: %s", place)
	}
	p.line("")
	all, stale, lost := s.Total()
	switch {
	case lost > 0:
		p.line("%d of %d values cannot be opened with the keys of this node.", lost, all)
	case len(s.Lacking) > 0:
		p.line("Control nodes without key %s: %s. Give them the same file first.", s.Keys[0], strings.Join(s.Lacking, ", "))
	case stale > 0:
		p.line("%d of %d values are to be sealed anew: ruche state reseal", stale, all)
	case len(s.Keys) > 1:
		p.line("All %d values are sealed with key %s: the other lines of the key's file can be dropped. Keep a copy of the old key as long as you keep backups from before.", all, s.Keys[0])
	default:
		p.line("All %d values are sealed with it.", all)
	}
	return p.err
}
