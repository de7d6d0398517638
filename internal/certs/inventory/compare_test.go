package inventory_test

import (
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/inventory"
)

func TestWhatIsServedIsHeldAgainstWhatIsStored(t *testing.T) {
	stored := func(id, print string, state ruche.CertificateState, days int, names ...string) ruche.CertificateInfo {
		return ruche.CertificateInfo{ID: id, Kind: ruche.CertificateACME, State: state, Names: names, Fingerprint: print, NotAfter: now().AddDate(0, 0, days)}
	}
	good, wild := stored("a-1", "aaaaaaaaaa", ruche.CertificateValid, 60, "x.example", "a.example"), stored("wild-1", "bbbbbbbbbb", ruche.CertificateDue, 20, "*.a.example")
	gone, revoked, other := stored("old-1", "cccccccccc", ruche.CertificateRetired, 90, "a.example"), stored("bad-1", "dddddddddd", ruche.CertificateRevoked, 90, "a.example"), stored("b-1", "eeeeeeeeee", ruche.CertificateValid, 60, "b.example")
	pending := ruche.CertificateInfo{ID: "p-1", Kind: ruche.CertificateNone, State: ruche.CertificatePending, Names: []string{"a.example"}}
	for name, tc := range map[string]struct {
		list  []ruche.CertificateInfo
		names []ruche.ServedName
		shown string // nothing where there was no handshake
		host  string
		level ruche.Level // empty where there is nothing to say
		says  []string
	}{
		"the same":                      {[]ruche.CertificateInfo{gone, good}, nil, "aaaaaaaaaa", "a.example", ruche.LevelOK, []string{"what is served is what is stored: a-1"}},
		"one that has ended":            {[]ruche.CertificateInfo{stored("a-2", "aaaaaaaaaa", ruche.CertificateExpired, -1, "a.example")}, nil, "aaaaaaaaaa", "a.example", ruche.LevelOK, []string{"a-2"}},
		"one of two":                    {[]ruche.CertificateInfo{stored("c-1", "ffffffffff", ruche.CertificateValid, 80, "a.example"), good}, nil, "aaaaaaaaaa", "a.example", ruche.LevelOK, []string{"a-1"}},
		"the wildcard":                  {[]ruche.CertificateInfo{wild}, nil, "bbbbbbbbbb", "www.a.example", ruche.LevelOK, []string{"wild-1"}},
		"another one":                   {[]ruche.CertificateInfo{good}, nil, "9999999999", "a.example", ruche.LevelWarning, []string{"served is SHA-256 99999999… of CN=Their CA, until 2026-11-23", "stored is SHA-256 aaaaaaaa… (a-1), until 2027-01-21"}},
		"another one than the wildcard": {[]ruche.CertificateInfo{wild}, nil, "9999999999", "www.a.example", ruche.LevelWarning, []string{"(wild-1)"}},
		"the edges know":                {[]ruche.CertificateInfo{good}, []ruche.ServedName{{Name: "a.example", Kind: ruche.CertificateACME, Fingerprint: "aaaaaaaaaa"}}, "9999999999", "a.example", ruche.LevelWarning, []string{"the edges say that they serve SHA-256 aaaaaaaa…"}},
		"the edges are behind":          {[]ruche.CertificateInfo{good}, []ruche.ServedName{{Name: "a.example", Kind: ruche.CertificateSelfSigned}}, "9999999999", "a.example", ruche.LevelWarning, []string{"the edges say that they serve a self-signed one"}},
		"one that is retired":           {[]ruche.CertificateInfo{gone, good}, nil, "cccccccccc", "a.example", ruche.LevelWarning, []string{"(a-1)"}},
		"one that is revoked":           {[]ruche.CertificateInfo{revoked, good}, nil, "dddddddddd", "a.example", ruche.LevelWarning, []string{"(a-1)"}},
		"nothing is stored":             {[]ruche.CertificateInfo{gone, revoked, other, pending}, nil, "9999999999", "a.example", "", nil},
		"nothing is shown":              {[]ruche.CertificateInfo{good}, nil, "", "a.example", "", nil},
	} {
		check := ruche.CertificateCheck{Target: ruche.CheckTarget{ServerName: tc.host}}
		if tc.shown != "" {
			check.Chain = []ruche.CheckedCertificate{{Fingerprint: tc.shown, Issuer: "CN=Their CA", NotAfter: now().Add(day)}}
		}
		f, ok := inventory.Compare(ruche.CertificateList{Certificates: tc.list, Names: tc.names}, check)
		if ok != (tc.level != "") || ok && (f.Level != tc.level || f.Check != "stored" || (f.Hint == "") != (f.Level == ruche.LevelOK)) {
			t.Errorf("%s: %v %+v, want %q", name, ok, f, tc.level)
		}
		for _, want := range tc.says {
			if !strings.Contains(f.Message, want) {
				t.Errorf("%s: %q, want %q in it", name, f.Message, want)
			}
		}
	}
}
