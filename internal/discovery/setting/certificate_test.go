package setting

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

func TestNames(t *testing.T) {
	var many []string
	for range 30 {
		many = append(many, strings.Repeat("a", len(many)+1)+".example")
	}
	for _, tc := range []struct {
		name     string
		list     []string
		most     int
		want     []string
		problems []string // beginnings, in order
	}{
		{"none", nil, 100, nil, nil},
		{"in their order, each once", []string{" b.Example.", "a.example", "B.example"}, 100, []string{"b.example", "a.example"}, nil},
		{"a wildcard", []string{"*.a.example", "a.example"}, 100, []string{"*.a.example", "a.example"}, nil},
		{"a wildcard and what it covers", []string{"www.a.example", "*.a.example", "x.y.a.example"}, 100, []string{"*.a.example", "x.y.a.example"},
			[]string{`name "www.a.example" is left out`}},
		{"letters beyond ASCII", []string{"bücher.example", "xn--bcher-kva.example", "*.Bücher.example"}, 100, []string{"xn--bcher-kva.example", "*.xn--bcher-kva.example"}, nil},
		{"addresses", []string{"192.0.2.1", "[2001:DB8::1]", "2001:db8::1", "::ffff:192.0.2.1"}, 100, []string{"192.0.2.1", "2001:db8::1"}, nil},
		{"one label", []string{"intranet"}, 100, []string{"intranet"}, nil},
		{"bad ones", []string{"http://a.example", "a b", "*", "*.*.example", "a.*", "~^a", "x.*.example", "a_b.example", "-a.example", "a-.example", "1.2.3", "a..b", "", "fe80::1%eth0",
			"a.example:443", "xn--a.example", "good.example"}, 100, []string{"good.example"},
			[]string{"host", "host", "host", "host", "a certificate cannot be for", "a certificate cannot be for", "host", "no certificate", "no certificate", "no certificate",
				`"1.2.3" is neither`, "host", "host is empty", "host", "host", `name "xn--a.example" has a label`}},
		{"too many", many, 28, many[:28], []string{"name", "name"}},
		{"each in its own certificate", []string{"*.a.example", "b.a.example"}, 0, []string{"*.a.example", "b.a.example"}, nil},
		{"as many as somebody likes", many, 0, many, nil},
	} {
		names, problems := Names(slices.Clone(tc.list), tc.most)
		if !slices.Equal(names, tc.want) {
			t.Errorf("%s: names %q, want %q", tc.name, names, tc.want)
		}
		var said []string
		for _, p := range problems {
			said = append(said, p.Message)
			if p.Severity != ruche.SeverityError && p.Severity != ruche.SeverityInfo {
				t.Errorf("%s: problem %+v", tc.name, p)
			}
		}
		if !slices.EqualFunc(said, tc.problems, strings.HasPrefix) {
			t.Errorf("%s: problems %q, want %q", tc.name, said, tc.problems)
		}
	}
}

func TestProvable(t *testing.T) {
	for _, tc := range []struct {
		names     string
		challenge ruche.ChallengeType
		want      bool
	}{
		{"*.a.example", "", true},
		{"*.a.example", ruche.ChallengeDNS01, true},
		{"a.example *.a.example", ruche.ChallengeHTTP01, false},
		{"*.a.example", ruche.ChallengeTLSALPN01, false},
		{"192.0.2.1", ruche.ChallengeHTTP01, true},
		{"a.example 192.0.2.1", ruche.ChallengeDNSPersist01, false},
	} {
		p := Provable(&ruche.CertificateSpec{Names: strings.Fields(tc.names), Challenge: tc.challenge})
		if (p == nil) != tc.want {
			t.Errorf("%s by %q: %v, want fine: %v", tc.names, tc.challenge, p, tc.want)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add("a.example,*.a.example,192.0.2.1")
	f.Add("bücher.example,xn--a,[::1],a_b,~^a,a.*")
	f.Fuzz(func(t *testing.T, list string) {
		names, _ := Names(strings.Split(list, ","), MaxNames)
		if len(names) > MaxNames {
			t.Errorf("%d names", len(names))
		}
		for _, name := range names {
			again, p := Name(name)
			if p != nil || again != name {
				t.Errorf("name %q read again is %q, %v", name, again, p)
			}
			if _, err := netip.ParseAddr(name); err == nil {
				continue
			}
			if strings.ContainsFunc(strings.TrimPrefix(name, "*."), func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' }) || len(name) > 255 {
				t.Errorf("name %q", name)
			}
		}
	})
}
