package acme

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/ruche-project/ruche/internal/match"
)

// maxNames is how many names CAs put into one certificate.
const maxNames = 100

// normalize brings names into the form that certificates have them in, each once, the first one first.
func normalize(names []string) []string {
	var all []string
	for _, n := range names {
		n = strings.ToLower(strings.Trim(strings.TrimSpace(n), "[]"))
		n = strings.TrimSuffix(n, ".")
		if a, err := netip.ParseAddr(n); err == nil {
			n = a.Unmap().String()
		}
		if n != "" && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all
}

// checkNames says what keeps names out of any certificate, or "".
func checkNames(names []string) string {
	if len(names) == 0 {
		return "it names no host"
	}
	if len(names) > maxNames {
		return "it names more than 100 hosts, which is the most that one certificate holds"
	}
	for _, n := range names {
		if isAddress(n) {
			continue
		}
		h, err := match.ParseHost(n)
		switch {
		case err != nil:
			return err.Error()
		case h.Kind() != match.HostExact && h.Kind() != match.HostLeading:
			return `"` + n + `" is not a name that a certificate can have: only exact names and wildcards such as *.a.example are`
		}
	}
	return ""
}

func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

func isWildcard(name string) bool { return strings.HasPrefix(name, "*.") }

// notPublic says why no public CA issues for a name, or "".
func notPublic(name string) string {
	if a, err := netip.ParseAddr(name); err == nil {
		if !a.IsGlobalUnicast() || a.IsPrivate() {
			return name + " is an address of a private network, for which no public CA issues"
		}
		return ""
	}
	name = strings.TrimPrefix(name, "*.")
	if !strings.Contains(name, ".") {
		return name + " is a name of one label, for which no public CA issues"
	}
	suffix, icann := publicsuffix.PublicSuffix(name)
	switch {
	case !icann && !strings.Contains(suffix, "."):
		return name + " ends in ." + suffix + ", which is no public top level domain, so no public CA issues for it"
	case name == suffix:
		return name + " is a public suffix, for which no public CA issues"
	}
	return ""
}
