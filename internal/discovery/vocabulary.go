package discovery

import (
	"encoding/json"
	"fmt"
	"slices"

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

// declared is what one workload declares, and what is wrong with it.
type declared struct {
	routes       []ruche.Route
	certificates []ruche.CertificateSpec
	diagnostics  []ruche.Diagnostic
}

// nothing reports whether there is nothing to be written.
func (d *declared) nothing() bool {
	return len(d.routes) == 0 && len(d.certificates) == 0 && len(d.diagnostics) == 0
}

// declaredBy reads what one container declares.
func declaredBy(c docker.Container) declared {
	found := readAll(c)
	if !oneOff(c) || found.nothing() {
		return found
	}
	d := ruche.Diagnostic{
		Code: ruche.CodeKeyUnsupported, Severity: ruche.SeverityInfo, Workload: c.Name, Source: "label " + oneOffLabel,
		Message: "this is a one-off container of Compose (docker compose run); it is not published",
		Hint:    "start the service by docker compose up to publish it",
	}
	if len(found.routes) > 0 {
		d.Host = found.routes[0].Match.Host
	}
	return declared{diagnostics: []ruche.Diagnostic{d}}
}

// readAll reads all vocabularies of one container. Traefik's labels win over VIRTUAL_HOST, per host and path, and Ruche's own over both.
func readAll(c docker.Container) declared {
	var d declared
	var more []ruche.Route
	var wanted []ruche.CertificateSpec
	var diagnostics []ruche.Diagnostic
	d.routes, d.certificates, d.diagnostics = traefik.Routes(c)
	more, wanted, diagnostics = nginxproxy.Routes(c)
	d.diagnostics = append(d.diagnostics, diagnostics...)
	d.merge(c, more)
	d.noteUnserved(c, wanted)
	d.certificates = append(d.certificates, wanted...)
	readOwnLabels(c, &d)
	d.noteUncovered(c.Name, d.askedByContainer)
	d.diagnostics = append(d.diagnostics, secure(c, d.routes)...)
	return bound(c, d)
}

// merge takes over the routes that no Traefik router shadows.
func (d *declared) merge(c docker.Container, more []ruche.Route) {
	covers := coversOf(d.routes)
	for _, route := range more {
		if by := shadow(covers, route); by != "" {
			d.diagnostics = append(d.diagnostics, ruche.Diagnostic{
				Code: ruche.CodeRouteShadowed, Severity: ruche.SeverityInfo, Workload: c.Name, Source: route.Source, Host: route.Match.Host,
				Message: fmt.Sprintf("host %s with path %s is declared by Traefik's router %q of the same container, which wins",
					route.Match.Host, route.Match.Path, by),
				Hint: "remove one of the two",
			})
			continue
		}
		d.routes = append(d.routes, route)
	}
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

// bound keeps out what is too large to be kept.
func bound(c docker.Container, d declared) declared {
	if len(d.diagnostics) > maxDiagnostics {
		left := len(d.diagnostics) - maxDiagnostics
		d.diagnostics = append(slices.Clone(d.diagnostics[:maxDiagnostics]), ruche.Diagnostic{
			Code: ruche.CodeValueInvalid, Severity: ruche.SeverityWarning, Workload: c.Name, Source: "all",
			Message: fmt.Sprintf("%d more problems are not shown", left), Hint: "correct the ones above first",
		})
	}
	size := d.size()
	if size <= maxDeclared {
		return d
	}
	return declared{diagnostics: append(d.diagnostics, ruche.Diagnostic{
		Code: ruche.CodeValueInvalid, Severity: ruche.SeverityError, Workload: c.Name, Source: "all",
		Message: fmt.Sprintf("the container declares %d routes and %d certificates of together %d bytes; more than %d bytes are not taken",
			len(d.routes), len(d.certificates), size, maxDeclared),
		Hint: "spread the routes over several containers, or use a wildcard",
	})}
}

// size is how many bytes routes and certificates take in the replicated state.
func (d *declared) size() int {
	routes, _ := json.Marshal(d.routes) // of plain types only, cannot fail
	certificates, _ := json.Marshal(d.certificates)
	return len(routes) + len(certificates)
}
