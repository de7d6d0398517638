package discovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

const certificatesFile = `certificates:
  - names: [mail.example, "*.mail.example"]
    issuer: corporate
    key_type: p384
  - names: [db.example]
`

func TestCertificatesOfRouteFiles(t *testing.T) {
	const endpoints = `, endpoints: ["http://h:1"]`
	for _, tc := range []struct {
		name, data   string
		routes       string // host, path and TLS mode of each
		certificates []string
		problems     []string
	}{
		{"without a route", certificatesFile, "", []string{"mail.example,*.mail.example corporate p384 f.yaml:2", "db.example f.yaml:5"}, nil},
		{"beside routes", "routes:\n  - {host: a.example" + endpoints + "}\n" + certificatesFile, "a.example/ ", []string{"mail.example,*.mail.example corporate p384 f.yaml:4", "db.example f.yaml:7"}, nil},
		{"none", "certificates: []\n", "", nil, nil},
		{"modes", "routes:\n  - {host: a.example" + endpoints + ", tls: acme}\n  - {host: b.example" + endpoints + ", tls: internal}\n  - {host: c.example" + endpoints + ", tls: {mode: off}}\n" +
			"  - {host: d.example" + endpoints + ", tls: {}}\n", "a.example/ acme b.example/ internal c.example/ off d.example/ ", nil, nil},
		{"of a route", "routes:\n  - {host: a.example, path: /x" + endpoints + ", tls: {mode: acme, issuer: letsencrypt, names: [a.example, www.a.example], key_type: P384, profile: shortlived, challenge: DNS-01}}\n",
			"a.example/x acme", []string{"a.example,www.a.example letsencrypt p384 shortlived dns-01 f.yaml:2, route a.example/x"}, nil},
		{"of a route by its host", "routes:\n  - {host: \"*.a.example\"" + endpoints + ", tls: {issuer: letsencrypt}}\n", "*.a.example/ acme", []string{"*.a.example letsencrypt f.yaml:2, route *.a.example/"}, nil},
		{"of the authority", "routes:\n  - {host: a.example" + endpoints + ", tls: {mode: internal, key_type: p384}}\n", "a.example/ internal", []string{"a.example internal p384 f.yaml:2, route a.example/"}, nil},
		{"of a TCP route", "routes:\n  - {host: a.example, endpoints: [\"tcp://h:1\"], tls: {names: [a.example]}}\n  - {host: b.example, endpoints: [\"tcp://h:1\"], tls: acme}\n", "a.example auto b.example acme",
			[]string{"a.example f.yaml:2, route a.example@https"}, nil},
		{"of a route, without its host", "routes:\n  - {host: a.example" + endpoints + ", tls: {names: [b.example]}}\n  - {host: c.example" + endpoints + ", tls: {names: [d.example]}}\n  - {host: e.example" + endpoints + "}\ncertificates:\n  - names: [c.example]\n",
			"a.example/  c.example/  e.example/ ", []string{"b.example f.yaml:2, route a.example/", "d.example f.yaml:3, route c.example/", "c.example f.yaml:6"}, []string{
				"warning f.yaml:2: no certificate that is asked for here has the name a.example, which is served"}},
		{"names that are wrong", "certificates:\n  - names: [a_b.example, a.example, \"*.a.example\", www.a.example]\n", "", []string{"a.example,*.a.example f.yaml:2"},
			[]string{"error f.yaml:2: names: no certificate is issued", "info f.yaml:2: names: name \"www.a.example\" is left out"}},
		{"mistakes", "certificates:\n  - {names: [a_b]}\n  - {issuer: x}\n  - {names: [a.example], key_typ: p256}\n  - {names: [a.example], key_type: x, challenge: y, issuer: a b, profile: c d}\n" +
			"  - {names: [\"*.a.example\"], challenge: http-01}\n  - {names: [c.example]}\n  - {names: [c.example, d.example]}\n  - {names: [e.example]}\n", "", []string{"c.example f.yaml:7", "e.example f.yaml:9"}, []string{
			"error f.yaml:8: a certificate whose first name is c.example is declared in line 7 already", "error f.yaml:2: names: none of them can be used", "error f.yaml:3: the certificate has no names",
			"error f.yaml:4: unknown key \"key_typ\"", "error f.yaml:5: issuer:", "error f.yaml:5: profile:", "error f.yaml:5: key_type:", "error f.yaml:5: challenge:", "error f.yaml:6: challenge: CAs give"}},
		{"mistakes of routes", "routes:\n  - {host: a.example" + endpoints + ", tls: {mode: maybe}}\n  - {host: b.example" + endpoints + ", tls: {mode: file, issuer: x}}\n" +
			"  - {host: ~^c" + endpoints + ", tls: {issuer: x}}\n  - {host: \"*.d.example\"" + endpoints + ", tls: {challenge: http-01}}\n  - {host: e.example" + endpoints + ", tls: {mode: internal, issuer: x}}\n" +
			"  - {host: f.example" + endpoints + ", tls: [acme]}\n  - {host: g.example" + endpoints + ", tls: {names: [a_b]}}\n  - {host: h.example" + endpoints + "}\n", "h.example/ ", nil, []string{
			"error f.yaml:2: tls: mode \"maybe\"", "error f.yaml:3: tls: mode file takes no certificate", "error f.yaml:4: tls: a certificate cannot be for the host", "error f.yaml:5: tls: CAs give",
			"error f.yaml:6: tls: the mode internal takes", "error f.yaml:7: expected a map", "error f.yaml:8: names: none of them"}},
		{"an unknown list", "certificate: []\n", "", nil, []string{"error f.yaml:1: unknown key \"certificate\""}},
	} {
		found := parseRouteFile("f.yaml", []byte(tc.data), declared{})
		var routes, certificates, problems []string
		for _, r := range found.routes {
			routes = append(routes, r.Match.Host+r.Match.Path+" "+string(r.TLS))
		}
		for i, line := range showSpecs(found.certificates) {
			certificates = append(certificates, line+" "+found.certificates[i].Source)
		}
		for _, d := range found.diagnostics {
			problems = append(problems, fmt.Sprintf("%s %s: %s", d.Severity, d.Source, d.Message))
			if d.Code != ruche.CodeFileInvalid && d.Code != ruche.CodeHostUncovered || d.Workload != "f.yaml" {
				t.Errorf("%s: diagnostic %+v", tc.name, d)
			}
		}
		if got := strings.Join(routes, " "); got != tc.routes {
			t.Errorf("%s: routes %q, want %q", tc.name, got, tc.routes)
		}
		if !slices.Equal(certificates, tc.certificates) {
			t.Errorf("%s: certificates %q, want %q", tc.name, certificates, tc.certificates)
		}
		if !slices.EqualFunc(problems, tc.problems, strings.HasPrefix) {
			t.Errorf("%s: problems %q, want %q", tc.name, problems, tc.problems)
		}
	}
}

