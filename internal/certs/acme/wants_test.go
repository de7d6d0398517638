package acme_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/acme"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// TestWanted holds what is wanted against what is declared. A want is written as its names, with what keeps it from being ordered: "a.com", "b.com?" waits, "c.lan!" cannot be.
func TestWanted(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	usual := ruche.Issuer{Name: ruche.IssuerDefault, Directory: "https://ca.example/dir", Email: "ops@shop.com"}
	with := func(change func(*ruche.Issuer)) ruche.Issuer { i := usual; change(&i); return i }
	dns := with(func(i *ruche.Issuer) { i.DNS = &ruche.DNSProvider{Name: "rfc2136"} })
	private := with(func(i *ruche.Issuer) { i.Bundle = []byte("a root") })
	host := func(h string) ruche.Route { return ruche.Route{Match: ruche.Match{Host: h, Path: "/"}} }
	mode := func(m ruche.TLSMode, h string) ruche.Route { r := host(h); r.TLS = m; return r }
	change := func(r ruche.Route, fn func(*ruche.Route)) ruche.Route { fn(&r); return r }
	rule := func(text string) ruche.Route { return ruche.Route{Match: ruche.Match{Rule: text}} }
	serve := func(kind ruche.CertificateKind, names ...string) map[string]vault.Served {
		s := vault.Served{Names: map[string]vault.Serving{}}
		for _, n := range names {
			s.Names[n] = vault.Serving{Kind: kind, NotAfter: now.Add(time.Hour)}
		}
		return map[string]vault.Served{"edge": s}
	}
	for _, tc := range []struct {
		name   string
		issuer ruche.Issuer // none without a name
		specs  []ruche.CertificateSpec
		routes []ruche.Route
		served map[string]vault.Served
		want   string
	}{
		{"nothing", usual, nil, nil, nil, ""},
		{"a route that an edge serves", usual, nil, []ruche.Route{host("Shop.Com.")}, serve(ruche.CertificateSelfSigned, "shop.com"), "shop.com"},
		{"a route that no edge serves yet", usual, nil, []ruche.Route{host("shop.com")}, nil, "shop.com?"},
		{"a route without an issuer", ruche.Issuer{}, nil, []ruche.Route{host("shop.com")}, serve(ruche.CertificateSelfSigned, "shop.com"), ""},
		{"a route where nobody has agreed to the CA's terms", with(func(i *ruche.Issuer) { i.Email = "" }), nil, []ruche.Route{host("shop.com"), mode(ruche.TLSACME, "b.com")}, serve(ruche.CertificateSelfSigned, "shop.com"), "b.com"},
		{"a route of an issuer that is our own authority", with(func(i *ruche.Issuer) { i.Email, i.Directory = "", ruche.DirectoryInternal }), nil, []ruche.Route{host("shop.lan")}, serve(ruche.CertificateSelfSigned, "shop.lan"), "shop.lan"},
		{"a route that wants one, without an issuer", ruche.Issuer{}, nil, []ruche.Route{mode(ruche.TLSACME, "shop.com")}, nil, "shop.com!"},
		{"a route that wants one waits for no edge", usual, nil, []ruche.Route{mode(ruche.TLSACME, "shop.com")}, nil, "shop.com"},
		{"served from a file", usual, nil, []ruche.Route{host("shop.com")}, serve(ruche.CertificateFile, "shop.com"), ""},
		{"served from a file, but wants one", usual, nil, []ruche.Route{mode(ruche.TLSACME, "shop.com")}, serve(ruche.CertificateFile, "shop.com"), "shop.com"},
		{"served from a file that is over", usual, nil, []ruche.Route{host("shop.com")}, map[string]vault.Served{
			"edge": {Names: map[string]vault.Serving{"shop.com": {Kind: ruche.CertificateFile, NotAfter: now}}},
		}, "shop.com"},
		{"served from a file of tomorrow", usual, nil, []ruche.Route{host("shop.com")}, map[string]vault.Served{
			"edge": {Names: map[string]vault.Serving{"shop.com": {Kind: ruche.CertificateFile, NotBefore: now.Add(time.Hour), NotAfter: now.Add(2 * time.Hour)}}},
		}, "shop.com"},
		{"served from default.crt, which is for something else", usual, nil, []ruche.Route{host("shop.com")}, map[string]vault.Served{
			"edge": {Names: map[string]vault.Serving{"shop.com": {Kind: ruche.CertificateFile, NotAfter: now.Add(time.Hour), Stopgap: true}}},
		}, "shop.com"},
		{"served from a file by one edge of two", usual, nil, []ruche.Route{host("shop.com")}, map[string]vault.Served{
			"one": {Names: map[string]vault.Serving{"shop.com": {Kind: ruche.CertificateFile, NotAfter: now.Add(time.Hour)}}},
			"two": {Names: map[string]vault.Serving{"shop.com": {Kind: ruche.CertificateSelfSigned, NotAfter: now.Add(time.Hour)}}},
		}, "shop.com"},
		{"served from a file by one edge, and not at all by another", usual, nil, []ruche.Route{host("shop.com")}, map[string]vault.Served{
			"one": {Names: map[string]vault.Serving{"shop.com": {Kind: ruche.CertificateFile, NotAfter: now.Add(time.Hour)}}}, "two": {},
		}, ""},
		{"CERT_NAME asks for a file", usual, nil, []ruche.Route{change(host("shop.com"), func(r *ruche.Route) { r.CertName = "x" })}, serve(ruche.CertificateSelfSigned, "shop.com"), ""},
		{"TLS off", usual, nil, []ruche.Route{mode(ruche.TLSOff, "shop.com")}, nil, ""},
		{"files only", usual, nil, []ruche.Route{mode(ruche.TLSFile, "shop.com")}, nil, ""},
		{"no HTTPS", usual, nil, []ruche.Route{change(mode(ruche.TLSACME, "shop.com"), func(r *ruche.Route) { r.HTTPSMethod = ruche.HTTPSNoHTTPS })}, nil, ""},
		{"passthrough", usual, nil, []ruche.Route{change(mode(ruche.TLSPassthrough, "shop.com"), func(r *ruche.Route) { r.Protocol = ruche.ProtocolTCP })}, nil, ""},
		{"TCP without TLS", usual, nil, []ruche.Route{change(host("shop.com"), func(r *ruche.Route) { r.Protocol = ruche.ProtocolTCP })}, serve(ruche.CertificateSelfSigned, "shop.com"), ""},
		{"TCP with TLS", usual, nil, []ruche.Route{{Protocol: ruche.ProtocolTCP, TLS: ruche.TLSACME, Match: ruche.Match{EntryPoint: "db", Rule: "HostSNI(`db.shop.com`)"}}}, nil, "db.shop.com"},
		{"UDP", usual, nil, []ruche.Route{change(mode(ruche.TLSACME, "shop.com"), func(r *ruche.Route) { r.Protocol = ruche.ProtocolUDP })}, nil, ""},
		{"of our own authority", ruche.Issuer{}, nil, []ruche.Route{mode(ruche.TLSInternal, "shop.internal")}, nil, "shop.internal"},
		{"a rule", usual, nil, []ruche.Route{change(rule("Host(`b.com`) || Host(`a.com`) && PathPrefix(`/x`)"), func(r *ruche.Route) { r.TLS = ruche.TLSACME })}, nil, "a.com b.com"},
		{"a rule that is wrong", usual, nil, []ruche.Route{change(rule("Host("), func(r *ruche.Route) { r.TLS = ruche.TLSACME })}, nil, ""},
		{"a regular expression", usual, nil, []ruche.Route{mode(ruche.TLSACME, `~^shop-[0-9]+\.com$`)}, nil, ""},
		{"a trailing wildcard", usual, nil, []ruche.Route{mode(ruche.TLSACME, "shop.*")}, nil, ""},
		{"a wildcard without DNS", usual, nil, []ruche.Route{host("*.shop.com")}, serve(ruche.CertificateSelfSigned, "*.shop.com"), "*.shop.com!"},
		{"a wildcard with DNS", dns, nil, []ruche.Route{host("*.shop.com")}, serve(ruche.CertificateSelfSigned, "*.shop.com"), "*.shop.com"},
		{"a wildcard with the workload's DNS, as acme.sh calls it", usual, []ruche.CertificateSpec{{
			Names: []string{"*.shop.com"}, Source: "service a", DNS: &ruche.DNSProvider{Name: "dns_cf", Settings: map[string]string{"CF_Token": "a token", "CF_Account_ID": "7"}},
		}}, nil, nil, "*.shop.com"},
		{"a wildcard with DNS of which the workload forgot the token", usual, []ruche.CertificateSpec{{
			Names: []string{"*.shop.com"}, Source: "service a", DNS: &ruche.DNSProvider{Name: "dns_cf", Settings: map[string]string{"CF_Account_ID": "7"}},
		}}, nil, nil, "*.shop.com!"},
		{"a wildcard with DNS that runs a program of the workload's choice", usual, []ruche.CertificateSpec{{
			Names: []string{"*.shop.com"}, Source: "service a", DNS: &ruche.DNSProvider{Name: "exec", Settings: map[string]string{"EXEC_PATH": "/bin/sh"}},
		}}, nil, nil, "*.shop.com!"},
		{"a wildcard by a standing record", with(func(i *ruche.Issuer) { i.Challenges = []ruche.ChallengeType{ruche.ChallengeDNSPersist01} }), nil, []ruche.Route{mode(ruche.TLSACME, "*.shop.com")}, nil, "*.shop.com"},
		{"names that are not public", usual, nil, []ruche.Route{host("shop"), host("shop.local"), host("shop.internal"), host("shop.lan"), host("shop.test"), host("co.uk"), host("10.1.2.3"), host("192.0.2.1"), host("[fd00::1]")},
			serve(ruche.CertificateSelfSigned, "shop", "shop.local", "shop.internal", "shop.lan", "shop.test", "co.uk", "10.1.2.3", "192.0.2.1", "[fd00::1]"),
			"10.1.2.3! 192.0.2.1! co.uk! fd00::1! shop! shop.internal! shop.lan! shop.local! shop.test!"},
		{"names that are not public, of a CA that is not", private, nil, []ruche.Route{host("shop.lan"), host("10.1.2.3")}, serve(ruche.CertificateSelfSigned, "shop.lan", "10.1.2.3"), "10.1.2.3 shop.lan"},
		{"an address in a profile", with(func(i *ruche.Issuer) { i.Profile = "shortlived" }), nil, []ruche.Route{host("1.1.1.1")}, serve(ruche.CertificateSelfSigned, "1.1.1.1"), "1.1.1.1"},
		{"a spec", usual, []ruche.CertificateSpec{spec("B.com", "a.com.", "b.com")}, nil, nil, "b.com,a.com"},
		{"a spec for a name that is not public is asked for in so many words", usual, []ruche.CertificateSpec{spec("shop.lan")}, nil, nil, "shop.lan"},
		{"a spec covers a route", usual, []ruche.CertificateSpec{spec("a.com", "www.a.com")}, []ruche.Route{mode(ruche.TLSACME, "www.a.com"), mode(ruche.TLSACME, "b.com")}, nil, "a.com,www.a.com b.com"},
		{"a spec's wildcard covers a route", dns, []ruche.CertificateSpec{spec("*.a.com")}, []ruche.Route{mode(ruche.TLSACME, "www.a.com"), mode(ruche.TLSACME, "x.www.a.com")}, nil, "*.a.com x.www.a.com"},
		{"the same spec twice", usual, []ruche.CertificateSpec{spec("a.com", "b.com"), spec("b.com", "a.com")}, nil, nil, "a.com,b.com"},
		{"a spec without names", usual, []ruche.CertificateSpec{spec()}, nil, nil, "!"},
		{"a spec with an impossible name", usual, []ruche.CertificateSpec{spec("a.*")}, nil, nil, "a.*!"},
		{"a spec with too many names", usual, []ruche.CertificateSpec{spec(strings.Split(hundred(101), ",")...)}, nil, nil, hundred(101) + "!"},
		{"a spec with a hundred names", usual, []ruche.CertificateSpec{spec(strings.Split(hundred(100), ",")...)}, nil, nil, hundred(100)},
	} {
		in := acme.Input{Now: now, Served: tc.served, Declarations: map[string]ruche.Declaration{"w": {Workload: ruche.Workload{ID: "w"}, Routes: tc.routes}}}
		in.Specs = map[string]ruche.CertificateSpecs{"w": {Workload: ruche.Workload{ID: "w"}, Specs: tc.specs}}
		if tc.issuer.Name != "" {
			in.Issuers = []ruche.Issuer{tc.issuer}
		}
		var got []string
		for _, w := range acme.Wanted(in) {
			text := strings.Join(w.Spec.Names, ",")
			if w.Waiting != "" {
				text += "?"
			}
			if w.Problem != "" {
				text += "!"
				if w.Hint == "" {
					t.Errorf("%s: %s: no hint for %q", tc.name, text, w.Problem)
				}
			}
			got = append(got, text)
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, s, tc.want)
		}
	}
}

