package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

// startNode runs one host that serves route files alone, and has the commands ask it.
func startNode(t *testing.T) {
	t.Helper()
	t.Setenv("RUCHE_ADMIN_ADDR", upAlone(t, "ca-url", "http://ca.corp.example"))
}

// ruche runs a command line that must work.
func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, err := run(t, args...)
	if err != nil {
		t.Fatalf("ruche %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return out
}

func TestCA(t *testing.T) {
	startNode(t)
	dir := t.TempDir()
	if out := mustRun(t, "ca", "status"); !strings.HasPrefix(out, "There is no authority.") {
		t.Errorf("status: %s", out)
	}
	if _, _, err := run(t, "ca", "issue", "www.corp.example", "--out", dir); err == nil || !strings.Contains(err.Error(), `"ruche ca init" makes it`) {
		t.Errorf("issue without an authority: %v", err)
	}
	mustRun(t, "ca", "init", "--organization", "Example", "--permit", "corp.example,10.0.0.0/8")
	out := mustRun(t, "ca", "issue", "www.corp.example", "*.corp.example", "10.1.2.3", "--out", dir)
	crt, key := filepath.Join(dir, "www.corp.example.crt"), filepath.Join(dir, "www.corp.example.key")
	pair, err := tls.LoadX509KeyPair(crt, key)
	if err != nil || !strings.HasPrefix(out, crt+" and "+key+": serial ") {
		t.Fatalf("issue: %s, %v", out, err)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key has the mode %v, %v", info.Mode(), err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(mustRun(t, "ca", "export")))
	intermediates := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		intermediates.AddCert(cert)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: "shop.corp.example"}); err != nil {
		t.Error(err)
	}
}

// The key may be there before, as a file or with who sends a request.
func TestCAIssueForKeys(t *testing.T) {
	startNode(t)
	dir := t.TempDir()
	key := filepath.Join(dir, "www.corp.example.key")
	mustRun(t, "ca", "init", "--permit", "any")
	mustRun(t, "ca", "issue", "www.corp.example", "--out", dir)
	mustRun(t, "ca", "issue", "ann@corp.example", "--profile", "client", "--key", key, "--out", dir, "--valid", "1h")
	if _, err := tls.LoadX509KeyPair(filepath.Join(dir, "ann@corp.example.crt"), key); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ann@corp.example.key")); err == nil {
		t.Error("with --key, another key was written")
	}
	request := filepath.Join(dir, "host.csr")
	openssl := exec.CommandContext(t.Context(), "openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", filepath.Join(dir, "host.key"), "-out", request, "-subj", "/CN=ignored", "-addext", "subjectAltName=DNS:host.corp.example")
	if out, err := openssl.CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	mustRun(t, "ca", "issue", "--csr", request, "--out", dir)
	if pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "host.crt"), filepath.Join(dir, "host.key")); err != nil || pair.Leaf.Subject.CommonName != "host.corp.example" {
		t.Errorf("by request: %v", err)
	}
}

func TestCARevoke(t *testing.T) {
	startNode(t)
	dir := t.TempDir()
	mustRun(t, "ca", "init", "--permit", "corp.example,10.0.0.0/8")
	for _, name := range []string{"www.corp.example", "shop.corp.example", "10.1.2.3"} {
		mustRun(t, "ca", "issue", name, "--out", dir)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "www.corp.example.crt"), filepath.Join(dir, "www.corp.example.key"))
	if err != nil {
		t.Fatal(err)
	}
	var list ruche.IssuedList
	if err := json.Unmarshal([]byte(mustRun(t, "ca", "list", "--output", "json")), &list); err != nil || len(list.Certificates) != 3 {
		t.Fatalf("list: %+v, %v", list, err)
	}
	if out := mustRun(t, "ca", "list", "WWW.corp.example"); strings.Count(out, "\n") != 2 || !strings.Contains(out, "www.corp.example") {
		t.Errorf("list of one: %s", out)
	}
	mustRun(t, "ca", "revoke", "www.corp.example", "--reason", "keyCompromise")
	block, _ := pem.Decode([]byte(mustRun(t, "ca", "export", "--crl", "--format", "pem")))
	if block == nil || block.Type != "X509 CRL" {
		t.Fatalf("export --crl gives %v", block)
	}
	crl, err := x509.ParseRevocationList([]byte(mustRun(t, "ca", "export", "services-i2", "--crl", "--format", "der")))
	if err != nil || len(crl.RevokedCertificateEntries) != 1 || crl.RevokedCertificateEntries[0].SerialNumber.Cmp(pair.Leaf.SerialNumber) != 0 {
		t.Errorf("the list of services-i2: %+v, %v", crl, err)
	}
	if root, err := x509.ParseCertificate([]byte(mustRun(t, "ca", "export", "clients", "--format", "der"))); err != nil || !root.IsCA {
		t.Errorf("the root of clients: %v", err)
	}
	if out := mustRun(t, "ca", "status"); !strings.Contains(out, "SERVICES, for corp.example, 10.0.0.0/8") || !strings.Contains(out, "certificates that are good: 2; revoked: 1") || !strings.Contains(out, "http://ca.corp.example/ca/") {
		t.Errorf("status:\n%s", out)
	}
}

