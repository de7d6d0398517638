package ca_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
)

func TestRevoke(t *testing.T) {
	r := newRig(t).begin(t)
	bad, good := r.issue(t, "server"), r.issue(t, "server")
	e, err := r.Lookup(t.Context(), bad.Serial)
	if err != nil {
		t.Fatal(err)
	}
	before := r.crl(t, e.Issuer)
	r.clock.add(time.Minute)
	if err := r.Revoke(t.Context(), bad.Serial, 1, "ann"); err != nil {
		t.Fatal(err)
	}
	list := r.crl(t, e.Issuer)
	if len(before.RevokedCertificateEntries) != 0 || len(list.RevokedCertificateEntries) != 1 || list.Number.Cmp(before.Number) <= 0 {
		t.Fatalf("the CRL went from %d entries (number %v) to %d (%v)", len(before.RevokedCertificateEntries), before.Number, len(list.RevokedCertificateEntries), list.Number)
	}
	leaf, other := parse(t, bad.Chain[0]), parse(t, good.Chain[0])
	if got := list.RevokedCertificateEntries[0]; got.SerialNumber.Cmp(leaf.SerialNumber) != 0 || got.ReasonCode != 1 || got.SerialNumber.Cmp(other.SerialNumber) == 0 {
		t.Errorf("the CRL has %v, reason %d", got.SerialNumber, got.ReasonCode)
	}
	if err := list.CheckSignatureFrom(parse(t, bad.Chain[1])); err != nil {
		t.Error(err)
	}
	if e, err = r.Lookup(t.Context(), bad.Serial); err != nil || e.Revoked == nil || e.Revoked.By != "ann" || !e.Revoked.At.Equal(r.clock.Now()) {
		t.Errorf("Lookup() = %+v, %v", e, err)
	}
	for name, tc := range map[string]struct {
		serial string
		reason int
		want   error
	}{
		"again":              {bad.Serial, 1, ca.ErrRevoked},
		"a stranger":         {strings.Repeat("0", 31) + "1", 0, ruche.ErrNotFound},
		"no serial":          {"x/y", 0, ruche.ErrNotFound},
		"a hold":             {good.Serial, 6, ca.ErrRefused},
		"a CA's reason":      {good.Serial, 2, ca.ErrRefused},
		"an unknown reason":  {good.Serial, 11, ca.ErrRefused},
		"a removal from CRL": {good.Serial, 8, ca.ErrRefused},
	} {
		if err := r.Revoke(t.Context(), tc.serial, tc.reason, ""); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

// A certificate that has ended is in a CRL once more, and then no longer; the log keeps it for a month.
func TestEndedCertificatesLeave(t *testing.T) {
	r := newRig(t).begin(t)
	issued := r.issue(t, "short")
	e, _ := r.Lookup(t.Context(), issued.Serial)
	if err := r.Revoke(t.Context(), issued.Serial, 0, ""); err != nil {
		t.Fatal(err)
	}
	for days := 1; days < 40; days++ {
		r.clock.add(day)
		r.upkeep(t)
		if in := len(r.crl(t, e.Issuer).RevokedCertificateEntries) == 1; in != (days <= 8) {
			t.Errorf("after %d days: in the CRL %v", days, in)
		}
		_, err := r.Lookup(t.Context(), issued.Serial)
		if kept := err == nil; kept != (days <= 31) {
			t.Errorf("after %d days: in the log %v", days, kept)
		}
	}
}

func TestCRLIsKeptForADay(t *testing.T) {
	r := newRig(t).begin(t)
	first := r.crl(t, "services-i2")
	r.clock.add(23 * time.Hour)
	if again := r.crl(t, "services-i2"); again.Number.Cmp(first.Number) != 0 {
		t.Error("it was signed anew before a day had passed")
	}
	r.clock.add(time.Hour)
	next := r.crl(t, "services-i2") // also where nobody leads
	if next.Number.Cmp(first.Number) <= 0 || next.NextUpdate.Sub(r.clock.Now()) != 7*day {
		t.Errorf("after a day: number %v after %v, until %v", next.Number, first.Number, next.NextUpdate)
	}
	root := r.crl(t, "services-r1")
	roots, err := r.Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := root.CheckSignatureFrom(roots[0]); err != nil {
		t.Error(err)
	}
}

// TestRevokedIsKnownAtOnce has two control nodes on one state.
func TestRevokedIsKnownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Now = time.Now
		one, other := ca.New(r.cfg), ca.New(r.cfg)
		r.Authority = one
		r.begin(t)
		issued := r.issue(t, "client")
		revoked := other.Revoked()
		if !revoked(issued.Serial) {
			t.Error("before the log was read, a certificate is taken for good")
		}
		ctx, stop := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() {
			if err := other.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if revoked(issued.Serial) {
			t.Error("a good certificate is taken for revoked")
		}
		if err := one.Revoke(t.Context(), issued.Serial, 4, ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !revoked(issued.Serial) || revoked(strings.Repeat("1", 32)) {
			t.Error("the other control node does not know of the revocation")
		}
		stop()
		wait.Wait()
	})
}

// TestRunSignsCRLsEveryDay has the loop run for weeks, in the bubble's time.
func TestRunSignsCRLsEveryDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Now = time.Now
		r.Authority = ca.New(r.cfg)
		ctx, stop := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() {
			if err := r.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if _, err := r.Begin(t.Context(), ruche.AuthorityRequest{Names: []string{"services"}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // Begin wakes the loop
		for range 60 {
			e, err := r.cfg.CRLs.Get(t.Context(), "services-r1")
			if err != nil || time.Since(e.Value.Made) > day+time.Hour {
				t.Fatalf("the CRL is of %v, %v", e.Value.Made, err)
			}
			<-time.After(day) // of the bubble's time
		}
		status, err := r.Status(t.Context())
		if err != nil || len(status.Authorities[0].Intermediates) != 2 {
			t.Errorf("after 60 days: %+v, %v", status, err)
		}
		stop()
		wait.Wait()
	})
}

// TestOpenSSLChecksRevocation has another implementation check chain and lists, as nginx does with ssl_crl: every issuer of the chain needs a list.
func TestOpenSSLChecksRevocation(t *testing.T) {
	r := newRig(t)
	r.clock.now = time.Now()
	r.begin(t, "corp.example", "10.0.0.0/8")
	bad, good := r.issue(t, "server"), r.issue(t, "server")
	if err := r.Revoke(t.Context(), bad.Serial, 1, ""); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	get := func(path string) []byte {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		if w.Code != 200 {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return w.Body.Bytes()
	}
	bundle, crls := write("bundle.pem", get("/ca/bundle.pem")), write("crl.pem", get("/ca/services.crl.pem"))
	for name, tc := range map[string]struct {
		issued ca.Issued
		want   string
	}{"good": {good, ": OK"}, "revoked": {bad, "certificate revoked"}} {
		leaf, above := write(name+".pem", pemOf(parse(t, tc.issued.Chain[0]))), write(name+"-chain.pem", pemOf(parse(t, tc.issued.Chain[1])))
		out, _ := exec.CommandContext(t.Context(), "openssl", "verify", "-x509_strict", "-crl_check_all", "-purpose", "sslserver", "-verify_hostname", "www.corp.example",
			"-CAfile", bundle, "-CRLfile", crls, "-untrusted", above, leaf).CombinedOutput()
		if !strings.Contains(string(out), tc.want) {
			t.Errorf("%s: openssl says %s, want %q", name, out, tc.want)
		}
	}
}

// TestOpenSSLHoldsRootsToTheirConstraints has somebody sign with the stolen key of the root.
func TestOpenSSLHoldsRootsToTheirConstraints(t *testing.T) {
	r := newRig(t)
	r.clock.now = time.Now()
	r.begin(t, "corp.example")
	dir := t.TempDir()
	roots, err := r.Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bundle, leaf := filepath.Join(dir, "root.pem"), filepath.Join(dir, "leaf.pem")
	for name, want := range map[string]string{"www.corp.example": ": OK", "www.other.example": "permitted subtree violation"} {
		chain, err := ca.SignUnchecked(t.Context(), r.Authority, name, true)
		if err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string][]byte{bundle: pemOf(roots[0]), leaf: pemOf(parse(t, chain[0]))} {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out, _ := exec.CommandContext(t.Context(), "openssl", "verify", "-CAfile", bundle, leaf).CombinedOutput()
		if !strings.Contains(string(out), want) {
			t.Errorf("%s: openssl says %s, want %q", name, out, want)
		}
	}
}

func TestServesFiles(t *testing.T) {
	r := newRig(t).begin(t)
	for _, tc := range []struct {
		method, path string
		status       int
		kind         string
	}{
		{"GET", "/ca/bundle.pem", 200, "application/x-pem-file"},
		{"GET", "/ca/clients.pem", 200, "application/x-pem-file"},
		{"HEAD", "/ca/services-i2.crl", 200, "application/pkix-crl"},
		{"GET", "/ca/docker.crl.pem", 200, "application/x-pem-file"},
		{"GET", "/ca/nothing.pem", 404, ""},
		{"GET", "/ca/services-i99.crl", 404, ""},
		{"GET", "/ca/", 404, ""},
		{"GET", "/ca/services", 404, ""},
		{"GET", "/ca/a/services.pem", 404, ""},
		{"POST", "/ca/bundle.pem", 405, ""},
	} {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tc.method, tc.path, nil))
		if w.Code != tc.status || tc.kind != "" && w.Header().Get("Content-Type") != tc.kind {
			t.Errorf("%s %s: %d %s", tc.method, tc.path, w.Code, w.Header().Get("Content-Type"))
		}
	}
}

