package acme

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche"
)

// failure is why there is no certificate, and what follows from it.
type failure struct {
	text  string
	hint  string // what to do next
	cause error
	// unreachable tells that the CA did not answer, or not as a CA does.
	unreachable bool
	// refused tells that the CA does not want these names or this account, so that another try helps as little.
	refused bool
	// final tells that the order that was under way leads nowhere.
	final bool
	// wait is how long the CA wants to be left alone.
	wait time.Duration
	// ours tells that the CA was not asked, or has nothing to do with it: the state could not be written, or a key not be opened.
	ours bool
}

func (f *failure) Error() string {
	if f.hint == "" {
		return f.text
	}
	return f.text + " (" + f.hint + ")"
}

// settingsOf is the failure with a hint that names the settings of the issuer it is about: those with acme- in their names are the default one's.
func (f *failure) settingsOf(issuer string) *failure {
	if issuer == ruche.IssuerDefault || issuer == ruche.IssuerInternal {
		return f
	}
	in := " of issuer " + issuer + " in ruche.yaml"
	named := *f
	named.hint = strings.NewReplacer("--acme-eab-kid, --acme-eab-key-file", "eab"+in, "--acme-eab-key-file", "eab"+in, "--acme-ca-bundle", "ca_bundle"+in, "--acme-email", "email"+in).Replace(f.hint)
	return &named
}

func (f *failure) Unwrap() error { return f.cause }

// explain says what an error of a call means. c is what is known of the call's answer; nil when there was no call.
func explain(err error, c *call) *failure {
	var known *failure
	if errors.As(err, &known) {
		return known
	}
	f := &failure{text: err.Error(), cause: err}
	if c != nil {
		f.wait = c.retryAfter
	}
	p, ok := problemOf(err)
	if !ok {
		f.ours = c == nil
		// What is neither an answer nor the end of the context came from the network.
		if f.unreachable = c != nil && c.spoken && !errors.Is(err, context.Canceled); f.unreachable {
			f.hint = "look whether this node reaches the CA: its name, its port, a proxy in between (HTTPS_PROXY), the CA's own certificate (--acme-ca-bundle)"
		}
		return f
	}
	f.text, f.hint = say(p), hints()[kind(p)]
	// A nonce is refused again and again when answers get lost: the library sends the same one again.
	f.unreachable = p.Status >= http.StatusInternalServerError && kind(p) != "rateLimited" || kind(p) == "badNonce"
	f.final = !f.unreachable && kind(p) != "rateLimited"
	switch kind(p) {
	case "rejectedIdentifier", "unsupportedIdentifier", "caa", "externalAccountRequired", "badPublicKey", "userActionRequired", "invalidProfile":
		f.refused = true
	}
	return f
}

// failureOf says what an error means; nil for none.
func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	return explain(err, nil)
}

func problemOf(err error) (p acmez.Problem, ok bool) {
	ok = errors.As(err, &p)
	return p, ok
}

// problemKind is the kind of the problem that an error is; empty when it is none.
func problemKind(err error) string {
	p, _ := problemOf(err)
	return kind(p)
}

// kind is the problem's type without its name space.
func kind(p acmez.Problem) string {
	return p.Type[strings.LastIndexByte(p.Type, ':')+1:]
}

// say is the CA's own text.
func say(p acmez.Problem) string {
	text := fmt.Sprintf("%s: %s", kind(p), p.Detail)
	for _, s := range p.Subproblems {
		text += fmt.Sprintf("; %s: %s: %s", s.Identifier.Value, kind(s.Problem), s.Detail)
	}
	return "the CA says " + text
}

// hints say what to do next, by the type of problem (RFC 8555 section 6.7).
func hints() map[string]string {
	return map[string]string{
		"dns":                     "look whether the name resolves in the public DNS to this installation: dig NAME A and dig NAME AAAA",
		"connection":              "the CA has to reach ports 80 and 443 of the name's addresses from outside: look at firewalls, at forwarded ports, and at AAAA records that lead elsewhere",
		"unauthorized":            "the CA reached something that did not answer as Ruche does: look whether the name's A and AAAA records lead to this installation, and whether something in front answers /.well-known/acme-challenge/ itself",
		"incorrectResponse":       "the CA reached something that did not answer as Ruche does: look whether the name's A and AAAA records lead to this installation",
		"tls":                     "the CA's handshake on port 443 failed: look whether something in front ends TLS; if so, use http-01 or dns-01",
		"caa":                     "a CAA record of the name or of a domain above allows other CAs only: add one for this CA, dig NAME CAA shows them",
		"rateLimited":             "the CA's limit for this name or account is used up; it is tried again by itself when the CA allows",
		"rejectedIdentifier":      "the CA does not issue for this name; take another CA, or a file",
		"unsupportedIdentifier":   "the CA does not issue for names of this kind; some do in a profile of their own",
		"externalAccountRequired": "the CA wants the key ID and MAC key of an account that you have with it (--acme-eab-kid, --acme-eab-key-file)",
		"userActionRequired":      "the CA wants you to do something first, such as to agree to new terms; its text says where",
		"badPublicKey":            "the CA does not take keys of this type; take another key type",
		"badCSR":                  "the CA does not take this request, mostly because of the key type or the number of names",
		"invalidProfile":          "the CA has no such profile; its directory lists those that it has",
		"accountDoesNotExist":     "the CA has lost the account; it is registered again with the same key at the next try",
		"invalidContact":          "correct the e-mail address (--acme-email)",
		"unsupportedContact":      "correct the e-mail address (--acme-email)",
		"serverInternal":          "the CA has a problem of its own; it is tried again by itself",
	}
}

// gone reports whether the CA says that it does not know, or no more, what it was asked for.
func gone(err error) bool {
	p, ok := problemOf(err)
	return ok && (p.Status == http.StatusNotFound || p.Status == http.StatusGone || p.Status == http.StatusForbidden && kind(p) == "unauthorized")
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
