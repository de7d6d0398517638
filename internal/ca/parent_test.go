package ca_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
	"github.com/ruche-project/ruche/internal/cluster"
)

// parent is an organisation's authority, kept with openssl.
type parent struct {
	t   *testing.T
	dir string
}

func newParent(t *testing.T) parent {
	p := parent{t, t.TempDir()}
	p.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-keyout", "root.key", "-out", "root.pem", "-days", "3650", "-subj", "/O=Corp/CN=Corp Root", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
	return p
}

func (p parent) openssl(args ...string) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), "openssl", args...)
	cmd.Dir = p.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
}

// sign signs a request as it asks to be, with other extensions where any are given, and gives intermediate and root.
func (p parent) sign(request []byte, days, extensions string) (chain, root []byte) {
	p.t.Helper()
	p.write("request.pem", request)
	args := []string{"x509", "-req", "-in", "request.pem", "-CA", "root.pem", "-CAkey", "root.key", "-out", "signed.pem", "-days", days}
	if extensions == "" {
		args = append(args, "-copy_extensions", "copy")
	} else {
		p.write("ext.cnf", []byte(extensions))
		args = append(args, "-extfile", "ext.cnf")
	}
	p.openssl(args...)
	return p.read("signed.pem"), p.read("root.pem")
}

func (p parent) write(name string, content []byte) {
	if err := os.WriteFile(filepath.Join(p.dir, name), content, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p parent) read(name string) []byte {
	content, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		p.t.Fatal(err)
	}
	return content
}

func TestParent(t *testing.T) {
	corp := newParent(t)
	r := newRig(t)
	r.clock.now = soon()
	q := ruche.AuthorityRequest{Names: []string{"services"}, Permit: []string{"corp.example"}, Parent: true}
	request := r.beginWith(t, q)
	if again := r.beginWith(t, q); string(again) != string(request) {
		t.Error("asked again, another request is made: the answer to the first one would be of no use")
	}
	if _, err := r.IssueFor(t.Context(), []string{"www.corp.example"}, newKey(t).Public()); err == nil {
		t.Error("it issues before the parent has signed")
	}
	chain, root := corp.sign(request, "400", "")
	if err := r.Import(t.Context(), ruche.ParentChain{Authority: "services", Chain: append(chain, root...)}); err != nil {
		t.Fatal(err)
	}
	r.upkeep(t)
	issued := r.issueNames(t, "www.corp.example")
	if err := r.verify(t.Context(), issued.Chain, "services", x509.ExtKeyUsageServerAuth); err != nil {
		t.Error(err)
	}
	if _, err := r.IssueFor(t.Context(), []string{"www.other.example"}, newKey(t).Public()); !errors.Is(err, ca.ErrRefused) {
		t.Errorf("a foreign name: %v", err)
	}
	if status, err := r.Status(t.Context()); err != nil || strings.Join(status.Authorities[0].Permit, ",") != "corp.example" || !status.Authorities[0].Parent {
		t.Errorf("Status() = %+v, %v", status, err)
	}
	roots, err := r.Roots(t.Context())
	if err != nil || len(roots) != 1 || string(pemOf(roots[0])) != string(root) {
		t.Errorf("Roots() = %v, %v, want the parent's", roots, err)
	}
	first := entry(t, r, issued.Serial).Issuer
	if list := r.crl(t, first); len(list.RevokedCertificateEntries) != 0 {
		t.Error("its CRL is not empty")
	}

	// It nears its end: that is said in time, and the next one takes its place beside it.
	r.clock.add(280 * day)
	r.upkeep(t)
	if w := r.health.List(); len(w) != 1 || w[0].Code != ruche.CodeCAParentDue || w[0].Severity != ruche.SeverityWarning {
		t.Errorf("after 280 of 400 days: %v", w)
	}
	r.clock.now = soon() // openssl's certificates begin now
	chain, root = corp.sign(r.beginWith(t, q), "800", "")
	if err := r.Import(t.Context(), ruche.ParentChain{Authority: "services", Chain: append(chain, root...)}); err != nil {
		t.Fatal(err)
	}
	r.upkeep(t)
	next := r.issueNames(t, "www.corp.example")
	if w := r.health.List(); len(w) != 0 || entry(t, r, next.Serial).Issuer == first {
		t.Errorf("after the next import: %v", w)
	}
	for _, chain := range [][][]byte{issued.Chain, next.Chain} {
		if err := r.verify(t.Context(), chain, "services", x509.ExtKeyUsageServerAuth); err != nil {
			t.Error(err)
		}
	}
}

