package setting

import "testing"

func TestSettingsOfTLS(t *testing.T) {
	authority := func(s string) *Problem { _, p := Authority(s); return p }
	list := func(s string) *Problem { _, p := RevocationList(s); return p }
	mode := func(s string) *Problem { _, p := ClientAuthMode(s); return p }
	version := func(s string) *Problem { _, p := MinTLS(s); return p }
	for name, tc := range map[string]struct {
		check     func(string) *Problem
		good, bad []string
	}{
		"HSTS": {HSTS, []string{"off", "max-age=0", "max-age=31536000; includeSubDomains; preload", `includeSubDomains ; Max-Age = "10"`},
			[]string{"", "on", "max-age", "max-age=", "max-age=-1", "max-age=1e9", "max-age: 10", "x-max-age=1", "max-age=1\r\nSet-Cookie: a=b", "max-age=99999999999999999999"}},
		"server name": {ServerName, []string{"a.internal", "10.0.0.1", "::1"}, []string{"", "*.a.internal", "a:443", "a b", "https://a"}},
		"authority":   {authority, []string{"partners", "partners.ca.crt", "*.a.example", "internal"}, []string{"", ".ca.crt", "../x", "a/b", `a\b`, "..", "a\nb"}},
		"list":        {list, []string{"partners", "partners.crl.pem"}, []string{"", "../x"}},
		"mode":        {mode, []string{"require", "optional", "request", "off"}, []string{"", "on", "Require"}},
		"version":     {version, []string{"1.2", "1.3"}, []string{"", "1.1", "1", "TLS1.3"}},
	} {
		for _, value := range tc.good {
			if p := tc.check(value); p != nil {
				t.Errorf("%s: %q is refused: %s", name, value, p.Message)
			}
		}
		for _, value := range tc.bad {
			if p := tc.check(value); p == nil || p.Hint == "" || p.Message == "" {
				t.Errorf("%s: %q gives %+v, want a problem with a hint", name, value, p)
			}
		}
	}
}
