package setting

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
)

// FileName checks the base name of a file in the directory of the certificates.
func FileName(name string) *Problem {
	if name == "" || name == "." || name == ".." || len(name) > 200 || strings.ContainsFunc(name, func(c rune) bool { return c == '/' || c == '\\' || c < ' ' || c == 0x7f }) {
		return problem("write the name of a file in the directory of the certificates, without what comes after the name", "%s is not the name of a file", Quote(name))
	}
	return nil
}

// Authority reads the name of a file of authorities, NAME or NAME.ca.crt.
func Authority(name string) (string, *Problem) {
	base := strings.TrimSuffix(name, ".ca.crt")
	if p := FileName(base); p != nil {
		p.Hint = "partners stands for partners.ca.crt in the directory of the certificates"
		return "", p
	}
	return base, nil
}

// RevocationList reads the name of a file with what was revoked, NAME or NAME.crl.pem.
func RevocationList(name string) (string, *Problem) {
	base := strings.TrimSuffix(name, ".crl.pem")
	if p := FileName(base); p != nil {
		p.Hint = "partners stands for partners.crl.pem in the directory of the certificates"
		return "", p
	}
	return base, nil
}

// ClientAuthMode reads what is wanted of clients' certificates.
func ClientAuthMode(value string) (ruche.ClientAuthMode, *Problem) {
	switch m := ruche.ClientAuthMode(value); m {
	case ruche.ClientAuthRequire, ruche.ClientAuthOptional, ruche.ClientAuthRequest, ruche.ClientAuthOff:
		return m, nil
	}
	return "", problem("write require, optional, request or off", "mode %s is not known", Quote(value))
}

// MinTLS reads the oldest version of TLS.
func MinTLS(value string) (string, *Problem) {
	if value == ruche.MinTLS12 || value == ruche.MinTLS13 {
		return value, nil
	}
	return "", problem(`write "1.2" or "1.3"`, "%s is no version of TLS that can be the oldest", Quote(value))
}

// ServerName checks a name that a certificate is to be for: a host name without wildcards, or an address.
func ServerName(name string) *Problem {
	if _, err := netip.ParseAddr(name); err != nil && !hostName(name) {
		return problem("write for example backend.internal", "%s is not the name of a server", Quote(name))
	}
	return nil
}

// HSTS checks the value of Strict-Transport-Security (RFC 6797 section 6.1), or HSTSOff. Browsers ignore one without a max-age.
func HSTS(value string) *Problem {
	if value == ruche.HSTSOff {
		return nil
	}
	const hint = "write for example max-age=31536000; includeSubDomains, or off"
	if Header("Strict-Transport-Security", value) != nil {
		return problem(hint, "%s cannot be the value of a header", Quote(value))
	}
	for directive := range strings.SplitSeq(value, ";") {
		name, age, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if strings.EqualFold(strings.TrimSpace(name), "max-age") {
			if _, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(age), `"`), 10, 62); err == nil {
				return nil
			}
		}
	}
	return problem(hint, "%s has no max-age in seconds, without which browsers ignore it", Quote(value))
}

// ClientAuth looks at what is wanted of clients as a whole, the parts of which are good.
func ClientAuth(a *ruche.ClientAuth) *Problem {
	switch {
	case a.CA == ruche.AuthoritySystem:
		return problem("name a file: partners stands for partners.ca.crt in the directory of the certificates",
			"the authorities of the system vouch for servers that anybody may have, not for clients")
	case a.CA == ruche.AuthorityInternal && a.CRL != "":
		return problem("remove the list", "the internal authority has a list of its own")
	}
	return nil
}
