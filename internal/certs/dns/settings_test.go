package dns_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
)

func TestResolve(t *testing.T) {
	const key = "QUJDREVGR0hJSktMTU5PUA=="
	for name, tc := range map[string]struct {
		provider string
		settings map[string]string
		want     ruche.DNSProvider
	}{
		"acme.sh": {"dns_cf", map[string]string{"CF_Token": "t0ken", "CF_Account_ID": "a", "CF_Zone_ID": "z", "CF_Key": "", "DNS_SLEEP": "30"},
			ruche.DNSProvider{Name: "cloudflare", Settings: map[string]string{"api_token": "t0ken"}, Wait: 30 * time.Second}},
		"traefik": {"cloudflare", map[string]string{"CF_DNS_API_TOKEN_FILE": "/run/secrets/cf"},
			ruche.DNSProvider{Name: "cloudflare", Settings: map[string]string{"api_token": "file:/run/secrets/cf"}}},
		"ours":        {"Hetzner", map[string]string{"api_token": "t0ken"}, ruche.DNSProvider{Name: "hetzner", Settings: map[string]string{"api_token": "t0ken"}}},
		"same twice":  {"desec", map[string]string{"DEDYN_TOKEN": "t0ken", "DESEC_TOKEN": "t0ken"}, ruche.DNSProvider{Name: "desec", Settings: map[string]string{"token": "t0ken"}}},
		"nsupdate":    {"dns_nsupdate", map[string]string{"NSUPDATE_SERVER": "ns.a.test", "NSUPDATE_KEY": "/k"}, ruche.DNSProvider{Name: "rfc2136", Settings: map[string]string{"server": "ns.a.test", "key_file": "/k"}}},
		"rfc2136":     {"rfc2136", map[string]string{"RFC2136_NAMESERVER": "192.0.2.1", "RFC2136_TSIG_KEY": "k", "RFC2136_TSIG_SECRET": key, "RFC2136_TSIG_ALGORITHM": "hmac-sha512."}, ruche.DNSProvider{Name: "rfc2136", Settings: map[string]string{"server": "192.0.2.1", "key_name": "k", "key": key, "key_algorithm": "hmac-sha512."}}},
		"exec":        {"exec", map[string]string{"EXEC_PATH": "/hook", "ANY": "thing"}, ruche.DNSProvider{Name: "exec", Settings: map[string]string{"program": "/hook", "ANY": "thing"}}},
		"ionos split": {"dns_ionos", map[string]string{"IONOS_PREFIX": "p", "IONOS_SECRET": "s"}, ruche.DNSProvider{Name: "ionos", Settings: map[string]string{"prefix": "p", "secret": "s"}}},
		"acme-dns":    {"acmedns", map[string]string{"ACMEDNS_BASE_URL": "https://a.test", "ACMEDNS_USERNAME": "u", "ACMEDNS_PASSWORD": "p", "ACMEDNS_SUBDOMAIN": "s"}, ruche.DNSProvider{Name: "acme-dns", Settings: map[string]string{"server": "https://a.test", "username": "u", "password": "p", "subdomain": "s"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := dns.Resolve(tc.provider, tc.settings)
			if err != nil || got.Name != tc.want.Name || got.Wait != tc.want.Wait || !maps.Equal(got.Settings, tc.want.Settings) {
				t.Errorf("%+v, %v, want %+v", got, err, tc.want)
			}
			again, err := dns.Resolve(got.Name, got.Settings)
			if err != nil || !maps.Equal(again.Settings, got.Settings) {
				t.Errorf("again: %+v, %v", again, err)
			}
		})
	}
}

func TestResolveSaysWhatIsWrong(t *testing.T) {
	const secret = "s3cret-value"
	for name, tc := range map[string]struct {
		provider string
		settings map[string]string
		want     string
	}{
		"no name":          {"", nil, "without a name (one of rfc2136, "},
		"misspelt":         {"cloudfare", nil, `there is no such one (did you mean "cloudflare"?)`},
		"unknown":          {"some-other-registrar", nil, "known are rfc2136, acme-dns, exec, "},
		"nothing":          {"cloudflare", nil, "it needs api_token"},
		"two ways":         {"ionos", map[string]string{"prefix": secret}, "it needs api_key, or prefix and secret"},
		"misspelt setting": {"cloudflare", map[string]string{"CF_Tokn": secret}, `there is no setting "CF_Tokn" (did you mean "CF_Token"?)`},
		"unknown setting":  {"desec", map[string]string{"something_else_altogether": secret}, "(it has token)"},
		"global key":       {"dns_cf", map[string]string{"CF_Key": secret, "CF_Email": "a@a.test"}, "make an API token"},
		"twice":            {"cloudflare", map[string]string{"CF_Token": secret, "CF_DNS_API_TOKEN": secret + "2"}, "CF_DNS_API_TOKEN and CF_Token are the same setting"},
		"sleep":            {"cloudflare", map[string]string{"CF_Token": secret, "DNS_SLEEP": "soon"}, "DNS_SLEEP"},
		"key alone":        {"rfc2136", map[string]string{"server": "a", "key": secret}, "belong together"},
		"no base64":        {"rfc2136", map[string]string{"server": "a", "key_name": "k", "key": secret}, "not base64"},
		"algorithm":        {"rfc2136", map[string]string{"server": "a", "key_algorithm": "hmac-md5"}, `no TSIG algorithm "hmac-md5" (one of hmac-sha256 hmac-sha512 `},
		"server":           {"rfc2136", map[string]string{"server": "a:b:c"}, "neither HOST nor HOST:PORT"},
		"two keys":         {"rfc2136", map[string]string{"server": "a", "key_file": "/k", "key_name": "k", "key": secret}, "exclude each other"},
		"relative program": {"exec", map[string]string{"program": "hook"}, "no absolute path"},
		"timeout":          {"exec", map[string]string{"program": "/hook", "timeout": "5h"}, "timeout is no duration"},
		"raw mode":         {"exec", map[string]string{"program": "/hook", "EXEC_MODE": "RAW"}, "PROGRAM present|cleanup NAME VALUE"},
		"acme-dns URL":     {"acme-dns", map[string]string{"server": "a.test", "username": "u", "password": secret, "subdomain": "s"}, "no URL"},
		"acme-dns":         {"acme-dns", map[string]string{"server": "https://a.test"}, "it needs server and username and password and subdomain, or accounts"},
		"ovh endpoint":     {"ovh", map[string]string{"OVH_AK": "a", "OVH_AS": secret, "OVH_CK": "c", "OVH_END_POINT": "ovh-de"}, "ovh-eu, ovh-ca, ovh-us"},
		"ovh oauth":        {"ovh", map[string]string{"OVH_CLIENT_ID": "a"}, "not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dns.Resolve(tc.provider, tc.settings)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the secret is in the error: %v", err)
			}
		})
	}
}

