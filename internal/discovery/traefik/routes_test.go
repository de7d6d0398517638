package traefik_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/traefik"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/match"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// read makes labels of lines "key=value"; "T.", "R.", "S." and "M." stand for the usual beginnings.
func read(text string) map[string]string {
	labels := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		for short, long := range map[string]string{"T.": "traefik.", "R.": "traefik.http.routers.", "S.": "traefik.http.services.", "M.": "traefik.http.middlewares."} {
			if rest, ok := strings.CutPrefix(line, short); ok {
				line = long + rest
			}
		}
		if key, value, ok := strings.Cut(line, "="); ok {
			labels[key] = value
		}
	}
	return labels
}

func container(text string, ports ...uint16) docker.Container {
	c := docker.Container{ID: "c1", Name: "my_shop.1", Labels: read(text)}
	for _, n := range ports {
		c.ExposedPorts = append(c.ExposedPorts, docker.Port{Number: n, Protocol: "tcp"})
	}
	return c
}

const web = "R.web.rule=Host(`a.example`)\n"

var golden = []struct {
	name, labels string
	ports        []uint16
}{
	{"nothing of Traefik", "other=x\ntraefikish=y", nil},
	{"disabled", "T.enable=false\n" + web, []uint16{80}},
	{"enable is nonsense", "T.enable=perhaps\n" + web, []uint16{80}},
	{"router and port", web + "S.web.loadbalancer.server.port=8080", nil},
	{"labels in other cases", "TRAEFIK.Enable=TRUE\ntraefik.HTTP.Routers.Web.Rule=Host(`a.example`)\ntraefik.http.services.Web.LoadBalancer.Server.Port=8080", nil},
	{"lowest exposed port", web, []uint16{8080, 443, 9000}},
	{"no port at all", web, nil},
	{"only enabled", "T.enable=true", []uint16{80}},
	{"only enabled of Compose", "T.enable=true\ncom.docker.compose.project=my_shop\ncom.docker.compose.service=front_end", []uint16{80}},
	{"service without router", "S.x.loadbalancer.server.port=81", nil},
	{"two services without router", "S.x.loadbalancer.server.port=81\nS.y.loadbalancer.server.port=82", nil},
	{"two routers with their services", web + "R.web.service=x\nR.api.rule=Host(`a.example`) && PathPrefix(`/api`)\nR.api.service=Y@docker\nR.api.priority=100\n" +
		"S.x.loadbalancer.server.port=81\nS.y.loadbalancer.server.port=82\nS.y.loadbalancer.server.scheme=https", nil},
	{"router with a choice of services", web + "S.x.loadbalancer.server.port=81\nS.y.loadbalancer.server.port=82", nil},
	{"router with a service that is not there", web + "R.web.service=xyy\nS.xy.loadbalancer.server.port=81", nil},
	{"router with a service of Traefik", web + "R.web.service=api@internal", []uint16{80}},
	{"rules that are wrong", web + "R.b.rule=Host(`b.example`\nR.c.rule=Host(`c.example`) && Method(`GET`)\nR.d.rule=\nR.e.rule=Hosst(`e.example`)", []uint16{80}},
	{"ports that are wrong", "R.a.rule=Host(`a.example`)\nR.a.service=a\nR.b.rule=Host(`b.example`)\nR.b.service=b\n" +
		"S.a.loadbalancer.server.port=http\nS.b.loadbalancer.server.port=70000", []uint16{80}},
	{"schemes, one of them unknown", "R.a.rule=Host(`a.example`)\nR.a.service=a\nR.b.rule=Host(`b.example`)\nR.b.service=b\n" +
		"S.a.loadbalancer.server.scheme=h2c\nS.b.loadbalancer.server.scheme=ftp", []uint16{80}},
	{"priority that is wrong", web + "R.web.priority=high", []uint16{80}},
	{"options that are left out", "T.enable=true\n" + web + "R.web.entrypoints=web,websecure\nR.web.tls=true\nR.web.tls.certresolver=le\nR.web.tls.domains[0].main=a.example\n" +
		"R.web.observability.accesslogs=false\nR.web.rulesyntax=v2\n" +
		"S.web.loadbalancer.sticky.cookie=true\nS.web.loadbalancer.sticky.cookie.name=x\nS.web.loadbalancer.healthcheck.path=/up\n" +
		"S.web.loadbalancer.passhostheader=false\nS.web.loadbalancer.strategy=p2c\nS.web.loadbalancer.responseforwarding.flushinterval=1ms", []uint16{80}},
	{"how endpoints are chosen", "R.a.rule=Host(`a.example`)\nR.a.service=a\nR.b.rule=Host(`b.example`)\nR.b.service=b\n" +
		"S.a.loadbalancer.strategy=hrw\nS.a.loadbalancer.server.weight=3\nS.a.loadbalancer.server.scheme=h2c\n" +
		"S.a.loadbalancer.sticky.cookie.name=srv\nS.a.loadbalancer.sticky.cookie.secure=true\nS.a.loadbalancer.sticky.cookie.httpOnly=true\n" +
		"S.a.loadbalancer.sticky.cookie.sameSite=None\nS.a.loadbalancer.sticky.cookie.path=/app\nS.a.loadbalancer.sticky.cookie.domain=a.example\nS.a.loadbalancer.sticky.cookie.maxAge=3600\n" +
		"S.a.loadbalancer.healthcheck.path=/up?x=1\nS.a.loadbalancer.healthcheck.interval=10s\nS.a.loadbalancer.healthcheck.unhealthyInterval=2\nS.a.loadbalancer.healthcheck.timeout=500ms\n" +
		"S.a.loadbalancer.healthcheck.scheme=https\nS.a.loadbalancer.healthcheck.hostname=a.example\nS.a.loadbalancer.healthcheck.port=8081\n" +
		"S.a.loadbalancer.healthcheck.headers.X-Key=v\nS.a.loadbalancer.healthcheck.followRedirects=false\nS.a.loadbalancer.healthcheck.method=head\nS.a.loadbalancer.healthcheck.status=204\n" +
		"S.a.loadbalancer.passivehealthcheck.maxFailedAttempts=3\nS.a.loadbalancer.passivehealthcheck.failureWindow=20s\n" +
		"S.b.loadbalancer.strategy=leasttime\nS.b.loadbalancer.sticky.cookie=true\nS.b.loadbalancer.healthcheck.mode=grpc\nS.b.loadbalancer.passivehealthcheck=true", []uint16{80}},
	{"how endpoints are chosen, wrongly", web + "S.web.loadbalancer.strategy=fastest\nS.web.loadbalancer.server.weight=-1\n" +
		"S.web.loadbalancer.sticky.cookie.name=a b\nS.web.loadbalancer.sticky.cookie.secure=perhaps\nS.web.loadbalancer.sticky.cookie.samesite=none\n" +
		"S.web.loadbalancer.sticky.cookie.path=x\nS.web.loadbalancer.sticky.cookie.domain=a;b\nS.web.loadbalancer.sticky.cookie.maxage=1h\nS.web.loadbalancer.sticky.cookie.color=x\n" +
		"S.web.loadbalancer.healthcheck.path=/up\nS.web.loadbalancer.healthcheck.port=http\nS.web.loadbalancer.healthcheck.interval=1ms\nS.web.loadbalancer.healthcheck.timeout=x\n" +
		"S.web.loadbalancer.healthcheck.headers.X-Key=a\tb\nS.web.loadbalancer.healthcheck.headers.X Key=v\nS.web.loadbalancer.healthcheck.intervall=3s\n" +
		"S.web.loadbalancer.passivehealthcheck.maxfailedattempts=0\nS.web.loadbalancer.passivehealthcheck.failurewindow=0s\nS.web.loadbalancer.passivehealthcheck.window=1s", []uint16{80}},
	{"a health check without a path", web + "S.web.loadbalancer.healthcheck.interval=10s", []uint16{80}},
	{"health checks of wrong kinds", "R.a.rule=Host(`a.example`)\nR.a.service=a\nR.b.rule=Host(`b.example`)\nR.b.service=b\n" +
		"S.a.loadbalancer.healthcheck.path=up\nS.a.loadbalancer.healthcheck.mode=tcp\nS.b.loadbalancer.healthcheck.path=/\nS.b.loadbalancer.healthcheck.scheme=ftp\n" +
		"S.b.loadbalancer.healthcheck.hostname=a b\nS.b.loadbalancer.healthcheck.method=get it\nS.b.loadbalancer.healthcheck.status=ok", []uint16{80}},
	{"a sticky service without cookie", web + "S.web.loadbalancer.sticky=true\nS.web.loadbalancer.sticky.cookie=false", []uint16{80}},
	{"an entry point of one's own", web + "R.web.entrypoints=internal", []uint16{80}},
	{"a closed entry point next to a public one", web + "R.web.entrypoints=internal, websecure", []uint16{80}},
	{"a misspelt list of middlewares", web + "R.web.middleware=auth\nM.auth.basicauth.users=a:b", []uint16{80}},
	{"a shared redirect to HTTPS", web + "R.web.middlewares=redirect-to-https@docker,Https_Redirect@file,redirectscheme", []uint16{80}},
	{"a redirect that is none", web + "R.web.middlewares=https-redirect\nM.https-redirect.basicauth.users=a:b", []uint16{80}},
	{"a pair of routers for HTTP and HTTPS", "R.app.rule=Host(`a.example`)\nR.app.entrypoints=web\nR.app.middlewares=redirect@file\n" +
		"R.app-secure.rule=Host(`a.example`)\nR.app-secure.entrypoints=websecure\nR.app-secure.tls=true", []uint16{80}},
	{"TLS options block", web + "R.web.tls.options=mtls@file", []uint16{80}},
	{"default TLS options", web + "R.web.tls.options=default", []uint16{80}},
	{"a service of another kind", web + "S.web.weighted.services[0].name=x", []uint16{80}},
	{"a fixed URL", web + "S.web.loadbalancer.server.url=http://x", []uint16{80}},
	{"harmless middlewares", web + "R.web.middlewares=gz, hd@docker\nM.gz.compress=true\nM.hd.headers.customrequestheaders.X=1\nM.unused.retry.attempts=3", []uint16{80}},
	{"a middleware that changes the path", web + "R.web.middlewares=strip\nM.strip.stripprefix.prefixes=/x", []uint16{80}},
	{"a middleware that restricts access", web + "R.web.middlewares=auth\nM.auth.basicauth.users=a:b", []uint16{80}},
	{"a middleware of the file provider", web + "R.web.middlewares=auth@file", []uint16{80}},
	{"a middleware that is not there", web + "R.web.middlewares=outh\nM.auth.compress=true", []uint16{80}},
	{"a middleware of unknown kind", web + "R.web.middlewares=m\nM.m.basicaut.users=x", []uint16{80}},
	{"a chain with a restriction inside", web + "R.web.middlewares=all\nM.all.chain.middlewares=gz,auth\nM.gz.compress=true\nM.auth.ipallowlist.sourcerange=10.0.0.0/8", []uint16{80}},
	{"a chain that contains itself", web + "R.web.middlewares=a\nM.a.chain.middlewares=b\nM.b.chain.middlewares=a", []uint16{80}},
	{"a restriction on the service", web + "S.web.middlewares=auth\nM.auth.forwardauth.address=http://x", []uint16{80}},
	{"one blocked router next to a good one", web + "R.b.rule=Host(`b.example`)\nR.b.middlewares=auth@file", []uint16{80}},
	{"certificates of a resolver", "R.a.rule=Host(`b.example`) || Host(`A.example`)\nR.a.tls.certresolver=le\n" +
		"R.b.rule=Host(`x.c.example`)\nR.b.tls=true\nR.b.tls.certResolver=le-dns\nR.b.tls.domains[1].main=d.example\nR.b.tls.domains[0].sans=*.c.example, c.example\nR.b.tls.domains[0].main=C.example\n" +
		"R.c.rule=Host(`e.example`)\nR.c.tls=true\nS.web.loadbalancer.server.port=80", nil},
	{"certificates of a resolver, wrongly", "R.a.rule=PathPrefix(`/a`)\nR.a.tls.certresolver=le\nR.b.rule=Host(`b.example`)\nR.b.tls.domains[0].main=b.example\n" +
		"R.c.rule=Host(`c.example`)\nR.c.tls.certresolver=le\nR.c.tls.domains[0].main=c_c.example,good.example\nR.c.tls.domains.main=x\nR.c.tls.domains[0].san=x\nR.c.tls.certresolver.name=x\n" +
		"R.d.rule=Host(`d.example`)\nR.d.tls.certresolver=my resolver\nR.e.rule=HostRegexp(`^e`)\nR.e.tls.certresolver=le\nR.e.tls.domains[3].main=a_b\nS.web.loadbalancer.server.port=80", nil},
	{"certificates of TCP routers", "T.tcp.routers.a.rule=HostSNI(`a.example`)\nT.tcp.routers.a.tls.certresolver=le\nT.tcp.routers.b.rule=HostSNI(`*`)\nT.tcp.routers.b.entrypoints=db\n" +
		"T.tcp.routers.b.tls.certresolver=le\nT.tcp.routers.c.rule=HostSNI(`c.example`)\nT.tcp.routers.c.tls.passthrough=true\nT.tcp.routers.c.tls.certresolver=le\n" +
		"T.tcp.services.a.loadbalancer.server.port=1", nil},
	{"the default certificate", web + "T.tls.stores.default.defaultgeneratedcert.resolver=le\nT.tls.stores.default.defaultgeneratedcert.domain.main=a.example\n" +
		"T.tls.stores.default.defaultgeneratedcert.domain.sans=*.a.example,b.example\nT.tls.stores.default.defaultgeneratedcert.domain.man=x", []uint16{80}},
	{"half a default certificate", web + "T.tls.stores.default.defaultgeneratedcert.domain.main=a.example\nT.tls.stores.other.defaultcertificate.certfile=x", []uint16{80}},
	{"TCP and UDP alone", "T.enable=true\nT.tcp.routers.db.rule=HostSNI(`*`)\nT.tcp.routers.db.entrypoints=db\nT.udp.services.d.loadbalancer.server.port=53", []uint16{80}},
	{"TCP routers", "T.tcp.routers.db.rule=HostSNI(`*`)\nT.tcp.routers.db.entrypoints=postgres\nT.tcp.services.db.loadbalancer.server.port=5432\n" +
		"T.tcp.services.db.loadbalancer.proxyprotocol.version=1", []uint16{80}},
	{"TLS passed through", "T.tcp.routers.p.rule=HostSNI(`A.example`) || HostSNI(`b.example`, `c.example`)\nT.tcp.routers.p.tls.passthrough=true\n" +
		"T.tcp.routers.p.entrypoints=websecure,other\nT.tcp.services.p.loadbalancer.server.port=8443", nil},
	{"TLS that ends here", "T.tcp.routers.p.rule=HostSNI(`A.example`) && ALPN(`mqtt`)\nT.tcp.routers.p.tls=true\nT.tcp.routers.p.priority=7\nT.tcp.routers.p.entrypoints=websecure,other\n" +
		"T.tcp.routers.q.rule=HostSNI(`*`)\nT.tcp.routers.q.tls.certresolver=le\nT.tcp.routers.q.tls.domains[0].main=x\nT.tcp.routers.q.entrypoints=db\n" +
		"T.tcp.routers.r.rule=HostSNIRegexp(`^r.+$`)\nT.tcp.routers.r.tls.passthrough=false\nT.tcp.routers.r.tls.options=strict@file\n" +
		"T.tcp.routers.s.rule=HostSNI(`s.example`)\nT.tcp.routers.s.tls=false\nT.tcp.routers.s.tls.passthrough=TRUE\nT.tcp.services.p.loadbalancer.server.port=1883", nil},
	{"rules of TCP routers", "T.tcp.routers.a.rule=ClientIP(`10.0.0.0/8`) && !ClientIP(`10.0.0.1`)\nT.tcp.routers.a.entrypoints=db\n" +
		"T.tcp.routers.b.rule=!HostSNI(`b.example`)\nT.tcp.routers.b.tls.passthrough=true\nT.tcp.routers.b.entrypoints=db,https\n" +
		"T.tcp.routers.c.rule=HostSNI(`*`)\nT.tcp.routers.c.tls=true\n" +
		"T.tcp.routers.d.rule=ALPN(`h2`)\nT.tcp.routers.d.entrypoints=db\nT.tcp.routers.e.rule=HostSNI(`e.example`) || Host(`x`)\n" +
		"T.tcp.routers.f.rule=HostSNI(`f.example`)\nT.tcp.routers.f.tls=yes\nT.tcp.routers.f.tls.option=x\nT.tcp.routers.g.rule=HostSNI(`g.example`)\nT.tcp.routers.g.tls=1\nT.tcp.routers.g.tls.option=x", []uint16{80}},
	{"bad TCP routers", "T.tcp.routers.a.rule=HostSNIRegexp(`x`)\nT.tcp.routers.b.rule=HostSNI(`a.example`)\nT.tcp.routers.c.rule=HostSNI(`a.example`)\nT.tcp.routers.c.tls=true\n" +
		"T.tcp.routers.d.rule=HostSNI(`*`)\nT.tcp.routers.d.entrypoints=web,Big Name\nT.tcp.routers.e.rule=HostSNI(`*`)\nT.tcp.routers.e.service=nobody\nT.tcp.routers.f.entrypoints=db\n" +
		"T.tcp.routers.g.rule=HostSNI(a)", []uint16{80}},
	{"closed TCP routers", "T.tcp.routers.a.rule=HostSNI(`*`)\nT.tcp.routers.a.entrypoints=db\nT.tcp.routers.a.middlewares=lan\nT.tcp.middlewares.lan.ipallowlist.sourcerange=10.0.0.0/8\n" +
		"T.tcp.routers.b.rule=HostSNI(`*`)\nT.tcp.routers.b.entrypoints=db\nT.tcp.routers.b.middleware=lan\nT.tcp.services.a.loadbalancer.server.port=1\nT.tcp.services.a.loadbalancer.terminationdelay=1", nil},
	{"bad TCP service", "T.tcp.routers.a.rule=HostSNI(`*`)\nT.tcp.routers.a.entrypoints=db\nT.tcp.services.a.loadbalancer.server.tls=true\nT.tcp.services.a.loadbalancer.proxyprotocol.version=3", []uint16{80}},
	{"UDP routers", "T.udp.routers.dns.entrypoints=dns, DNS-2\nT.udp.services.dns.loadbalancer.server.port=53\nT.udp.services.game.loadbalancer.server.port=27015\n" +
		"T.udp.routers.game.entrypoints=game\nT.udp.routers.game.service=game@docker\nT.udp.routers.dns.service=dns", nil},
	{"UDP router alone", "T.udp.routers.dns.entrypoints=dns", []uint16{53}},
	{"bad UDP routers", "T.udp.routers.a.service=a\nT.udp.routers.b.entrypoints=websecure,:53\nT.udp.routers.c.entrypoints=dns\nT.udp.routers.c.service=x\n" +
		"T.udp.routers.d.entrypoints=dns\nT.udp.routers.d.service=b\nT.udp.routers.e.entrypoints=dns\nT.udp.routers.e.service=a\nT.udp.routers.e.middlewares=lan\n" +
		"T.udp.services.a.loadbalancer.server.port=53\nT.udp.services.b.weighted.services[0].name=a\nT.udp.middlewares.lan.ipallowlist=x", nil},
	{"TCP next to HTTP", web + "T.tcp.routers.db.rule=HostSNI(`*`)", []uint16{80}},
	{"keys that are not known", web + "R.web.rul=x\nS.web.loadbalancer.server.prot=80\nT.http.router.x.rule=y\nT.enabled=true\nT.docker.netwrk=x\nR.web2=x\nT.frontend.rule=Host:x", []uint16{80}},
	{"Docker options", web + "T.docker.network=web\nT.docker.lbswarm=true\nT.docker.allownonrunning=true", []uint16{80}},
	{"several arguments and quotes", "R.web.rule=Host(\"a.example\", `b.example`) || (HostRegexp(`^c[0-9]+\\.example$`) && !Path(`/x`))", []uint16{80}},
}

