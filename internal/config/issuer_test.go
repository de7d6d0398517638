package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/config"
)

// files writes files into a directory, which takes the place of DIR in them, and gives it.
func files(t *testing.T, contents map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range contents {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(data, "DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// root makes a certificate in PEM.
func root(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestReadIssuers(t *testing.T) {
	bundle := root(t) + root(t)
	dir := files(t, map[string]string{
		"roots.pem": bundle, "eab": " c2VjcmV0LWtleQ==\n", "dns.env": "# of the provider\n\nTOKEN='a=b c'\nZONE = 1\nEMPTY=\n", "dns.yaml": "token: other\nttl: 60\n",
		"ruche.yaml": `acme-email: admin@shop.example
acme-ca: https://ca.example/directory
acme-ca-bundle: DIR/roots.pem
acme-profile: classic
acme-key-type: rsa4096
acme-challenges: [dns-01, http-01]
acme-dns: rfc2136
acme-dns-settings-file: DIR/dns.env
acme-eab-kid: kid-1
acme-eab-key-file: DIR/eab
acme-preferred-chain: ISRG Root X1
issuers:
  zero: {directory: letsencrypt-staging, fallback: corporate}
  corporate:
    directory: https://ca.corp.example/acme
    dns: {provider: acme-dns, settings: {server: "https://dns", token: x}, settings_file: DIR/dns.yaml, wait: 10s}
`,
	})
	c, err := config.Load(map[string]string{"config": filepath.Join(dir, "ruche.yaml")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := c.ReadIssuers()
	want := []ruche.Issuer{
		{
			Name: "default", Directory: "https://ca.example/directory", Bundle: []byte(bundle), Email: "admin@shop.example", EAB: &ruche.ExternalAccount{KeyID: "kid-1", Key: "c2VjcmV0LWtleQ"},
			Profile: "classic", KeyType: ruche.KeyRSA4096, PreferredChain: "ISRG Root X1", Challenges: []ruche.ChallengeType{ruche.ChallengeDNS01, ruche.ChallengeHTTP01},
			DNS: &ruche.DNSProvider{Name: "rfc2136", Settings: map[string]string{"TOKEN": "a=b c", "ZONE": "1", "EMPTY": ""}},
		},
		{Name: "zero", Directory: ruche.LetsEncryptStaging, Fallback: "corporate"},
		{Name: "corporate", Directory: "https://ca.corp.example/acme",
			DNS: &ruche.DNSProvider{Name: "acme-dns", Settings: map[string]string{"server": "https://dns", "token": "other", "ttl": "60"}, Wait: 10 * time.Second}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if again := c.ReadIssuers(); !reflect.DeepEqual(again, want) {
		t.Errorf("read again %+v", again)
	}
}

func TestReadIssuersReportsAllMistakes(t *testing.T) {
	dir := files(t, map[string]string{
		"empty.pem": "", "key.pem": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "bad.pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"eab": "top secret", "dns.env": "TOKEN=top secret\ntop secret\n", "twice.env": "A=secret\nA=secret\n", "dns.yaml": "token: secret\nother: [secret]\n",
		"ruche.yaml": `acme-ca-bundle: DIR/empty.pem
acme-dns: rfc2136
acme-dns-settings-file: DIR/dns.env
acme-eab-kid: x
acme-eab-key-file: DIR/eab
issuers:
  a: {directory: letsencrypt, ca_bundle: DIR/key.pem, dns: {provider: x, settings_file: DIR/twice.env}}
  b: {directory: letsencrypt, ca_bundle: DIR/bad.pem, dns: {provider: x, settings_file: DIR/dns.yaml}}
  c: {directory: letsencrypt, ca_bundle: DIR/none.pem, eab: {key_id: x, key_file: DIR}}
  d: {directory: letsencrypt}
`,
	})
	c, err := config.Load(map[string]string{"config": filepath.Join(dir, "ruche.yaml")}, nil)
	if err != nil {
		t.Fatal(err) // the files are read where they are needed
	}
	var got strings.Builder
	for _, i := range c.ReadIssuers() {
		got.WriteString(strings.ReplaceAll(i.Problem, "; ", "\n") + "\n")
		if (i.Name == "d") != (i.Problem == "") || (i.Problem == "") != (i.Hint == "") {
			t.Errorf("issuer %s has the problem %q, and the hint %q", i.Name, i.Problem, i.Hint)
		}
	}
	const want = `acme-ca-bundle: DIR/empty.pem holds no certificate in PEM
acme-eab-key-file: DIR/eab does not hold a key in base64url, as CAs hand it out
acme-dns-settings-file: DIR/dns.env:2: expected a line of the form KEY=VALUE
DIR/ruche.yaml:7:3: issuer a: ca_bundle: DIR/key.pem holds a "PRIVATE KEY", which has no place among roots
DIR/ruche.yaml:7:3: issuer a: dns: settings_file: DIR/twice.env:2: A is given twice
DIR/ruche.yaml:8:3: issuer b: ca_bundle: DIR/bad.pem holds a certificate that cannot be read: x509: malformed certificate
DIR/ruche.yaml:8:3: issuer b: dns: settings_file: DIR/dns.yaml:2: expected lines of the form KEY=VALUE, or a map of texts in YAML
DIR/ruche.yaml:9:3: issuer c: ca_bundle: stat DIR/none.pem: no such file or directory
DIR/ruche.yaml:9:3: issuer c: eab: key_file: DIR is not a file`
	if got := strings.TrimSpace(strings.ReplaceAll(got.String(), dir, "DIR")); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func FuzzDNSSettings(f *testing.F) {
	for _, s := range []string{"", "# c\nA=b\n", "A='b'\n B = \"c\"\n", "a: b\n", "{\"a\": \"b\"}", "A=1\nA=2", "A=1\nb", "- a", "a: [secret]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		settings, err := config.DNSSettings(data)
		if err != nil && settings != nil {
			t.Errorf("settings %v with %v", settings, err)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("the error may show a secret: %v", err)
		}
	})
}
