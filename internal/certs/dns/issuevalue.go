package dns

import (
	"errors"
	"fmt"
	"strings"
)

// issueValue is what CAA records and dns-persist-01 have in common (RFC 8659 section 4.2): an issuer and parameters.
type issueValue struct {
	issuer string // a domain name in lower case; empty: nobody
	params []param
}

type param struct{ tag, value string } // tag in lower case

// all gives the values of the parameters with a tag.
func (v issueValue) all(tag string) []string {
	var found []string
	for _, p := range v.params {
		if p.tag == tag {
			found = append(found, p.value)
		}
	}
	return found
}

// parseIssueValue reads "ca.example; tag=value; tag=value".
func parseIssueValue(s string) (issueValue, error) {
	issuer, rest, more := strings.Cut(s, ";")
	v := issueValue{issuer: plain(blank(issuer))}
	if v.issuer != "" && !isDomain(v.issuer) {
		return issueValue{}, fmt.Errorf("%q is no domain name", v.issuer)
	}
	if !more || blank(rest) == "" {
		return v, nil
	}
	for part := range strings.SplitSeq(rest, ";") {
		tag, value, ok := strings.Cut(part, "=")
		tag, value = strings.ToLower(blank(tag)), blank(value)
		if !ok || !isTag(tag) {
			return issueValue{}, errors.New("a parameter is not of the form tag=value")
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return issueValue{}, fmt.Errorf("the value of %s has a blank, or a character that is not ASCII", tag)
		}
		v.params = append(v.params, param{tag, value})
	}
	return v, nil
}

// blank takes the white space of RFC 8659 away.
func blank(s string) string { return strings.Trim(s, " \t") }

func isTag(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !isAlphanumeric(r) && r != '-' })
}

func isDomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || strings.ContainsFunc(label, func(r rune) bool { return !isAlphanumeric(r) && r != '-' }) {
			return false
		}
	}
	return true
}

func isAlphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z'
}
