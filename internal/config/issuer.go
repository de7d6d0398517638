package config

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

// Issuer is a CA as the settings name it. What stands in files of its own is not read yet: they are there on control nodes alone.
type Issuer struct {
	// Issuer is all of it but what the files hold: Bundle, the key of EAB, some or all settings of DNS.
	ruche.Issuer
	// BundleFile, EABKeyFile and DNSSettingsFile are paths; empty where there is none.
	BundleFile, EABKeyFile, DNSSettingsFile string

	// place is where it is written, empty for the default issuer, whose settings have names of their own.
	place string
}

// ReadIssuers gives the issuers with what stands in their files, the default one first. One with a file that cannot be used has a Problem, which names all its mistakes, each with its place;
// the others are not concerned. It may be called again, to see whether files have changed. Without an Email the default issuer is for certificates that somebody asks for by name.
func (c *Config) ReadIssuers() []ruche.Issuer {
	list := make([]ruche.Issuer, 0, len(c.Issuers))
	for _, i := range c.Issuers {
		list = append(list, i.read())
	}
	return list
}

func (i Issuer) read() ruche.Issuer {
	is := i.Issuer
	var problems []string
	fail := func(setting, key string, err error) {
		if i.place != "" {
			setting = i.place + ": " + key
		}
		problems = append(problems, fmt.Sprintf("%s: %v", setting, err))
	}
	if i.BundleFile != "" {
		var err error
		if is.Bundle, err = readBundle(i.BundleFile); err != nil {
			fail("acme-ca-bundle", "ca_bundle", err)
		}
	}
	if i.EABKeyFile != "" {
		key, err := readMACKey(i.EABKeyFile)
		if err != nil {
			fail("acme-eab-key-file", "eab: key_file", err)
		}
		is.EAB = &ruche.ExternalAccount{KeyID: i.EAB.KeyID, Key: key}
	}
	if i.DNSSettingsFile != "" {
		dns := *i.DNS
		var err error
		if dns.Settings, err = readDNSSettings(i.DNSSettingsFile, dns.Settings); err != nil {
			fail("acme-dns-settings-file", "dns: settings_file", err)
		}
		is.DNS = &dns
	}
	if len(problems) > 0 {
		is.Problem, is.Hint = strings.Join(problems, "; "), "put the file there as it is to be, where this control node can read it: it is looked at again every few seconds"
	}
	return is
}

// maxFile bounds the files of an issuer, in bytes.
const maxFile = 1 << 20

// readFile reads a small file. What it reads may be a secret, so no error shows any of it.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", path)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return os.ReadFile(path)
}

// readBundle reads roots in PEM.
func readBundle(path string) ([]byte, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	found := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s holds a %q, which has no place among roots", path, block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("%s holds a certificate that cannot be read: %w", path, err)
		}
		found++
	}
	if found == 0 {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return data, nil
}

// readMACKey reads the key of an external account.
func readMACKey(path string) (string, error) {
	data, err := readFile(path)
	if err != nil {
		return "", err
	}
	key := string(bytes.TrimRight(bytes.TrimSpace(data), "="))
	if _, err := base64.RawURLEncoding.DecodeString(key); err != nil || key == "" {
		return "", fmt.Errorf("%s does not hold a key in base64url, as CAs hand it out", path)
	}
	return key, nil
}

// checkIssuers looks at what no single setting tells.
func (c *Config) checkIssuers() []error {
	var errs []error
	for _, i := range c.Issuers {
		for _, p := range i.problems() {
			place := p.setting
			if i.place != "" {
				place = i.place
			}
			errs = append(errs, fmt.Errorf("%s: %s", place, p.message))
		}
		known := slices.ContainsFunc(c.Issuers, func(o Issuer) bool { return o.Name == i.Fallback && o.Name != i.Name })
		if i.Fallback != "" && !known {
			errs = append(errs, fmt.Errorf("%s: fallback: there is no other issuer %q%s", i.place, i.Fallback, c.nearIssuer(i)))
		}
	}
	return errs
}

// nearIssuer adds to a message the issuer that the fallback of another is most likely to be, if there is one.
func (c *Config) nearIssuer(of Issuer) string {
	var others []string
	for _, i := range c.Issuers {
		if i.Name != of.Name {
			others = append(others, i.Name)
		}
	}
	if near := strictyaml.DidYouMean(of.Fallback, others); near != "" && of.Fallback != of.Name {
		return " (" + near + ")"
	}
	return ""
}

type issuerProblem struct{ setting, message string }

func (i Issuer) problems() []issuerProblem {
	var list []issuerProblem
	id := i.EAB != nil && i.EAB.KeyID != ""
	switch {
	case i.Directory == "":
		list = append(list, issuerProblem{"acme-ca", "the directory of the CA is missing"})
	case id && i.EABKeyFile == "":
		list = append(list, issuerProblem{"acme-eab-kid", "the key of the external account is missing: name its file"})
	case !id && i.EABKeyFile != "":
		list = append(list, issuerProblem{"acme-eab-key-file", "the key ID of the external account is missing"})
	}
	if i.DNSSettingsFile != "" && (i.DNS == nil || i.DNS.Name == "") {
		list = append(list, issuerProblem{"acme-dns-settings-file", "the DNS provider that these settings are for is missing"})
	}
	if slices.Contains(i.Challenges, ruche.ChallengeDNS01) && (i.DNS == nil || i.DNS.Name == "") {
		list = append(list, issuerProblem{"acme-challenges", "dns-01 needs a DNS provider"})
	}
	return list
}
