package match

import (
	"net/netip"
	"regexp"
	"strings"

	"golang.org/x/net/idna"
)

// maxPattern bounds host and path patterns, in bytes. Longer ones are mistakes.
const maxPattern = 4096

// HostKind is the form of a host pattern. The kinds are ordered from the most to the least specific.
type HostKind uint8

// The kinds of host patterns.
const (
	HostExact    HostKind = iota // "a.example"
	HostLeading                  // "*.a.example": any name below a.example, at any depth
	HostTrailing                 // "a.*": any name that begins with the label a
	HostRegexp                   // "~^regex"
	HostAny                      // no condition on the host; only rules have it
)

// String names the kind for people.
func (k HostKind) String() string {
	switch k {
	case HostExact:
		return "exact name"
	case HostLeading:
		return "leading wildcard"
	case HostTrailing:
		return "trailing wildcard"
	case HostRegexp:
		return "regular expression"
	}
	return "any host"
}

// Host is a host pattern in one of the forms of VIRTUAL_HOST. The zero value matches nothing.
type Host struct {
	kind HostKind
	text string
	key  string
	re   *regexp.Regexp
}

// ParseHost parses an exact name ("a.example", "192.0.2.1", "[2001:db8::1]"), a leading wildcard
// ("*.a.example"), a trailing wildcard ("a.*") or a regular expression ("~^re", RE2 syntax, matched
// without regard to case). Names are lower-cased and lose a trailing dot. The error is an *Error.
func ParseHost(s string) (Host, error) {
	h, err := parseHost(s)
	if err != nil {
		return Host{}, err
	}
	return h, nil
}

func parseHost(s string) (Host, *Error) {
	switch {
	case s == "":
		return Host{}, fail("write a name such as shop.example", "host is empty")
	case len(s) > maxPattern:
		return Host{}, fail("", "host %s has %d bytes, more than %d", quote(s), len(s), maxPattern)
	case s[0] == '~':
		return parseHostRegexp(s)
	case s[0] == '[':
		return parseHostIPv6(s)
	}
	if err := checkHostText(s); err != nil {
		return Host{}, err
	}
	name := strings.TrimSuffix(strings.ToLower(s), ".")
	host := Host{kind: HostExact, text: name, key: name}
	if rest, ok := strings.CutPrefix(name, "*."); ok {
		host.kind, host.key = HostLeading, rest
	} else if rest, ok := strings.CutSuffix(name, ".*"); ok {
		host.kind, host.key = HostTrailing, rest
	}
	if err := checkLabels(s, host.key); err != nil {
		return Host{}, err
	}
	return host, nil
}

func parseHostRegexp(s string) (Host, *Error) {
	if len(s) == 1 {
		return Host{}, fail(`write for example ~^shop-[0-9]+\.example$`, "host %s is an empty regular expression", quote(s))
	}
	re, err := compile("(?i)", s[1:])
	if err != nil {
		err.Message = "host " + quote(s) + ": " + err.Message
		return Host{}, err
	}
	return Host{kind: HostRegexp, text: s, key: s, re: re}, nil
}

func parseHostIPv6(s string) (Host, *Error) {
	inner, ok := strings.CutSuffix(s[1:], "]")
	addr, err := netip.ParseAddr(inner)
	if !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
		return Host{}, fail("write for example [2001:db8::1], without a port", "host %s is not an IPv6 address in brackets", quote(s))
	}
	name := "[" + addr.String() + "]"
	return Host{kind: HostExact, text: name, key: name}, nil
}

// checkHostText finds the mistakes that people make, to name them as what they are.
func checkHostText(s string) *Error {
	if i := strings.Index(s, "://"); i >= 0 {
		return fail("write the name alone, without a scheme", "host %s begins with a scheme", quote(s))
	}
	if strings.ContainsAny(s, " \t\r\n") {
		return fail("separate several names by commas", "host %s contains a blank", quote(s))
	}
	if strings.Contains(s, "/") {
		return fail("a path is declared on its own", "host %s contains a slash", quote(s))
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		if _, err := netip.ParseAddr(s); err == nil {
			return fail("write ["+s+"]", "host %s is an IPv6 address without brackets", quote(s))
		}
		return fail("write the name alone; the port is declared on its own", "host %s contains a port", quote(s))
	}
	if s[0] == '.' {
		return fail("write "+s[1:]+",*"+s, "host %s begins with a dot", quote(s))
	}
	for _, r := range s {
		if r < 0x80 {
			continue
		}
		hint := "write the name in its ASCII form (xn--...)"
		if ascii, err := idna.Lookup.ToASCII(s); err == nil {
			hint = "write " + ascii
		}
		return fail(hint, "host %s contains characters that a request never carries", quote(s))
	}
	return nil
}

