package discovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// labelsOf makes labels of "key=value" separated by blanks; "T." stands for ruche.tls., "R." for traefik.http.routers. and "C." for traefik.tcp.routers.
func labelsOf(text string) map[string]string {
	labels := map[string]string{}
	for pair := range strings.FieldsSeq(text) {
		for short, long := range map[string]string{"T.": "ruche.tls.", "R.": "traefik.http.routers.", "C.": "traefik.tcp.routers."} {
			if rest, ok := strings.CutPrefix(pair, short); ok {
				pair = long + rest
			}
		}
		key, value, _ := strings.Cut(pair, "=")
		labels[key] = value
	}
	return labels
}

// showSpecs gives the certificates in short: names, then what is said of them.
func showSpecs(specs []ruche.CertificateSpec) []string {
	var list []string
	for _, s := range specs {
		line := strings.Join(s.Names, ",")
		for _, part := range []string{s.Issuer, string(s.KeyType), s.Profile, string(s.Challenge), s.Directory} {
			if part != "" {
				line += " " + part
			}
		}
		list = append(list, line)
	}
	return list
}

func modesOf(routes []ruche.Route) string {
	var modes []string
	for _, r := range routes {
		modes = append(modes, string(r.TLS))
	}
	return strings.Join(modes, " ")
}

