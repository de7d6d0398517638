package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// writePair writes NAME.crt and NAME.key that end at notAfter.
func writePair(t *testing.T, dir, name string, notAfter time.Time) {
	t.Helper()
	writePairFrom(t, dir, name, notAfter.Add(-90*24*time.Hour), notAfter)
}

func writePairFrom(t *testing.T, dir, name string, notBefore, notAfter time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: notBefore, NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name+".crt"), string(encode("CERTIFICATE", der)))
	write(t, filepath.Join(dir, name+".key"), string(encode("PRIVATE KEY", secret)))
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newCerts(t *testing.T, dir string) *Certs {
	t.Helper()
	return New(Config{Dir: dir, StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Health: &health.Registry{}})
}

func inAYear() time.Time { return time.Now().Add(80 * 24 * time.Hour) }

func TestFileChoice(t *testing.T) {
	cases := []struct {
		name  string
		files []string
		query ruche.CertificateQuery
		want  string // base name of the file, "self-signed" or "none"
	}{
		{"own file", []string{"a.example", "default"}, ruche.CertificateQuery{ServerName: "a.example", Host: "a.example"}, "a.example"},
		{"parent of three labels", []string{"a.example"}, ruche.CertificateQuery{ServerName: "www.a.example", Host: "www.a.example"}, "a.example"},
		{"own before parent", []string{"a.example", "www.a.example"}, ruche.CertificateQuery{ServerName: "www.a.example", Host: "www.a.example"}, "www.a.example"},
		{"one level up only", []string{"a.example"}, ruche.CertificateQuery{ServerName: "x.www.a.example", Host: "x.www.a.example"}, "self-signed"},
		{"no parent of two labels", []string{"example"}, ruche.CertificateQuery{ServerName: "a.example", Host: "a.example"}, "self-signed"},
		{"wildcard host, literal file", []string{"*.a.example"}, ruche.CertificateQuery{ServerName: "x.a.example", Host: "*.a.example"}, "*.a.example"},
		{"wildcard host, parent file", []string{"a.example"}, ruche.CertificateQuery{ServerName: "x.a.example", Host: "*.a.example"}, "a.example"},
		{"default", []string{"default"}, ruche.CertificateQuery{ServerName: "a.example", Host: "a.example"}, "default"},
		{"CERT_NAME", []string{"shared", "a.example"}, ruche.CertificateQuery{ServerName: "a.example", Host: "a.example", CertName: "shared"}, "shared"},
		{"CERT_NAME with capitals", []string{"Shared"}, ruche.CertificateQuery{ServerName: "a.example", Host: "a.example", CertName: "Shared"}, "Shared"},
		{"regular expression by its hash", []string{hashed("~^a")}, ruche.CertificateQuery{ServerName: "a.example", Host: "~^a"}, hashed("~^a")},
		{"CERT_NAME missing goes no further", []string{"a.example", "default"}, ruche.CertificateQuery{ServerName: "a.example", Host: "a.example", CertName: "shared"}, "self-signed"},
		{"CERT_NAME cannot leave the directory", []string{"a.example"}, ruche.CertificateQuery{ServerName: "a.example", Host: "a.example", CertName: "../x/a.example"}, "self-signed"},
		{"mode file without a file", nil, ruche.CertificateQuery{ServerName: "a.example", Host: "a.example", Mode: ruche.TLSFile}, "none"},
		{"mode off", []string{"a.example"}, ruche.CertificateQuery{ServerName: "a.example", Host: "a.example", Mode: ruche.TLSOff}, "none"},
		{"unknown host", []string{"a.example"}, ruche.CertificateQuery{ServerName: "b.example"}, "none"},
		{"unknown host, default", []string{"default"}, ruche.CertificateQuery{ServerName: "b.example"}, "default"},
		{"regular expression", nil, ruche.CertificateQuery{ServerName: "x1.a.example", Host: `~^x[0-9]\.a\.example$`}, "self-signed"},
		{"no name, declared by address", nil, ruche.CertificateQuery{ServerName: "", Host: "~.*"}, "none"},
		{"made-up name", nil, ruche.CertificateQuery{ServerName: "../../etc.a.example", Host: "*.a.example"}, "none"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range c.files {
				writePair(t, dir, f, inAYear())
			}
			certificate, status := newCerts(t, dir).Certificate(c.query)
			got := string(status.Kind)
			if status.Kind == ruche.CertificateFile {
				got = strings.TrimSuffix(filepath.Base(status.File), ".crt")
			}
			if got != c.want {
				t.Errorf("chose %s (%s), want %s", got, status.Reason, c.want)
			}
			if (certificate == nil) != (c.want == "none") {
				t.Errorf("certificate = %v with kind %s", certificate, status.Kind)
			}
			if status.Reason == "" {
				t.Error("the status gives no reason")
			}
		})
	}
}

