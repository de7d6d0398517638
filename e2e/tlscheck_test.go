//go:build e2e

package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche/e2e/lab"
)

// What testssl.sh and sslscan find on an edge is what docs/tls.md lists, with the reasons.
func TestTLSIsAsTheManualSays(t *testing.T) {
	t.Parallel()
	e := startEdge(t)
	_, port, _ := net.SplitHostPort(e.address)
	allowed := allowedFindings(t)
	t.Run("testssl", func(t *testing.T) {
		t.Parallel()
		out := filepath.Join(e.dir, "testssl.json")
		// Its exit status counts findings.
		text, _ := exec.CommandContext(t.Context(), "testssl", "--quiet", "--color", "0", "--warnings", "batch", "--jsonfile", out,
			"-p", "-f", "-U", "-S", "-h", "--ip", "127.0.0.1", "--nodns", "min", "--add-ca", filepath.Join(e.dir, "root.pem"), "shop.test:"+port).CombinedOutput()
		var findings []struct{ ID, Severity, Finding string }
		data, err := os.ReadFile(out)
		if err == nil {
			err = json.Unmarshal(data, &findings)
		}
		if err != nil || len(findings) < 50 {
			t.Fatalf("testssl told %d findings, %v:\n%s", len(findings), err, text)
		}
		found := map[string]bool{}
		for _, f := range findings {
			if f.Severity == "OK" || f.Severity == "INFO" {
				continue
			}
			found[f.ID] = true
			if !allowed["testssl "+f.ID] {
				t.Errorf("%s %s: %s", f.Severity, f.ID, f.Finding)
			}
		}
		for name := range allowed {
			if id, ok := strings.CutPrefix(name, "testssl "); ok && !found[id] {
				t.Errorf("docs/tls.md allows %s, which is not found any more: take it out", name)
			}
		}
	})
	t.Run("sslscan", func(t *testing.T) {
		t.Parallel()
		text, err := exec.CommandContext(t.Context(), "sslscan", "--no-colour", "--sni-name=shop.test", "--xml=-", e.address).Output()
		if err != nil {
			t.Fatal(err)
		}
		judgeScan(t, text)
	})
}

// judgeScan holds what sslscan tells against what an edge may have.
func judgeScan(t *testing.T, text []byte) {
	var scan struct {
		Test struct {
			Protocols []struct {
				Type    string `xml:"type,attr"`
				Version string `xml:"version,attr"`
				Enabled string `xml:"enabled,attr"`
			} `xml:"protocol"`
			Ciphers []struct {
				Cipher   string `xml:"cipher,attr"`
				Strength string `xml:"strength,attr"`
			} `xml:"cipher"`
			Renegotiation struct {
				Supported string `xml:"supported,attr"`
			} `xml:"renegotiation"`
			Heartbleed []struct {
				Vulnerable string `xml:"vulnerable,attr"`
			} `xml:"heartbleed"`
		} `xml:"ssltest"`
	}
	if err := xml.Unmarshal(text, &scan); err != nil || len(scan.Test.Ciphers) < 6 || len(scan.Test.Protocols) < 6 || len(scan.Test.Heartbleed) == 0 {
		t.Fatalf("cannot read %s: %v", text, err)
	}
	for _, p := range scan.Test.Protocols {
		if modern := p.Type == "tls" && (p.Version == "1.2" || p.Version == "1.3"); (p.Enabled == "1") != modern {
			t.Errorf("%s %s is enabled: %s", p.Type, p.Version, p.Enabled)
		}
	}
	for _, c := range scan.Test.Ciphers {
		if !strings.HasPrefix(c.Cipher, "TLS_") && !(strings.HasPrefix(c.Cipher, "ECDHE-") && (strings.Contains(c.Cipher, "-GCM-") || strings.Contains(c.Cipher, "-CHACHA20-"))) {
			t.Errorf("%s (%s) is offered", c.Cipher, c.Strength)
		}
	}
	if scan.Test.Renegotiation.Supported != "0" {
		t.Error("renegotiation is supported")
	}
	for _, h := range scan.Test.Heartbleed {
		if h.Vulnerable != "0" {
			t.Error("vulnerable to Heartbleed")
		}
	}
}

// allowedFindings are the rows of the table in docs/tls.md, as "tool finding".
func allowedFindings(t *testing.T) map[string]bool {
	t.Helper()
	data, err := os.ReadFile("../docs/tls.md")
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(line, "|")
		if len(cells) == 5 && strings.TrimSpace(cells[1]) == "testssl" {
			allowed["testssl "+strings.Trim(strings.TrimSpace(cells[2]), "`")] = true
		}
	}
	if len(allowed) == 0 {
		t.Fatal("docs/tls.md has no table of allowed findings")
	}
	return allowed
}

