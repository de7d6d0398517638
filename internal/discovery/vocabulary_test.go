package discovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

func TestTraefikWinsOverVirtualHost(t *testing.T) {
	for _, tc := range []struct {
		name, host, path, rule string
		want                   []string // vocabularies of the routes, then "shadowed" if that was said
	}{
		{"same host", "a.example", "", "Host(`a.example`)", []string{"traefik", "shadowed"}},
		{"another host", "b.example", "", "Host(`a.example`)", []string{"traefik", "nginx-proxy"}},
		{"one of two hosts", "a.example,b.example", "", "Host(`a.example`)", []string{"traefik", "nginx-proxy", "shadowed"}},
		{"same host, other path", "a.example", "", "Host(`a.example`) && PathPrefix(`/api`)", []string{"traefik", "nginx-proxy"}},
		{"same host, same path", "a.example", "/api", "Host(`a.example`) && PathPrefix(`/api`)", []string{"traefik", "shadowed"}},
		{"a path below", "a.example", "/api", "Host(`a.example`)", []string{"traefik", "nginx-proxy"}},
		{"slash", "a.example", "", "Host(`a.example`) && PathPrefix(`/`)", []string{"traefik", "shadowed"}},
		{"a regular expression of the path", "a.example", "~ ^/", "Host(`a.example`)", []string{"traefik", "nginx-proxy"}},
		{"the host in one alternative, the path in another", "a.example", "/y",
			"Host(`a.example`) && PathPrefix(`/x`) || Host(`b.example`) && PathPrefix(`/y`)", []string{"traefik", "nginx-proxy"}},
		{"a rule that is wrong", "a.example", "", "Host(`a.example`", []string{"nginx-proxy"}},
	} {
		found := declaredBy(docker.Container{
			Name: "c", Env: map[string]string{"VIRTUAL_HOST": tc.host, "VIRTUAL_PATH": tc.path},
			Labels:       map[string]string{"traefik.http.routers.r.rule": tc.rule},
			ExposedPorts: []docker.Port{{Number: 80, Protocol: "tcp"}},
		})
		var got []string
		for _, r := range found.routes {
			got = append(got, string(r.Vocabulary))
		}
		if slices.ContainsFunc(found.diagnostics, func(d ruche.Diagnostic) bool { return d.Code == ruche.CodeRouteShadowed }) {
			got = append(got, "shadowed")
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v (%+v)", tc.name, got, tc.want, found.diagnostics)
		}
	}
}

func TestWhatAContainerDeclaresIsBounded(t *testing.T) {
	var many, bad strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&many, "h%d.example,", i)
		fmt.Fprintf(&bad, "h%d/x,", i)
	}
	found := declaredBy(docker.Container{Name: "c", Env: map[string]string{"VIRTUAL_HOST": many.String()}})
	if len(found.routes) != 0 || len(found.diagnostics) != 1 || found.diagnostics[0].Code != ruche.CodeValueInvalid {
		t.Errorf("%d routes, diagnostics %+v", len(found.routes), found.diagnostics)
	}
	found = declaredBy(docker.Container{Name: "c", Env: map[string]string{"VIRTUAL_HOST": bad.String()}})
	if len(found.diagnostics) != maxDiagnostics+1 {
		t.Errorf("%d diagnostics", len(found.diagnostics))
	}
}