func TestOwnLabels(t *testing.T) {
	for _, tc := range []struct {
		name, env, labels string
		modes             string
		certificates      []string
		problems          []string // code, place and beginning of the message
	}{
		{"none", "VIRTUAL_HOST=a.example", "", "", nil, nil},
		{"a mode", "VIRTUAL_HOST=a.example,b.example", "T.mode=ACME", "acme acme", nil, nil},
		{"the mode holds for Traefik too", "VIRTUAL_HOST=a.example", "Ruche.TLS.Mode=internal R.x.rule=Host(`b.example`) R.x.tls.certresolver=le", "internal internal", nil,
			[]string{`route-shadowed label Ruche.TLS.Mode the certificate for "b.example" that label traefik.http.routers.x.tls.certresolver asks for is not requested`}},
		{"an issuer", "VIRTUAL_HOST=a.example,*.b.example,~^c", "T.issuer=corporate", "acme acme acme", []string{"a.example corporate", "*.b.example corporate"}, nil},
		{"the authority of the house", "VIRTUAL_HOST=a.example", "T.issuer=internal", "internal", []string{"a.example internal"}, nil},
		{"a key type of the authority", "VIRTUAL_HOST=a.example", "T.mode=internal T.key-type=P384", "internal", []string{"a.example internal p384"}, nil},
		{"names", "VIRTUAL_HOST=a.example", "T.names=a.example,*.a.example T.challenge=dns-01 T.profile=shortlived", "", []string{"a.example,*.a.example shortlived dns-01"}, nil},
		{"a host that is not among the names", "VIRTUAL_HOST=a.example,b.example,*.c.example,x.d.example", "T.names=A.example,*.d.example", "   ", []string{"a.example,*.d.example"}, []string{
			"host-uncovered label ruche.tls.names no certificate that is asked for here has the name b.example, which is served; it gets another one",
			"host-uncovered label ruche.tls.names no certificate that is asked for here has the name *.c.example"}},
		{"a host that is not in ACME_HOST", "VIRTUAL_HOST=a.example,b.example ACME_HOST=a.example", "", " ", []string{"a.example"}, []string{"host-uncovered env ACME_HOST no certificate that is asked for here has the name b.example"}},
		{"a host of another vocabulary than ACME_HOST", "VIRTUAL_HOST=a.example ACME_HOST=a.example", "R.x.rule=Host(`b.example`)", " ", []string{"a.example"}, nil},
		{"a host that is not in the domains", "VIRTUAL_HOST=v.example", "R.x.rule=Host(`a.example`)||Host(`b.example`) R.x.tls.certresolver=le R.x.tls.domains[0].main=a.example R.y.rule=Host(`c.example`) R.y.tls.certresolver=le", "acme acme ",
			[]string{"a.example le", "c.example le"}, []string{"host-uncovered label traefik.http.routers.x.tls.domains[0].main no certificate that is asked for here has the name b.example"}},
		{"a host that another router's domains have", "", "R.x.rule=Host(`b.a.example`) R.x.tls.certresolver=le R.x.tls.domains[0].main=a.example R.y.rule=Host(`a.example`) R.y.tls.certresolver=le R.y.tls.domains[0].main=*.a.example R.y.tls.domains[0].sans=a.example", "acme acme",
			[]string{"a.example le", "*.a.example,a.example le"}, nil},
		{"a host that no issued certificate is for", "VIRTUAL_HOST=a.example,b.example CERT_NAME=own ACME_HOST=a.example", "", " ", []string{"a.example"}, nil},
		{"a host without HTTPS", "VIRTUAL_HOST=a.example,b.example HTTPS_METHOD=nohttps ACME_HOST=a.example", "", " ", []string{"a.example"}, nil},
		{"a TCP host that is not among the names", "", "T.names=a.example C.a.rule=HostSNI(`a.example`) C.a.tls=true C.b.rule=HostSNI(`b.example`) C.b.tls=true C.c.rule=HostSNI(`c.example`) C.c.tls.passthrough=true", "auto auto passthrough",
			[]string{"a.example"}, []string{"host-uncovered label ruche.tls.names no certificate that is asked for here has the name b.example"}},
		{"names take the place of what others ask for", "VIRTUAL_HOST=a.example ACME_HOST=a.example", "T.names=a.example,b.example", "", []string{"a.example,b.example"},
			[]string{`route-shadowed label ruche.tls.names the certificate for "a.example" that env ACME_HOST asks for`}},
		{"the rest is laid over it", "VIRTUAL_HOST=a.example,b.example,c.example ACME_HOST=b.example,a.example ACME_KEYSIZE=2048 ACME_CA_URI=https://x.example/", "T.profile=tlsserver", "  ",
			[]string{"b.example,a.example rsa2048 tlsserver https://x.example/", "c.example tlsserver"}, nil},
		{"an issuer over another CA", "VIRTUAL_HOST=a.example ACME_HOST=a.example LETSENCRYPT_TEST=true", "T.issuer=corporate", "acme", []string{"a.example corporate"}, nil},
		{"files only", "VIRTUAL_HOST=a.example ACME_HOST=a.example", "T.mode=file T.key-type=p384", "file", nil, []string{
			`route-shadowed label ruche.tls.mode the certificate for "a.example"`, "key-unsupported label ruche.tls.key-type it has no effect with ruche.tls.mode=file"}},
		{"TCP", "", "T.mode=off C.a.rule=HostSNI(`a.example`) C.a.tls=true C.b.rule=HostSNI(`*`) C.b.entrypoints=db C.c.rule=HostSNI(`c.example`) C.c.tls.passthrough=true", "auto  passthrough", nil,
			[]string{"key-unsupported label ruche.tls.mode off is for sites"}},
		{"TCP with a mode", "", "T.mode=internal C.a.rule=HostSNI(`a.example`) C.a.tls=true C.b.rule=HostSNI(`*`) C.b.entrypoints=db", "internal ", nil, nil},
		{"values that are wrong", "VIRTUAL_HOST=a.example", "T.mode=always T.issuer=" + strings.Repeat("x", 101) + " T.key-type=rsa1024 T.challenge=smtp T.names=a_b,b.example", "", []string{"b.example"}, []string{
			`value-invalid label ruche.tls.mode mode "always" is not known; the label is ignored`, "host-invalid label ruche.tls.names no certificate", "value-invalid label ruche.tls.key-type key type",
			"value-invalid label ruche.tls.challenge challenge", "value-invalid label ruche.tls.issuer issuer", "host-uncovered label ruche.tls.names no certificate that is asked for here has the name a.example"}},
		{"two that do not go together", "VIRTUAL_HOST=a.example", "T.mode=internal T.issuer=corporate", "internal", []string{"a.example internal"},
			[]string{"value-invalid label ruche.tls.mode the mode internal takes certificates of Ruche's own authority"}},
		{"ACME with the authority", "VIRTUAL_HOST=a.example", "T.mode=acme T.issuer=internal", "internal", []string{"a.example internal"}, []string{"value-invalid label ruche.tls.mode the issuer internal"}},
		{"a wildcard by HTTP", "VIRTUAL_HOST=*.a.example", "T.challenge=http-01", "", []string{"*.a.example http-01"}, []string{"value-invalid label ruche.tls.challenge CAs give"}},
		{"no host to order for", "VIRTUAL_HOST=~^a", "T.issuer=corporate", "acme", nil, []string{"value-invalid label ruche.tls.issuer no route of the container names a host"}},
		{"a certificate without a route", "", "T.names=mail.example", "", []string{"mail.example"}, nil},
		{"labels that nobody knows", "VIRTUAL_HOST=a.example", "T.isuer=x ruche.b=x Ruche.a=y ruched=z ruche.tls=x", "", nil, []string{
			"key-unsupported label Ruche.a of the labels", "key-unknown label ruche.tls.isuer the label is not known"}},
		{"a name that no route serves", "VIRTUAL_HOST=a.example,*.c.example ACME_HOST=a.example,b.example,x.c.example,*.d.example", "R.x.rule=Host(`x.d.example`)", "  ",
			[]string{"a.example,b.example,x.c.example,*.d.example"}, []string{
				"name-unserved env ACME_HOST a certificate is requested for b.example", "host-uncovered env ACME_HOST no certificate that is asked for here has the name *.c.example"}},
		{"addresses", "VIRTUAL_HOST=[2001:db8::1],192.0.2.1 ACME_HOST=2001:db8::1,192.0.2.1", "", " ", []string{"2001:db8::1,192.0.2.1"}, nil},
	} {
		found := declaredBy(docker.Container{Name: "c", Env: labelsOf(tc.env), Labels: labelsOf(tc.labels), ExposedPorts: []docker.Port{{Number: 80, Protocol: "tcp"}}})
		if got := modesOf(found.routes); got != tc.modes {
			t.Errorf("%s: modes %q, want %q", tc.name, got, tc.modes)
		}
		if got := showSpecs(found.certificates); !slices.Equal(got, tc.certificates) {
			t.Errorf("%s: certificates %q, want %q", tc.name, got, tc.certificates)
		}
		var said []string
		for _, d := range found.diagnostics {
			said = append(said, fmt.Sprintf("%s %s %s", d.Code, d.Source, d.Message))
		}
		if !slices.EqualFunc(said, tc.problems, strings.HasPrefix) {
			t.Errorf("%s: diagnostics %q, want %q", tc.name, said, tc.problems)
		}
	}
}

