package table

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
)

// maxCandidates is how many near misses are told.
const maxCandidates = 5

// miss is a near miss; the smaller its distance, the earlier it is told.
type miss struct {
	ruche.Candidate
	distance int
}

// Candidates returns the routes that come nearest to taking a request that none takes, nearest first.
func (t *Table) Candidates(host, path string) []ruche.Candidate {
	var misses []miss
	for _, r := range t.Routes {
		if r.Protocol != "" {
			continue
		}
		if m, ok := r.near(host, path); ok {
			misses = append(misses, m)
		}
	}
	slices.SortStableFunc(misses, func(a, b miss) int { return cmp.Compare(a.distance, b.distance) })
	misses = misses[:min(len(misses), maxCandidates)]
	candidates := make([]ruche.Candidate, len(misses))
	for i, m := range misses {
		candidates[i] = m.Candidate
	}
	return candidates
}

func (r *Route) near(host, path string) (miss, bool) {
	if r.rule != nil && r.rule.MayMatchHost(host) {
		return r.miss(host, 0, "its rule takes the host, but not the path %q: %s", path, r.rule), true
	}
	if r.rule == nil && r.host.Match(host) {
		return r.miss(r.Match.Host, 0, "the path %q does not match its path %s", path, r.path), true
	}
	best, found := miss{}, false
	for _, h := range r.Hosts {
		if m, ok := r.nearHost(h, host); ok && (!found || m.distance < best.distance) {
			best, found = m, true
		}
	}
	return best, found
}

func (r *Route) miss(host string, distance int, why string, args ...any) miss {
	return miss{ruche.Candidate{RouteID: r.ID, Host: host, Path: r.Match.Path, Why: fmt.Sprintf(why, args...)}, distance}
}

// nearHost tells what keeps the pattern from taking the host, if it is nearly the same.
func (r *Route) nearHost(pattern, host string) (miss, bool) {
	base, wildcard := strings.CutPrefix(pattern, "*.")
	switch {
	case strings.HasPrefix(pattern, "~"):
		return miss{}, false
	case wildcard && host == base:
		return r.miss(pattern, 1, "the wildcard takes names below %s, not %s itself", base, base), true
	case host == "www."+pattern || pattern == "www."+host:
		return r.miss(pattern, 1, "the names differ by www."), true
	case strings.HasSuffix(host, "."+pattern):
		return r.miss(pattern, 2, "%s is below it; declare *.%s to take such names", host, pattern), true
	case strings.HasSuffix(pattern, "."+host):
		return r.miss(pattern, 3, "it is below %s", host), true
	}
	most := min(3, max(1, len(host)/4))
	if d := distance(pattern, host, most); d <= most {
		return r.miss(pattern, 1+d, "the names differ by %s", count(d, "character")), true
	}
	if sub, rest, ok := strings.Cut(host, "."); ok {
		if s, other, _ := strings.Cut(pattern, "."); s == sub && other != rest {
			return r.miss(pattern, 5, "it has the same first label in another domain"), true
		}
	}
	return miss{}, false
}

// distance is the number of characters to insert, delete, replace or swap with their neighbour to make a from b;
// anything above most may come back as most+1.
func distance(a, b string, most int) int {
	if d := len(a) - len(b); d > most || -d > most {
		return most + 1
	}
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row := rows[(i-1)%3], rows[i%3], rows[(i+1)%3]
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > most+1 {
			return most + 1
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}