func TestSelfSignedOutlivesARestart(t *testing.T) {
	state := t.TempDir()
	q := ruche.CertificateQuery{ServerName: "a.example", Host: "a.example", Declared: true}
	get := func() []byte {
		c := New(Config{Dir: t.TempDir(), StateDir: state, Logger: slog.New(slog.DiscardHandler), Health: &health.Registry{}})
		certificate, status := c.Certificate(q)
		if certificate == nil || status.Trusted() || certificate.Leaf.Subject.Organization[0] != organization {
			t.Fatalf("certificate = %v, status %+v, want one marked as self-signed", certificate, status)
		}
		if err := certificate.Leaf.VerifyHostname("a.example"); err != nil {
			t.Error(err)
		}
		return certificate.Certificate[0]
	}
	if first, second := get(), get(); string(first) != string(second) {
		t.Error("a restart made another certificate")
	}
	info, err := os.Stat(filepath.Join(state, "selfsigned", "a.example.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v, want mode 0600", info, err)
	}
}

func TestSelfSignedOfMadeUpNamesIsBoundedAndNotKept(t *testing.T) {
	c := newCerts(t, t.TempDir())
	if certificate, _ := c.Certificate(ruche.CertificateQuery{ServerName: "x.a.example", Host: "x.a.example"}); certificate == nil {
		t.Fatal("no certificate for a name under a wildcard")
	}
	if _, err := os.Stat(c.selfSigned.dir); !os.IsNotExist(err) {
		t.Errorf("a certificate for a name that nobody declared was kept: %v", err)
	}
	for i := range most {
		c.selfSigned.cache[strings.Repeat("a", 1+i%60)+"."+time.Duration(i).String()] = nil
	}
	if _, err := c.selfSigned.get("y.a.example", false); err != nil || len(c.selfSigned.cache) > most {
		t.Errorf("cache holds %d certificates (%v), want at most %d", len(c.selfSigned.cache), err, most)
	}
}

// warning returns the one standing warning, or none.
func warning(t *testing.T, c *Certs) ruche.Warning {
	t.Helper()
	list := c.cfg.Health.List()
	if len(list) > 1 {
		t.Fatalf("warnings = %+v, want at most one", list)
	}
	if len(list) == 0 {
		return ruche.Warning{}
	}
	return list[0]
}

func TestABrokenFileKeepsItsLastGoodVersion(t *testing.T) {
	breakages := map[string]struct {
		do   func(t *testing.T, dir string)
		want string
	}{
		"not PEM": {func(t *testing.T, dir string) { write(t, dir+"/a.example.crt", "nonsense") }, "PEM"},
		"key of another pair": {func(t *testing.T, dir string) {
			writePair(t, dir, "b", inAYear())
			_ = os.Rename(dir+"/b.key", dir+"/a.example.key")
			_ = os.Remove(dir + "/b.crt")
		}, "does not match"},
		"key removed":       {func(t *testing.T, dir string) { _ = os.Remove(dir + "/a.example.key") }, "there is no a.example.key"},
		"certificate empty": {func(t *testing.T, dir string) { write(t, dir+"/a.example.crt", "") }, "PEM"},
	}
	for name, b := range breakages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writePair(t, dir, "a.example", inAYear())
			c := newCerts(t, dir)
			q := ruche.CertificateQuery{ServerName: "a.example", Host: "a.example"}
			before, _ := c.Certificate(q)

			b.do(t, dir)
			c.load()
			if after, status := c.Certificate(q); after != before {
				t.Errorf("now serves %+v, want the last good version", status)
			}
			if w := warning(t, c); w.Code != ruche.CodeCertInvalid || !strings.Contains(w.Message, b.want) || w.Hint == "" {
				t.Errorf("warning = %+v, want certificate-invalid with %q and a hint", w, b.want)
			}

			writePair(t, dir, "a.example", inAYear())
			c.load()
			if after, _ := c.Certificate(q); after == before || after == nil {
				t.Error("the mended file was not picked up")
			}
			if w := warning(t, c); w.Code != "" {
				t.Errorf("the warning stands although the file is mended: %+v", w)
			}
		})
	}
}

func TestRemovedFilesGoAwayWithTheirWarnings(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/bad.example.crt", "nonsense")
	c := newCerts(t, dir)
	if w := warning(t, c); w.Code != ruche.CodeCertInvalid {
		t.Fatalf("warning = %+v, want certificate-invalid", w)
	}
	_ = os.Remove(dir + "/bad.example.crt")
	c.load()
	if w := warning(t, c); w.Code != "" {
		t.Errorf("the warning stands although the file is gone: %+v", w)
	}
}

