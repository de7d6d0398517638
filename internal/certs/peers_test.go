package certs

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
	"github.com/ruche-project/ruche/internal/testpki"
)

const regexHost = `~^x[0-9]\.example$`

func TestAuthoritiesOfHosts(t *testing.T) {
	a := testpki.New(t, "a")
	cases := []struct {
		name     string
		files    []string // .crt: the authority, .pem: its empty revocation list
		declared *ruche.ClientAuth
		named    string
		pattern  string
		want     string // the source; "" when nobody is asked, "closed" on an error
	}{
		{"none", []string{"a.example.crt"}, nil, "a.example", "", ""},
		{"of the host", []string{"a.example.ca.crt"}, nil, "a.example", "", "a.example.ca.crt"},
		{"of the host, with a list", []string{"a.example.ca.crt", "a.example.crl.pem"}, nil, "a.example", "", "a.example.ca.crt and a.example.crl.pem"},
		{"a list alone", []string{"a.example.crl.pem"}, nil, "a.example", "", ""},
		{"of another host", []string{"b.example.ca.crt"}, nil, "a.example", "", ""},
		{"of the name above", []string{"example.org.ca.crt"}, nil, "a.example.org", "", ""},
		{"capitals", []string{"A.Example.ca.crt"}, nil, "a.example", "", "A.Example.ca.crt"},
		{"of a wildcard", []string{"*.a.example.ca.crt"}, nil, "*.a.example", "", "*.a.example.ca.crt"},
		{"of the route's pattern", []string{"*.a.example.ca.crt"}, nil, "b.example", "*.a.example", "*.a.example.ca.crt"},
		{"of a regular expression", []string{hashed(regexHost) + ".ca.crt"}, nil, regexHost, "", hashed(regexHost) + ".ca.crt"},
		{"for all", []string{"ca.crt"}, nil, "a.example", "", "ca.crt"},
		{"for all, with a list", []string{"ca.crt", "ca.crl.pem"}, nil, "a.example", "", "ca.crt and ca.crl.pem"},
		{"the host's own goes first and does not inherit the list", []string{"ca.crt", "ca.crl.pem", "a.example.ca.crt"}, nil, "a.example", "", "a.example.ca.crt"},
		{"the list for all needs the authority for all", []string{"ca.crl.pem", "a.example.crl.pem"}, nil, "a.example", "", ""},
		{"off", []string{"ca.crt"}, &ruche.ClientAuth{Mode: ruche.ClientAuthOff}, "a.example", "", ""},
		{"wanted, but there is nothing to verify by", nil, &ruche.ClientAuth{Mode: ruche.ClientAuthRequire}, "a.example", "", "closed"},
		{"optional, but there is nothing to verify by", nil, &ruche.ClientAuth{Mode: ruche.ClientAuthOptional}, "a.example", "", ""},
		{"declared by name", []string{"ca.crt", "partners.ca.crt", "partners.crl.pem"}, &ruche.ClientAuth{Mode: ruche.ClientAuthRequire, CA: "partners"}, "a.example", "", "partners.ca.crt and partners.crl.pem"},
		{"declared with a list", []string{"partners.ca.crt", "other.crl.pem"}, &ruche.ClientAuth{Mode: ruche.ClientAuthRequire, CA: "partners", CRL: "Other"}, "a.example", "", "partners.ca.crt and other.crl.pem"},
		{"declared and missing", []string{"ca.crt"}, &ruche.ClientAuth{Mode: ruche.ClientAuthOptional, CA: "partners"}, "a.example", "", "closed"},
		{"declared with a list that is missing", []string{"partners.ca.crt"}, &ruche.ClientAuth{Mode: ruche.ClientAuthRequire, CA: "partners", CRL: "other"}, "a.example", "", "closed"},
		{"by host with a list that is missing", []string{"a.example.ca.crt"}, &ruche.ClientAuth{Mode: ruche.ClientAuthRequire, CRL: "other"}, "a.example", "", "closed"},
		{"cannot leave the directory", []string{"ca.crt"}, &ruche.ClientAuth{Mode: ruche.ClientAuthRequire, CA: "../certs/ca"}, "a.example", "", "closed"},
		{"internal, which is not known", nil, &ruche.ClientAuth{Mode: ruche.ClientAuthRequire, CA: ruche.AuthorityInternal}, "a.example", "", "closed"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range tc.files {
				content := a.PEM()
				if strings.HasSuffix(f, ".pem") {
					content = a.Revoke(96 * time.Hour)
				}
				write(t, filepath.Join(dir, f), string(content))
			}
			check, err := newCerts(t, dir).ClientCheck(tc.declared, tc.named, tc.pattern)
			got := ""
			if check != nil {
				got = check.Source
			}
			if err != nil {
				got = "closed"
			}
			if got != tc.want {
				t.Errorf("got %q (%v), want %q", got, err, tc.want)
			}
		})
	}
}

