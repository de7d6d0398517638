package traefik

import (
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
)

// readDatagrams reads the UDP routers. Each entry point gives a route.
func (r *reader) readDatagrams() []ruche.Route {
	var routes []ruche.Route
	for _, e := range r.labels.udpRouters {
		route := ruche.Route{
			Name: e.name, Vocabulary: ruche.VocabularyTraefik, Protocol: ruche.ProtocolUDP, Scheme: ruche.SchemeUDP, Source: "label " + clip(e.options[0].key),
		}
		for _, o := range e.options {
			if o.path != "entrypoints" && o.path != "service" {
				r.checkUnknownStreamOption(o, &route)
			}
		}
		if !r.linkStream(e, r.labels.udpServices, &route) {
			continue
		}
		for _, entryPoint := range r.datagramEntryPoints(e) {
			route.Match = ruche.Match{EntryPoint: entryPoint}
			routes = append(routes, route)
		}
	}
	return routes
}

func (r *reader) datagramEntryPoints(e *element) (points []string) {
	o, _ := e.option("entrypoints")
	names := words(strings.ToLower(o.value))
	if len(names) == 0 {
		r.add(ruche.CodeRouterIncomplete, ruche.SeverityError, e.options[0].key, "add the label traefik.udp.routers.<name>.entrypoints=dns, and start Ruche with --entry-points dns=:53/udp",
			"the router names no entry point; nothing is forwarded")
	}
	for _, name := range names {
		switch p := setting.EntryPoint(name); {
		case p != nil:
			r.add(ruche.CodeValueInvalid, ruche.SeverityError, o.key, p.Hint, "%s", p.Message)
		case name == "web" || name == "http" || name == "websecure" || name == ruche.EntryPointHTTPS:
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityError, o.key, "name an entry point of UDP", "entry point %s takes no datagrams; nothing is forwarded from it", quote(name))
		default:
			points = append(points, name)
		}
	}
	return points
}
