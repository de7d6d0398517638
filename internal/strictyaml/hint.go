package strictyaml

import (
	"fmt"
	"strings"
)

// DidYouMean gives a hint that names the one of known that word is most likely a misspelling of, or "" when
// none is near.
func DidYouMean(word string, known []string) string {
	// Beyond this length nobody compares by eye, and the comparison takes time.
	if len(word) > 64 {
		return ""
	}
	best, bestDistance := "", len(word)/3+2
	for _, k := range known {
		if d := distance(fold(word), fold(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// fold makes spellings alike that people mix up: case, and the separators of words.
func fold(s string) string {
	return strings.ReplaceAll(strings.ToLower(s), "_", "-")
}

// distance is the number of letters to insert, delete, replace or swap with their neighbour to get from a to b.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(last[j]+1, next[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, last = last, next
	}
	return last[len(b)]
}

// unknownKeyHint helps with a key that nothing knows.
func unknownKeyHint(key string, known []string) string {
	if hint := DidYouMean(key, known); hint != "" {
		return hint
	}
	return "known keys: " + strings.Join(known, ", ")
}
