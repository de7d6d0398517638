package dns_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

// block gives the block of docs/dns.md that is marked for a test.
func block(t *testing.T, mark string) string {
	t.Helper()
	manual, err := os.ReadFile("../../../docs/dns.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(manual), "<!-- test: "+mark+" -->\n```")
	_, after, opened := strings.Cut(after, "\n")
	text, _, closed := strings.Cut(after, "\n```")
	if !ok || !opened || !closed {
		t.Fatalf("docs/dns.md has no block for the test %q", mark)
	}
	return text + "\n"
}

func TestManualBIND(t *testing.T) {
	named := findBIND(t)
	dir, port := t.TempDir(), ""
	write(t, filepath.Join(dir, "ruche.key"), fmt.Sprintf("key \"ruche\" {\n\talgorithm hmac-sha256;\n\tsecret \"%s\";\n};\n", tsigSecret))
	write(t, filepath.Join(dir, "shop.example.db"), "$TTL 60\n@ SOA ns1 admin 1 60 10 600 1\n@ NS ns1\nns1 A 127.0.0.1\n")
	for range 5 {
		port = freePort(t)
		config := fmt.Sprintf("options { directory %q; listen-on port %s { 127.0.0.1; }; listen-on-v6 { none; }; pid-file none; session-keyfile none; lock-file none; recursion no; dnssec-validation no; notify no; };\ncontrols { };\n", dir, port)
		config += strings.NewReplacer("/etc/bind/", dir+"/", "/var/lib/bind/", dir+"/").Replace(block(t, "named"))
		write(t, filepath.Join(dir, "named.conf"), config)
		if runBIND(t, named, filepath.Join(dir, "named.conf")) {
			break
		}
	}
	l := lab{port: port}
	p := ruche.DNSProvider{Name: "rfc2136", Settings: map[string]string{"server": l.primary(), "key_file": filepath.Join(dir, "ruche.key")}}
	for name, allowed := range map[string]bool{"_acme-challenge.shop.example": true, "_acme-challenge.www.shop.example": true, "www.shop.example": false, "shop.example": false} {
		err := l.solver(t).Present(t.Context(), p, name, "v")
		if (err == nil) != allowed || (err != nil && !strings.Contains(err.Error(), "does not let")) {
			t.Errorf("at %s: %v", name, err)
		}
	}
}

func TestManualExec(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("curl is not installed: run scripts/setup")
		}
		t.Skip("curl is not installed: scripts/setup does that")
	}
	zone := newFakeZone(t, apiZone)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+apiSecret {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		if err := r.ParseForm(); err != nil || r.URL.Path != "/txt" {
			t.Errorf("%s: %v", r.URL, err)
		}
		if r.Method == http.MethodPut {
			zone.change(strings.TrimSuffix(r.PostForm.Get("name"), "."), func(all []string) []string { return append(all, r.PostForm.Get("value")) })
		}
	}))
	t.Cleanup(server.Close)
	p := hook(t, strings.TrimPrefix(block(t, "exec"), "#!/bin/sh\n"), "API", server.URL, "TOKEN", apiSecret)
	if err := zone.solver(t).Present(t.Context(), p, apiName, "v=1&2"); err != nil {
		t.Fatal(err)
	}
	if err := zone.solver(t).CleanUp(t.Context(), p, apiName, "v=1&2"); err != nil {
		t.Fatal(err)
	}
	p.Settings["TOKEN"] = "another-s3cret"
	if err := zone.solver(t).Present(t.Context(), p, apiName, "v"); err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), "another-s3cret") {
		t.Errorf("with another token: %v", err)
	}
}