func TestExpiryIsWarnedOf(t *testing.T) {
	cases := map[string]struct {
		left     time.Duration
		severity ruche.Severity
	}{
		"expired":     {-time.Hour, ruche.SeverityError},
		"14 days":     {14 * 24 * time.Hour, ruche.SeverityWarning},
		"80 days":     {80 * 24 * time.Hour, ""},
		"16 days yet": {16 * 24 * time.Hour, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writePair(t, dir, "a.example", time.Now().Add(tc.left))
			c := newCerts(t, dir)
			if w := warning(t, c); w.Severity != tc.severity {
				t.Errorf("warning = %+v, want severity %q", w, tc.severity)
			}
			if certificate, _ := c.Certificate(ruche.CertificateQuery{ServerName: "a.example", Host: "a.example"}); certificate == nil {
				t.Error("the certificate is not served")
			}
		})
	}
}

// The warning that a file is not valid yet ends by itself, and not in place of another one about the file.
func TestAFileOfTomorrowIsWarnedOf(t *testing.T) {
	dir := t.TempDir()
	writePairFrom(t, dir, "a.example", time.Now().Add(time.Hour), inAYear())
	c := newCerts(t, dir)
	if w := warning(t, c); w.Code != ruche.CodeCertInvalid || w.Severity != ruche.SeverityError || !strings.Contains(w.Message, "not valid before") {
		t.Errorf("the warning is %+v", w)
	}
	p := c.files.Load().pairs["a.example"]
	leaf := *p.certificate.Leaf
	begun := func() { leaf.NotBefore = time.Now().Add(-time.Minute); p.certificate.Leaf = &leaf }
	begun()
	c.lookAtExpiry()
	if w := warning(t, c); w.Code != "" {
		t.Errorf("it is valid, and the warning stands: %+v", w)
	}
	leaf.NotBefore = time.Now().Add(time.Hour)
	c.lookAtExpiry()
	write(t, dir+"/a.example.crt", "nonsense")
	c.load()
	begun()
	c.lookAtExpiry()
	if w := warning(t, c); !strings.Contains(w.Message, "cannot be used") {
		t.Errorf("the warning of the broken file is %+v", w)
	}
}

// A file that begins or ends to be valid changes what is served, and that is noticed then.
func TestTheTurnOfAFileIsKnown(t *testing.T) {
	dir, now := t.TempDir(), time.Now().Truncate(time.Second)
	c := newCerts(t, dir)
	for _, tc := range []struct {
		name     string
		from, to time.Time
		want     time.Duration
	}{
		{"long", now.Add(-time.Hour), now.Add(10 * time.Hour), expiryCheck},
		{"begins", now.Add(30 * time.Minute), now.Add(10 * time.Hour), 30 * time.Minute},
		{"ends", now.Add(-time.Hour), now.Add(20 * time.Minute), 20 * time.Minute},
		{"has ended", now.Add(-time.Hour), now.Add(-time.Minute), 20 * time.Minute},
	} {
		writePairFrom(t, dir, tc.name, tc.from, tc.to)
		c.load()
		if got := c.untilTurn(now); got != tc.want {
			t.Errorf("%s: the next turn is in %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestFilesThatRestrictAccessCloseTheirHosts(t *testing.T) {
	cases := []struct {
		name, passwordFile string
		host               string
		closed             bool
	}{
		{"nothing", "", "a.example", false},
		{"passwords of the host", "a.example", "a.example", true},
		{"passwords of a path", "a.example_" + strings.Repeat("0a", 20), "a.example", true},
		{"passwords of a regular expression", hashed(regexHost), regexHost, true},
		{"passwords of another host", "b.example", "a.example", false},
		{"hidden file", ".keep", "a.example", false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			passwords := t.TempDir()
			if tc.passwordFile != "" {
				write(t, filepath.Join(passwords, tc.passwordFile), "x")
			}
			c := New(Config{Dir: t.TempDir(), PasswordsDir: passwords, StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Health: &health.Registry{}})
			if reason := c.Restriction(tc.host); (reason != "") != tc.closed {
				t.Errorf("Restriction(%q) = %q, want closed: %v", tc.host, reason, tc.closed)
			}
			if !tc.closed {
				return
			}
			if w := warning(t, c); w.Code != ruche.CodeAccessUnsupported || w.Hint == "" {
				t.Errorf("warning = %+v, want access-unsupported with a hint", w)
			}
			_ = os.RemoveAll(passwords)
			c.load()
			if reason, w := c.Restriction(tc.host), warning(t, c); reason != "" || w.Code != "" {
				t.Errorf("after the files were removed: %q, %+v", reason, w)
			}
		})
	}
}

func TestAMissingDirectoryIsNoFault(t *testing.T) {
	c := newCerts(t, filepath.Join(t.TempDir(), "none"))
	if w := warning(t, c); w.Code != "" {
		t.Errorf("warning = %+v, want none: nobody has to bring certificates", w)
	}
}

func BenchmarkCertificate(b *testing.B) {
	c := New(Config{Dir: b.TempDir(), StateDir: b.TempDir(), Logger: slog.New(slog.DiscardHandler), Health: &health.Registry{}})
	b.ReportAllocs()
	for b.Loop() {
		c.Certificate(ruche.CertificateQuery{ServerName: "a.example", Host: "a.example"})
	}
}