func TestRoutesGolden(t *testing.T) {
	for _, tc := range golden {
		t.Run(tc.name, func(t *testing.T) {
			routes, certificates, diagnostics := traefik.Routes(container(tc.labels, tc.ports...))
			got, err := json.MarshalIndent(struct {
				Routes       []ruche.Route
				Certificates []ruche.CertificateSpec `json:",omitempty"`
				Diagnostics  []ruche.Diagnostic
			}{routes, certificates, diagnostics}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", strings.NewReplacer(" ", "-", "'", "").Replace(tc.name)+".golden")
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

func TestRoutersAndTheirFate(t *testing.T) {
	for _, tc := range []struct {
		name, labels string
		ports        []uint16
		want         string // "rule -> scheme port blocked?" for each route
	}{
		{"default rule", "T.enable=true", []uint16{80}, "Host(`my-shop-1`) -> http 80;"},
		{"router without rule", "R.x.entrypoints=web", []uint16{80}, "Host(`my-shop-1`) -> http 80;"},
		{"label beats exposed port", web + "S.s.loadbalancer.server.port=9", []uint16{80}, "Host(`a.example`) -> http 9;"},
		{"absent enable with middlewares alone", "M.m.compress=true", []uint16{80}, ""},
		{"absent enable with TCP alone", "T.tcp.routers.x.rule=HostSNI(`*`)", []uint16{80}, ""},
		{"restriction", web + "R.web.middlewares=x@file", []uint16{80}, "Host(`a.example`) -> http 80 blocked;"},
		{"path", web + "R.web.middlewares=x\nM.x.addprefix.prefix=/x", []uint16{80}, "Host(`a.example`) -> http 80 blocked;"},
		{"harmless", web + "R.web.middlewares=x\nM.x.compress=true", []uint16{80}, "Host(`a.example`) -> http 80;"},
		{"public entry points", web + "R.web.entrypoints=lan,web-secure", []uint16{80}, "Host(`a.example`) -> http 80;"},
		{"closed entry points", web + "R.web.entrypoints=lan,mgmt", []uint16{80}, "Host(`a.example`) -> http 80 blocked;"},
		{"unknown option", web + "R.web.middleware=auth", []uint16{80}, "Host(`a.example`) -> http 80 blocked;"},
		{"restriction of a misspelt router", web + "T.http.router.web.middlewares=auth", []uint16{80}, "Host(`a.example`) -> http 80 blocked;"},
		{"restriction without a name", web + "R.middlewares=auth", []uint16{80}, "Host(`a.example`) -> http 80 blocked;"},
		{"misspelt restriction on the service", web + "S.web.middleware=auth", []uint16{80}, "Host(`a.example`) -> http 80 blocked;"},
		{"other unknown label", web + "T.http.router.web.rule=x", []uint16{80}, "Host(`a.example`) -> http 80;"},
		{"shared redirect", web + "R.web.middlewares=redirect-https@file", []uint16{80}, "Host(`a.example`) -> http 80;"},
		{"shared redirect and more", web + "R.web.middlewares=redirect-https@file,auth@file", []uint16{80}, "Host(`a.example`) -> http 80 blocked;"},
		{"bad service", web + "S.s.loadbalancer.server.port=x", []uint16{80}, ""},
	} {
		routes, _, _ := traefik.Routes(container(tc.labels, tc.ports...))
		var got strings.Builder
		for _, r := range routes {
			fmt.Fprintf(&got, "%s -> %s %d", r.Match.Rule, r.Scheme, r.Port)
			if r.Blocked != "" {
				got.WriteString(" blocked")
			}
			got.WriteString(";")
			if !r.CleanPath || r.Vocabulary != ruche.VocabularyTraefik || r.PortReason == "" || r.Source == "" {
				t.Errorf("%s: incomplete route %+v", tc.name, r)
			}
		}
		if got.String() != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got.String(), tc.want)
		}
	}
}

func TestChainsAreWalkedOnce(t *testing.T) {
	var text strings.Builder
	text.WriteString(web + "R.web.middlewares=m0\n")
	for i := range 60 {
		fmt.Fprintf(&text, "M.m%d.chain.middlewares=m%d,m%d\n", i, i+1, i+1)
	}
	text.WriteString("M.m60.basicauth.users=x\n")
	routes, _, diagnostics := traefik.Routes(container(text.String(), 80))
	if len(routes) != 1 || routes[0].Blocked == "" || len(diagnostics) != 1 {
		t.Errorf("%d routes, diagnostics %+v", len(routes), diagnostics)
	}
}

func FuzzTraefikLabels(f *testing.F) {
	for _, tc := range golden {
		f.Add(tc.labels, uint16(80))
	}
	f.Fuzz(func(t *testing.T, text string, port uint16) {
		c := container(text)
		if port > 0 {
			c.ExposedPorts = []docker.Port{{Number: port, Protocol: "tcp"}}
		}
		routes, certificates, diagnostics := traefik.Routes(c)
		for _, s := range certificates {
			if len(s.Names) == 0 || s.Issuer == "" || s.Source == "" {
				t.Errorf("incomplete certificate %+v", s)
			}
		}
		for _, r := range routes {
			if r.Protocol != "" && (r.Match.EntryPoint == "" || r.Scheme != string(r.Protocol)) {
				t.Errorf("%+v is partly about connections", r)
			}
			parse := match.ParseRule
			if r.Protocol == ruche.ProtocolTCP {
				parse = match.ParseConnectionRule
			}
			if _, err := parse(r.Match.Rule); err != nil && r.Protocol != ruche.ProtocolUDP {
				t.Errorf("route with rule %q: %v", r.Match.Rule, err)
			}
			if r.Port == 0 || r.PortReason == "" || r.Scheme == "" || r.Source == "" || r.Name == "" {
				t.Errorf("incomplete route %+v", r)
			}
		}
		for _, d := range diagnostics {
			if d.Code == "" || d.Severity == "" || d.Source == "" || d.Message == "" || d.Workload == "" {
				t.Errorf("incomplete diagnostic %+v", d)
			}
		}
		if again, _, _ := traefik.Routes(c); !reflect.DeepEqual(again, routes) {
			t.Errorf("the same labels gave %v, then %v", routes, again)
		}
		for _, r := range routes {
			checkBalance(t, r)
		}
	})
}

// checkBalance holds what a route says about its endpoints to what the proxy relies on.
func checkBalance(t *testing.T, r ruche.Route) {
	if s := r.Sticky; s != nil && strings.ContainsAny(s.Cookie+s.Path+s.Domain+s.SameSite, "; \r\n") {
		t.Errorf("cookie %+v", s)
	}
	if c := r.Check; c != nil {
		if c.Path == "" && c.Mode != ruche.CheckGRPC || c.Interval <= 0 || c.Timeout <= 0 || c.Failures < 1 || c.Successes < 1 || strings.ContainsAny(c.Host+c.Method+c.Path, " \r\n") {
			t.Errorf("check %+v", c)
		}
	}
	if e := r.Eject; e != nil && (e.Failures < 1 || e.Time <= 0) {
		t.Errorf("ejection %+v", e)
	}
	for _, w := range r.Weights {
		if w < 0 {
			t.Errorf("weight %d", w)
		}
	}
}

func TestEntryPointsThatArePublic(t *testing.T) {
	for _, tc := range []struct {
		names string
		open  bool
	}{
		{"web", true}, {"websecure", true}, {"HTTP", true}, {"https", true}, {"web-secure", true}, {"web_secure", true}, {"websecure-eu", true},
		{"https-external", true}, {"shop-public", true}, {"https443", false}, {"", true}, {"internal,web", true},
		{"internal", false}, {"traefik", false}, {"lan", false}, {"mgmt", false}, {"private", false}, {"admin", false}, {"websecure-internal", false},
		{"web-lan", false}, {"non-public", false}, {"-", false}, {"secured", false}, {"internal,lan", false}, {"ep1", false},
	} {
		routes, _, _ := traefik.Routes(container(web+"R.web.entrypoints="+tc.names, 80))
		if len(routes) != 1 || (routes[0].Blocked == "") != tc.open {
			t.Errorf("%q: routes %+v, want open %v", tc.names, routes, tc.open)
		}
	}
}

func TestPriorityHas64Bits(t *testing.T) {
	routes, _, diagnostics := traefik.Routes(container(web+"R.web.priority=9223372036854774807", 80))
	if len(routes) != 1 || routes[0].Match.Priority != 9223372036854774807 || len(diagnostics) != 0 {
		t.Errorf("routes %+v, diagnostics %+v", routes, diagnostics)
	}
}
