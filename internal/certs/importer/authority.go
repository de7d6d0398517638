package importer

import (
	"crypto/x509"
	"net/url"
	"strings"

	"github.com/ruche-project/ruche"
)

// authority is a public CA with one ACME directory for everybody.
type authority struct {
	directory    string
	organisation string // of its intermediates; empty where certificates do not tell
}

func authorities() []authority {
	return []authority{
		{ruche.LetsEncrypt, "Let's Encrypt"},
		{ruche.LetsEncryptStaging, ""},
		{"https://acme.zerossl.com/v2/DV90", "ZeroSSL"},
		{"https://dv.acme-v02.api.pki.goog/directory", "Google Trust Services"},
	}
}

// guessDirectory concludes from the issuer's name where a certificate was ordered; empty when nothing can be concluded.
func guessDirectory(c *x509.Certificate) string {
	if isStaging(c) {
		return ruche.LetsEncryptStaging
	}
	for _, a := range authorities() {
		for _, o := range c.Issuer.Organization {
			if a.organisation != "" && strings.HasPrefix(o, a.organisation) {
				return a.directory
			}
		}
	}
	return ""
}

// isStaging reports whether a certificate is of Let's Encrypt's CA for tests, as its name was before 2021 and is since.
func isStaging(c *x509.Certificate) bool {
	staging := func(name string) bool {
		return strings.HasPrefix(name, "(STAGING)") || strings.HasPrefix(name, "Fake LE ")
	}
	if staging(c.Issuer.CommonName) {
		return true
	}
	for _, o := range c.Issuer.Organization {
		if staging(o) {
			return true
		}
	}
	return false
}

// directoryOfHost gives the directory of the public CA whose server a URL, such as that of an account, is on; empty when it is none that is known.
func directoryOfHost(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return ""
	}
	for _, a := range authorities() {
		if d, err := url.Parse(a.directory); err == nil && strings.EqualFold(d.Host, u.Host) {
			return a.directory
		}
	}
	return ""
}
