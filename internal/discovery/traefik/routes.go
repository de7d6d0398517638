package traefik

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// reader collects what one container declares.
type reader struct {
	c        docker.Container
	labels   labels
	services []service
	used     map[string]bool   // middlewares that routers name, in lower case
	judged   map[string]string // why a middleware of the router at hand blocks it, by name in lower case
	suspect  string            // why no router must be served, because of a label that belongs to none

	certificates []ruche.CertificateSpec
	diagnostics  []ruche.Diagnostic
}

// Routes reads the labels of one container. The container takes part when traefik.enable is true, or when it is absent and there
// are labels of HTTP routers or services, or of TCP or UDP routers.
//
// The certificates are those that routers ask resolvers for, and the one that is to be the default.
func Routes(c docker.Container) ([]ruche.Route, []ruche.CertificateSpec, []ruche.Diagnostic) {
	r := &reader{c: c, labels: take(c.Labels), used: map[string]bool{}}
	routes := r.read()
	return routes, r.certificates, r.diagnostics
}

func (r *reader) read() []ruche.Route {
	l := &r.labels
	if l.empty() {
		return nil
	}
	enabled := len(l.routers) > 0 || len(l.services) > 0 || len(l.tcpRouters) > 0 || len(l.udpRouters) > 0
	if l.enable != nil {
		value, err := strconv.ParseBool(strings.ToLower(l.enable.value))
		if err != nil {
			r.add(ruche.CodeValueInvalid, ruche.SeverityError, l.enable.key, "write true or false",
				"%s is neither true nor false; nothing of this container is served", quote(l.enable.value))
			return nil
		}
		if !value {
			return nil
		}
		enabled = true
	}
	r.checkOther()
	r.checkStreams()
	// Labels of TCP and UDP alone declare no HTTP service, not even an implicit one.
	onlyStreams := l.anyStreams() && len(l.routers) == 0 && len(l.services) == 0 && len(l.middlewares) == 0
	var routes []ruche.Route
	if enabled && !onlyStreams {
		r.readServices()
		routes = r.readRouters()
	}
	if enabled {
		routes = append(routes, r.readStreams()...)
		routes = append(routes, r.readDatagrams()...)
		r.readDefaultCertificate()
	}
	r.checkUnused()
	for i := range routes {
		routes[i].Blocked = cmp.Or(routes[i].Blocked, r.suspect)
	}
	return routes
}

// add reports about one label.
func (r *reader) add(code ruche.Code, severity ruche.Severity, key, hint, format string, args ...any) {
	r.diagnostics = append(r.diagnostics, ruche.Diagnostic{
		Code: code, Severity: severity, Workload: r.c.Name, Source: "label " + clip(key),
		Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// about adds the host to those of some diagnostics that have none.
func (r *reader) about(from, to int, host string) {
	for i := from; i < to; i++ {
		if r.diagnostics[i].Host == "" {
			r.diagnostics[i].Host = host
		}
	}
}

// defaultName is how Traefik names what has no name: after the service of Compose, or the container.
func (r *reader) defaultName() string {
	service, project := r.c.Labels["com.docker.compose.service"], r.c.Labels["com.docker.compose.project"]
	if service != "" && project != "" {
		return normalize(service + "_" + project)
	}
	return normalize(r.c.Name)
}

// normalize joins what is letters and digits by hyphens.
func normalize(name string) string {
	return strings.Join(strings.FieldsFunc(name, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsNumber(c) }), "-")
}

// anyLabel returns a label that stands for the container's taking part.
func (r *reader) anyLabel() string {
	switch l := &r.labels; {
	case len(l.services) > 0:
		return l.services[0].options[0].key
	case l.enable != nil:
		return l.enable.key
	}
	return "traefik.enable"
}

// quote shows a value in a message, shortened.
func quote(value string) string { return strconv.Quote(clip(value)) }

func clip(value string) string {
	const most = 120
	if len(value) > most {
		return strings.ToValidUTF8(value[:most], "") + "..."
	}
	return value
}
