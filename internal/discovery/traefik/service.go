package traefik

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// service says how the container is spoken to.
type service struct {
	name   string
	port   uint16
	reason string
	scheme string
	// weights, policy, sticky, check and eject say how endpoints are chosen; see ruche.Route.
	weights []int
	policy  ruche.Policy
	sticky  *ruche.Sticky
	check   *ruche.Check
	eject   *ruche.Eject
	// badCheck tells that the health check must not be made as it is declared.
	badCheck bool
	// usable is false when nobody can know where requests should go; a diagnostic says why.
	usable bool
	// middlewares are those of the service itself.
	middlewares option
	// from and to are where its diagnostics stand.
	from, to int
}

// readServices reads the declared services, or makes the implicit one.
func (r *reader) readServices() {
	declared := r.labels.services
	if len(declared) == 0 {
		declared = []*element{{name: r.defaultName()}}
	}
	for _, e := range declared {
		from := len(r.diagnostics)
		s := r.readService(e)
		s.from, s.to = from, len(r.diagnostics)
		r.services = append(r.services, s)
	}
}

const portPath = "loadbalancer.server.port"

func (r *reader) readService(e *element) service {
	s := service{name: e.name, scheme: "http", usable: true}
	said := map[string]bool{}
	for _, o := range e.options {
		switch o.path {
		case portPath:
			r.readPort(&s, o)
		case "loadbalancer.server.scheme":
			r.readScheme(&s, o)
		case "middlewares":
			s.middlewares = o
		default:
			if !r.readBalance(&s, o) {
				r.checkServiceOption(&s, o, said)
			}
		}
	}
	r.finishSticky(&s, e)
	r.finishCheck(&s, e)
	if _, declared := e.option(portPath); !declared && s.usable {
		r.lowestPort(&s, "traefik.http.services."+s.name+"."+portPath)
	}
	return s
}

func (r *reader) readPort(s *service, o option) {
	number, err := strconv.ParseUint(o.value, 10, 16)
	if err != nil || number == 0 {
		s.usable = false
		r.add(ruche.CodePortInvalid, ruche.SeverityError, o.key, "write one number from 1 to 65535",
			"port %s is not a number from 1 to 65535", quote(o.value))
		return
	}
	s.port, s.reason = uint16(number), "label "+clip(o.key)
}

func (r *reader) readScheme(s *service, o option) {
	switch scheme := strings.ToLower(o.value); scheme {
	case ruche.SchemeHTTP, ruche.SchemeHTTPS, ruche.SchemeH2C:
		s.scheme = scheme
	default:
		s.usable = false
		r.add(ruche.CodeProtoUnsupported, ruche.SeverityError, o.key, "write http, https or h2c", "scheme %s is not known", quote(o.value))
	}
}

// lowestPort takes the lowest exposed port, as Traefik does; without one the service is not usable.
func (r *reader) lowestPort(s *service, key string) {
	exposed := r.c.ExposedPorts
	if len(exposed) == 0 {
		s.usable = false
		r.add(ruche.CodePortMissing, ruche.SeverityError, key, "add the label "+clip(key)+" with the port that speaks HTTP",
			"the container exposes no port, and no label names one")
		return
	}
	lowest := slices.MinFunc(exposed, func(a, b docker.Port) int { return cmp.Compare(a.Number, b.Number) })
	s.port, s.reason = lowest.Number, "the only exposed port"
	if len(exposed) > 1 {
		s.reason = "the lowest of " + strconv.Itoa(len(exposed)) + " exposed ports"
	}
}

// effect says what leaving out a known option means.
type effect struct {
	// path is the option, or the beginning of several.
	path     string
	severity ruche.Severity
	message  string
}

func serviceEffects() []effect {
	const file = "services of this kind cannot be declared by labels; nothing is forwarded to it"
	return []effect{
		{"loadbalancer.server.url", ruche.SeverityError, "a fixed URL is not supported; nothing is forwarded to this service"},
		{"loadbalancer.server.preservepath", ruche.SeverityInfo, "the path is passed on as it is"},
		{"loadbalancer.serverstransport", ruche.SeverityWarning, "the transport's settings are not applied"},
		{"loadbalancer.responseforwarding", ruche.SeverityInfo, "answers are passed on as they come"},
		{"weighted", ruche.SeverityError, file}, {"mirroring", ruche.SeverityError, file},
		{"failover", ruche.SeverityError, file}, {"highestrandomweight", ruche.SeverityError, file},
	}
}

// checkServiceOption reports an option that is not read. said holds what was said of this service already, so that
// the many options of one feature give one diagnostic.
func (r *reader) checkServiceOption(s *service, o option, said map[string]bool) {
	if o.path == "loadbalancer.passhostheader" {
		if value, err := strconv.ParseBool(o.value); err != nil || !value {
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityWarning, o.key, "", "the client's Host header is always passed on")
		}
		return
	}
	known := []string{portPath, "loadbalancer.server.scheme", "loadbalancer.passhostheader", "middlewares",
		weightPath, strategyPath, stickyPath, checkPath, passivePath}
	for _, e := range serviceEffects() {
		known = append(known, e.path)
		if !below(o.path, e.path) {
			continue
		}
		if e.severity == ruche.SeverityError {
			s.usable = false
		}
		if !said[e.path] {
			said[e.path] = true
			r.add(ruche.CodeKeyUnsupported, e.severity, o.key, "", "%s", e.message)
		}
		return
	}
	r.unknown(o, o.path, "option", known)
}

// below reports whether an option is e or one of its parts: "tls.domains[0].main" is below "tls.domains".
func below(path, e string) bool {
	rest, ok := strings.CutPrefix(path, e)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
