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

func TestWarnings(t *testing.T) {
	c := newCA(t, now().Add(1000*day))
	good, other, fresh := c.record(now().Add(60*day), "a.example"), c.record(now().Add(50*day), "a.example"), c.record(now().Add(60*day), "a.example")
	fresh.Issued = now().Add(-30 * time.Second)
	retired := good
	retired.Retired = now()
	self := vault.Serving{Kind: ruche.CertificateSelfSigned, NotAfter: now().Add(50 * day)}
	file := vault.Serving{Kind: ruche.CertificateFile, NotAfter: now().Add(day), File: "/certs/a.example.crt"}
	by := func(s vault.Serving) map[string]vault.Served {
		return map[string]vault.Served{"e1": {Names: map[string]vault.Serving{"a.example": s}}}
	}
	one := func(r vault.Record) map[string]vault.Record { return map[string]vault.Record{"id": r} }
	wants := map[string]inventory.Want{"id": {Names: []string{"a.example"}}}
	withdrawn := &vault.Withdrawal{Of: serving(good).Fingerprint, At: now()}
	for name, tc := range map[string]struct {
		in   inventory.Input
		want ruche.Code // none when empty
		text string
	}{
		"all is well":                     {inventory.Input{Records: one(good), Wants: wants, Served: by(serving(good))}, "", ""},
		"no edge has the name":            {inventory.Input{Records: one(good), Wants: wants}, "", ""},
		"a self-signed one is served":     {inventory.Input{Records: one(good), Wants: wants, Served: by(self)}, ruche.CodeCertNotServed, "edge e1 serves a.example with another one (self-signed)"},
		"its predecessor is served":       {inventory.Input{Records: one(good), Wants: wants, Served: by(serving(other))}, ruche.CodeCertNotServed, "acme"},
		"it is too new":                   {inventory.Input{Records: one(fresh), Wants: wants, Served: by(self)}, "", ""},
		"nobody wants it":                 {inventory.Input{Records: one(good), Served: by(self)}, "", ""},
		"it is retired":                   {inventory.Input{Records: one(retired), Wants: wants, Served: by(self)}, "", ""},
		"a file is served":                {inventory.Input{Records: one(good), Wants: wants, Served: by(file)}, "", ""},
		"another stored one is served":    {inventory.Input{Records: map[string]vault.Record{"id": good, "b": other}, Wants: wants, Served: by(serving(other))}, "", ""},
		"due after its end":               {inventory.Input{Records: one(good), Wants: wants, States: map[string]vault.State{"id": {Due: now().Add(61 * day)}}}, ruche.CodeCertShort, "is to be renewed at"},
		"the window is after its end":     {inventory.Input{Records: one(good), Wants: wants, States: map[string]vault.State{"id": {Due: now().Add(40 * day), WindowStart: now().Add(60 * day)}}}, ruche.CodeCertShort, "by its CA's word"},
		"revoked by its CA":               {inventory.Input{Records: one(good), Wants: wants, States: map[string]vault.State{"id": {Withdrawn: withdrawn}}}, ruche.CodeCertRevoked, "it is being replaced"},
		"revoked, and nobody's":           {inventory.Input{Records: one(good), States: map[string]vault.State{"id": {Withdrawn: withdrawn}}}, ruche.CodeCertRevoked, "nobody orders it"},
		"its predecessor was revoked":     {inventory.Input{Records: one(other), Wants: wants, States: map[string]vault.State{"id": {Withdrawn: withdrawn}}}, "", ""},
		"a watched one is well":           {watched(vault.Sight{Fingerprint: "ab", NotBefore: now().Add(-60 * day), NotAfter: now().Add(30 * day)}), "", ""},
		"a watched one ends soon":         {watched(vault.Sight{Fingerprint: "ab", NotBefore: now().Add(-70 * day), NotAfter: now().Add(20 * day)}), ruche.CodeCertElsewhere, "ought to have been renewed"},
		"a short one does not yet":        {watched(vault.Sight{Fingerprint: "ab", NotBefore: now().Add(-4 * day), NotAfter: now().Add(2 * day)}), "", ""},
		"a long one, a month ahead":       {watched(vault.Sight{Fingerprint: "ab", NotBefore: now().Add(-700 * day), NotAfter: now().Add(29 * day)}), ruche.CodeCertElsewhere, "ought"},
		"a watched one has ended":         {watched(vault.Sight{Fingerprint: "ab", NotBefore: now().Add(-90 * day), NotAfter: now()}), ruche.CodeCertElsewhere, "ended at"},
		"a watched one is revoked":        {watched(vault.Sight{Fingerprint: "ab", NotBefore: now().Add(-day), NotAfter: now().Add(80 * day), Revoked: now()}), ruche.CodeCertElsewhere, "revoked at"},
		"a watched one does not answer":   {watched(vault.Sight{Problem: "no connection: refused"}), ruche.CodeCertElsewhere, "shows no certificate: no connection"},
		"a watched one has another name":  {watched(vault.Sight{Fingerprint: "ab", NotBefore: now().Add(-day), NotAfter: now().Add(80 * day), Problem: "not good for x"}), ruche.CodeCertElsewhere, "not good for x"},
		"an endpoint has a CA of its own": {passed(vault.Sight{Fingerprint: "ab", NotBefore: now().Add(-day), NotAfter: now().Add(80 * day), Problem: "not trusted"}), "", ""},
		"an endpoint does not answer":     {passed(vault.Sight{Problem: "no connection"}), "", ""},
		"an endpoint's ends soon":         {passed(vault.Sight{Fingerprint: "ab", NotBefore: now().Add(-70 * day), NotAfter: now().Add(2 * day)}), ruche.CodeCertElsewhere, "edge e1 passes it through"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.in.Now = now()
			got := inventory.Warnings(tc.in)
			if tc.want == "" {
				if len(got) != 0 {
					t.Errorf("got %+v, want none", got)
				}
				return
			}
			if len(got) != 1 || got[0].Code != tc.want || !strings.Contains(got[0].Message+" "+got[0].Hint, tc.text) || got[0].Hint == "" {
				t.Errorf("got %+v, want one with the code %s and %q", got, tc.want, tc.text)
			}
		})
	}
}

