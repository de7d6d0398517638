package discovery

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/nginxproxy"
	"github.com/ruche-project/ruche/internal/discovery/traefik"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/match"
)

const (
	// What one workload declares is bounded, so that a mistake in one of them cannot fill the replicated state.
	maxDeclared    = 256 << 10 // bytes of JSON
	maxDiagnostics = 200
)

// declaredBy reads what one container declares.
func declaredBy(c docker.Container) ([]ruche.Route, []ruche.Diagnostic) {
	routes, diagnostics := readAll(c)
	if !oneOff(c) || len(routes) == 0 && len(diagnostics) == 0 {
		return routes, diagnostics
	}
	d := ruche.Diagnostic{
		Code: ruche.CodeKeyUnsupported, Severity: ruche.SeverityInfo, Workload: c.Name, Source: "label " + oneOffLabel,
		Message: "this is a one-off container of Compose (docker compose run); it is not published",
		Hint:    "start the service by docker compose up to publish it",
	}
	if len(routes) > 0 {
		d.Host = routes[0].Match.Host
	}
	return nil, []ruche.Diagnostic{d}
}

// readAll reads all vocabularies of one container. Traefik's labels win over VIRTUAL_HOST, per host and path.
func readAll(c docker.Container) ([]ruche.Route, []ruche.Diagnostic) {
	routes, diagnostics := traefik.Routes(c)
	more, moreDiagnostics := nginxproxy.Routes(c)
	diagnostics = append(diagnostics, moreDiagnostics...)
	covers := coversOf(routes)
	for _, route := range more {
		if by := shadow(covers, route); by != "" {
			diagnostics = append(diagnostics, ruche.Diagnostic{
				Code: ruche.CodeRouteShadowed, Severity: ruche.SeverityInfo, Workload: c.Name, Source: route.Source, Host: route.Match.Host,
				Message: fmt.Sprintf("host %s with path %s is declared by Traefik's router %q of the same container, which wins",
					route.Match.Host, route.Match.Path, by),
				Hint: "remove one of the two",
			})
			continue
		}
		routes = append(routes, route)
	}
	diagnostics = append(diagnostics, secure(c, routes)...)
	if d, found := ownLabels(c); found {
		diagnostics = append(diagnostics, d)
	}
	return bound(c, routes, diagnostics)
}

// cover is what a Traefik router takes for sure, by host and path.
type cover struct {
	router string
	rule   *match.Rule
	hosts  []string
	paths  []string
}

func coversOf(routers []ruche.Route) []cover {
	var covers []cover
	for _, router := range routers {
		rule, err := match.ParseRule(router.Match.Rule)
		if err != nil {
			continue
		}
		hosts, _ := rule.Hosts()
		paths, plain := rule.Paths()
		if len(paths) == 0 {
			paths = []string{"/"}
		}
		if plain {
			covers = append(covers, cover{router: router.Name, rule: rule, hosts: hosts, paths: paths})
		}
	}
	return covers
}

// shadow returns the Traefik router that takes the host and path of a VIRTUAL_HOST route.
func shadow(covers []cover, route ruche.Route) string {
	path, err := match.ParsePath(route.Match.Path)
	if err != nil || path.Kind() == match.PathRegexp {
		return ""
	}
	for _, c := range covers {
		// The rule is asked too: it may name the host in one alternative and the path in another.
		if slices.Contains(c.hosts, route.Match.Host) && slices.Contains(c.paths, path.Value()) &&
			c.rule.Match(match.Request{Host: route.Match.Host, Path: path.Value()}) {
			return c.router
		}
	}
	return ""
}

// ownLabels reports labels that begin with ruche. and have no meaning yet.
func ownLabels(c docker.Container) (ruche.Diagnostic, bool) {
	var first string
	for key := range c.Labels {
		lower := strings.ToLower(key)
		if strings.HasPrefix(lower, "ruche.tls.client") || strings.HasPrefix(lower, "ruche.endpoint") {
			continue // secure has said what there is to say
		}
		if strings.HasPrefix(lower, "ruche.") && (first == "" || key < first) {
			first = key
		}
	}
	return ruche.Diagnostic{
		Code: ruche.CodeKeyUnsupported, Severity: ruche.SeverityInfo, Workload: c.Name, Source: "label " + first,
		Message: "of the labels that begin with ruche. only ruche.tls.client-auth and its like, and those below ruche.endpoint-tls. have a meaning in this release",
		Hint:    "declare the route by VIRTUAL_HOST, by Traefik labels, or in a route file",
	}, first != ""
}

// bound keeps out what is too large to be kept.
func bound(c docker.Container, routes []ruche.Route, diagnostics []ruche.Diagnostic) ([]ruche.Route, []ruche.Diagnostic) {
	if len(diagnostics) > maxDiagnostics {
		left := len(diagnostics) - maxDiagnostics
		diagnostics = append(slices.Clone(diagnostics[:maxDiagnostics]), ruche.Diagnostic{
			Code: ruche.CodeValueInvalid, Severity: ruche.SeverityWarning, Workload: c.Name, Source: "all",
			Message: fmt.Sprintf("%d more problems are not shown", left), Hint: "correct the ones above first",
		})
	}
	data, err := json.Marshal(routes)
	if err == nil && len(data) <= maxDeclared {
		return routes, diagnostics
	}
	return nil, append(diagnostics, ruche.Diagnostic{
		Code: ruche.CodeValueInvalid, Severity: ruche.SeverityError, Workload: c.Name, Source: "all",
		Message: fmt.Sprintf("the container declares %d routes of together %d bytes; more than %d bytes are not taken", len(routes), len(data), maxDeclared),
		Hint:    "spread the routes over several containers, or use a wildcard",
	})
}
