package ca_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
)

func TestEveryProfileIssues(t *testing.T) {
	for _, permit := range [][]string{nil, {"corp.example", "10.0.0.0/8"}} {
		r := newRig(t).begin(t, permit...)
		for _, p := range r.Profiles() {
			issued := r.issue(t, p.Name)
			leaf := parse(t, issued.Chain[0])
			if len(leaf.ExtKeyUsage) != len(p.Usages) || leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
				t.Errorf("%s: usages %v and %b, CA %v", p.Name, leaf.ExtKeyUsage, leaf.KeyUsage, leaf.IsCA)
			}
			for _, usage := range p.Usages {
				if err := r.verify(t.Context(), issued.Chain, p.Authority, usage); err != nil {
					t.Errorf("%s, permit %v: %v", p.Name, permit, err)
				}
			}
			for _, other := range []string{"services", "clients", "docker"} {
				if err := r.verify(t.Context(), issued.Chain, other, x509.ExtKeyUsageAny); other != p.Authority && err == nil {
					t.Errorf("%s: the roots of %s believe it", p.Name, other)
				}
			}
			if got := issued.NotAfter.Sub(r.clock.Now()); got != p.Lifetime {
				t.Errorf("%s: it lasts %v, want %v", p.Name, got, p.Lifetime)
			}
			if r.clock.Now().Sub(leaf.NotBefore) != time.Hour || leaf.SerialNumber.BitLen() > 128 || len(issued.Serial) != 32 || len(leaf.SubjectKeyId) != 20 || len(leaf.AuthorityKeyId) == 0 {
				t.Errorf("%s: not before %v, serial %s, key IDs %x and %x", p.Name, leaf.NotBefore, issued.Serial, leaf.SubjectKeyId, leaf.AuthorityKeyId)
			}
			e, err := r.Lookup(t.Context(), strings.ToUpper(issued.Serial))
			if err != nil || e.Profile != p.Name || e.Requester != "test" || len(leaf.CRLDistributionPoints) != 1 || leaf.CRLDistributionPoints[0] != "http://ca.example/ca/"+e.Issuer+".crl" || len(leaf.OCSPServer) != 0 {
				t.Errorf("%s: Lookup() = %+v, %v; CRL at %v", p.Name, e, err, leaf.CRLDistributionPoints)
			}
		}
	}
}

