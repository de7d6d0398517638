package inventory_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/inventory"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// A file is what edges say of it, and one that clients refuse is not valid.
func TestFiles(t *testing.T) {
	file := func(from, to time.Duration, unfit string) vault.Serving {
		return vault.Serving{
			Kind: ruche.CertificateFile, Fingerprint: "cd", File: "/certs/a.example.crt", NotBefore: now().Add(from), NotAfter: now().Add(to), Unfit: unfit,
			Issuer: "Their CA", KeyType: "RSA 2048", Serial: "4f0a",
		}
	}
	good := file(-day, day, "")
	for name, tc := range map[string]struct {
		www      vault.Serving // of www.a.example; a.example has a good one
		state    ruche.CertificateState
		problems []string
		warning  string
	}{
		"all is well":    {good, ruche.CertificateValid, nil, ""},
		"not for a name": {file(-day, day, "other.example"), ruche.CertificateFailing, []string{"it is not good for www.a.example: it is for other.example"}, "file /certs/a.example.crt on edge e1, e2: it is not good for www.a.example"},
		"of an old edge": {vault.Serving{Kind: ruche.CertificateFile, Fingerprint: "cd", File: "/certs/a.example.crt", NotAfter: now().Add(day)}, ruche.CertificateValid, nil, ""},
		"default.crt":    {vault.Serving{Kind: ruche.CertificateFile, Fingerprint: "cd", File: "/certs/default.crt", NotAfter: now().Add(day), Stopgap: true}, ruche.CertificateValid, nil, ""},
	} {
		names := map[string]vault.Serving{"a.example": good, "www.a.example": tc.www}
		in := inventory.Input{Now: now(), Served: map[string]vault.Served{"e1": {Names: names}, "e2": {Names: names}}}
		list := inventory.List(in).Certificates
		if len(list) != 1 || list[0].State != tc.state || !slices.Equal(list[0].Problems, tc.problems) {
			t.Errorf("%s: the list is %+v, want it %s with %q", name, list, tc.state, tc.problems)
		}
		warnings := inventory.Warnings(in)
		if tc.warning == "" && len(warnings) > 0 || tc.warning != "" && (len(warnings) != 1 || warnings[0].Code != ruche.CodeCertUnfit || !strings.Contains(warnings[0].Message, tc.warning)) {
			t.Errorf("%s: the warnings are %+v, want %q", name, warnings, tc.warning)
		}
	}
	one := func(s vault.Serving) ruche.CertificateInfo {
		return inventory.List(inventory.Input{Now: now(), Served: map[string]vault.Served{"e1": {Names: map[string]vault.Serving{"a.example": s}}}}).Certificates[0]
	}
	if c := one(good); c.CA != "Their CA" || c.KeyType != "RSA 2048" || c.Serial != "4f0a" || !c.NotBefore.Equal(now().Add(-day)) {
		t.Errorf("what is known of it: %+v", c)
	}
	if c := one(file(time.Hour, day, "")); c.State != ruche.CertificatePending || len(c.Problems) != 1 || !strings.Contains(c.Problems[0], "not valid before 2026-11-22T13:00:00Z") {
		t.Errorf("a file of tomorrow: %+v", c)
	}
	if c := one(file(-2*day, -day, "other.example")); c.State != ruche.CertificateExpired || len(c.Problems) != 1 {
		t.Errorf("an expired one for another name: %+v", c)
	}
}
