package setting

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
)

// MaxNames is how many names one certificate may have; CAs take no more.
const MaxNames = 100

// NameProblem is a name that is not taken into a certificate. Its severity is SeverityInfo where nothing is lost by that.
type NameProblem struct {
	Name     string
	Severity ruche.Severity
	Problem
}

// Names checks the names of one certificate and gives the good ones, each once and in the form that a certificate has: lower case, names beyond ASCII as
// A-labels (RFC 5890 section 2.3.2.1), addresses without brackets. At most most are taken. Where it is 0 each name is to have a certificate of its own: then
// there is no bound, and a name may stand beside a wildcard that covers it.
func Names(list []string, most int) (names []string, problems []NameProblem) {
	for _, written := range list {
		name, p := Name(written)
		switch {
		case p != nil:
			problems = append(problems, NameProblem{written, ruche.SeverityError, *p})
		case slices.Contains(names, name):
		case most > 0 && len(names) == most:
			problems = append(problems, NameProblem{name, ruche.SeverityError,
				*problem("spread them over several certificates, or use a wildcard", "name %s is one too many: a certificate has at most %d", Quote(name), most)})
		default:
			names = append(names, name)
		}
	}
	if most == 0 {
		return names, problems
	}
	return dropCovered(names, problems)
}

// dropCovered takes out what a wildcard of the same certificate covers: CAs refuse an order that has both.
func dropCovered(names []string, problems []NameProblem) ([]string, []NameProblem) {
	var wide []string
	for _, name := range names {
		if strings.HasPrefix(name, "*.") {
			wide = append(wide, name[1:])
		}
	}
	return slices.DeleteFunc(names, func(name string) bool {
		label, rest, _ := strings.Cut(name, ".")
		covered := label != "*" && slices.Contains(wide, "."+rest)
		if covered {
			problems = append(problems, NameProblem{name, ruche.SeverityInfo,
				*problem("", "name %s is left out: the wildcard *.%s of the same certificate is good for it", Quote(name), rest)})
		}
		return covered
	}), problems
}

// Name checks one name of a certificate: a DNS name, a wildcard for one label, or an IP address.
func Name(written string) (string, *Problem) {
	text := strings.TrimSpace(written)
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil && ip.Zone() == "" {
		return ip.Unmap().String(), nil
	}
	if len(text) > 1000 {
		return "", problem("names have at most 253 characters", "name %s is too long", Quote(text))
	}
	bare, wild := strings.CutPrefix(text, "*.")
	ascii, err := idna.Lookup.ToASCII(bare)
	if err == nil && ascii != "" {
		bare = ascii
	}
	if wild {
		bare = "*." + bare
	}
	host, err := match.ParseHost(bare)
	if err != nil {
		return "", hostProblem(err)
	}
	return nameOf(host)
}

// nameOf checks what a certificate wants of a host beyond what a route does.
func nameOf(host match.Host) (string, *Problem) {
	name := host.String()
	if kind := host.Kind(); kind != match.HostExact && kind != match.HostLeading {
		return "", problem("list the names, or write a wildcard such as *.shop.example", "a certificate cannot be for %s, a %s", Quote(name), kind)
	}
	labels := strings.Split(host.Key(), ".")
	for _, label := range labels {
		if strings.Contains(label, "_") || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return "", problem("use letters, digits, and hyphens between them", "no certificate is issued for name %s: its label %s is not one of a host", Quote(name), Quote(label))
		}
		if strings.HasPrefix(label, "xn--") {
			if _, err := idna.Lookup.ToASCII(label); err != nil {
				return "", problem("write the name in its own letters", "name %s has a label that stands for no letters, %s", Quote(name), Quote(label))
			}
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "", problem("write for example shop.example or 192.0.2.1", "%s is neither a name nor an IP address", Quote(name))
	}
	return name, nil
}

func hostProblem(err error) *Problem {
	var e *match.Error
	if errors.As(err, &e) {
		return &Problem{e.Error(), e.Hint}
	}
	return &Problem{err.Error(), ""}
}

// KeyType reads the type of a key.
func KeyType(text string) (ruche.KeyType, *Problem) {
	k := ruche.KeyType(strings.ToLower(strings.TrimSpace(text)))
	if k == "" || slices.Contains(ruche.KeyTypes(), k) {
		return k, nil
	}
	return "", problem("write p256, p384, rsa2048, rsa3072 or rsa4096", "key type %s is not known", Quote(text))
}

// Challenge reads the type of a challenge.
func Challenge(text string) (ruche.ChallengeType, *Problem) {
	c := ruche.ChallengeType(strings.ToLower(strings.TrimSpace(text)))
	if c == "" || slices.Contains(ruche.ChallengeTypes(), c) {
		return c, nil
	}
	return "", problem("write http-01, tls-alpn-01, dns-01 or dns-persist-01", "challenge %s is not known", Quote(text))
}

// Word checks what is passed on as it is: the name of an issuer or a profile.
func Word(what, text string) *Problem {
	if len(text) > 100 || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return problem("", "%s %s has a blank or other characters that no such name has, or too many", what, Quote(text))
	}
	return nil
}

// Provable looks at names and challenge together: not every challenge proves every name.
func Provable(spec *ruche.CertificateSpec) *Problem {
	dns := spec.Challenge == ruche.ChallengeDNS01 || spec.Challenge == ruche.ChallengeDNSPersist01
	for _, name := range spec.Names {
		_, err := netip.ParseAddr(name)
		switch {
		case spec.Challenge == "":
		case !dns && strings.HasPrefix(name, "*."):
			return problem("use dns-01, which needs a DNS provider", "CAs give certificates for wildcards such as %s by DNS alone, not by %s", Quote(name), spec.Challenge)
		case dns && err == nil:
			return problem("use http-01 or tls-alpn-01", "%s proves names alone, not IP addresses such as %s", spec.Challenge, Quote(name))
		}
	}
	return nil
}