func TestIssueRefuses(t *testing.T) {
	r := newRig(t).begin(t, "corp.example", "10.0.0.0/8")
	key := newKey(t).Public()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	odd, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	many := make([]string, 101)
	for i := range many {
		many[i] = strings.Repeat("a", i%60+1) + ".corp.example"
	}
	for _, tc := range []struct {
		name string
		req  ca.Request
		want string
	}{
		{"a foreign name", ca.Request{Names: []string{"www.other.example"}, Profile: "server"}, "outside"},
		{"a name that only ends like it", ca.Request{Names: []string{"evilcorp.example"}, Profile: "server"}, "outside"},
		{"a foreign wildcard", ca.Request{Names: []string{"*.example"}, Profile: "server"}, "outside"},
		{"a foreign address", ca.Request{Names: []string{"192.0.2.1"}, Profile: "server"}, "outside"},
		{"an IPv6 address where only IPv4 is permitted", ca.Request{Names: []string{"2001:db8::1"}, Profile: "server"}, "outside"},
		{"a foreign e-mail address", ca.Request{Names: []string{"ann@other.example"}, Profile: "client"}, "outside"},
		{"an e-mail address for a server", ca.Request{Names: []string{"ann@corp.example"}, Profile: "server"}, "which the profile has not"},
		{"a wildcard for a client", ca.Request{Names: []string{"*.corp.example"}, Profile: "client"}, "which the profile has not"},
		{"no name", ca.Request{Profile: "server"}, "no name"},
		{"neither name nor subject", ca.Request{Profile: "client"}, "neither"},
		{"an unknown profile", ca.Request{Names: []string{"a.corp.example"}, Profile: "serve"}, "no profile"},
		{"a subject that is no name of it", ca.Request{Names: []string{"a.corp.example"}, Subject: "b.corp.example", Profile: "server"}, "none of its names"},
		{"a subject with a line break", ca.Request{Names: []string{"ann@corp.example"}, Subject: "a\nb", Profile: "client"}, "can be printed"},
		{"a long subject", ca.Request{Names: []string{"ann@corp.example"}, Subject: strings.Repeat("a", 65), Profile: "client"}, "can be printed"},
		{"too many names", ca.Request{Names: many, Profile: "server"}, "too many"},
		{"a label too long", ca.Request{Names: []string{strings.Repeat("a", 64) + ".corp.example"}, Profile: "server"}, "between dots"},
		{"a name that is not ASCII", ca.Request{Names: []string{"bücher.corp.example"}, Profile: "server"}, "xn--"},
		{"a wildcard in the middle", ca.Request{Names: []string{"a.*.corp.example"}, Profile: "server"}, "letters"},
		{"a broken address", ca.Request{Names: []string{"10.0.0.300"}, Profile: "server"}, "ends in a number"},
		{"an address with a zone", ca.Request{Names: []string{"fe80::1%eth0"}, Profile: "server"}, "zone"},
		{"a URI with a password", ca.Request{Names: []string{"https://a:b@corp.example"}, Profile: "client"}, "no URI"},
		{"weak RSA", ca.Request{PublicKey: weak.Public(), Names: []string{"a.corp.example"}, Profile: "server"}, "the key is none of"},
		{"another curve", ca.Request{PublicKey: odd.Public(), Names: []string{"a.corp.example"}, Profile: "server"}, "the key is none of"},
		{"an end in the past", ca.Request{Names: []string{"a.corp.example"}, Profile: "server", NotAfter: r.clock.Now()}, "cannot end"},
		{"an end beyond the profile", ca.Request{Names: []string{"a.corp.example"}, Profile: "short", NotAfter: r.clock.Now().Add(25 * time.Hour)}, "cannot end"},
	} {
		if tc.req.PublicKey == nil {
			tc.req.PublicKey = key
		}
		if _, err := r.Issue(t.Context(), tc.req); !errors.Is(err, ca.ErrRefused) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want a refusal with %q", tc.name, err, tc.want)
		}
	}
	if list, err := r.Log(t.Context(), ""); err != nil || len(list.Certificates) != 0 {
		t.Errorf("what was refused is in the log: %v, %v", list, err)
	}
}