func hundred(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("h%d.com", i))
	}
	return strings.Join(all, ",")
}

func TestWhoIssues(t *testing.T) {
	eab := &ruche.ExternalAccount{KeyID: "k"}
	issuers := []ruche.Issuer{
		{Name: ruche.IssuerDefault, Directory: "https://one.example", Email: "a@b.example", Profile: "classic", EAB: eab, Fallback: "two"},
		{Name: "two", Directory: "https://two.example", KeyType: ruche.KeyP384},
	}
	for _, tc := range []struct {
		name                             string
		spec                             ruche.CertificateSpec
		issuer, directory, mail, profile string
		key                              ruche.KeyType
		eab, declared                    bool
	}{
		{"none named", ruche.CertificateSpec{}, "default", "https://one.example", "a@b.example", "classic", ruche.KeyP256, true, false},
		{"one named", ruche.CertificateSpec{Issuer: "two"}, "two", "https://two.example", "", "", ruche.KeyP384, false, false},
		{"an unknown one", ruche.CertificateSpec{Issuer: "letsencrypt"}, "default", "https://one.example", "a@b.example", "classic", ruche.KeyP256, true, false},
		{"our own", ruche.CertificateSpec{Issuer: ruche.IssuerInternal, KeyType: ruche.KeyP384}, "internal", "", "", "", ruche.KeyP384, false, false},
		{"another directory", ruche.CertificateSpec{Directory: ruche.LetsEncryptStaging}, "default", ruche.LetsEncryptStaging, "a@b.example", "", ruche.KeyP256, false, true},
		{"the same directory", ruche.CertificateSpec{Directory: "https://one.example"}, "default", "https://one.example", "a@b.example", "classic", ruche.KeyP256, true, false},
		{"the directory of another issuer", ruche.CertificateSpec{Directory: "https://two.example"}, "two", "https://two.example", "", "", ruche.KeyP384, false, false},
		{"its own wishes", ruche.CertificateSpec{Email: "c@d.example", Profile: "short", KeyType: ruche.KeyRSA2048}, "default", "https://one.example", "c@d.example", "short", ruche.KeyRSA2048, true, false},
	} {
		tc.spec.Names = []string{"a.com"}
		wants := acme.Wanted(acme.Input{Issuers: issuers, Specs: map[string]ruche.CertificateSpecs{"w": {Specs: []ruche.CertificateSpec{tc.spec}}}})
		if len(wants) != 1 || wants[0].Problem != "" {
			t.Errorf("%s: %+v", tc.name, wants)
			continue
		}
		got := wants[0].Terms
		if got.Name != tc.issuer || got.Directory != tc.directory || got.Email != tc.mail || got.Profile != tc.profile || got.KeyType != tc.key || (got.EAB != nil) != tc.eab || got.Declared != tc.declared {
			t.Errorf("%s: %+v", tc.name, got)
		}
	}
}