func watched(s vault.Sight) inventory.Input {
	return inventory.Input{Sights: map[string]vault.Sight{"vpn.example:8443": s}}
}

func passed(s vault.Sight) inventory.Input {
	return inventory.Input{Served: map[string]vault.Served{"e1": {Seen: map[string]vault.Sight{"db.example": s}}}}
}

func TestNamesThatArePassedThrough(t *testing.T) {
	a, b := vault.Sight{Seen: now(), Fingerprint: "ab", Issuer: "Their CA", NotAfter: now().Add(day), Problem: "not trusted"}, vault.Sight{Seen: now(), Fingerprint: "cd", NotAfter: now().Add(day)}
	list := inventory.List(inventory.Input{Now: now(), Served: map[string]vault.Served{
		"e1": {Seen: map[string]vault.Sight{"db.example": a}}, "e2": {Seen: map[string]vault.Sight{"db.example": a}}, "e3": {Seen: map[string]vault.Sight{"db.example": b}},
	}})
	if len(list.Names) != 1 {
		t.Fatalf("the names are %+v", list.Names)
	}
	n := list.Names[0]
	if n.Kind != ruche.CertificateForeign || n.CA != "Their CA" || !slices.Equal(n.Edges, []string{"e1", "e2"}) || n.Others["e3"] != "cd" || n.Problem != "not trusted" || !n.Seen.Equal(now()) {
		t.Errorf("got %+v", n)
	}
}

func TestAProblemIsToldOnce(t *testing.T) {
	list := inventory.List(inventory.Input{
		Now: now(), Wants: map[string]inventory.Want{"id": {Names: []string{"intranet"}, Problem: "no public name", Hint: "use internal"}},
		States: map[string]vault.State{"id": {LastError: "no public name (use internal)"}},
	})
	if got := list.Certificates[0]; got.LastError != "" || !slices.Equal(got.Problems, []string{"no public name (use internal)"}) {
		t.Errorf("got %q and %q", got.LastError, got.Problems)
	}
}
