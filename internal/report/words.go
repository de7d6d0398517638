package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/ruche-project/ruche"
)

func routeMatch(r ruche.RouteStatus) string {
	if r.Match.Rule != "" && r.Protocol == "" {
		return r.Match.Rule
	}
	if r.Match.Rule != "" {
		return fmt.Sprintf("%s %s at %s", r.Protocol, r.Match.Rule, r.Match.EntryPoint)
	}
	if r.Protocol != "" {
		return fmt.Sprintf("%s://%s at %s", r.Protocol, cmp.Or(r.Match.Host, "*"), r.Match.EntryPoint)
	}
	if r.Match.Path == "/" {
		return r.Match.Host
	}
	if strings.HasPrefix(r.Match.Path, "/") {
		return r.Match.Host + r.Match.Path
	}
	return r.Match.Host + " " + r.Match.Path // "= /x" and regular expressions read better apart
}

func endpointSummary(r ruche.RouteStatus) string {
	switch {
	case r.Blocked != "":
		return "blocked"
	case r.ShadowedBy != "":
		return "shadowed"
	case len(r.Endpoints) == 0:
		return "none"
	}
	return fmt.Sprintf("%d/%d ready", r.ReadyEndpoints(), len(r.Endpoints))
}

// certificateSummary is one cell for all hosts of a route: the kind they share, else the kinds.
func certificateSummary(r ruche.RouteStatus, now time.Time) string {
	kinds := make(map[string]bool)
	for _, c := range r.Certificates {
		kinds[certificate(c, now)] = true
	}
	if len(kinds) == 0 {
		return "-"
	}
	list := make([]string, 0, len(kinds))
	for k := range kinds {
		list = append(list, k)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func certificate(c ruche.CertificateStatus, now time.Time) string {
	left := c.NotAfter.Sub(now)
	switch {
	case c.Kind == ruche.CertificateNone:
		return "none"
	case c.Kind == ruche.CertificateSelfSigned:
		return "self-signed"
	case left <= 0:
		return fmt.Sprintf("%s, EXPIRED %s ago", c.Kind, age(-left))
	}
	return fmt.Sprintf("%s, %s left", c.Kind, age(left))
}

func declaredBy(r ruche.RouteStatus, now time.Time) string {
	list := make([]string, 0, len(r.Sources))
	for _, s := range r.Sources {
		list = append(list, source(s, now))
	}
	const shown = 3 // a route of forty replicas must not make the table unreadable
	if len(list) > shown {
		return strings.Join(list[:shown-1], "; ") + fmt.Sprintf("; and %d more", len(list)-shown+1)
	}
	return strings.Join(list, "; ")
}

func source(s ruche.RouteSource, now time.Time) string {
	text := fmt.Sprintf("%s %s, %s", s.WorkloadKind, s.Workload, s.Source)
	if s.WorkloadKind == ruche.KindFile {
		text = s.Source // it names the file already
	}
	if !s.GoneSince.IsZero() {
		text += fmt.Sprintf(" (removed %s ago)", age(now.Sub(s.GoneSince)))
	}
	return text
}

// checkSummary tells what the active health check of an endpoint found last.
func checkSummary(c ruche.CheckStatus, now time.Time) string {
	switch {
	case c.At.IsZero():
		return "not made yet"
	case c.Error == "" && c.Healthy:
		return "passed " + age(now.Sub(c.At)) + " ago"
	case c.Error == "":
		return "passed " + age(now.Sub(c.At)) + " ago, but not often enough to take it in again"
	case c.Healthy:
		return "failed " + age(now.Sub(c.At)) + " ago, but not often enough to take it out: " + c.Error
	}
	return "FAILED " + age(now.Sub(c.At)) + " ago, it is out: " + c.Error
}

// age writes a duration in the largest unit that leaves at least two of it.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func orNone(s, none string) string {
	if s == "" {
		return none
	}
	return s
}

// printable replaces control characters: what containers declare may hold anything, escape sequences for
// the reader's terminal included.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\ufffd'
	}, s)
}

func total(classes [5]uint64) uint64 {
	var sum uint64
	for _, n := range classes {
		sum += n
	}
	return sum
}
