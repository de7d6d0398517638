package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

func TestChallenges(t *testing.T) {
	c := newCerts(t, t.TempDir())
	revision := int64(0)
	c.challenges.applied = func(r int64) { revision = r }
	put := func(revision int64, reset bool, list ...vault.Challenge) {
		u := ruche.Update[vault.Challenge]{Reset: reset, Puts: map[string]vault.Challenge{}, Revision: revision}
		for _, a := range list {
			u.Puts[vault.ChallengeKey(a.Type, a.Name, a.Token)] = a
		}
		c.challenges.apply(u)
	}
	later := time.Now().Add(time.Hour)
	put(7, true,
		vault.Challenge{Type: ruche.ChallengeHTTP01, Name: "a.example", Token: "t", KeyAuthorization: "t.k", Expires: later},
		vault.Challenge{Type: ruche.ChallengeHTTP01, Name: "old.example", Token: "t", KeyAuthorization: "t.k", Expires: time.Now().Add(-time.Second)},
		vault.Challenge{Type: ruche.ChallengeHTTP01, Name: "2001:db8::1", Token: "t", KeyAuthorization: "t.k"},
		vault.Challenge{Type: ruche.ChallengeTLSALPN01, Name: "a.example", Token: "u", KeyAuthorization: "u.k", Expires: later},
		vault.Challenge{Type: ruche.ChallengeTLSALPN01, Name: "192.0.2.7", Token: "v", KeyAuthorization: "v.k"},
		vault.Challenge{Type: ruche.ChallengeTLSALPN01, Name: "2001:db8::1", Token: "w", KeyAuthorization: "w.k"},
	)
	if revision != 7 {
		t.Errorf("revision %d, want 7", revision)
	}
	for _, tt := range [][3]string{
		{"a.example", "t", "t.k"}, {"a.example", "u", ""}, {"b.example", "t", ""}, {"a.example", "", ""}, {"old.example", "t", ""}, {"2001:db8::1", "t", "t.k"},
	} {
		if got := c.KeyAuthorization(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%s at %s is answered %q, want %q", tt[1], tt[0], got, tt[2])
		}
	}
	for name, want := range map[string]struct{ subject, answer string }{
		"a.example": {"a.example", "u.k"}, "A.example.": {"a.example", "u.k"}, "b.example": {}, "": {},
		"7.2.0.192.in-addr.arpa": {"192.0.2.7", "v.k"},
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": {"2001:db8::1", "w.k"},
	} {
		certificate, err := c.ChallengeCertificate(name)
		if err != nil || (certificate == nil) != (want.answer == "") {
			t.Errorf("%s: %v, %v", name, certificate, err)
		}
		if certificate != nil {
			checkValidation(t, certificate, want.subject, want.answer)
		}
	}
	put(9, false, vault.Challenge{Type: ruche.ChallengeHTTP01, Name: "b.example", Token: "t", KeyAuthorization: "t.b"})
	c.challenges.apply(ruche.Update[vault.Challenge]{Deletes: []string{vault.ChallengeKey(ruche.ChallengeHTTP01, "a.example", "t")}, Revision: 10})
	if a, b := c.KeyAuthorization("a.example", "t"), c.KeyAuthorization("b.example", "t"); a != "" || b != "t.b" {
		t.Errorf("after changes a.example is answered %q, b.example %q", a, b)
	}
	if revision != 10 {
		t.Errorf("revision %d, want 10", revision)
	}
}

// checkValidation looks at a certificate as RFC 8737 section 3 has a CA do.
func checkValidation(t *testing.T, certificate *tls.Certificate, name, answer string) {
	t.Helper()
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	ip := net.ParseIP(name)
	if ip == nil && !slices.Equal(leaf.DNSNames, []string{name}) || ip != nil && (len(leaf.IPAddresses) != 1 || !leaf.IPAddresses[0].Equal(ip)) || len(leaf.DNSNames)+len(leaf.IPAddresses) != 1 {
		t.Errorf("it is for %v %v, want %s alone", leaf.DNSNames, leaf.IPAddresses, name)
	}
	for _, e := range leaf.Extensions {
		if e.Id.String() != "1.3.6.1.5.5.7.1.31" {
			continue
		}
		var sum []byte
		rest, err := asn1.Unmarshal(e.Value, &sum)
		if want := sha256.Sum256([]byte(answer)); err != nil || len(rest) > 0 || !slices.Equal(sum, want[:]) || !e.Critical {
			t.Errorf("%s: the extension is %x, critical %v", name, e.Value, e.Critical)
		}
		return
	}
	t.Errorf("%s: there is no acmeIdentifier", name)
}
