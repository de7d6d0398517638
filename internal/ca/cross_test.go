package ca_test

import (
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
)

// underNextRoot is an authority whose second root signs, with both roots.
func underNextRoot(t *testing.T, r *rig, permit ...string) []*x509.Certificate {
	t.Helper()
	r.beginWith(t, ruche.AuthorityRequest{Names: []string{"services"}, Permit: permit})
	r.clock.add(8*365*day + 2*day)
	r.upkeep(t)
	r.clock.add(366 * day)
	r.upkeep(t)
	roots, err := r.Roots(t.Context())
	if err != nil || len(roots) != 2 {
		t.Fatalf("there are %d roots, %v", len(roots), err)
	}
	return roots
}

// OpenSSL believes what is under the next root when it knows the first alone, lists of what is revoked included.
func TestOpenSSLBelievesByTheFirstRoot(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("there is no openssl")
	}
	r := newRig(t)
	roots := underNextRoot(t, r, "corp.example", "10.0.0.0/8")
	good, bad := r.issue(t, "server"), r.issue(t, "server")
	if err := r.Revoke(t.Context(), bad.Serial, 0, "test"); err != nil {
		t.Fatal(err)
	}
	lists, err := r.CRLs(t.Context(), ruche.AuthorityServices)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	verify := func(issued ca.Issued, root *x509.Certificate) (string, error) {
		var above []*x509.Certificate
		for _, der := range issued.Chain[1:] {
			above = append(above, parse(t, der))
		}
		out, err := exec.Command("openssl", "verify", "-attime", strconv.FormatInt(r.clock.Now().Unix(), 10), "-crl_check_all", "-CRLfile", file("crl.pem", lists), "-verify_hostname", "www.corp.example",
			"-CAfile", file("root.pem", pemOf(root)), "-untrusted", file("above.pem", pemOf(above...)), file("leaf.pem", pemOf(parse(t, issued.Chain[0])))).CombinedOutput()
		return string(out), err
	}
	for n, root := range roots {
		if out, err := verify(good, root); err != nil {
			t.Errorf("by root %d: %v: %s", n+1, err, out)
		}
		if out, err := verify(bad, root); err == nil {
			t.Errorf("by root %d, revoked: %s", n+1, out)
		}
	}
}

// A root that was made by an older release is certified by the one before at the next look; and where that one's key is lost, the next root signs without.
func TestCrossCertificateIsMadeLater(t *testing.T) {
	r := newRig(t)
	underNextRoot(t, r)
	forget := func() {
		t.Helper()
		e, err := r.cfg.Authorities.Get(t.Context(), ruche.AuthorityServices)
		if err != nil {
			t.Fatal(err)
		}
		for i := range e.Value.Roots {
			e.Value.Roots[i].Cross, e.Value.Roots[i].CrossBy = nil, ""
		}
		if _, err := r.cfg.Authorities.CompareAndSet(t.Context(), ruche.AuthorityServices, e.Value, e.Revision); err != nil {
			t.Fatal(err)
		}
	}
	forget()
	if n := len(r.issue(t, "short").Chain); n != 2 {
		t.Fatalf("a chain has %d certificates", n)
	}
	r.upkeep(t)
	if n := len(r.issue(t, "short").Chain); n != 3 {
		t.Errorf("a chain has %d certificates after a look", n)
	}
	forget()
	e, err := r.cfg.Authorities.Get(t.Context(), ruche.AuthorityServices)
	if err != nil {
		t.Fatal(err)
	}
	e.Value.Roots[0].Key = []byte("lost")
	if _, err := r.cfg.Authorities.CompareAndSet(t.Context(), ruche.AuthorityServices, e.Value, e.Revision); err != nil {
		t.Fatal(err)
	}
	_ = r.Upkeep(t.Context()) // the list of the first root cannot be signed
	if n := len(r.issue(t, "short").Chain); n != 2 {
		t.Errorf("a chain has %d certificates although the first root's key is lost", n)
	}
}
