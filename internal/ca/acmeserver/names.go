package acmeserver

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ruche-project/ruche"
)

// Identifier is what a certificate is for, as ACME writes it (RFC 8555 section 9.7.7, RFC 8738).
type Identifier struct {
	Type  string `json:"type"` // "dns" or "ip"
	Value string `json:"value"`
}

const maxNames = 100

func identifierOf(name string) Identifier {
	if isIP(name) {
		return Identifier{Type: "ip", Value: name}
	}
	return Identifier{Type: "dns", Value: name}
}

func isIP(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

// base is the name without the label of a wildcard.
func base(name string) (string, bool) { return strings.CutPrefix(name, "*.") }

// parse gives the name in the form in which it is kept: in lower case, an address as RFC 5952 writes it.
func (id Identifier) parse() (string, *Problem) {
	switch id.Type {
	case "dns":
		name := strings.ToLower(id.Value)
		if err := checkDNS(name); err != nil {
			return "", problem(malformed, "the name %.80q cannot be had: %s", id.Value, err)
		}
		return name, nil
	case "ip":
		a, err := netip.ParseAddr(id.Value)
		if err != nil || a.Zone() != "" || a.Is4In6() || a.String() != id.Value {
			return "", problem(malformed, "%.80q is not an IP address in its usual form (RFC 5952)", id.Value)
		}
		if a.IsUnspecified() || a.IsMulticast() {
			return "", problem(rejectedIdentifier, "%s is no address of a server", a)
		}
		return id.Value, nil
	}
	return "", problem(unsupportedIdentifier, "identifiers of type %.20q are not known here (dns and ip are)", id.Type)
}

// checkDNS holds a name, or a wildcard for the labels below one, against the rules for host names (RFC 1123 section 2.1).
func checkDNS(name string) error {
	name, _ = base(name)
	if name == "" || len(name) > 253 {
		return fmt.Errorf("it has %d characters", len(name))
	}
	if isIP(name) {
		return fmt.Errorf("it is an IP address, which has the type ip")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("labels have 1 to 63 characters and no hyphen at their ends")
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return fmt.Errorf("it has characters other than letters, digits and hyphens; names of other alphabets are written in punycode")
			}
		}
	}
	return nil
}

// challengesFor lists by what a right to the name can be proven: a wildcard by DNS alone (RFC 8555 section 7.1.3), an address without it (RFC 8738 section 7).
func challengesFor(name string) []ruche.ChallengeType {
	if _, wild := base(name); wild {
		return []ruche.ChallengeType{ruche.ChallengeDNS01}
	}
	if isIP(name) {
		return []ruche.ChallengeType{ruche.ChallengeHTTP01, ruche.ChallengeTLSALPN01}
	}
	return []ruche.ChallengeType{ruche.ChallengeHTTP01, ruche.ChallengeTLSALPN01, ruche.ChallengeDNS01}
}

// CheckPattern tells whether a pattern of allowed names can be used: "a.example" is that name alone, "*.a.example" all names below it at any
// depth with their wildcards, "10.1.0.0/16" or "10.1.2.3" are addresses, "*" is every name and address that the authority may certify.
func CheckPattern(pattern string) error {
	if pattern == "*" || isIP(pattern) {
		return nil
	}
	if strings.Contains(pattern, "/") {
		if p, err := netip.ParsePrefix(pattern); err != nil || p.Masked() != p {
			return fmt.Errorf("cannot use the pattern %q: it is not a network such as 10.1.0.0/16", pattern)
		}
		return nil
	}
	if err := checkDNS(pattern); err != nil {
		return fmt.Errorf("cannot use the pattern %q: %w (a.example, *.a.example, 10.1.0.0/16 and * can be used)", pattern, err)
	}
	return nil
}

// allowed tells whether one of the patterns allows the name.
func allowed(patterns []string, name string) bool {
	for _, p := range patterns {
		if p == "*" || p == name || below(p, name) || within(p, name) {
			return true
		}
	}
	return false
}

// below tells whether the name, or what a wildcard stands for, is below the pattern's.
func below(pattern, name string) bool {
	suffix, wild := strings.CutPrefix(pattern, "*")
	if !wild || isIP(name) {
		return false
	}
	name, _ = strings.CutPrefix(name, "*")
	return strings.HasSuffix(name, suffix)
}

func within(pattern, name string) bool {
	p, err1 := netip.ParsePrefix(pattern)
	a, err2 := netip.ParseAddr(name)
	return err1 == nil && err2 == nil && p.Contains(a)
}
