package importer

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// NowForTest is the time of the tests.
func NowForTest() time.Time { return now() }

// IssueForTest makes a certificate of shop.example that ends in some days.
func IssueForTest(t *testing.T, days int) ruche.ImportedCertificate {
	t.Helper()
	i := newCA(t, "Let's Encrypt").issue("shop.example", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = now().Add(-100*24*time.Hour), now().Add(time.Duration(days)*24*time.Hour)
	})
	key, err := parsePEMKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return ruche.ImportedCertificate{Names: namesOf(i.Certificate), Chain: [][]byte{i.Raw}, Key: der, Directory: ruche.LetsEncrypt, Source: "test"}
}