func checkLabels(whole, name string) *Error {
	if len(name) > 253 {
		return fail("names have at most 253 characters", "host %s is too long", quote(whole))
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return fail("remove the extra dot", "host %s has an empty label", quote(whole))
		case len(label) > 63:
			return fail("labels have at most 63 characters", "host %s has a label that is too long", quote(whole))
		case strings.Contains(label, "*"):
			return fail("an asterisk stands alone as the first or the last label: *.a.example, a.*; other forms need ~^regex",
				"host %s has an asterisk in a place where none can be", quote(whole))
		}
		for i := range len(label) {
			if !isNameByte(label[i]) {
				return fail("names consist of letters, digits, - and _", "host %s contains %q", quote(whole), label[i])
			}
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// Kind returns the form of the pattern.
func (h Host) Kind() HostKind { return h.kind }

// String returns the pattern in its canonical form: lower-cased, a regular expression as written.
func (h Host) String() string { return h.text }

// Key returns what an index is keyed by: the name; a leading wildcard's without "*."; a trailing
// wildcard's without ".*"; a regular expression as written.
func (h Host) Key() string { return h.key }

// Match reports whether host, as CanonicalHost returns it, is one the pattern takes.
func (h Host) Match(host string) bool {
	if h.key == "" {
		return false
	}
	switch h.kind {
	case HostExact:
		return host == h.key
	case HostLeading:
		n := len(host) - len(h.key)
		return n > 1 && host[n-1] == '.' && host[n:] == h.key
	case HostTrailing:
		n := len(h.key)
		return len(host) > n+1 && host[n] == '.' && host[:n] == h.key
	case HostRegexp:
		return h.re.MatchString(host)
	}
	return false
}

// CanonicalHost returns the host of a Host header or server name as patterns are matched against it:
// lower case, without port and trailing dot, IPv6 addresses shortened and in brackets. It reports false for what
// cannot be a host (RFC 3986 section 3.2.2 with the characters that occur in names).
func CanonicalHost(hostport string) (string, bool) {
	if hostport != "" && hostport[0] == '[' {
		return canonicalIPv6(hostport)
	}
	host := hostport
	if i := strings.IndexByte(hostport, ':'); i >= 0 {
		host = hostport[:i]
		if !isPort(hostport[i+1:]) {
			return "", false
		}
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 || host[len(host)-1] == '.' {
		return "", false
	}
	upper := false
	for i := range len(host) {
		c := host[i]
		switch {
		case isNameByte(c):
		case c == '.':
			if i == 0 || host[i-1] == '.' {
				return "", false
			}
		case c >= 'A' && c <= 'Z':
			upper = true
		default:
			return "", false
		}
	}
	if upper {
		host = strings.ToLower(host)
	}
	return host, true
}

func canonicalIPv6(hostport string) (string, bool) {
	end := strings.IndexByte(hostport, ']')
	if end < 0 {
		return "", false
	}
	if rest := hostport[end+1:]; rest != "" && (rest[0] != ':' || !isPort(rest[1:])) {
		return "", false
	}
	addr, err := netip.ParseAddr(hostport[1:end])
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return "", false
	}
	if text := addr.String(); text != hostport[1:end] {
		return "[" + text + "]", true
	}
	return hostport[:end+1], true
}

// isPort accepts the empty port too, as RFC 3986 section 3.2.3 does.
func isPort(s string) bool {
	if len(s) > 5 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// compile compiles a regular expression with flags such as "(?i)" in front.
func compile(flags, expr string) (*regexp.Regexp, *Error) {
	re, err := regexp.Compile(flags + expr)
	if err == nil {
		return re, nil
	}
	hint := "see https://github.com/google/re2/wiki/Syntax"
	if strings.Contains(expr, "(?=") || strings.Contains(expr, "(?!") || strings.Contains(expr, "(?<") {
		hint = "look-ahead and look-behind do not exist in RE2; " + hint
	}
	reason := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
	return nil, fail(hint, "regular expression does not compile: %s", strings.ReplaceAll(reason, flags, ""))
}