func TestWhoseCertificatesAreAccepted(t *testing.T) {
	root, other := testpki.New(t, "root"), testpki.New(t, "other")
	twin := testpki.New(t, "root") // the same name, another key
	below := root.Intermediate("below")
	good, revoked, leaf := root.Issue(testpki.Leaf{Name: "good"}), root.Issue(testpki.Leaf{Name: "revoked"}), below.Issue(testpki.Leaf{Name: "leaf"})
	cases := []struct {
		name  string
		crl   []byte // nil: no file
		shown tls.Certificate
		use   x509.ExtKeyUsage
		want  string // part of the error; "" when it is accepted
	}{
		{"good", nil, good, x509.ExtKeyUsageClientAuth, ""},
		{"by an intermediate", nil, leaf, x509.ExtKeyUsageClientAuth, ""},
		{"without its intermediate", nil, below.Issue(testpki.Leaf{OmitChain: true}), x509.ExtKeyUsageClientAuth, "not accepted here"},
		{"of another authority", nil, other.Issue(testpki.Leaf{}), x509.ExtKeyUsageClientAuth, "not accepted here"},
		{"of an authority of the same name", nil, twin.Issue(testpki.Leaf{}), x509.ExtKeyUsageClientAuth, "not accepted here"},
		{"expired", nil, root.Issue(testpki.Leaf{Life: -time.Hour}), x509.ExtKeyUsageClientAuth, "expired"},
		{"a server's, shown by a client", nil, root.Issue(testpki.Leaf{Server: true}), x509.ExtKeyUsageClientAuth, "another use"},
		{"a client's, shown by a server", nil, good, x509.ExtKeyUsageServerAuth, "another use"},
		{"none", nil, tls.Certificate{}, x509.ExtKeyUsageClientAuth, "there is none"},
		{"not revoked", root.Revoke(time.Hour, revoked), good, x509.ExtKeyUsageClientAuth, ""},
		{"revoked", root.Revoke(time.Hour, revoked), revoked, x509.ExtKeyUsageClientAuth, "it was revoked"},
		{"the list has ended", root.Revoke(-time.Hour), good, x509.ExtKeyUsageClientAuth, "cannot be told"},
		{"the list is yet to come", root.List(&x509.RevocationList{ThisUpdate: time.Now().Add(time.Hour), NextUpdate: time.Now().Add(2 * time.Hour)}), good, x509.ExtKeyUsageClientAuth, "yet to come"},
		{"a list of another authority", other.Revoke(time.Hour), good, x509.ExtKeyUsageClientAuth, "cannot be told"},
		{"a list that another authority of the same name has signed", twin.Revoke(time.Hour), good, x509.ExtKeyUsageClientAuth, "cannot be told"},
		{"no list of the intermediate", root.Revoke(time.Hour), leaf, x509.ExtKeyUsageClientAuth, "cannot be told"},
		{"lists of both", append(root.Revoke(time.Hour), below.Revoke(time.Hour)...), leaf, x509.ExtKeyUsageClientAuth, ""},
		{"the intermediate was revoked", append(root.Revoke(time.Hour, tls.Certificate{Leaf: below.Certificate}), below.Revoke(time.Hour)...), leaf, x509.ExtKeyUsageClientAuth, "it was revoked"},
		{"the newer of two lists counts", append(root.Revoke(time.Hour), root.List(&x509.RevocationList{ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}, revoked)...), revoked, x509.ExtKeyUsageClientAuth, "it was revoked"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "ca.crt"), string(root.PEM()))
			if tc.crl != nil {
				write(t, filepath.Join(dir, "ca.crl.pem"), string(tc.crl))
			}
			check, err := newCerts(t, dir).ClientCheck(nil, "a.example", "")
			if err != nil || check == nil {
				t.Fatal(check, err)
			}
			for range 2 { // the signature of a list is verified once
				err = check.Check(testpki.Chain(t, tc.shown), tc.use)
				var refused *ruche.CertificateRefused
				switch {
				case tc.want == "" && err != nil, tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
					t.Errorf("got %v, want %q", err, tc.want)
				case err != nil && (!errors.As(err, &refused) || refused.Foreign != strings.Contains(tc.want, "not accepted here")):
					t.Errorf("%#v does not tell rightly whether the authority is unknown", err)
				}
			}
		})
	}
}

