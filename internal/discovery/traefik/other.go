package traefik

import (
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
)

// checkOther reports the labels that are about neither routers nor services nor middlewares.
func (r *reader) checkOther() {
	for _, o := range r.labels.other {
		first, rest, _ := strings.Cut(o.path, ".")
		switch {
		case o.path == "docker.network":
		case o.path == "docker.allownonrunning":
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityInfo, o.key, "", "the routes of a stopped container are always kept")
		case o.path == "docker.lbswarm" || o.path == "swarm.lbswarm" || o.path == "swarm.network":
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityWarning, o.key, "", "labels about Swarm services are not supported on a container")
		case first == "docker" || first == "swarm":
			r.unknown(o, rest, "option", []string{"network", "lbswarm", "allownonrunning"})
		case first == "http":
			r.unknownHTTP(o, rest)
		case below(o.path, defaultCertificate):
		case first == "tls":
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityWarning, o.key, "", "TLS stores and options are not supported; certificates are chosen by host")
		case slices.Contains([]string{"backend", "frontend", "port", "protocol", "weight", "tags", "domain"}, first):
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityWarning, o.key, "write labels of Traefik 2 or later: traefik.http.routers.<name>.rule",
				"this is a label of Traefik 1, which later versions ignore too")
		default:
			r.unknown(o, first, "label", []string{"enable", "http", "tcp", "udp", "docker", "swarm", "tls"})
		}
	}
}

// unknownHTTP reports a label below traefik.http that names no option of a router, service or middleware.
func (r *reader) unknownHTTP(o option, rest string) {
	lists := []string{"routers", "services", "middlewares"}
	kind, _, _ := strings.Cut(rest, ".")
	switch {
	case slices.Contains(lists, kind) && r.suspected(o, ""):
	case slices.Contains(lists, kind):
		r.add(ruche.CodeKeyUnknown, ruche.SeverityWarning, o.key, "write traefik.http."+kind+".<name>.<option>", "the label names no option; it is ignored")
	case kind == "serverstransports":
		r.add(ruche.CodeKeyUnsupported, ruche.SeverityWarning, o.key, "", "transports are not supported")
	default:
		r.unknown(o, kind, "label", lists)
	}
}

// checkStreams reports what of TCP and UDP is neither a router nor a service, one diagnostic for each name.
func (r *reader) checkStreams() {
	said := map[string]bool{}
	for _, o := range r.labels.streams {
		parts := strings.SplitN(o.path, ".", 4)
		what := strings.Join(parts[:min(len(parts), 3)], ".")
		if said[what] {
			continue
		}
		said[what] = true
		r.add(ruche.CodeKeyUnsupported, ruche.SeverityWarning, o.key, "", "of %s only routers and services are read", strings.ToUpper(parts[0]))
	}
}
