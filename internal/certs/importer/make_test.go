package importer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// ca is an authority for tests: a root and an intermediate.
type ca struct {
	t         testing.TB
	root, mid *x509.Certificate
	key       crypto.Signer
}

func now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template.SerialNumber = serial
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = now().Add(-time.Hour), now().Add(90*24*time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newCA(t testing.TB, organisation string) *ca {
	rootKey, midKey := newKey(t), newKey(t)
	authority := func(name string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{Organization: []string{organisation}, CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	top := authority("Root")
	root := sign(t, top, top, rootKey.Public(), rootKey)
	return &ca{t: t, root: root, mid: sign(t, authority("R1"), root, midKey.Public(), rootKey), key: midKey}
}

// issued is a certificate and its key, in the forms that files have.
type issued struct {
	*x509.Certificate
	cert, chain, key []byte // PEM
}

func (i issued) full() []byte { return slices.Concat(i.cert, i.chain) }

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// issue makes a certificate; change changes what is asked for.
func (c *ca) issue(name string, change ...func(*x509.Certificate)) issued {
	c.t.Helper()
	key := newKey(c.t)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, f := range change {
		f(template)
	}
	cert := sign(c.t, template, c.mid, key.Public(), c.key)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	return issued{cert, pemOf("CERTIFICATE", cert.Raw), pemOf("CERTIFICATE", c.mid.Raw), pemOf("EC PRIVATE KEY", der)}
}

func expired(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = now().Add(-100*24*time.Hour), now().Add(-10*24*time.Hour)
}

func withNames(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = names }
}

func withAddress(ip string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP(ip)} }
}

// tree is a directory with files; a value "-> X" makes a link to X.
func tree(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, link := bytes.CutPrefix(content, []byte("-> ")); link {
			err = os.Symlink(string(to), file)
		} else {
			err = os.WriteFile(file, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// read reads a directory, and holds what is always so.
func read(t testing.TB, name string) Found {
	t.Helper()
	found, err := Read(name, now())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range found.Certificates {
		if len(c.Chain) == 0 {
			continue
		}
		if _, err := (Store{Now: now}).check(c); err != nil {
			t.Errorf("%v: what was read would be refused: %v", c, err)
		}
	}
	for _, p := range found.Problems {
		if p.Message == "" || p.Place == "" || strings.Contains(p.Message, "PRIVATE KEY") {
			t.Errorf("a problem says %+v", p)
		}
	}
	return found
}

// certificates gives those that were found by their first names, and accounts the accounts by their directories.
func (f Found) certificates() map[string]ruche.ImportedCertificate {
	all := map[string]ruche.ImportedCertificate{}
	for _, c := range f.Certificates {
		if len(c.Chain) > 0 {
			all[c.Names[0]] = c
		}
	}
	return all
}

func (f Found) accounts() map[string]ruche.ImportedAccount {
	all := map[string]ruche.ImportedAccount{}
	for _, c := range f.Certificates {
		if c.Account != nil {
			all[c.Account.Directory] = *c.Account
		}
	}
	return all
}

// problem reports whether a problem at a place says something.
func (f Found) problem(place, says string) bool {
	return slices.ContainsFunc(f.Problems, func(p ruche.ImportProblem) bool {
		return strings.Contains(p.Place, place) && strings.Contains(p.Message, says)
	})
}
