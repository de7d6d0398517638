package report

import (
	"cmp"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// State writes how the replicated state is. now is what ages are counted from.
func State(w io.Writer, s ruche.StateStatus, now time.Time) error {
	p := &printer{w: w}
	since := age(now.Sub(s.QuorumSince))
	if s.Quorum {
		p.line("A majority of the members is up (for %s), as %s sees it.", since, s.Node)
	} else {
		p.line("NO MAJORITY of the members is up (for %s), as %s sees it. What is known is served, changes wait.", since, s.Node)
	}
	p.line("Revision %d, %d kB.", s.Revision, s.Size>>10)
	rows := make([][]string, 0, len(s.Members))
	for _, m := range s.Members {
		rows = append(rows, []string{cmp.Or(m.Name, "(not up yet)"), memberState(m), cmp.Or(m.Peer, "none"), m.ID})
	}
	slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	p.line("")
	p.table("", []string{"MEMBER", "STATE", "ADDRESS", "ID"}, rows)
	if len(s.Refused) > 0 {
		p.line("")
		p.line("CONNECTIONS REFUSED SINCE START")
		for _, reason := range slices.Sorted(maps.Keys(s.Refused)) {
			p.line("  %-14s %d", reason, s.Refused[reason])
		}
	}
	return p.err
}

func memberState(m ruche.Member) string {
	switch {
	case !m.Healthy && m.Learner:
		return "coming up"
	case !m.Healthy:
		return "down"
	case m.Learner:
		return "catching up"
	case m.Leader:
		return "leader"
	}
	return "up"
}
