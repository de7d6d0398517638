package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/daemon"
)

// writePair writes a certificate of a CA, which is in the file too, and its key: NAME.crt and NAME.key.
func writePair(t *testing.T, dir, name string) (keyPEM []byte) {
	t.Helper()
	make := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if parent == nil {
			parent, signer = template, key
		}
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(1000*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	authority := func(name string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	root, rootKey := make(authority("root"), nil, nil)
	mid, midKey := make(authority("mid"), root, rootKey)
	leaf, key := make(&x509.Certificate{DNSNames: []string{name}}, mid, midKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mid.Raw})...)
	for file, content := range map[string][]byte{name + ".crt": chain, name + ".key": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return keyPEM
}

// ruche runs a command in this process.
func runRuche(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := newRoot()
	root.SetArgs(args)
	var out bytes.Buffer
	root.SetOut(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// upAlone runs a "ruche up" of the test, with more settings as pairs of name and value, and gives its admin address.
func upAlone(t *testing.T, more ...string) (adminAddr string) {
	t.Helper()
	dir := t.TempDir()
	flags := map[string]string{
		"http-addr": "127.0.0.1:0", "https-addr": "off", "admin-addr": "127.0.0.1:0", "node-name": "n1", "data-dir": dir,
		"certs-dir": filepath.Join(dir, "certs"), "routes-dir": filepath.Join(dir, "routes"), "no-docker": "true",
	}
	for i := 0; i < len(more); i += 2 {
		flags[more[i]] = more[i+1]
	}
	cfg, err := config.Load(flags, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemon.New(t.Context(), config.All, cfg, "test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-d.Ready()
	return d.AdminAddr()
}

func TestCertificatesAreImported(t *testing.T) {
	dir, empty := t.TempDir(), t.TempDir()
	key := writePair(t, dir, "shop.example")
	if err := os.WriteFile(filepath.Join(dir, "bad.crt"), []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := runRuche(t, "certs", "import", "--dry-run", dir, "--admin-addr", "127.0.0.1:1")
	if err != nil || !strings.Contains(out, "can be imported") || !strings.Contains(out, "skipped "+dir+"/bad.crt") {
		t.Errorf("a dry run printed %v\n%s", err, out)
	}
	admin := upAlone(t)
	for i, want := range []ruche.ImportOutcome{ruche.ImportDone, ruche.ImportSame} {
		out, err := runRuche(t, "certs", "import", dir, "--admin-addr", admin, "--output", "json")
		var result ruche.ImportResult
		if err != nil || json.Unmarshal([]byte(out), &result) != nil {
			t.Fatalf("import printed %v\n%s", err, out)
		}
		if len(result.Certificates) != 1 || result.Certificates[0].Outcome != want || len(result.Problems) != 1 {
			t.Errorf("import %d: %+v, want %s", i, result, want)
		}
		if block, _ := pem.Decode(key); strings.Contains(out, strings.Split(string(key), "\n")[1]) || block == nil {
			t.Error("the key is in the output")
		}
	}
	for _, args := range [][]string{{"state", "reseal", "--check"}, {"state", "reseal"}} {
		// Ticket keys come by themselves, sooner or later.
		inOrder := regexp.MustCompile(`(?s)certificates +[0-9a-f]{8} +1 +in order.*All [12] values are sealed with it\.`)
		if out, err := runRuche(t, append(args, "--admin-addr", admin)...); err != nil || !inOrder.MatchString(out) {
			t.Errorf("%v printed %v\n%s", args, err, out)
		}
	}
	if out, err := runRuche(t, "certs", "renew", "shop.example", "--admin-addr", admin); !errors.Is(err, errTasks) || !strings.Contains(out, "not: it was imported, and nobody orders it here") {
		t.Errorf("renew of what nobody orders: %v\n%s", err, out)
	}
	for state, want := range map[string]string{"valid,due": "shop.example", "failing": "No certificate is in such a state"} {
		if out, err := runRuche(t, "certs", "list", "--state", state, "--admin-addr", admin); err != nil || !strings.Contains(out, want) {
			t.Errorf("of those that are %s it printed %v\n%s", state, err, out)
		}
	}
	if _, err := runRuche(t, "certs", "list", "--state", "sad", "--admin-addr", admin); err == nil || !strings.Contains(err.Error(), "failing, expired") {
		t.Errorf("of an unknown state: %v", err)
	}
	if _, err := runRuche(t, "certs", "import", empty, "--admin-addr", admin); err == nil || !strings.Contains(err.Error(), "nothing to import") {
		t.Errorf("of an empty directory: %v", err)
	}
	if _, err := runRuche(t, "certs", "import", dir, "--admin-addr", "127.0.0.1:1"); err == nil {
		t.Error("no error where no Ruche runs")
	}
}

// What somebody in front shows instead of what is stored looks as good as that.
func TestWhatIsServedIsHeldAgainstTheStore(t *testing.T) {
	dir, others := t.TempDir(), t.TempDir()
	writePair(t, dir, "shop.example")
	writePair(t, others, "shop.example")
	admin := upAlone(t)
	mustRun(t, "certs", "import", dir, "--admin-addr", admin)
	t.Setenv("SSL_CERT_FILE", os.DevNull)
	for from, want := range map[string]string{dir: "what is served is what is stored: shop.example-", others: "what is served is not what is stored"} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(from, "shop.example.crt"), filepath.Join(from, "shop.example.key"))
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
		server.StartTLS()
		defer server.Close()
		if out, _ := runRuche(t, "certs", "check", "shop.example", "--address", server.Listener.Addr().String(), "--admin-addr", admin); !strings.Contains(out, want) {
			t.Errorf("it printed\n%swant %q in it", out, want)
		}
		if out, _ := runRuche(t, "certs", "check", "shop.example", "--address", server.Listener.Addr().String(), "--admin-addr", "127.0.0.1:1"); !strings.Contains(out, "stored        note   what is stored for the name is not known: cannot ask 127.0.0.1:1") {
			t.Errorf("without a control node it printed\n%s", out)
		}
	}
}

func TestCertificatesOfServersAreChecked(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	t.Setenv("SSL_CERT_FILE", os.DevNull)
	out, err := runRuche(t, "certs", "check", "shop.example", "--address", server.Listener.Addr().String())
	var status exitStatus
	if !errors.As(err, &status) || status != 2 || !strings.Contains(out, "not good for shop.example") || !strings.Contains(out, "TLS 1.3") {
		t.Errorf("check: %v\n%s", err, out)
	}
	out, err = runRuche(t, "certs", "check", "shop.example", "--address", "127.0.0.1:1", "--output", "json")
	var check ruche.CertificateCheck
	if !errors.As(err, &status) || json.Unmarshal([]byte(out), &check) != nil || check.Findings[0].Check != "connection" || check.Target.Port != 443 {
		t.Errorf("check of nothing: %v\n%s", err, out)
	}
	for arg, want := range map[string]string{
		"a.example": "a.example 0", "A.example.:8443": "a.example 8443", "::1": "::1 0", "[::1]": "::1 0", "[::1]:443": "::1 443", "https://a.example/x": "a.example 0", "https://a.example:444": "a.example 444",
	} {
		if host, port, err := splitTarget(arg); err != nil || fmt.Sprint(host, " ", port) != want {
			t.Errorf("splitTarget(%q) = %s, %d, %v", arg, host, port, err)
		}
	}
	for _, arg := range []string{"", ":443", "a b", "a/b", "a:b:c", "user@a:1", "a:70000"} {
		if host, port, err := splitTarget(arg); err == nil {
			t.Errorf("splitTarget(%q) = %s, %d", arg, host, port)
		}
	}
}
