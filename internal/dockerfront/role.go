package dockerfront

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// mayRead reports whether a request only looks. It goes by what is known to do so, not by what is known to do more: the Engine learns new things. Not among it is what gives out files
// (archive, export, images), secrets (the Swarm's join tokens and unlock key, the content of configs), and what runs or attaches.
func mayRead(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.Header.Get("Upgrade") != "" {
		return false
	}
	// The Engine must read the path as it is read here.
	if r.URL.RawPath != "" || path.Clean(r.URL.Path) != r.URL.Path || r.URL.Host != "" {
		return false
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if isVersion(parts[0]) {
		parts = parts[1:]
	}
	return slices.ContainsFunc(looks(), func(pattern []string) bool { return fits(pattern, parts) })
}

// isVersion recognises what may stand in front of a path: "v1.47".
func isVersion(s string) bool {
	digits, ok := strings.CutPrefix(s, "v")
	return ok && digits != "" && strings.Trim(digits, "0123456789.") == ""
}

// looks are the paths that only look; "*" is one part, "**" one or more.
func looks() [][]string {
	var list [][]string
	for p := range strings.FieldsSeq(`
		_ping version info events system/df
		containers/json containers/*/json containers/*/logs containers/*/top containers/*/stats containers/*/changes
		images/json images/search images/**/json images/**/history distribution/**/json
		networks networks/* volumes volumes/* exec/*/json
		services services/* services/*/logs tasks tasks/* tasks/*/logs nodes nodes/*
		plugins plugins/**/json secrets secrets/*`) {
		list = append(list, strings.Split(p, "/"))
	}
	return list
}

func fits(pattern, parts []string) bool {
	switch {
	case len(pattern) == 0:
		return len(parts) == 0
	case len(parts) == 0:
		return false
	case pattern[0] == "**":
		rest := len(pattern) - 1
		return len(parts) > rest && fits(pattern[1:], parts[len(parts)-rest:])
	}
	return (pattern[0] == "*" && parts[0] != "" || pattern[0] == parts[0]) && fits(pattern[1:], parts[1:])
}