// What cannot be read keeps its last good version; what never could be read closes.
func TestLastGoodAuthorities(t *testing.T) {
	a, b := testpki.New(t, "a"), testpki.New(t, "b")
	ofA, ofB := a.Issue(testpki.Leaf{}), b.Issue(testpki.Leaf{})
	dir := t.TempDir()
	ca, crl := filepath.Join(dir, "a.example.ca.crt"), filepath.Join(dir, "a.example.crl.pem")
	c := newCerts(t, dir)
	const refused, closed, open = "refused", "closed", "open"
	outcome := func(shown tls.Certificate) string {
		check, err := c.ClientCheck(nil, "a.example", "")
		switch {
		case err != nil:
			return closed
		case check == nil:
			return open
		case check.Check(testpki.Chain(t, shown), x509.ExtKeyUsageClientAuth) != nil:
			return refused
		}
		return "accepted"
	}
	steps := []struct {
		what     string
		do       func()
		ofA, ofB string
		warning  ruche.Code
	}{
		{"nothing there", func() {}, open, open, ""},
		{"an authority that was never good", func() { write(t, ca, "-----BEGIN CERT") }, closed, closed, ruche.CodeCertInvalid},
		{"a good one", func() { write(t, ca, string(a.PEM())) }, "accepted", refused, ""},
		{"a broken one", func() { write(t, ca, "x") }, "accepted", refused, ruche.CodeCertInvalid},
		{"another good one", func() { write(t, ca, string(b.PEM())) }, refused, "accepted", ""},
		{"both", func() { write(t, ca, string(a.PEM())+string(b.PEM())) }, "accepted", "accepted", ""},
		{"a list that was never good", func() { write(t, crl, "x") }, closed, closed, ruche.CodeRevocationListInvalid},
		{"a list of a", func() { write(t, crl, string(a.Revoke(96*time.Hour))) }, "accepted", refused, ""},
		{"a broken list", func() { write(t, crl, "x") }, "accepted", refused, ruche.CodeRevocationListInvalid},
		{"lists of both, by which one of a is revoked", func() { write(t, crl, string(a.Revoke(96*time.Hour, ofA))+string(b.Revoke(96*time.Hour))) }, refused, "accepted", ""},
		{"lists that have ended", func() { write(t, crl, string(a.Revoke(-time.Hour))+string(b.Revoke(-time.Hour))) }, refused, refused, ruche.CodeRevocationListInvalid},
		{"no list", func() { _ = os.Remove(crl) }, "accepted", "accepted", ""},
		{"the directory is gone", func() { _ = os.Rename(dir, dir+".away") }, "accepted", "accepted", ruche.CodeCertsDirUnreadable},
		{"it is back, without the authority", func() { _ = os.Rename(dir+".away", dir); _ = os.Remove(ca) }, open, open, ""},
	}
	for _, s := range steps {
		s.do()
		c.load()
		if a, b := outcome(ofA), outcome(ofB); a != s.ofA || b != s.ofB {
			t.Errorf("%s: %s and %s, want %s and %s", s.what, a, b, s.ofA, s.ofB)
		}
		if w := warning(t, c); w.Code != s.warning || w.Code != "" && w.Hint == "" {
			t.Errorf("%s: warning %+v, want %q with a hint", s.what, w, s.warning)
		}
	}
}

func TestRevocationListsThatEndAreWarnedOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "a.crl.pem"), string(testpki.New(t, "a").Revoke(96*time.Hour)))
		c := newCerts(t, dir)
		if w := warning(t, c); w.Code != "" {
			t.Errorf("warned at the beginning: %+v", w)
		}
		for _, severity := range []ruche.Severity{ruche.SeverityWarning, ruche.SeverityError} {
			<-time.After(80 * time.Hour) // of the bubble's clock
			c.warnListExpiry(c.files.Load().revoked["a"])
			if w := warning(t, c); w.Code != ruche.CodeRevocationListInvalid || w.Severity != severity {
				t.Errorf("warned by %+v, want severity %s", w, severity)
			}
		}
	})
}