func TestIssueTakesKeys(t *testing.T) {
	r := newRig(t).begin(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	large, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.PublicKey{"P-384": p384.Public(), "RSA": large.Public(), "Ed25519": edwards} {
		issued, err := r.Issue(t.Context(), ca.Request{PublicKey: key, Names: []string{"a.example"}, Profile: "server"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if leaf := parse(t, issued.Chain[0]); (name == "RSA") != (leaf.KeyUsage&x509.KeyUsageKeyEncipherment != 0) {
			t.Errorf("%s: usages %b", name, leaf.KeyUsage)
		}
		if err := r.verify(t.Context(), issued.Chain, "services", x509.ExtKeyUsageServerAuth); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A certificate for a foreign name that an issuer has signed all the same is believed by nobody: the constraints are in intermediate and root, and critical.
func TestConstraintsBindWhoHasTheKey(t *testing.T) {
	for _, tc := range []struct {
		permit, name string
		want         bool
	}{
		{"corp.example", "www.corp.example", true},
		{"corp.example", "*.corp.example", true},
		{"corp.example", "www.other.example", false},
		{"corp.example", "10.0.0.1", false},
		{"10.0.0.0/8", "10.0.0.1", true},
		{"10.0.0.0/8", "192.0.2.1", false},
		{"10.0.0.0/8", "2001:db8::1", false},
		{"10.0.0.0/8", "www.corp.example", false},
		{"2001:db8::/32", "2001:db8::1", true},
		{"2001:db8::/32", "10.0.0.1", false},
	} {
		r := newRig(t).begin(t, tc.permit)
		for _, root := range []bool{false, true} {
			chain, err := ca.SignUnchecked(t.Context(), r.Authority, tc.name, root)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.verify(t.Context(), chain, "services", x509.ExtKeyUsageServerAuth); (err == nil) != tc.want {
				t.Errorf("%s under %s, by the root %v: %v, believed should be %v", tc.name, tc.permit, root, err, tc.want)
			}
		}
	}
}

func TestWithoutAnAuthority(t *testing.T) {
	r := newRig(t)
	_, err := r.IssueFor(t.Context(), []string{"a.example"}, newKey(t).Public())
	if !errors.Is(err, ca.ErrNoAuthority) || !errors.Is(err, ruche.ErrNotFound) || !strings.Contains(err.Error(), "ruche ca init") {
		t.Errorf("IssueFor() = %v", err)
	}
	if _, err := r.Roots(t.Context()); !errors.Is(err, ca.ErrNoAuthority) {
		t.Errorf("Roots() = %v", err)
	}
	if _, err := r.CRL(t.Context(), "services-i1"); !errors.Is(err, ruche.ErrNotFound) {
		t.Errorf("CRL() = %v", err)
	}
}

// FuzzNames has names signed: what is taken must be believed, and what is not must be refused before anything is signed.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"a.corp.example", "*.corp.example", "10.0.0.1", "::ffff:10.0.0.1", "ann@corp.example", "https://a.example/x", "a..b", "-a", "xn--bcher-kva.corp.example", "a_b.corp.example", "1.corp.example"} {
		f.Add(s)
	}
	bound, free := newRig(f).begin(f, "corp.example", "10.0.0.0/8"), newRig(f).begin(f)
	key := newKey(f).Public()
	f.Fuzz(func(t *testing.T, s string) {
		if normal, err := ca.NormalName(s); err == nil {
			if again, err := ca.NormalName(normal); err != nil || again != normal {
				t.Errorf("%q is %q, and that is %q, %v", s, normal, again, err)
			}
		}
		for _, r := range []*rig{bound, free} {
			for _, profile := range []string{"server", "client"} {
				_, err := r.Issue(t.Context(), ca.Request{PublicKey: key, Names: []string{s}, Profile: profile})
				if err != nil && (!errors.Is(err, ca.ErrRefused) || strings.Contains(err.Error(), "x509")) {
					t.Errorf("%s %q: %v", profile, s, err)
				}
			}
		}
	})
}

// FuzzPermit makes authorities: what is permitted must stand in a certificate that can be read.
func FuzzPermit(f *testing.F) {
	for _, s := range []string{"corp.example", "10.0.0.0/8", "10.1.2.3/8", "::ffff:10.0.0.0/104", "2001:db8::1", "*.a", ".a", "a_b", "0.0.0.0/0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := newRig(t).Begin(t.Context(), ruche.AuthorityRequest{Names: []string{"services"}, Permit: []string{s}})
		if err != nil && !errors.Is(err, ca.ErrRefused) {
			t.Errorf("%q: %v", s, err)
		}
		if err != nil {
			return
		}
		r := newRig(t)
		r.beginWith(t, ruche.AuthorityRequest{Names: []string{"services"}, Permit: []string{s}})
		if _, err := r.Issue(t.Context(), request(t, "server")); err != nil && (!errors.Is(err, ca.ErrRefused) || strings.Contains(err.Error(), "x509")) {
			t.Errorf("%q: %v", s, err)
		}
	})
}

// FuzzImport has files read that people say are a parent's chain.
func FuzzImport(f *testing.F) {
	r := newRig(f)
	r.beginWith(f, ruche.AuthorityRequest{Names: []string{"services"}, Parent: true})
	other := newRig(f).begin(f)
	roots, err := other.Roots(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(pemOf(roots...), pemOf(roots...)...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, chain []byte) {
		if err := r.Import(t.Context(), ruche.ParentChain{Authority: "services", Chain: chain}); !errors.Is(err, ca.ErrRefused) {
			t.Errorf("Import() = %v, of a chain that is not for the key", err)
		}
	})
}