// A name that a setting has published is certified as that of a route is.
func TestWantedBySettings(t *testing.T) {
	name := []ruche.Route{{Source: "--ech-public-name", Match: ruche.Match{Host: "ech.shop.com"}}}
	agreed := ruche.Issuer{Name: ruche.IssuerDefault, Directory: "https://ca.example/dir", Email: "ops@shop.com"}
	reported := func(kind ruche.CertificateKind) map[string]vault.Served {
		return map[string]vault.Served{"edge": {Names: map[string]vault.Serving{"ech.shop.com": {Kind: kind, NotAfter: time.Now().Add(time.Hour)}}}}
	}
	for _, tc := range []struct {
		name   string
		issuer ruche.Issuer
		served map[string]vault.Served
		specs  []ruche.CertificateSpec
		want   int
	}{
		{"an edge serves it", agreed, reported(ruche.CertificateSelfSigned), nil, 1},
		{"from a file", agreed, reported(ruche.CertificateFile), nil, 0},
		{"nobody has agreed to the terms", ruche.Issuer{Name: ruche.IssuerDefault, Directory: "https://ca.example/dir"}, reported(ruche.CertificateSelfSigned), nil, 0},
		{"a workload wants it, too", agreed, reported(ruche.CertificateSelfSigned), []ruche.CertificateSpec{{Names: []string{"ech.shop.com"}, Source: "test"}}, 1},
	} {
		wants := acme.Wanted(acme.Input{
			Now: time.Now(), Issuers: []ruche.Issuer{tc.issuer}, Served: tc.served, Routes: name, Specs: map[string]ruche.CertificateSpecs{"w": {Specs: tc.specs}},
		})
		if len(wants) != tc.want || tc.want > 0 && (wants[0].Problem != "" || wants[0].Waiting != "") {
			t.Errorf("%s: %+v", tc.name, wants)
		}
	}
}
