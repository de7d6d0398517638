// Package setting checks the values of settings that several vocabularies have: cookies, health checks, weights. The settings
// themselves are nouns of the root package; what a value is called is the vocabulary's own.
package setting

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

// Problem says what is wrong with a value, and what to write.
type Problem struct{ Message, Hint string }

func problem(hint, format string, args ...any) *Problem {
	return &Problem{fmt.Sprintf(format, args...), hint}
}

// Bounds of numbers and times.
const (
	MaxWeight    = 65535
	MaxThreshold = 100 // of failures or successes in a row

	MinInterval = 100 * time.Millisecond
	MaxInterval = 24 * time.Hour
	MinTimeout  = 10 * time.Millisecond
	MaxTimeout  = time.Minute
	MinEjection = 100 * time.Millisecond
	MaxEjection = time.Hour
)

// Weight checks the weight of an endpoint.
func Weight(n int) *Problem {
	if n < 0 || n > MaxWeight {
		return problem("1 is the usual weight; 0 keeps requests away", "weight %d is not from 0 to %d", n, MaxWeight)
	}
	return nil
}

// Threshold checks a number of failures or successes in a row; what names it.
func Threshold(what string, n int) *Problem {
	if n < 1 || n > MaxThreshold {
		return problem("", "%s: %d is not from 1 to %d", what, n, MaxThreshold)
	}
	return nil
}

// Duration reads a time such as 500ms, 10s or 2m. Where bare is set a number without a unit is seconds.
func Duration(text string, bare bool, least, most time.Duration) (time.Duration, *Problem) {
	if bare {
		if _, err := strconv.Atoi(text); err == nil {
			text += "s"
		}
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, problem("write for example 500ms, 10s or 2m", "%s is not a time", Quote(text))
	case d < least || d > most:
		return 0, problem("", "%s is not from %s to %s", Quote(text), least, most)
	}
	return d, nil
}

// CookieName checks the name of a cookie (RFC 6265 section 4.1.1).
func CookieName(name string) *Problem {
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(c rune) bool { return !token(c) }) {
		return problem("use letters, digits, - and _, at most 64 of them", "%s cannot be the name of a cookie", Quote(name))
	}
	return nil
}

// token reports whether a character may stand in names of HTTP (RFC 9110 section 5.6.2).
func token(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", c)
}

// CookiePath checks the path of a cookie.
func CookiePath(path string) *Problem {
	if !strings.HasPrefix(path, "/") || len(path) > 1000 || strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ';' }) {
		return problem("write for example /app", "%s cannot be the path of a cookie", Quote(path))
	}
	return nil
}

// CookieDomain checks the domain of a cookie.
func CookieDomain(domain string) *Problem {
	if !hostName(strings.TrimPrefix(domain, ".")) {
		return problem("write for example shop.example", "%s cannot be the domain of a cookie", Quote(domain))
	}
	return nil
}

// SameSite reads the attribute of that name; upper and lower case are the same.
func SameSite(value string) (string, *Problem) {
	switch v := strings.ToLower(value); v {
	case "", "lax", "strict", "none":
		return v, nil
	}
	return "", problem("write lax, strict or none", "%s is no value of SameSite", Quote(value))
}

// Sticky looks at a cookie as a whole, the parts of which are good.
func Sticky(s *ruche.Sticky) *Problem {
	if s.SameSite == "none" && !s.Secure {
		return problem("make it secure too", "browsers keep a cookie with SameSite none only when it is secure")
	}
	return nil
}

// CheckPath checks the path that a health check asks for, which may have a query.
func CheckPath(path string) *Problem {
	switch {
	case !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//"):
		return problem("write for example /health", "path %s does not begin with one slash", Quote(path))
	case len(path) > 2000 || strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '#' }):
		return problem("write other characters than those of URLs as %20 and the like", "path %s has characters that no path may have, or too many", Quote(path))
	}
	return nil
}

// CheckHost checks the Host header of a health check: a name or an address, with or without a port.
func CheckHost(host string) *Problem {
	name, port, found := strings.Cut(host, ":")
	if _, err := strconv.ParseUint(port, 10, 16); found && err == nil && hostName(name) || !found && hostName(host) {
		return nil
	}
	if _, err := netip.ParseAddrPort(host); err == nil {
		return nil
	}
	if bare, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(bare, "]") {
		if _, err := netip.ParseAddr(strings.TrimSuffix(bare, "]")); err == nil {
			return nil
		}
	}
	return problem("write for example shop.example", "%s is not the name of a host", Quote(host))
}

func hostName(name string) bool {
	return name != "" && len(name) <= 253 && !strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_'
	})
}

// Header checks a header field (RFC 9110 section 5) that a health check sends.
func Header(name, value string) *Problem {
	switch {
	case name == "" || len(name) > 200 || strings.ContainsFunc(name, func(c rune) bool { return !token(c) }):
		return problem("", "%s cannot be the name of a header", Quote(name))
	case len(value) > 4000 || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
		return problem("", "the value of the header %s has characters that no value may have, or too many", Quote(name))
	}
	return nil
}

// Status checks a status code that a health check is to get.
func Status(code int) *Problem {
	if code < 200 || code > 599 {
		return problem("leave it out to take any from 200 to 399", "status %d is not from 200 to 599", code)
	}
	return nil
}

// Method checks the method of a health check.
func Method(name string) *Problem {
	if name == "" || len(name) > 20 || strings.ContainsFunc(name, func(c rune) bool { return c < 'A' || c > 'Z' }) || name == "CONNECT" {
		return problem("write GET or HEAD", "%s is not a method that can be used", Quote(name))
	}
	return nil
}

// Root checks the directory of the scripts of a FastCGI endpoint.
func Root(path string) *Problem {
	if !strings.HasPrefix(path, "/") || len(path) > 1000 || strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return problem("write the path as the endpoint sees it, such as /var/www/html", "%s is not a path that begins with a slash", Quote(path))
	}
	return nil
}

// Quote shows a value in a message, shortened.
func Quote(value string) string {
	const most = 80
	if len(value) > most {
		value = strings.ToValidUTF8(value[:most], "") + "..."
	}
	return strconv.Quote(value)
}

// EntryPoint checks the name by which a route calls an entry point.
func EntryPoint(name string) *Problem {
	if name == "" || len(name) > 63 || strings.ContainsFunc(name, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' }) {
		return problem("write it as --entry-points does: lower-case letters, digits, - and _", "%s is not the name of an entry point", Quote(name))
	}
	return nil
}
