package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// TestAMissingFileConcernsItsIssuerAlone starts a node without a file that one issuer names: it starts, orders nothing from that issuer, nor from another one in its place, and does so as soon as
// the file is there.
func TestAMissingFileConcernsItsIssuerAlone(t *testing.T) {
	t.Parallel()
	const directory = "https://127.0.0.1:1/directory"
	file := filepath.Join(t.TempDir(), "eab.key")
	cfg := testConfig(t, t.TempDir(), fakeengine.New(t).Host())
	cfg.Issuers = append(cfg.Issuers, config.Issuer{
		Issuer:     ruche.Issuer{Name: "corporate", Directory: directory, Email: "ops@shop.example", EAB: &ruche.ExternalAccount{KeyID: "kid"}},
		EABKeyFile: file,
	})
	n := serve(t, made(t, cfg))
	defer n.stop(t)
	w, stands := n.stands(ruche.CodeIssuerOutOfService)
	if !stands || w.Severity != ruche.SeverityError || w.Subject != "corporate" || !strings.Contains(w.Message, file) || w.Hint == "" {
		t.Errorf("the warning is %+v", w)
	}
	row := ruche.CertificateSpecs{Workload: ruche.Workload{ID: "w", Node: "n1"}, Specs: []ruche.CertificateSpec{{Names: []string{"shop.example"}, Source: "test", Issuer: "corporate"}}}
	if _, err := cluster.NewBucket[ruche.CertificateSpecs](n.cluster, vault.BucketSpecs).Put(t.Context(), "w", row); err != nil {
		t.Fatal(err)
	}
	info := func() ruche.CertificateInfo {
		list, err := n.certificates.Certificates(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list.Certificates {
			if c.ID == vault.ID([]string{"shop.example"}, directory, ruche.KeyP256) {
				return c
			}
		}
		return ruche.CertificateInfo{}
	}
	await(t, "the certificate says what it waits for", func() bool {
		all := strings.Join(info().Problems, "; ")
		return strings.Contains(all, "issuer corporate is out of service") && strings.Contains(all, file)
	})
	if err := os.WriteFile(file, []byte("c2VjcmV0LWtleQ\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "the issuer is asked, which does not answer", func() bool { return info().Failures > 0 })
	if w, stands := n.stands(ruche.CodeIssuerOutOfService); stands {
		t.Errorf("the warning stands: %+v", w)
	}
}

// TestAnIssuerGoesByWhatWasGood takes a file away and makes it wrong while a node runs: what was read before stays in force, and the new content is taken as soon as it is good.
func TestAnIssuerGoesByWhatWasGood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "dns.env")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("CF_Token=one\n")
	cfg := testConfig(t, dir, "unix:///nowhere")
	cfg.Issuers[0].DNS, cfg.Issuers[0].DNSSettingsFile = &ruche.DNSProvider{Name: "dns_cf"}, file
	d := made(t, cfg)
	defer d.close()
	for _, tc := range []struct {
		name    string
		change  func()
		changed bool
		token   string
		warning string
	}{
		{"nothing has happened", func() {}, false, "one", ""},
		{"the file is away", func() {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}, false, "one", "no such file"},
		{"it has a setting that there is not", func() { write("CF_Tokn=two\n") }, false, "one", "CF_Token"},
		{"it is no file of settings", func() { write("two") }, false, "one", "dns.env:1"},
		{"it is good", func() { write("CF_Token=two\n") }, true, "two", ""},
	} {
		tc.change()
		if changed := d.issuers.look(); changed != tc.changed {
			t.Errorf("%s: changed: %v", tc.name, changed)
		}
		is := d.issuers.now[0]
		if is.Problem != "" || is.DNS == nil || is.DNS.Settings["api_token"] != tc.token {
			t.Errorf("%s: the issuer is %+v, want the token %s", tc.name, is, tc.token)
		}
		w, stands := (&node{Daemon: d}).stands(ruche.CodeIssuerOutOfService)
		if stands != (tc.warning != "") || stands && (w.Severity != ruche.SeverityWarning || !strings.Contains(w.Message, tc.warning) || w.Hint == "") {
			t.Errorf("%s: the warning is %+v, want one with %q", tc.name, w, tc.warning)
		}
	}
}
