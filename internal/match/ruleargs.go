package match

import (
	"regexp"
	"strings"
)

// argument makes the node of one string of a matcher; name is lower case and known.
func argument(name, value string) (*node, *Error) {
	switch name {
	case "host":
		return hostArgument(value)
	case "hostregexp":
		if value == "" {
			return nil, fail("", "the regular expression is empty")
		}
		if expr, ok := template(value, "[^.]+"); ok {
			value = expr + "$"
		}
		re, err := compile("(?i)", value)
		return &node{op: opHostRegexp, re: re}, err
	case "pathregexp":
		if value == "" {
			return nil, fail("", "the regular expression is empty")
		}
		re, err := compile("", value)
		return &node{op: opPathRegexp, re: re, literal: literalLen(value)}, err
	}
	if !strings.HasPrefix(value, "/") {
		return nil, fail("paths begin with /", "path %s does not begin with a slash", quote(value))
	}
	op, end := opPath, "$"
	if name == "pathprefix" {
		op, end = opPathPrefix, ""
	}
	if expr, ok := template(value, "[^/]+"); ok {
		re, err := compile("", expr+end)
		return &node{op: opPathRegexp, re: re, literal: literalLen(expr)}, err
	}
	literal := len(value)
	if op == opPath {
		literal++
	}
	return &node{op: op, text: value, literal: literal}, nil
}

func hostArgument(value string) (*node, *Error) {
	if value == "*" {
		return &node{op: opHostAny}, nil
	}
	if strings.HasPrefix(value, "~") {
		return nil, fail("write HostRegexp(`...`)", "host %s is a regular expression", quote(value))
	}
	host, err := parseHost(value)
	if err != nil {
		return nil, err
	}
	switch host.Kind() {
	case HostExact:
		return &node{op: opHost, text: host.Key()}, nil
	case HostLeading:
		return &node{op: opHostWildcard, text: "." + host.Key()}, nil
	}
	return nil, fail("write HostRegexp(`...`)", "host %s ends in an asterisk", quote(value))
}

// template turns the older syntax with named parts ("{sub:[a-z]+}.a.example", "/users/{id}") into an anchored
// regular expression without its end. It reports false for text without such parts, which cannot be mistaken: braces occur in
// no host name, and those of a repetition hold digits.
func template(s, part string) (string, bool) {
	var expr strings.Builder
	expr.WriteString("^")
	found := false
	for {
		i := strings.IndexByte(s, '{')
		if i < 0 {
			break
		}
		end := closing(s[i:])
		if end < 0 {
			return "", false
		}
		name, re, named := strings.Cut(s[i+1:i+end], ":")
		if name == "" || !isLetter(name[0]) {
			return "", false
		}
		if !named {
			re = part
		}
		found = true
		expr.WriteString(regexp.QuoteMeta(s[:i]) + "(?:" + re + ")")
		s = s[i+end+1:]
	}
	expr.WriteString(regexp.QuoteMeta(s))
	return expr.String(), found
}

// closing returns the index of the brace that closes the one at index 0, or -1.
func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			depth--
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }
