package dns_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
)

// fakeAcmeDNS is a joohoi acme-dns: one account, of which the two newest values stand.
func fakeAcmeDNS(t *testing.T, zone *fakeZone) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Subdomain, TXT string }
		switch err := json.NewDecoder(r.Body).Decode(&in); {
		case r.Method+" "+r.URL.Path != "POST /update" || err != nil:
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		case r.Header.Get("X-Api-User") != "user" || r.Header.Get("X-Api-Key") != "s3cret-password":
			http.Error(w, `{"error": "forbidden"}`, http.StatusUnauthorized)
		case len(in.TXT) != 43:
			http.Error(w, `{"error": "bad_txt"}`, http.StatusBadRequest)
		default:
			zone.change(in.Subdomain+".acme.example.test", func(all []string) []string {
				return append(all, in.TXT)[max(0, len(all)-1):]
			})
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestAcmeDNS(t *testing.T) {
	zone := newFakeZone(t, apiZone, "_acme-challenge.shop.example.test. CNAME d420c923.acme.example.test.", "_acme-challenge.old.example.test. CNAME else.acme.example.test.")
	server, dir := fakeAcmeDNS(t, zone), t.TempDir()
	account := `{"username": "user", "password": "s3cret-password", "subdomain": "d420c923", "fulldomain": "d420c923.acme.example.test", "allowfrom": []}`
	write(t, filepath.Join(dir, "good"), `{"shop.example.test": `+account+`, "old.example.test": `+account+`}`)
	write(t, filepath.Join(dir, "with server"), `{"shop.example.test": `+strings.Replace(account, "{", `{"server_url": "`+server+`", `, 1)+`}`)
	write(t, filepath.Join(dir, "bad"), `{"shop.example.test": {"username": "user", "password": "s3cret-password"}}`)
	write(t, filepath.Join(dir, "broken"), `s3cret-password`)
	v1, v2 := strings.Repeat("a", 43), strings.Repeat("b", 43)
	one := map[string]string{"server": server + "/", "username": "user", "password": "s3cret-password", "subdomain": "d420c923"}
	with := func(key, value string) map[string]string {
		changed := map[string]string{key: value}
		for k, v := range one {
			if k != key {
				changed[k] = v
			}
		}
		return changed
	}
	file := func(name string) map[string]string {
		return map[string]string{"server": server, "accounts": filepath.Join(dir, name)}
	}
	for name, tc := range map[string]struct {
		settings map[string]string
		at       string
		want     string // part of the error
	}{
		"one account":       {one, "shop", ""},
		"a file":            {file("good"), "shop", ""},
		"a file, no server": {map[string]string{"accounts": filepath.Join(dir, "with server")}, "shop", ""},
		"no account":        {file("good"), "new", "there is no account of acme-dns for new.example.test"},
		"no CNAME":          {one, "www", "_acme-challenge.www.example.test is to have a CNAME to d420c923.your-acme-dns-domain"},
		"other CNAME":       {file("good"), "old", "_acme-challenge.old.example.test is to have a CNAME to d420c923.acme.example.test, and leads to else.acme.example.test"},
		"wrong password":    {with("password", "s3cret-wrong"), "shop", "does not know the account"},
		"wrong value":       {one, "shop", "400"},
		"bad file":          {file("bad"), "shop", `the account of "shop.example.test" has no`},
		"broken file":       {file("broken"), "shop", "no JSON object"},
		"no file":           {file("missing"), "shop", "no such file"},
		"no server":         {map[string]string{"accounts": filepath.Join(dir, "good")}, "shop", "no URL"},
	} {
		t.Run(name, func(t *testing.T) {
			p, s, at := ruche.DNSProvider{Name: "acme-dns", Settings: tc.settings}, zone.solver(t), "_acme-challenge."+tc.at+".example.test"
			if tc.want == "400" {
				v1 = "short"
				defer func() { v1 = strings.Repeat("a", 43) }()
			}
			err := s.Present(t.Context(), p, at, v1)
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("%v, want %q", err, tc.want)
				}
				return
			}
			if err == nil {
				err = s.Present(t.Context(), p, at, v2)
			}
			if err == nil {
				err = s.CleanUp(t.Context(), p, at, v1)
			}
			if got := zone.values("d420c923.acme.example.test"); err != nil || !slices.Equal(got, []string{v1, v2}) {
				t.Errorf("there are %q, %v", got, err)
			}
		})
	}
}

func TestKeyFile(t *testing.T) {
	for name, tc := range map[string]struct{ text, want, err string }{
		"tsig-keygen":    {"key \"ruche\" {\n\talgorithm hmac-sha256;\n\tsecret \"QUJD\";\n};\n", "ruche hmac-sha256. QUJD", ""},
		"without quotes": {"# c\n// c\n/* c\n */ key Ruche.{secret QUJD;algorithm HMAC-SHA512;};", "ruche hmac-sha512. QUJD", ""},
		"first of two":   {`key a { algorithm hmac-sha1; secret "QUJD"; }; key b { };`, "a hmac-sha1. QUJD", ""},
		"no key":         {"options { };", "", "it must read"},
		"no secret":      {"key a { algorithm hmac-sha1; };", "", "it must read"},
		"other word":     {"key a { algorithm hmac-sha1; secret QUJD; more x; };", "", "it must read"},
		"no base64":      {`key a { algorithm hmac-sha1; secret "s3cret!"; };`, "", "not base64"},
		"algorithm":      {`key a { algorithm hmac-md5; secret "QUJD"; };`, "", "no TSIG algorithm"},
		"open quote":     {`key "a`, "", "no end"},
		"open comment":   {`/* key "a`, "", "no end"},
		"cut off":        {"key a { algorithm", "", "it must read"},
		"empty":          {"", "", "it must read"},
	} {
		n, a, s, err := dns.ParseKeyFile(tc.text)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: %v, want %q", name, err, tc.err)
			}
			continue
		}
		if got := strings.Join([]string{n, a, s}, " "); err != nil || got != tc.want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, tc.want)
		}
	}
}

func FuzzParseKeyFile(f *testing.F) {
	f.Add("key \"ruche\" {\n\talgorithm hmac-sha256;\n\tsecret \"QUJD\";\n};\n")
	f.Add("/* c */ key a { secret QUJD; algorithm hmac-sha1; };")
	f.Fuzz(func(t *testing.T, text string) {
		name, algorithm, secret, err := dns.ParseKeyFile(text)
		if err == nil && (name == "" || algorithm == "" || secret == "") {
			t.Errorf("an incomplete key: %q %q", name, algorithm)
		}
	})
}

func FuzzParseIssueValue(f *testing.F) {
	f.Add("ca.test; accounturi=https://ca.test/1; policy=wildcard; persistUntil=1")
	f.Add(";")
	f.Add(" ca.test ;a=;b= x")
	f.Fuzz(func(t *testing.T, s string) {
		issuer, params, err := dns.ParseIssueValue(s)
		if err != nil && (issuer != "" || params != 0) {
			t.Errorf("an error and %q with %d parameters", issuer, params)
		}
		if issuer != strings.ToLower(issuer) || strings.ContainsAny(issuer, " \t;=") {
			t.Errorf("the issuer is %q", issuer)
		}
	})
}