// A site whose clients must show a certificate, by nginx-proxy's files: who has none, has one of somebody else, or has lost it, is told so.
func TestClientCertificatesByFiles(t *testing.T) {
	t.Parallel()
	e := startEdge(t)
	partners, others := newIssuer(t, "partners"), newIssuer(t, "others")
	alice, mallory, stranger := partners.issue("alice", x509.ExtKeyUsageClientAuth), partners.issue("mallory", x509.ExtKeyUsageClientAuth), others.issue("stranger", x509.ExtKeyUsageClientAuth)
	visit := func(c *tls.Certificate) string {
		settings := &tls.Config{ServerName: "shop.test", InsecureSkipVerify: true} //nolint:gosec // whom it speaks to is not the question
		if c != nil {
			settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
		}
		transport := &http.Transport{TLSClientConfig: settings, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+e.address+"/", nil)
		if err != nil {
			return err.Error()
		}
		req.Host = "shop.test"
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return fmt.Sprint(resp.StatusCode, " ", string(body), err)
	}
	is := func(step string, wants map[*tls.Certificate]string) {
		t.Helper()
		lab.Eventually(t, soon, func() error {
			for c, want := range wants {
				if got := visit(c); !strings.HasPrefix(got, want[:3]) || !strings.Contains(got, want[4:]) {
					return fmt.Errorf("%s: got %q, want %q", step, got, want)
				}
			}
			return nil
		})
	}
	is("no files", map[*tls.Certificate]string{nil: "200 at work", alice: "200 at work"})
	e.write(t, "certs/shop.test.ca.crt", partners.pem)
	is("an authority", map[*tls.Certificate]string{nil: "400 No required SSL certificate was sent", alice: "200 at work", mallory: "200 at work", stranger: "400 The SSL certificate error"})
	e.write(t, "certs/shop.test.crl.pem", partners.list(t, time.Hour, mallory))
	is("one is revoked", map[*tls.Certificate]string{alice: "200 at work", mallory: "400 it was revoked"})
	e.write(t, "certs/shop.test.crl.pem", partners.list(t, -time.Minute))
	is("the list has ended", map[*tls.Certificate]string{alice: "400 cannot be told", mallory: "400 cannot be told"})
}

// edge is the built binary without an Engine: one site, shop.test, with a certificate.
type edge struct{ dir, address string }

func (e *edge) write(t *testing.T, name string, content []byte) {
	t.Helper()
	path := filepath.Join(e.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func startEdge(t *testing.T) *edge {
	t.Helper()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "at work") }))
	t.Cleanup(site.Close)
	e := &edge{dir: t.TempDir()}
	root := newIssuer(t, "root")
	shop := root.issue("shop.test", x509.ExtKeyUsageServerAuth)
	key, err := x509.MarshalPKCS8PrivateKey(shop.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	e.write(t, "root.pem", root.pem)
	e.write(t, "certs/shop.test.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: shop.Certificate[0]}))
	e.write(t, "certs/shop.test.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	e.write(t, "routes/site.yaml", []byte("routes:\n  - host: shop.test\n    endpoints: [\""+site.URL+"\"]\n    hsts: max-age=31536000\n"))
	cmd := exec.Command("../bin/ruche", "up", "--no-docker", "--http-addr", "off", "--https-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--log-format", "json",
		"--access-log", "off", "--data-dir", filepath.Join(e.dir, "data"), "--certs-dir", filepath.Join(e.dir, "certs"), "--routes-dir", filepath.Join(e.dir, "routes"))
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serving := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			var line struct{ Msg, Scheme, Address string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" && line.Scheme == "https" {
				serving <- line.Address
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-read
		_ = cmd.Wait()
	})
	select {
	case e.address = <-serving:
	case <-read:
		t.Fatal("ruche ended before it served")
	case <-time.After(time.Minute):
		t.Fatal("ruche does not serve after a minute")
	}
	return e
}

// issuer is an authority.
type issuer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newIssuer(t *testing.T, name string) *issuer {
	i := &issuer{t: t}
	made := i.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	})
	i.cert, i.key = made.Leaf, made.PrivateKey.(*ecdsa.PrivateKey)
	i.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Leaf.Raw})
	return i
}

// issue makes a certificate for a name. It names a list of what was revoked, since testssl misses that otherwise.
func (i *issuer) issue(name string, use x509.ExtKeyUsage) *tls.Certificate {
	return i.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{use},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(80 * 24 * time.Hour), CRLDistributionPoints: []string{"http://crl.test/list"},
	})
}

func (i *issuer) sign(template *x509.Certificate) *tls.Certificate {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		i.t.Fatal(err)
	}
	parent, signer := i.cert, i.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		i.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// list makes a revocation list that ends after so long.
func (i *issuer) list(t *testing.T, life time.Duration, revoked ...*tls.Certificate) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(life)}
	for _, c := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, i.cert, i.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}
