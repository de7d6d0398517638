package match

import (
	"regexp"
	"strings"
)

// PathKind is the form of a path pattern.
type PathKind uint8

// The kinds of path patterns, which are those of an nginx location.
const (
	PathPrefix     PathKind = iota // "/x": every path that begins with it; not bound to whole segments
	PathPrefixOnly                 // "^~ /x": a prefix that keeps regular expressions from being asked
	PathExact                      // "= /x"
	PathRegexp                     // "~ re", and without regard to case "~* re"
)

// String names the kind for people.
func (k PathKind) String() string {
	switch k {
	case PathPrefixOnly:
		return "prefix before regular expressions"
	case PathExact:
		return "exact path"
	case PathRegexp:
		return "regular expression"
	}
	return "prefix"
}

// Path is a path pattern in one of the forms of VIRTUAL_PATH. The zero value matches every path.
type Path struct {
	kind    PathKind
	text    string
	value   string
	literal int
	re      *regexp.Regexp
}

// ParsePath parses a prefix ("/x"), an exact path ("= /x"), a prefix that stops regular expressions
// ("^~ /x") or a regular expression ("~ re", "~* re"; RE2 syntax). The blank after the sign may be missing. The
// error is an *Error.
func ParsePath(s string) (Path, error) {
	if len(s) > maxPattern {
		return Path{}, fail("", "path %s has %d bytes, more than %d", quote(s), len(s), maxPattern)
	}
	text := strings.TrimSpace(s)
	if text == "" {
		return Path{}, fail("write / for the whole site", "path is empty")
	}
	for _, sign := range []string{"^~", "~*", "~", "="} {
		rest, ok := strings.CutPrefix(text, sign)
		if !ok {
			continue
		}
		rest = strings.TrimSpace(rest)
		switch sign {
		case "^~":
			return literalPath(s, PathPrefixOnly, "^~ ", rest)
		case "=":
			return literalPath(s, PathExact, "= ", rest)
		case "~*":
			return regexpPath(s, sign, "(?i)", rest)
		}
		return regexpPath(s, sign, "", rest)
	}
	return literalPath(s, PathPrefix, "", text)
}

func literalPath(whole string, kind PathKind, sign, value string) (Path, error) {
	switch {
	case !strings.HasPrefix(value, "/"):
		return Path{}, fail("paths begin with /; a regular expression begins with ~", "path %s does not begin with a slash", quote(whole))
	case strings.ContainsAny(value, " \t\r\n"):
		return Path{}, fail("declare one path; several need a regular expression: ~ ^/(a|b)/", "path %s contains a blank", quote(whole))
	case strings.ContainsAny(value, "?#"):
		return Path{}, fail("paths are matched without the query", "path %s contains a query or fragment", quote(whole))
	}
	literal := len(value)
	if kind == PathExact {
		literal++
	}
	return Path{kind: kind, text: sign + value, value: value, literal: literal}, nil
}

func regexpPath(whole, sign, flags, expr string) (Path, error) {
	// nginx needs quotes around an expression with braces; they are no part of it.
	if len(expr) > 1 && expr[0] == '"' && expr[len(expr)-1] == '"' {
		expr = expr[1 : len(expr)-1]
	}
	if expr == "" {
		return Path{}, fail("write for example ~ ^/(api|rpc)/", "path %s is an empty regular expression", quote(whole))
	}
	re, err := compile(flags, expr)
	if err != nil {
		err.Message = "path " + quote(whole) + ": " + err.Message
		return Path{}, err
	}
	return Path{kind: PathRegexp, text: sign + " " + expr, value: expr, literal: literalLen(expr), re: re}, nil
}

// literalLen is how many bytes of text every match of an anchored expression begins with.
func literalLen(expr string) int {
	rest, anchored := strings.CutPrefix(expr, "^")
	if !anchored {
		return 0
	}
	re, err := regexp.Compile(rest)
	if err != nil {
		return 0
	}
	prefix, _ := re.LiteralPrefix()
	return len(prefix)
}

// Kind returns the form of the pattern.
func (p Path) Kind() PathKind { return p.kind }

// String returns the pattern in its canonical form, with one blank after the sign.
func (p Path) String() string { return p.text }

// Value returns the pattern without its sign: the prefix, the path or the regular expression.
func (p Path) Value() string { return p.value }

// Len returns how much of a path the pattern fixes, in bytes: the length of the prefix, one more for an exact path; of
// an anchored regular expression, the length of the text it begins with.
func (p Path) Len() int { return p.literal }

// Match reports whether path, which begins with a slash and has no query, is one the pattern takes.
func (p Path) Match(path string) bool {
	switch p.kind {
	case PathExact:
		return path == p.value
	case PathRegexp:
		return p.re.MatchString(path)
	}
	return strings.HasPrefix(path, p.value)
}
