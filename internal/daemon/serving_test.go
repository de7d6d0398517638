package daemon

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/mesh"
)

// An edge says of a file that is not for the host what it is for.
func TestWhatAFileIsForIsTold(t *testing.T) {
	for name, tc := range map[string]struct {
		host, file string
		names      []string
		want       vault.Serving // Unfit and Stopgap of it
	}{
		"the name":               {"a.example", "/c/a.example.crt", []string{"A.example"}, vault.Serving{}},
		"a wildcard":             {"www.a.example", "/c/a.example.crt", []string{"*.a.example"}, vault.Serving{}},
		"a wildcard host":        {"*.a.example", "/c/a.example.crt", []string{"a.example", "*.a.example"}, vault.Serving{}},
		"an address":             {"[2001:db8::1]", "/c/x.crt", []string{"2001:db8::1"}, vault.Serving{}},
		"another name":           {"www.a.example", "/c/www.a.example.crt", []string{"other.example"}, vault.Serving{Unfit: "other.example"}},
		"many others":            {"a.example", "/c/a.example.crt", []string{"b.example", "c.example", "d.example"}, vault.Serving{Unfit: "b.example, c.example, others"}},
		"a name but no wildcard": {"*.a.example", "/c/a.example.crt", []string{"a.example"}, vault.Serving{Unfit: "a.example"}},
		"a common name alone":    {"a.example", "/c/a.example.crt", nil, vault.Serving{Unfit: "no name"}},
		"default.crt":            {"a.example", "/c/default.crt", []string{"other.example"}, vault.Serving{Stopgap: true}},
	} {
		st := ruche.CertificateStatus{Kind: ruche.CertificateFile, File: tc.file, Names: tc.names, NotBefore: time.Unix(1, 0), CA: "R11", KeyType: "RSA 2048", Serial: "4f"}
		got := serving(tc.host, st, true)
		if got.Unfit != tc.want.Unfit || got.Stopgap != tc.want.Stopgap || got.Issuer != "R11" || got.KeyType != "RSA 2048" || got.Serial != "4f" || !got.NotBefore.Equal(st.NotBefore) {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
	stored := ruche.CertificateStatus{Kind: ruche.CertificateACME, Names: []string{"other.example"}}
	if got := serving("a.example", stored, true); got != (vault.Serving{Kind: ruche.CertificateACME}) {
		t.Errorf("one of the store: %+v", got)
	}
}

// However many files there are, a row is one that control nodes take.
func TestRowsOfManyFilesHaveRoom(t *testing.T) {
	const largest = 3 << 19 // what the state takes
	for _, n := range []int{detailedNames, mesh.ServedNames} {
		now := map[string]ruche.CertificateStatus{}
		for i := range n {
			host := fmt.Sprintf("%s-%d.shop.example", strings.Repeat("a", 30), i)
			now[host] = ruche.CertificateStatus{
				Kind: ruche.CertificateFile, File: "/etc/nginx/certs/" + host + ".crt", Names: []string{host}, Fingerprint: strings.Repeat("f", 64), Serial: strings.Repeat("f", 40),
				CA: strings.Repeat("c", 64), KeyType: "ECDSA P-256", NotBefore: time.Now(), NotAfter: time.Now(),
			}
		}
		rows, unfit, over := servedRows("n1", now)
		value, err := json.Marshal(rows[0])
		if err != nil || len(rows) != 1 || len(value) > largest || len(unfit)+len(over) > 0 {
			t.Errorf("%d names: %d rows, the first one of %d bytes, %v", n, len(rows), len(value), err)
		}
	}
}
