package discovery

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/docker"
)

func TestDeclaredByService(t *testing.T) {
	const rule, port = "traefik.http.routers.shop.rule", "traefik.http.services.shop.loadbalancer.server.port"
	labels := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	env := labels("VIRTUAL_HOST", "shop.example")
	tcp := func(target uint16) docker.PublishedPort {
		return docker.PublishedPort{Target: target, Published: 30000, Protocol: "tcp"}
	}
	for _, tc := range []struct {
		name    string
		service docker.Service
		// routes are "match source port reason", diagnostics "code source" with something of the message.
		routes, diagnostics []string
	}{
		{"nothing", docker.Service{Labels: labels("com.docker.stack.namespace", "web")}, nil, nil},
		{"VIRTUAL_HOST and no port", docker.Service{Env: env},
			[]string{"shop.example/ | env VIRTUAL_HOST | 80 | 80, because the service publishes no port, what its image exposes is not known and VIRTUAL_PORT is not set"}, nil},
		{"VIRTUAL_HOST and one published port", docker.Service{Env: env, Ports: []docker.PublishedPort{tcp(8080)}},
			[]string{"shop.example/ | env VIRTUAL_HOST | 8080 | the only published port"}, nil},
		{"VIRTUAL_HOST and one port published twice", docker.Service{Env: env, Ports: []docker.PublishedPort{tcp(8080), {Target: 8080, Published: 1, Protocol: "tcp", Host: true}}},
			[]string{"shop.example/ | env VIRTUAL_HOST | 8080 | the only published port"}, nil},
		{"VIRTUAL_HOST and several published ports", docker.Service{Env: env, Ports: []docker.PublishedPort{tcp(8080), tcp(8081)}},
			[]string{"shop.example/ | env VIRTUAL_HOST | 80 | 80, because several ports are published (8080/tcp, 8081/tcp) and VIRTUAL_PORT is not set"},
			[]string{"port-guessed | env VIRTUAL_PORT | several ports are published"}},
		{"Traefik on the service", docker.Service{Labels: labels(rule, "Host(`a.example`)", port, "81")},
			[]string{"Host(`a.example`) | service label " + rule + " | 81 | service label " + port}, nil},
		{"Traefik on the containers", docker.Service{ContainerLabels: labels(rule, "Host(`a.example`)", port, "81")},
			[]string{"Host(`a.example`) | container label " + rule + " | 81 | container label " + port}, nil},
		{"both, and the service's wins key by key", docker.Service{
			Labels: labels(rule, "Host(`a.example`)"), ContainerLabels: labels(strings.ToUpper(rule), "Host(`b.example`)", port, "82"),
		}, []string{"Host(`a.example`) | service label " + rule + " | 82 | container label " + port}, nil},
		{"Traefik without a port", docker.Service{Labels: labels(rule, "Host(`a.example`)")}, nil,
			[]string{"port-missing | label traefik.http.services.web-shop.loadbalancer.server.port | the service publishes no port (what its image exposes is not known), and no label names one"}},
		{"Traefik's default rule", docker.Service{Labels: labels("traefik.enable", "true", port, "80")},
			[]string{"Host(`web-shop`) | service label " + port + " | 80 | service label " + port}, nil},
		{"a mistake is shown where it stands", docker.Service{ContainerLabels: labels(rule, "Host(a.example)", port, "80")}, nil,
			[]string{"rule-invalid | container label " + rule + ", column 6 | "}},
		{"labels of the Swarm itself", docker.Service{
			Env: labels("VIRTUAL_HOST", "shop.example", "VIRTUAL_PORT", "1"), Labels: labels("traefik.docker.lbswarm", "true", "traefik.swarm.network", "web", "ruche.role", "edge"),
		}, []string{"shop.example/ | env VIRTUAL_HOST | 1 | VIRTUAL_PORT"}, nil},
		{"both vocabularies", docker.Service{Env: labels("VIRTUAL_HOST", "shop.example", "VIRTUAL_PORT", "1"), Labels: labels(rule, "Host(`shop.example`)", port, "81")},
			[]string{"Host(`shop.example`) | service label " + rule + " | 81 | service label " + port}, []string{"route-shadowed | env VIRTUAL_HOST | host shop.example with path / is declared by Traefik's router \"shop\" of the same service"}},
		{"a job", docker.Service{Env: env, Job: true}, nil, []string{"key-unsupported | mode | the tasks of a job run to an end"}},
		{"a template of Swarm", docker.Service{Env: labels("VIRTUAL_HOST", "{{.Node.Hostname}}.example")}, nil, []string{"host-invalid | env VIRTUAL_HOST | "}},
	} {
		tc.service.Name = "web_shop"
		found := declaredByService(tc.service)
		var got, said []string
		for _, r := range found.routes {
			match := r.Match.Rule
			if match == "" {
				match = r.Match.Host + r.Match.Path
			}
			got = append(got, strings.Join([]string{match, r.Source, strconv.Itoa(int(r.Port)), r.PortReason}, " | "))
		}
		for i, d := range found.diagnostics {
			line := string(d.Code) + " | " + d.Source + " | "
			if i < len(tc.diagnostics) && strings.HasPrefix(line+d.Message, tc.diagnostics[i]) {
				line = tc.diagnostics[i]
			}
			said = append(said, line)
		}
		if !slices.Equal(got, tc.routes) {
			t.Errorf("%s: routes\n%q, want\n%q", tc.name, got, tc.routes)
		}
		if !slices.Equal(said, tc.diagnostics) {
			t.Errorf("%s: diagnostics %+v, want %q", tc.name, found.diagnostics, tc.diagnostics)
		}
	}
}