func TestCAInitByAParent(t *testing.T) {
	startNode(t)
	dir := t.TempDir()
	request := mustRun(t, "ca", "init", "services", "--parent", "--permit", "corp.example")
	if err := os.WriteFile(filepath.Join(dir, "request.pem"), []byte(request), 0o600); err != nil {
		t.Fatal(err)
	}
	const script = `openssl req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -days 3650 -subj /CN=Corp -addext keyUsage=critical,keyCertSign,cRLSign &&
		openssl x509 -req -in request.pem -CA root.pem -CAkey root.key -days 400 -copy_extensions copy > signed.pem && cat signed.pem root.pem > chain.pem`
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	mustRun(t, "ca", "init", "services", "--import", filepath.Join(dir, "chain.pem"))
	mustRun(t, "ca", "issue", "www.corp.example", "--out", dir)
	if _, _, err := run(t, "ca", "issue", "www.other.example", "--out", dir); err == nil || !strings.Contains(err.Error(), "outside of what the authority may issue for") {
		t.Errorf("a foreign name: %v", err)
	}
	if out := mustRun(t, "ca", "status"); !strings.Contains(out, "services-i1  active") {
		t.Errorf("status:\n%s", out)
	}
}

func TestFileNames(t *testing.T) {
	for name, want := range map[string]string{
		"www.corp.example": "www.corp.example", "*.corp.example": "_.corp.example", "2001:db8::1": "2001_db8__1", "https://a/../b": "https___a_.._b", "../../etc/x": "_.._etc_x",
	} {
		if got := fileName(name); got != want {
			t.Errorf("fileName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestCAEAB(t *testing.T) {
	startNode(t)
	if out := mustRun(t, "ca", "eab", "list"); !strings.HasPrefix(out, "There is no external account key.") {
		t.Errorf("list: %s", out)
	}
	var key ruche.ACMEKey
	if err := json.Unmarshal([]byte(mustRun(t, "ca", "eab", "add", "--names", "*.dept.example,10.1.0.0/16", "--comment", "the department", "--output", "json")), &key); err != nil {
		t.Fatal(err)
	}
	if key.ID == "" || len(key.Secret) != 43 {
		t.Errorf("add: %+v", key)
	}
	if out := mustRun(t, "ca", "eab", "list"); !strings.Contains(out, key.ID+"  *.dept.example, 10.1.0.0/16") || strings.Contains(out, key.Secret) {
		t.Errorf("list: %s", out)
	}
	if out := mustRun(t, "ca", "eab", "add", "--names", "*", "--expires", "8760h"); !strings.Contains(out, "HMAC key: ") {
		t.Errorf("add: %s", out)
	}
	mustRun(t, "ca", "eab", "remove", key.ID)
	for _, args := range [][]string{{"remove", key.ID}, {"remove"}, {"add"}, {"add", "--names", "a..b"}, {"add", "--names", "*", "--expires", "-1h"}, {"nonsense"}} {
		if _, _, err := run(t, append([]string{"ca", "eab"}, args...)...); err == nil {
			t.Errorf("ruche ca eab %s works", strings.Join(args, " "))
		}
	}
}