// A workload must not have programs run, or files read, on the node that orders certificates.
func TestWorkloadsMayNotUseTheNode(t *testing.T) {
	for name, tc := range map[string]struct {
		p    ruche.DNSProvider
		want string
	}{
		"token":     {ruche.DNSProvider{Name: "cloudflare", Settings: map[string]string{"api_token": "t"}}, ""},
		"file":      {ruche.DNSProvider{Name: "cloudflare", Settings: map[string]string{"api_token": "file:/etc/shadow"}}, "it is a file"},
		"FILE":      {ruche.DNSProvider{Name: "cloudflare", Settings: map[string]string{"api_token": "t", "zone_token_FILE": "/etc/shadow"}}, "it is a file"},
		"key file":  {ruche.DNSProvider{Name: "rfc2136", Settings: map[string]string{"server": "a", "key_file": "/k"}}, "it is a file"},
		"accounts":  {ruche.DNSProvider{Name: "acme-dns", Settings: map[string]string{"accounts": "/a"}}, "it is a file"},
		"program":   {ruche.DNSProvider{Name: "exec", Settings: map[string]string{"program": "/bin/sh"}}, "it runs a program"},
		"malformed": {ruche.DNSProvider{Name: "exec"}, "it needs program"},
	} {
		t.Run(name, func(t *testing.T) {
			err := dns.CheckDeclared(tc.p)
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

// TestManualHasEveryProvider holds the table of docs/dns.md against what there is.
func TestManualHasEveryProvider(t *testing.T) {
	manual, err := os.ReadFile("../../../docs/dns.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(string(manual), "\n")
	for _, k := range dns.Kinds() {
		for _, f := range k.Fields {
			written := slices.ContainsFunc(rows, func(row string) bool {
				return strings.HasPrefix(row, "| `"+k.Name+"`") && strings.Contains(row, "`"+f+"`")
			})
			if !written {
				t.Errorf("docs/dns.md has no row of %s with `%s`", k.Name, f)
			}
		}
		for _, s := range k.Synonyms {
			if !strings.Contains(string(manual), "`"+s+"`") {
				t.Errorf("docs/dns.md does not name `%s`, as others call %s", s, k.Name)
			}
		}
	}
}

func TestNamesAreClear(t *testing.T) {
	seen := make(map[string]string)
	for _, k := range dns.Kinds() {
		for _, n := range append(k.Synonyms, k.Name) {
			if other, twice := seen[strings.ToLower(n)]; twice {
				t.Errorf("%s names %s and %s", n, other, k.Name)
			}
			seen[strings.ToLower(n)] = k.Name
		}
		fields := make(map[string]bool)
		for _, n := range k.Everything {
			if fields[strings.ToLower(n)] {
				t.Errorf("%s of %s is there twice", n, k.Name)
			}
			fields[strings.ToLower(n)] = true
		}
	}
}

func FuzzResolve(f *testing.F) {
	f.Add("dns_cf", "CF_Token", "t0ken")
	f.Add("rfc2136", "RFC2136_TSIG_SECRET_FILE", "/x")
	f.Add("exec", "program", "/x")
	f.Fuzz(func(t *testing.T, name, key, value string) {
		const secret = "QUJDREVGR0hJSktMTU5PUA"
		p, err := dns.Resolve(name, map[string]string{key: value, "key": secret, "server": "a", "key_name": "k"})
		if err != nil {
			if strings.Contains(err.Error(), secret) && !strings.Contains(fmt.Sprint(name, key, value), secret) {
				t.Errorf("the secret is in the error: %v", err)
			}
			return
		}
		if _, err := dns.Resolve(p.Name, p.Settings); err != nil {
			t.Errorf("what it gives it does not take: %v", err)
		}
	})
}
