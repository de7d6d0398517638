package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
)

// The CAs that have a name of their own.
const (
	letsEncrypt        = "letsencrypt"
	letsEncryptStaging = "letsencrypt-staging"
)

// byDefault changes the issuer that the settings acme-* describe.
func byDefault[T any](parse func(string) (T, error), put func(*Issuer, T)) func(*Config, string) error {
	return func(c *Config, s string) error {
		v, err := parse(s)
		if err == nil {
			put(&c.Issuers[0], v)
		}
		return err
	}
}

func email(s string) (string, error) {
	if s != "" && (strings.Count(s, "@") != 1 || strings.ContainsAny(s, " ,;<>\t")) {
		return "", fmt.Errorf("%q is not an e-mail address: expected one such as admin@shop.example", s)
	}
	return s, nil
}

// directory reads which CA is meant. A user name is refused without being shown: a password may stand beside it.
func directory(s string) (string, error) {
	switch s {
	case letsEncrypt:
		return ruche.LetsEncrypt, nil
	case letsEncryptStaging:
		return ruche.LetsEncryptStaging, nil
	case ruche.DirectoryInternal:
		return s, nil
	}
	const want = "expected letsencrypt, letsencrypt-staging, internal, or the URL of a CA's directory, which begins with https://"
	u, err := url.Parse(s)
	switch {
	case err == nil && u.User != nil || strings.Contains(s, "@"):
		return "", fmt.Errorf("%s and has no user name", want)
	case err != nil || u.Scheme != "https" || u.Host == "":
		return "", fmt.Errorf("%s, found %q", want, s)
	}
	return s, nil
}

func keyType(s string) (ruche.KeyType, error) {
	known := make([]string, 0, len(ruche.KeyTypes()))
	for _, k := range ruche.KeyTypes() {
		known = append(known, string(k))
	}
	s, err := oneOf(known...)(s)
	return ruche.KeyType(s), err
}

func challengeType(s string) (ruche.ChallengeType, error) {
	known := make([]string, 0, len(ruche.ChallengeTypes()))
	for _, c := range ruche.ChallengeTypes() {
		known = append(known, string(c))
	}
	s, err := oneOf(known...)(s)
	return ruche.ChallengeType(s), err
}

func challenges(s string) ([]ruche.ChallengeType, error) {
	var list []ruche.ChallengeType
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	for item := range strings.SplitSeq(s, ",") {
		c, err := challengeType(strings.TrimSpace(item))
		switch {
		case err != nil:
			return nil, err
		case slices.Contains(list, c):
			return nil, fmt.Errorf("%s is named twice", c)
		}
		list = append(list, c)
	}
	return list, nil
}

// word reads what is passed on as it is: the name of an issuer, a profile, a DNS provider, or a key ID.
func word(s string) (string, error) {
	if len(s) > 200 || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return "", fmt.Errorf("expected a name without blanks, found %.60q", s)
	}
	return s, nil
}

// line reads a text that may have blanks.
func line(s string) (string, error) {
	if len(s) > 200 || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "", fmt.Errorf("expected one line of text, found %.60q", s)
	}
	return strings.TrimSpace(s), nil
}

// filePath reads the path of a file; empty is none.
func filePath(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return path(s)
}

// nonZero gives v where it was given at all.
func nonZero[T any](v T, written string) *T {
	if written == "" {
		return nil
	}
	return &v
}