func TestOneOffContainersAndJobsWantNoCertificates(t *testing.T) {
	env := map[string]string{"ACME_HOST": "a.example"}
	if found := declaredBy(docker.Container{Name: "c", Env: env, Labels: map[string]string{oneOffLabel: "True"}}); len(found.certificates) != 0 || len(found.diagnostics) != 1 {
		t.Errorf("a one-off container declares %+v", found)
	}
	if found := declaredByService(docker.Service{Name: "s", Env: env, Job: true}); len(found.certificates) != 0 || len(found.diagnostics) != 1 {
		t.Errorf("a job declares %+v", found)
	}
}

func TestServicesWantCertificates(t *testing.T) {
	found := declaredByService(docker.Service{
		Name: "s", Env: map[string]string{"VIRTUAL_HOST": "a.example", "VIRTUAL_PORT": "80", "LETSENCRYPT_HOST": "a.example"},
		Labels: map[string]string{"traefik.http.routers.r.rule": "Host(`b.example`)", "traefik.http.services.r.loadbalancer.server.port": "80"}, ContainerLabels: map[string]string{"traefik.http.routers.r.tls.certresolver": "le"},
	})
	var places []string
	for _, s := range found.certificates {
		places = append(places, s.Source)
	}
	if want := []string{"container label traefik.http.routers.r.tls.certresolver", "env LETSENCRYPT_HOST"}; !slices.Equal(places, want) {
		t.Errorf("places %q, want %q; %+v", places, want, found.diagnostics)
	}
}

func FuzzOwnLabels(f *testing.F) {
	f.Add("VIRTUAL_HOST=a.example", "T.mode=acme T.names=a.example,*.b.example T.issuer=x T.key-type=p384 T.challenge=dns-01 T.profile=p")
	f.Add("ACME_HOST=a.example", "T.mode=off T.unknown=x R.x.rule=Host(`b.example`) R.x.tls.certresolver=le")
	f.Fuzz(func(t *testing.T, env, labels string) {
		found := declaredBy(docker.Container{Name: "c", Env: labelsOf(env), Labels: labelsOf(labels)})
		for _, s := range found.certificates {
			if len(s.Names) == 0 || s.Source == "" || s.Source == "label " {
				t.Errorf("certificate %+v", s)
			}
		}
		for _, r := range found.routes {
			if knownMode(r.TLS) != nil && r.TLS != ruche.TLSPassthrough {
				t.Errorf("mode %q", r.TLS)
			}
		}
		for _, d := range found.diagnostics {
			if d.Code == "" || d.Severity == "" || d.Source == "" || d.Message == "" || d.Workload == "" {
				t.Errorf("incomplete diagnostic %+v", d)
			}
		}
	})
}
