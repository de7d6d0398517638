package proxy

import (
	"net/url"
	"path"
	"strings"

	"github.com/ruche-project/ruche/internal/proxy/table"
)

// target is what a request asks for, as it stood on the wire and as routes are matched against.
type target struct {
	// raw is path and query as sent; rawPath is the part before the question mark.
	raw, rawPath string
	// path is decoded and clean: without dot segments and double slashes.
	path string
}

// parseTarget reads a request target (RFC 9112 section 3.2) in origin form, absolute form or asterisk form. It reports
// false for one that leads above the root, that holds a NUL or a fragment, or that is malformed.
func parseTarget(requestURI string) (target, bool) {
	raw := requestURI
	if raw != "" && raw[0] != '/' && raw != "*" {
		_, rest, ok := strings.Cut(raw, "://")
		if !ok {
			return target{}, false
		}
		i := strings.IndexAny(rest, "/?")
		switch {
		case i < 0:
			raw = "/"
		case rest[i] == '?':
			raw = "/" + rest[i:]
		default:
			raw = rest[i:]
		}
	}
	t := target{raw: raw}
	t.rawPath, _, _ = strings.Cut(raw, "?")
	if raw == "*" {
		t.path = "/"
		return t, true
	}
	if t.rawPath == "" || strings.IndexByte(raw, '#') >= 0 {
		return target{}, false
	}
	var ok bool
	t.path, ok = cleanPath(t.rawPath)
	return t, ok
}

// cleanPath decodes and cleans a path as nginx does before it looks for a location.
func cleanPath(raw string) (string, bool) {
	decoded := raw
	if strings.IndexByte(raw, '%') >= 0 {
		var err error
		if decoded, err = url.PathUnescape(raw); err != nil || strings.IndexByte(decoded, 0) >= 0 {
			return "", false
		}
	}
	if !strings.Contains(decoded, "//") && !strings.Contains(decoded, "/.") {
		return decoded, true
	}
	depth := 0
	for segment := range strings.SplitSeq(decoded, "/") {
		switch segment {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return "", false
			}
		default:
			depth++
		}
	}
	return tidy(decoded), true
}

// tidy removes dot segments and double slashes, but not a slash at the end.
func tidy(p string) string {
	clean := path.Clean(p)
	dir := strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")
	if dir && clean != "/" {
		clean += "/"
	}
	return clean
}

// forwarded returns path and query as the route's endpoints are to see them.
func (t target) forwarded(r *table.Route) string {
	query := t.raw[len(t.rawPath):]
	switch {
	case r.Dest != "":
		replaced, ok := r.Replaced()
		if !ok {
			return t.raw
		}
		p := r.Dest + strings.TrimPrefix(t.path, replaced)
		if p[0] != '/' {
			p = "/" + p
		}
		return (&url.URL{Path: p}).EscapedPath() + query
	case r.CleanPath && (strings.Contains(t.rawPath, "//") || strings.Contains(t.rawPath, "/.")):
		return tidy(t.rawPath) + query
	}
	return t.raw
}