func TestWithdraw(t *testing.T) {
	r := newRig(t).begin(t)
	old, r2 := r.issue(t, "short"), r.issue(t, "short")
	r.clock.add(2 * day)
	first, second := r.issue(t, "server"), r.issue(t, "server")
	for _, tc := range []struct {
		name string
		req  ruche.RevocationRequest
		want string // part of the error
		n    int
	}{
		{"several", ruche.RevocationRequest{What: "www.corp.example"}, first.Serial, 0},
		{"by serial", ruche.RevocationRequest{What: strings.ToUpper(first.Serial), Reason: "keycompromise"}, "", 1},
		{"the one that is left", ruche.RevocationRequest{What: "WWW.corp.example"}, "", 1},
		{"none left", ruche.RevocationRequest{What: "www.corp.example", All: true}, "no certificate", 0},
		{"nothing", ruche.RevocationRequest{All: true}, "no certificate", 0},
		{"a bad reason", ruche.RevocationRequest{What: "www.corp.example", Reason: "boredom"}, "keyCompromise", 0},
	} {
		list, err := r.Withdraw(t.Context(), tc.req)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) || len(list.Certificates) != tc.n {
			t.Errorf("%s: %d certificates, %v, want %d, %q", tc.name, len(list.Certificates), err, tc.n, tc.want)
		}
	}
	for serial, want := range map[string]bool{old.Serial: false, r2.Serial: false, first.Serial: true, second.Serial: true} {
		if e, err := r.Lookup(t.Context(), serial); err != nil || (e.Revoked != nil) != want {
			t.Errorf("%s: revoked %v, %v", serial, e.Revoked, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	codes := func(r *rig) string {
		var list []string
		for _, w := range r.health.List() {
			list = append(list, fmt.Sprintf("%s %s %s", w.Severity, w.Code, w.Subject))
		}
		return strings.Join(list, "; ")
	}
	r := newRig(t)
	r.beginWith(t, ruche.AuthorityRequest{Names: []string{"services"}})
	if got := codes(r); got != "" {
		t.Errorf("at first: %s", got)
	}
	strange := r.cfg
	strange.Sealer = sealer{key: 0x11}
	other := ca.New(strange)
	_ = other.Upkeep(t.Context())
	if got := codes(r); got != "error ca-key-unreadable services" {
		t.Errorf("with another sealing key: %s", got)
	}
	if _, err := other.Issue(t.Context(), request(t, "server")); err == nil {
		t.Error("it signs with another sealing key")
	}
	r.clock.add(65 * day)
	if err := other.Upkeep(t.Context()); err == nil {
		t.Error("Upkeep() is content with another sealing key")
	}
	if got, want := codes(r), "error ca-crl-stale services-i2; error ca-crl-stale services-r1; error ca-key-unreadable services; warning ca-rotation-overdue services-i2"; got != want {
		t.Errorf("after 65 days: %s, want %s", got, want)
	}
	other.SetSealer(r.cfg.Sealer)
	if err := other.Upkeep(t.Context()); err != nil || codes(r) != "" {
		t.Errorf("with the right key again: %v, %s", err, codes(r))
	}
	if err := r.verify(t.Context(), r.issue(t, "server").Chain, "services", x509.ExtKeyUsageServerAuth); err != nil {
		t.Error(err)
	}
}