func TestLabelsOfTheSwarm(t *testing.T) {
	for _, tc := range []struct {
		name               string
		service, container map[string]string
		network, place     string
		vip                bool
	}{
		{"none", nil, nil, "", "", false},
		{"the service's goes first", map[string]string{"Traefik.Docker.Network": "a"}, map[string]string{"traefik.docker.network": "b"}, "a", "service label traefik.docker.network", false},
		{"swarm goes before docker", map[string]string{"traefik.docker.network": "a", "traefik.docker.lbswarm": "true"},
			map[string]string{"traefik.swarm.network": "b", "traefik.swarm.lbswarm": "false"}, "b", "container label traefik.swarm.network", false},
		{"a virtual address", nil, map[string]string{"traefik.swarm.lbswarm": "True"}, "", "", true},
		{"nonsense is no wish", map[string]string{"traefik.swarm.lbswarm": "maybe"}, nil, "", "", false},
	} {
		s := docker.Service{Labels: tc.service, ContainerLabels: tc.container}
		network, place := networkLabelOf(s)
		if network != tc.network || place != tc.place || wantsVIP(s) != tc.vip {
			t.Errorf("%s: network %q at %q, virtual address %v", tc.name, network, place, wantsVIP(s))
		}
	}
}

// FuzzDeclaredByService looks for labels and variables that break the reader, or that give a route without its place.
func FuzzDeclaredByService(f *testing.F) {
	f.Add("VIRTUAL_HOST", "a.example", "traefik.http.routers.r.rule", "Host(`a`)", "traefik.swarm.network", "web", true)
	f.Add("VIRTUAL_HOST_MULTIPORTS", "x", "traefik.tcp.routers.r.rule", "HostSNI(`*`)", "com.github.nginx-proxy.nginx-proxy.keepalive", "1", false)
	f.Fuzz(func(t *testing.T, envKey, envValue, key, value, otherKey, otherValue string, published bool) {
		s := docker.Service{
			Name: "s", Env: map[string]string{envKey: envValue}, Labels: map[string]string{key: value}, ContainerLabels: map[string]string{otherKey: otherValue},
		}
		if published {
			s.Ports = []docker.PublishedPort{{Target: 80, Protocol: "tcp"}}
		}
		found := declaredByService(s)
		for _, r := range found.routes {
			if r.Source == "" || r.Port == 0 && r.Blocked == "" {
				t.Errorf("route %+v", r)
			}
		}
		if len(found.diagnostics) > maxDiagnostics+2 {
			t.Errorf("%d diagnostics", len(found.diagnostics))
		}
	})
}