func TestCertificatesKeepTheirLastGoodVersion(t *testing.T) {
	const routes = "routes:\n  - {host: a.example, endpoints: [\"http://h:1\"], tls: {issuer: corporate}}\n  - {host: b.example, endpoints: [\"http://h:1\"], tls: {profile: shortlived}}\n"
	last := parseRouteFile("f.yaml", []byte(routes+certificatesFile), declared{})
	const all, a, b = "mail.example,*.mail.example corporate p384; db.example", "a.example corporate; ", "b.example shortlived; "
	for _, tc := range []struct{ name, data, certificates, stands string }{
		{"the same", routes + certificatesFile, a + b + all, ""},
		{"not YAML", routes + "certificates: [\n", a + b + all, "with 2 routes and 4 certificates"},
		{"empty", "", a + b + all, "with 2 routes and 4 certificates"},
		{"nothing under the key", routes + "certificates:\n", a + b + all, "what is missing of its last version stands, with 2 certificates"},
		{"on purpose", routes, strings.TrimSuffix(a+b, "; "), ""},
		{"on purpose, an empty list", routes + "certificates: []\n", strings.TrimSuffix(a+b, "; "), ""},
		{"the routes on purpose", certificatesFile, all, ""},
		{"a bad certificate", certificatesFile + "  - {names: [mail.example], key_type: x}\n  - {names: [z.example]}\n", all + "; z.example", ""},
		{"a bad certificate of before", "certificates:\n  - {names: [mail.example], key_type: x}\n  - {names: [z.example]}\n", "z.example; mail.example,*.mail.example corporate p384",
			"the last good version of this certificate stands"},
		{"a bad certificate that is new", "certificates:\n  - {names: [y.example], key_type: x}\n  - {names: [z.example]}\n", "z.example", "this certificate is not requested"},
		{"a bad route", "routes:\n  - {host: a.example, endpoints: [], tls: {issuer: x}}\n  - {host: c.example, endpoints: [\"http://h:1\"]}\n", "a.example corporate", "the last good version of this route stands"},
		{"another wish of a good route", "routes:\n  - {host: a.example, endpoints: [\"http://h:1\"], tls: internal}\n", "", ""},
		{"cut off in the routes", "routes:\n  - {host: a.example, endpoints: [\"http://h:1\"]}\n  - host: b.ex", b + all, "what is missing of its last version stands, with 1 route and 2 certificates"},
		{"cut off in the certificates", "certificates:\n  - names: [db.example]\n  - names: [x.example]\n    issuer: a b\n", "db.example; " + a + b + "mail.example,*.mail.example corporate p384",
			"the last certificate cannot be used; what is missing of its last version stands, with 2 routes and 1 certificate"},
		{"no newline at the end", "certificates:\n  - names: [db.example]", "db.example; " + a + b + "mail.example,*.mail.example corporate p384",
			"it does not end with a newline; what is missing of its last version stands, with 2 routes and 1 certificate"},
	} {
		found := parseRouteFile("f.yaml", []byte(tc.data), last)
		if got := strings.Join(showSpecs(found.certificates), "; "); got != tc.certificates {
			t.Errorf("%s: certificates %q, want %q", tc.name, got, tc.certificates)
		}
		if tc.stands != "" && (len(found.diagnostics) == 0 || !strings.HasSuffix(found.diagnostics[0].Message, tc.stands)) {
			t.Errorf("%s: diagnostics %+v, want %q", tc.name, found.diagnostics, tc.stands)
		}
	}
}