func (r *rig) issueNames(t *testing.T, names ...string) ca.Issued {
	t.Helper()
	issued, err := r.Issue(t.Context(), ca.Request{PublicKey: newKey(t).Public(), Names: names, Profile: "server"})
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func TestImportRefuses(t *testing.T) {
	corp, stranger := newParent(t), newParent(t)
	r := newRig(t)
	r.clock.now = soon()
	request := r.beginWith(t, ruche.AuthorityRequest{Names: []string{"services"}, Parent: true})
	foreign := newRig(t).beginWith(t, ruche.AuthorityRequest{Names: []string{"services"}, Parent: true})
	good, root := corp.sign(request, "400", "")
	leaf, _ := corp.sign(request, "400", "basicConstraints=CA:FALSE\n")
	noCRL, _ := corp.sign(request, "400", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n")
	other, _ := corp.sign(foreign, "400", "")
	for name, tc := range map[string]struct {
		chain string
		want  string
	}{
		"nothing":                {"", "0 certificates"},
		"no root":                {string(good), "1 certificates"},
		"no certificates":        {string(request), "CERTIFICATE REQUEST"},
		"garbage":                {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), "malformed"},
		"another key":            {string(other) + string(root), "not for the key"},
		"a leaf":                 {string(leaf) + string(root), "no authority"},
		"no CRLs allowed":        {string(noCRL) + string(root), "no authority"},
		"another root":           {string(good) + string(stranger.read("root.pem")), "does not hold"},
		"the intermediate twice": {string(good) + string(good), "no root"},
	} {
		if err := r.Import(t.Context(), ruche.ParentChain{Authority: "services", Chain: []byte(tc.chain)}); !errors.Is(err, ca.ErrRefused) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	if err := r.Import(t.Context(), ruche.ParentChain{Authority: "services", Chain: append(good, root...)}); err != nil {
		t.Error(err)
	}
	if err := r.Import(t.Context(), ruche.ParentChain{Authority: "services", Chain: append(good, root...)}); err == nil || !strings.Contains(err.Error(), "no request is open") {
		t.Errorf("a second time: %v", err)
	}
}

// An authority with a root of its own goes over to a parent; what it has issued stays good.
func TestGoOverToAParent(t *testing.T) {
	corp := newParent(t)
	r := newRig(t)
	r.clock.now = soon()
	r.begin(t)
	old := r.issueNames(t, "www.corp.example")
	chain, root := corp.sign(r.beginWith(t, ruche.AuthorityRequest{Names: []string{"services"}, Parent: true}), "400", "")
	if err := r.Import(t.Context(), ruche.ParentChain{Authority: "services", Chain: append(chain, root...)}); err != nil {
		t.Fatal(err)
	}
	r.upkeep(t)
	for _, chain := range [][][]byte{old.Chain, r.issueNames(t, "www.corp.example").Chain} {
		if err := r.verify(t.Context(), chain, "services", x509.ExtKeyUsageServerAuth); err != nil {
			t.Error(err)
		}
	}
	r.clock.add(100 * day)
	r.upkeep(t)
	if roots, err := r.Roots(t.Context()); err != nil || len(roots) != 1 {
		t.Errorf("after the end of the last certificate of the old root, the bundle has %d roots, %v", len(roots), err)
	}
}

func TestBeginRefuses(t *testing.T) {
	r := newRig(t).begin(t)
	for name, tc := range map[string]struct {
		req  ruche.AuthorityRequest
		want error
	}{
		"again":             {ruche.AuthorityRequest{Names: []string{"services"}}, ruche.ErrExists},
		"none":              {ruche.AuthorityRequest{}, ca.ErrRefused},
		"a stranger":        {ruche.AuthorityRequest{Names: []string{"nodes"}}, ca.ErrRefused},
		"a wildcard":        {ruche.AuthorityRequest{Names: []string{"services"}, Permit: []string{"*.corp.example"}}, ca.ErrRefused},
		"a dot":             {ruche.AuthorityRequest{Names: []string{"services"}, Permit: []string{".corp.example"}}, ca.ErrRefused},
		"again by a parent": {ruche.AuthorityRequest{Names: []string{"services"}, Parent: true, Again: true}, ca.ErrRefused},
		"two for parents":   {ruche.AuthorityRequest{Names: []string{"services", "clients"}, Parent: true}, ca.ErrRefused},
		"a line break":      {ruche.AuthorityRequest{Names: []string{"services"}, Organization: "a\nb"}, ca.ErrRefused},
	} {
		if _, err := r.Begin(t.Context(), tc.req); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

// What is begun anew has nothing of before, but numbers of its own.
func TestBeginAgain(t *testing.T) {
	r := newRig(t).begin(t, "corp.example")
	old := r.issueNames(t, "www.corp.example")
	if _, err := r.Begin(t.Context(), ruche.AuthorityRequest{Names: []string{"services"}, Permit: []string{"other.example"}, Again: true}); err != nil {
		t.Fatal(err)
	}
	r.upkeep(t)
	if err := r.verify(t.Context(), old.Chain, "services", x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("what the old root has signed is believed")
	}
	issued := r.issueNames(t, "www.other.example")
	if err := r.verify(t.Context(), issued.Chain, "services", x509.ExtKeyUsageServerAuth); err != nil {
		t.Error(err)
	}
	if got := entry(t, r, issued.Serial).Issuer; got != "services-i4" {
		t.Errorf("its issuer is %s, want one with a number of its own", got)
	}
	if _, err := r.CRL(t.Context(), "services-i2"); !errors.Is(err, ruche.ErrNotFound) {
		t.Errorf("the list of the old issuer: %v", err)
	}
}

// TestTwoControlNodesMakeOneRoot has the cluster's own buckets, and many who begin at once.
func TestTwoControlNodesMakeOneRoot(t *testing.T) {
	r := newRig(t)
	c, err := cluster.Open(t.Context(), cluster.Config{Dir: t.TempDir(), Name: "one", Logger: r.cfg.Logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	r.cfg.Authorities, r.cfg.Issued, r.cfg.CRLs = cluster.NewBucket[ca.Record](c, ca.BucketAuthorities), cluster.NewBucket[ca.Entry](c, ca.BucketIssued), cluster.NewBucket[ca.CRL](c, ca.BucketCRLs)
	var wait sync.WaitGroup
	for range 8 {
		a := ca.New(r.cfg)
		wait.Go(func() {
			if err := a.Ensure(t.Context(), "docker"); err != nil {
				t.Error(err)
			}
			if err := a.Upkeep(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := a.Issue(t.Context(), request(t, "docker-server")); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	a := ca.New(r.cfg)
	status, err := a.Status(t.Context())
	if err != nil || len(status.Authorities) != 1 || len(status.Authorities[0].Roots) != 1 || len(status.Authorities[0].Intermediates) != 1 || status.Authorities[0].Live != 8 {
		t.Errorf("Status() = %+v, %v", status, err)
	}
	if issuers, err := r.cfg.CRLs.List(t.Context()); err != nil || len(issuers) != 2 {
		t.Errorf("%d CRLs, %v", len(issuers), err)
	}
}

// soon is a time at which what openssl signs in a test has begun.
func soon() time.Time { return time.Now().Add(time.Minute) }