func TestWhatEndpointsAreVerifiedBy(t *testing.T) {
	a := testpki.New(t, "a")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "corp.ca.crt"), string(a.PEM()))
	crt, key := testpki.Files(t, a.Issue(testpki.Leaf{Name: "edge"}))
	write(t, filepath.Join(dir, "edge.crt"), string(crt))
	write(t, filepath.Join(dir, "edge.key"), string(key))
	c := newCerts(t, dir)
	cases := []struct {
		name   string
		asked  ruche.EndpointTLS
		source string
		own    bool
		fails  bool
	}{
		{"nothing", ruche.EndpointTLS{ServerName: "x"}, "", false, false},
		{"the system's", ruche.EndpointTLS{CA: ruche.AuthoritySystem}, "the authorities of this system", false, false},
		{"a file, and what is shown", ruche.EndpointTLS{CA: "corp", ClientCert: "Edge"}, "corp.ca.crt", true, false},
		{"a file that is missing", ruche.EndpointTLS{CA: "corps"}, "", false, true},
		{"nothing to show", ruche.EndpointTLS{ClientCert: "corp"}, "", false, true},
		{"internal", ruche.EndpointTLS{CA: ruche.AuthorityInternal}, "", false, true},
	}
	for _, tc := range cases {
		check, own, err := c.EndpointCheck(tc.asked)
		source := ""
		if check != nil {
			source = check.Source
		}
		if source != tc.source || (own != nil) != tc.own || (err != nil) != tc.fails {
			t.Errorf("%s: by %q, shows %v, error %v", tc.name, source, own != nil, err)
		}
	}
	check, _, _ := c.EndpointCheck(ruche.EndpointTLS{CA: ruche.AuthoritySystem})
	if err := check.Check(testpki.Chain(t, a.Issue(testpki.Leaf{Server: true})), x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("the system vouches for an authority of this test")
	}
}

func TestInternalAuthority(t *testing.T) {
	a, services := testpki.New(t, "a"), testpki.New(t, "services")
	shown := a.Issue(testpki.Leaf{})
	var authorities, revoked []byte
	c := New(Config{
		Dir: t.TempDir(), StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Health: &health.Registry{},
		InternalAuthority: func(name string) ([]byte, []byte) {
			if name != ruche.AuthorityClients {
				return services.PEM(), nil
			}
			return authorities, revoked
		},
	})
	accepted := func() bool {
		check, err := c.ClientCheck(&ruche.ClientAuth{Mode: ruche.ClientAuthRequire, CA: ruche.AuthorityInternal}, "a.example", "")
		return err == nil && check.Check(testpki.Chain(t, shown), x509.ExtKeyUsageClientAuth) == nil
	}
	if accepted() {
		t.Error("accepted before there was an authority")
	}
	if authorities = a.PEM(); !accepted() {
		t.Error("not accepted by the authority")
	}
	good := shown
	if shown = services.Issue(testpki.Leaf{}); accepted() {
		t.Error("accepted by the authority of servers, whose certificates anybody gets who has a name")
	}
	shown = good
	if revoked = a.Revoke(time.Hour, shown); accepted() {
		t.Error("accepted although it was revoked")
	}
	if revoked = []byte("x"); accepted() {
		t.Error("accepted although what was revoked cannot be read")
	}
}

func TestListsThatAreNotUnderstood(t *testing.T) {
	a := testpki.New(t, "a")
	delta := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}
	template := func() *x509.RevocationList {
		return &x509.RevocationList{ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	}
	whole, entry := template(), template()
	whole.ExtraExtensions = []pkix.Extension{delta}
	entry.RevokedCertificateEntries = []x509.RevocationListEntry{{
		SerialNumber: a.Certificate.SerialNumber, RevocationTime: time.Now(), ExtraExtensions: []pkix.Extension{delta},
	}}
	for name, list := range map[string][]byte{"critical extension": a.List(whole), "critical extension of an entry": a.List(entry), "a certificate": a.PEM(), "nothing": nil} {
		if _, err := parseRevocations(list); err == nil {
			t.Errorf("%s: read without an error", name)
		}
	}
}

func FuzzPeerFiles(f *testing.F) {
	a := testpki.New(f, "a")
	f.Add(a.PEM())
	f.Add(a.Revoke(96 * time.Hour))
	f.Add([]byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"))
	chain := []*x509.Certificate{a.Certificate, a.Certificate}
	f.Fuzz(func(_ *testing.T, data []byte) {
		if pool, err := parseAuthorities(data); err == nil && pool == nil {
			panic("neither authorities nor an error")
		}
		if r, err := parseRevocations(data); err == nil {
			r.expiry()
			_ = r.check(chain, time.Now())
		}
	})
}
