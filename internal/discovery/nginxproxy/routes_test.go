package nginxproxy_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/nginxproxy"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/match"
)

var update = flag.Bool("update", false, "rewrite the golden files")

type sample struct {
	name   string
	env    map[string]string
	labels map[string]string
	ports  []docker.Port
}

func tcp(numbers ...uint16) []docker.Port {
	var ports []docker.Port
	for _, n := range numbers {
		ports = append(ports, docker.Port{Number: n, Protocol: "tcp"})
	}
	return ports
}

func samples() []sample {
	return []sample{
		{name: "one host", env: map[string]string{"VIRTUAL_HOST": "shop.example"}, ports: tcp(8080)},
		{name: "a list with blanks, empties, repetitions and one bad host",
			env: map[string]string{"VIRTUAL_HOST": " a.example, ,*.B.example,b.*,~^c[0-9]+\\.example$,a.example,http://x,[2001:db8::1],192.0.2.1,"}},
		{name: "all variables", ports: tcp(80, 443), env: map[string]string{
			"VIRTUAL_HOST": "a.example", "VIRTUAL_PORT": " 8443 ", "VIRTUAL_PROTO": "https", "VIRTUAL_PATH": "^~ /app/", "VIRTUAL_DEST": "/",
			"HTTPS_METHOD": "noredirect", "CERT_NAME": "shared"}},
		{name: "empty values are as if not set", ports: tcp(81), env: map[string]string{
			"VIRTUAL_HOST": "a.example", "VIRTUAL_PORT": "", "VIRTUAL_PROTO": "", "VIRTUAL_PATH": " ", "VIRTUAL_DEST": "", "HTTPS_METHOD": "", "CERT_NAME": ""}},
		{name: "several ports without 80", env: map[string]string{"VIRTUAL_HOST": "a.example"}, ports: tcp(3000, 9000)},
		{name: "several ports with 80", env: map[string]string{"VIRTUAL_HOST": "a.example"}, ports: tcp(80, 443)},
		{name: "the only port is udp", env: map[string]string{"VIRTUAL_HOST": "a.example"}, ports: []docker.Port{{Number: 53, Protocol: "udp"}}},
		{name: "blank host", env: map[string]string{"VIRTUAL_HOST": "  "}},
		{name: "only empties", env: map[string]string{"VIRTUAL_HOST": ",,"}},
		{name: "bad port", env: map[string]string{"VIRTUAL_HOST": "a.example,b.example", "VIRTUAL_PORT": "http"}},
		{name: "port out of range", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PORT": "65536"}},
		{name: "port zero", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PORT": "0"}},
		{name: "fastcgi", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PROTO": "fastcgi", "VIRTUAL_ROOT": "/srv"}},
		{name: "fastcgi without a root", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PROTO": "FastCGI"}},
		{name: "fastcgi with a bad root", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PROTO": "fastcgi", "VIRTUAL_ROOT": "srv"}},
		{name: "uwsgi", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PROTO": "uwsgi", "VIRTUAL_PORT": "3031"}},
		{name: "grpc", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PROTO": "grpc"}},
		{name: "grpcs", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PROTO": "grpcs"}},
		{name: "a root without fastcgi", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_ROOT": "/srv"}},
		balance("least connections", "least_conn;", ""),
		balance("hash of the client", "ip_hash", ""),
		balance("hash of the remote address", "\n hash  $remote_addr consistent;\n zone up 64k; keepalive 8;", "16"),
		balance("hash of something else", "hash $request_uri;", ""),
		balance("hash of what Compose left", "hash ;", ""),
		balance("random", "random;", "auto"),
		balance("random of two", "random two least_conn;", ""),
		balance("random of two by time", "random two least_time=header;", ""),
		balance("least time", "least_time header;", ""),
		balance("sticky cookie", "least_conn; sticky cookie srv expires=1h domain=.a.example path=/x httponly secure samesite=lax;", "disabled"),
		balance("sticky cookie with mistakes", "sticky cookie a=b expires=soon domain=a/b path=x samesite=none color;", ""),
		balance("sticky by something else", "sticky learn create=$upstream_cookie_x;", ""),
		balance("several directives", "least_conn; ip_hash; server 10.0.0.1; max_conns 5;", "-1"),
		{name: "unknown protocol", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PROTO": "gopher"}},
		{name: "bad path", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PATH": "~ ["}},
		{name: "destination with a regular expression", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PATH": "~ ^/x", "VIRTUAL_DEST": "/"}},
		{name: "destination without slash", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PATH": "/x", "VIRTUAL_DEST": "app"}},
		{name: "method and certificate name nobody knows", env: map[string]string{"VIRTUAL_HOST": "a.example", "HTTPS_METHOD": "maybe", "CERT_NAME": "../../etc/x"}},
		{name: "internal access is blocked", env: map[string]string{"VIRTUAL_HOST": "a.example,b.example", "NETWORK_ACCESS": "internal"}},
		{name: "a misspelt restriction is blocked", env: map[string]string{"VIRTUAL_HOST": "a.example", "NETWORK_ACCESS": "Internal"}},
		{name: "external access", env: map[string]string{"VIRTUAL_HOST": "a.example", "NETWORK_ACCESS": "external"}},
		verify("client certificates", "on"), verify("client certificates that nobody needs", "optional"),
		verify("client certificates of anybody", "optional_no_ca"), verify("no client certificates", "off"), verify("client certificates misspelt", "ON"),
		{name: "an old policy", env: map[string]string{"VIRTUAL_HOST": "a.example", "SSL_POLICY": "Mozilla-Old"}},
		{name: "a policy of Amazon", env: map[string]string{"VIRTUAL_HOST": "a.example", "SSL_POLICY": "AWS-TLS13-1-3-2021-06"}},
		{name: "a misspelt policy", env: map[string]string{"VIRTUAL_HOST": "a.example", "SSL_POLICY": "Mozilla-Moderne"}},
		{name: "strict transport security without an age", env: map[string]string{"VIRTUAL_HOST": "a.example", "HSTS": "max-age: 1"}},
		{name: "several ports in one variable", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_HOST_MULTIPORTS": "a.example: {}"}},
		{name: "only several ports in one variable", env: map[string]string{"VIRTUAL_HOST_MULTIPORTS": "a.example: {}"}},
		{name: "keys of others", env: map[string]string{"VIRTUAL_HOST": "a.example",
			"ACME_EMAIL": "a@a.example", "HSTS": "off", "SSL_POLICY": "Mozilla-Modern", "ACME_OF_MY_OWN": "x"},
			labels: map[string]string{"com.github.nginx-proxy.nginx-proxy.keepalive": "auto", "com.github.nginx-proxy.nginx-proxy.keepalife": "1", "other": "x"}},
		companion("one certificate for all names", "ACME_HOST", " b.example, A.example,,*.c.example,b.example", "VIRTUAL_HOST", "a.example,b.example"),
		companion("the names of before", "LETSENCRYPT_HOST", "a.example", "LETSENCRYPT_EMAIL", "a@a.example", "LETSENCRYPT_KEYSIZE", "ec-384", "LETSENCRYPT_TEST", "True",
			"LETSENCRYPT_SINGLE_DOMAIN_CERTS", "false", "ACME_CA_URI", "https://ca.example/dir"),
		companion("a name of today wins", "ACME_HOST", "a.example", "LETSENCRYPT_HOST", "b.example", "ACME_EMAIL", "a@a.example", "LETSENCRYPT_EMAIL", "a@a.example"),
		companion("one certificate for each name", "ACME_HOST", "b.example,a.example", "ACME_SINGLE_DOMAIN_CERTS", "true", "ACME_KEYSIZE", "3072"),
		companion("all that can be said", "ACME_HOST", "*.a.example", "ACME_EMAIL", "a@a.example", "ACME_KEYSIZE", "2048", "ACME_CA_URI", "https://ca.example/dir", "ACME_CHALLENGE", "DNS-01",
			"ACMESH_DNS_API_CONFIG", "DNS_API: dns_cf\nCF_Token: 123\nCF_Zone_ID: 'abc'\nDNS_SLEEP: 20\n", "ACME_CERT_PROFILE", "shortlived", "ACME_RENEW_AFTER", "30",
			"ACME_RENEW_PRIVATE_KEYS", "false", "ACME_EAB_KID", "kid-1", "ACME_EAB_HMAC_KEY", "c2VjcmV0LWtleQ==", "ACME_PREFERRED_CHAIN", "ISRG Root X1"),
		companion("an API configuration in JSON", "ACME_HOST", "a.example", "ACMESH_DNS_API_CONFIG", `{"DNS_API": "dns_aws", "AWS_ACCESS_KEY_ID": "x"}`),
		companion("key sizes that are too large", "ACME_HOST", "a.example", "ACME_KEYSIZE", "8192"),
		companion("a curve that is too large", "ACME_HOST", "a.example", "ACME_KEYSIZE", "EC-521"),
		companion("wrong values for certificates", "ACME_HOST", "a.example,a_b.example,~^c,http://x", "ACME_KEYSIZE", "512", "ACME_EMAIL", "nobody", "ACME_CHALLENGE", "SMTP-01",
			"ACME_SINGLE_DOMAIN_CERTS", "yes", "ACME_RENEW_AFTER", "0", "ACME_RENEW_PRIVATE_KEYS", "no", "ACME_CERT_PROFILE", "a b", "ACME_EAB_KID", "x", "ACME_EAB_HMAC_KEY", "to p secret",
			"ACMESH_DNS_API_CONFIG", "{\"DNS_API\": \"dns_cf\",\n \"CF_Token\": [\"top secret\"]}"),
		companion("a CA that is none", "ACME_HOST", "a.example", "ACME_CA_URI", "ca.example"),
		companion("a CA with a password", "ACME_HOST", "a.example", "ACME_CA_URI", "https://me:topsecret@ca.example/"),
		companion("half of an external account", "ACME_HOST", "a.example", "ACME_EAB_HMAC_KEY", "c2VjcmV0"),
		companion("an API configuration that is none", "ACME_HOST", "a.example", "ACMESH_DNS_API_CONFIG", "top secret"),
		companion("an API configuration without an API", "ACME_HOST", "a.example", "ACMESH_DNS_API_CONFIG", "CF_Token: top-secret"),
		companion("an API configuration with a bad time", "ACME_HOST", "a.example", "ACMESH_DNS_API_CONFIG", "{DNS_API: dns_cf, DNS_SLEEP: 1m}"),
		companion("a wildcard by HTTP", "ACME_HOST", "*.a.example", "ACME_CHALLENGE", "http-01"),
		companion("what the companion does and Ruche does not", "ACME_HOST", "a.example", "ACME_OCSP", "true", "ACME_PRE_HOOK", "true", "ACME_POST_HOOK", "x", "ACME_RESTART_CONTAINER", "true",
			"LETSENCRYPT_RESTART_CONTAINER", "false", "ZEROSSL_API_KEY", "top-secret", "ACME_HTTP_CHALLENGE_LOCATION", "false"),
		companion("misspelt keys of the companion", "ACME_HOST", "a.example", "ACME_EMAL", "x", "LETSENCRYPT_KEY_SIZE", "x", "ACME_OF_MY_OWN", "x", "ACMESH_DNS_API", "x"),
		{name: "a certificate without a route", env: map[string]string{"ACME_HOST": "a.example", "ACME_EMAIL": "a@a.example"}},
		{name: "an ACME client of its own", env: map[string]string{"ACME_EMAIL": "a@a.example", "ACME_CA_URI": "x"}},
		{name: "quotes around what the companion reads", env: map[string]string{"ACME_HOST": `"a.example","b.example"`, "ACME_KEYSIZE": `'2048'`, "ACME_EAB_HMAC_KEY": `"c2Vj"`, "ACME_EAB_KID": "k"}},
		{name: "quotes that are part of the values", env: map[string]string{"VIRTUAL_HOST": `"a.example, b.example"`, "VIRTUAL_PORT": `'8080'`,
			"VIRTUAL_PROTO": `"https"`, "VIRTUAL_PATH": `"/x"`, "VIRTUAL_DEST": `""`}},
		{name: "quotes around each host", env: map[string]string{"VIRTUAL_HOST": `"a.example", 'b.example',c.example`}},
		{name: "quotes that do not match", env: map[string]string{"VIRTUAL_HOST": `"a.example',b.example"`}},
		{name: "a quote inside a regular expression", env: map[string]string{"VIRTUAL_HOST": `~^a'b , c.example`}},
		{name: "a dot in front", env: map[string]string{"VIRTUAL_HOST": ".example.com,.Shop.example,.,.*.example,..a.example"}},
		{name: "no strict transport security", env: map[string]string{"VIRTUAL_HOST": "a.example", "HSTS": "Off"},
			labels: map[string]string{"com.github.nginx-proxy.nginx-proxy.hsts": "off"}},
		{name: "strict transport security", env: map[string]string{"VIRTUAL_HOST": "a.example", "HSTS": "max-age=1"}},
		{name: "misspelt keys", env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PROT": "80", "VIRTUAL_X": "1"}},
		{name: "misspelt host", env: map[string]string{"VIRTUAL_HOSTS": "a.example"}},
		{name: "a Python image", env: map[string]string{"VIRTUAL_ENV": "/venv", "VIRTUAL_ENV_PROMPT": "x", "VIRTUAL_MACHINE_OF_MINE": "y"}},
		{name: "a port without host", env: map[string]string{"VIRTUAL_PORT": "80"}},
		{name: "nothing", env: map[string]string{"PATH": "/bin"}},
	}
}

// companion is a sample of the variables of acme-companion, for a site.
func companion(name string, pairs ...string) sample {
	s := sample{name: name, env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PORT": "80"}}
	for i := 0; i < len(pairs); i += 2 {
		s.env[pairs[i]] = pairs[i+1]
	}
	return s
}

// verify is a sample of the label about client certificates.
func verify(name, value string) sample {
	return sample{
		name: name, env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PORT": "80"},
		labels: map[string]string{"com.github.nginx-proxy.nginx-proxy.ssl_verify_client": value},
	}
}

// balance is a sample of the labels that say how endpoints are chosen.
func balance(name, directives, keepAlive string) sample {
	const prefix = "com.github.nginx-proxy.nginx-proxy."
	return sample{
		name: name, env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PORT": "80"},
		labels: map[string]string{prefix + "loadbalance": directives, prefix + "keepalive": keepAlive},
	}
}

func (s sample) container() docker.Container {
	return docker.Container{ID: "c1", Name: "shop", Env: s.env, Labels: s.labels, ExposedPorts: s.ports}
}

func TestRoutesGolden(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			routes, certificates, diagnostics := nginxproxy.Routes(s.container())
			got, err := json.MarshalIndent(struct {
				Routes       []ruche.Route
				Certificates []ruche.CertificateSpec `json:",omitempty"`
				Diagnostics  []ruche.Diagnostic
			}{routes, certificates, diagnostics}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", strings.NewReplacer(" ", "-", ",", "").Replace(s.name)+".golden")
			if *update {
				if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if string(want) != string(got)+"\n" {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
}

func TestPortRule(t *testing.T) {
	for _, tc := range []struct {
		name, port string
		exposed    []docker.Port
		want       uint16
		reason     string
	}{
		{"the variable wins", "9000", tcp(80), 9000, "VIRTUAL_PORT"},
		{"the only exposed one", "", tcp(8080), 8080, "only exposed"},
		{"none exposed", "", nil, 80, "no port is exposed"},
		{"several exposed", "", tcp(22, 80), 80, "several ports are exposed (22/tcp, 80/tcp)"},
	} {
		env := map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PORT": tc.port}
		routes, _, _ := nginxproxy.Routes(docker.Container{Env: env, ExposedPorts: tc.exposed})
		if len(routes) != 1 || routes[0].Port != tc.want || !strings.Contains(routes[0].PortReason, tc.reason) {
			t.Errorf("%s: routes = %+v, want port %d because %q", tc.name, routes, tc.want, tc.reason)
		}
	}
}

func TestSecretsAreNotTold(t *testing.T) {
	for _, s := range samples() {
		_, _, diagnostics := nginxproxy.Routes(s.container())
		for _, d := range diagnostics {
			for _, secret := range []string{"secret", "c2Vj"} {
				if strings.Contains(d.Message+d.Hint+d.Host+d.Source, secret) {
					t.Errorf("%s: %+v tells a secret", s.name, d)
				}
			}
		}
	}
}

func FuzzCompanion(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.env["ACME_HOST"], s.env["ACME_SINGLE_DOMAIN_CERTS"], s.env["ACME_KEYSIZE"], s.env["ACME_CA_URI"], s.env["ACME_CHALLENGE"], s.env["ACMESH_DNS_API_CONFIG"],
			s.env["ACME_RENEW_AFTER"], s.env["ACME_EAB_HMAC_KEY"])
	}
	f.Fuzz(func(t *testing.T, host, single, size, ca, challenge, api, renew, key string) {
		_, certificates, diagnostics := nginxproxy.Routes(docker.Container{Name: "c", Env: map[string]string{
			"ACME_HOST": host, "ACME_SINGLE_DOMAIN_CERTS": single, "ACME_KEYSIZE": size, "ACME_CA_URI": ca, "ACME_CHALLENGE": challenge,
			"ACMESH_DNS_API_CONFIG": api, "ACME_RENEW_AFTER": renew, "ACME_EAB_HMAC_KEY": key, "ACME_EAB_KID": "kid",
		}})
		for _, s := range certificates {
			if len(s.Names) == 0 || s.Source == "" || s.RenewAfter < 0 || s.DNS != nil && (!strings.HasPrefix(s.DNS.Name, "dns_") || s.DNS.Wait < 0) {
				t.Errorf("certificate %+v", s)
			}
			if s.KeyType != "" && !slices.Contains(ruche.KeyTypes(), s.KeyType) || s.Challenge != "" && !slices.Contains(ruche.ChallengeTypes(), s.Challenge) {
				t.Errorf("certificate %+v", s)
			}
		}
		asked := strings.Trim(strings.Join(strings.Fields(host), ""), ",\"'")
		if len(certificates) == 0 && len(diagnostics) == 0 && asked != "" {
			t.Errorf("ACME_HOST %q gave neither a certificate nor a diagnostic", host)
		}
		for _, d := range diagnostics {
			if d.Code == "" || d.Severity == "" || d.Source == "" || d.Message == "" || d.Workload == "" {
				t.Errorf("incomplete diagnostic %+v", d)
			}
		}
	})
}

func FuzzVirtualHost(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.env["VIRTUAL_HOST"], s.env["VIRTUAL_PORT"], s.env["VIRTUAL_PROTO"], s.env["VIRTUAL_PATH"], s.env["VIRTUAL_DEST"],
			s.env["HTTPS_METHOD"], s.env["CERT_NAME"], s.env["NETWORK_ACCESS"], s.env["VIRTUAL_ROOT"],
			s.labels["com.github.nginx-proxy.nginx-proxy.loadbalance"], s.labels["com.github.nginx-proxy.nginx-proxy.keepalive"])
	}
	f.Fuzz(func(t *testing.T, host, port, proto, path, dest, method, cert, access, root, directives, keepAlive string) {
		routes, _, diagnostics := nginxproxy.Routes(docker.Container{Name: "c", Env: map[string]string{
			"VIRTUAL_HOST": host, "VIRTUAL_PORT": port, "VIRTUAL_PROTO": proto, "VIRTUAL_PATH": path, "VIRTUAL_DEST": dest,
			"HTTPS_METHOD": method, "CERT_NAME": cert, "NETWORK_ACCESS": access, "VIRTUAL_ROOT": root,
		}, Labels: balance("", directives, keepAlive).labels})
		for _, r := range routes {
			if _, err := match.ParseHost(r.Match.Host); err != nil {
				t.Errorf("route with host %q: %v", r.Match.Host, err)
			}
			if _, err := match.ParsePath(r.Match.Path); err != nil {
				t.Errorf("route with path %q: %v", r.Match.Path, err)
			}
			if r.Port == 0 || r.PortReason == "" || r.Scheme == "" || r.Source == "" {
				t.Errorf("incomplete route %+v", r)
			}
			if s := r.Sticky; s != nil && strings.ContainsAny(s.Cookie+s.Path+s.Domain+s.SameSite, "; \r\n") {
				t.Errorf("cookie %+v", s)
			}
			if _, known := ruche.DefaultPort(r.Scheme); !known || r.Root != "" && r.Root[0] != '/' {
				t.Errorf("scheme %q, root %q", r.Scheme, r.Root)
			}
			if strings.ContainsAny(r.CertName, "/\\") {
				t.Errorf("certificate name %q leaves its directory", r.CertName)
			}
			if a := strings.TrimSpace(access); a != "" && a != "external" && r.Blocked == "" {
				t.Errorf("access %q is served openly", access)
			}
		}
		asked := strings.Trim(strings.Join(strings.Fields(host), ""), ",")
		if len(routes) == 0 && len(diagnostics) == 0 && asked != "" {
			t.Errorf("VIRTUAL_HOST %q gave neither a route nor a diagnostic", host)
		}
		for _, d := range diagnostics {
			if d.Code == "" || d.Severity == "" || d.Source == "" || d.Message == "" || d.Workload == "" {
				t.Errorf("incomplete diagnostic %+v", d)
			}
		}
	})
}
