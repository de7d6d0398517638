package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// quiet is how long a node may say nothing before that is worth a word: control nodes note at least every 15 s that they hear of it.
const quiet = 45 * time.Second

// Nodes writes the nodes of the installation as a table, then what is wrong with them. now is what ages are counted from.
func Nodes(w io.Writer, list ruche.NodeList, now time.Time) error {
	p := &printer{w: w}
	rows := make([][]string, 0, len(list.Nodes))
	for _, n := range list.Nodes {
		version, follows, seen := "-", "-", "never"
		if s := n.Status; s != nil {
			version, seen = s.Version, "now"
			if age := now.Sub(s.Seen); age > quiet {
				seen = age.Round(time.Second).String() + " ago"
			}
			switch {
			case s.Follows != "":
				follows = s.Follows
			case !s.FollowsSince.IsZero():
				follows = "nobody since " + s.FollowsSince.UTC().Format(time.RFC3339)
			}
		}
		rows = append(rows, []string{n.Name, strings.Join(n.Roles, ","), version, follows, seen})
	}
	p.table("", []string{"NODE", "ROLES", "VERSION", "FOLLOWS", "SEEN"}, rows)
	for _, n := range list.Nodes {
		if n.Status == nil || len(n.Status.Warnings) == 0 {
			continue
		}
		p.line("")
		p.line("On %s:", n.Name)
		p.warnings(n.Status.Warnings)
	}
	if len(list.Refused) > 0 {
		p.line("")
		p.line("Peers that were turned away: %s", counts(list.Refused))
	}
	return p.err
}

func counts(m map[string]uint64) string {
	var list []string
	for _, reason := range slices.Sorted(maps.Keys(m)) {
		list = append(list, fmt.Sprintf("%s %d", reason, m[reason]))
	}
	return strings.Join(list, ", ")
}
