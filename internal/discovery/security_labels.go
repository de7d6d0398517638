package discovery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

// Labels of Ruche's own that go with the routes of a container, in whatever vocabulary these are declared.
const (
	labelClientAuth   = "ruche.tls.client-auth"
	labelClientCA     = "ruche.tls.client-ca"
	labelClientCRL    = "ruche.tls.client-crl"
	labelEndpointCA   = "ruche.endpoint-tls.ca"
	labelEndpointName = "ruche.endpoint-tls.server-name"
	labelEndpointCert = "ruche.endpoint-tls.client-cert"
)

func securityLabels() []string {
	return []string{labelClientAuth, labelClientCA, labelClientCRL, labelEndpointCA, labelEndpointName, labelEndpointCert}
}

const endpointPrefix = "ruche.endpoint-tls."

// restricts reports whether a label, in lower case, is one of these or may be a misspelt one.
func restricts(label string) bool {
	return strings.HasPrefix(label, "ruche.tls.client") || strings.HasPrefix(label, "ruche.endpoint")
}

// securityReader reads these labels.
type securityReader struct {
	c           docker.Container
	values      map[string]string // by the label in lower case
	diagnostics []ruche.Diagnostic
	closed      string // why the routes must not be served
}

// secure gives the routes of a container what its own labels say about TLS. What cannot be read closes them: it was to keep somebody out.
func secure(c docker.Container, routes []ruche.Route) []ruche.Diagnostic {
	r := securityReader{c: c, values: map[string]string{}}
	for key, value := range c.Labels {
		if lower := strings.ToLower(key); restricts(lower) {
			r.values[lower] = strings.TrimSpace(value)
		}
	}
	if len(r.values) == 0 {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(r.values)) {
		if !slices.Contains(securityLabels(), key) {
			hint := cmp.Or(strictyaml.DidYouMean(key, securityLabels()), "remove the label")
			r.close(ruche.CodeKeyUnknown, key, hint, "the label is not known; it may be a misspelt restriction")
		}
	}
	clients, endpoints := r.clientAuth(), r.endpointTLS()
	for i := range routes {
		route := &routes[i]
		if clients != nil && route.Protocol != ruche.ProtocolUDP {
			route.ClientAuth = clients
		}
		if endpoints != nil {
			route.EndpointTLS = endpoints
		}
		route.Blocked = cmp.Or(route.Blocked, r.closed)
		if clients != nil && clients.Mode != ruche.ClientAuthOff && route.Protocol == ruche.ProtocolTCP && !endsTLS(route) {
			route.Blocked = cmp.Or(route.Blocked, "label "+labelClientAuth+" asks for client certificates, but the TLS of the route does not end here")
		}
	}
	return r.diagnostics
}

func (r *securityReader) close(code ruche.Code, key, hint, format string, args ...any) {
	r.diagnostics = append(r.diagnostics, ruche.Diagnostic{
		Code: code, Severity: ruche.SeverityError, Workload: r.c.Name, Source: "label " + key, Hint: hint,
		Message: fmt.Sprintf(format, args...) + ", so requests get 503",
	})
	r.closed = cmp.Or(r.closed, "label "+key+" cannot be used")
}

// read gives the value of a label, checked.
func (r *securityReader) read(key string, parse func(string) (string, *setting.Problem)) string {
	written, ok := r.values[key]
	if !ok {
		return ""
	}
	value, p := parse(written)
	if p != nil {
		r.close(ruche.CodeValueInvalid, key, p.Hint, "%s", p.Message)
	}
	return value
}

func (r *securityReader) clientAuth() *ruche.ClientAuth {
	wanted := false
	for _, key := range []string{labelClientAuth, labelClientCA, labelClientCRL} {
		_, given := r.values[key]
		wanted = wanted || given
	}
	if !wanted {
		return nil
	}
	a := &ruche.ClientAuth{Mode: ruche.ClientAuthRequire, CA: r.read(labelClientCA, setting.Authority), CRL: r.read(labelClientCRL, setting.RevocationList)}
	if value, ok := r.values[labelClientAuth]; ok {
		mode, p := setting.ClientAuthMode(value)
		if a.Mode = mode; p != nil {
			a.Mode = ruche.ClientAuthRequire
			r.close(ruche.CodeValueInvalid, labelClientAuth, p.Hint, "%s", p.Message)
		}
	}
	if p := setting.ClientAuth(a); p != nil {
		r.close(ruche.CodeValueInvalid, labelClientCA, p.Hint, "%s", p.Message)
	}
	return a
}

func (r *securityReader) endpointTLS() *ruche.EndpointTLS {
	e := &ruche.EndpointTLS{
		CA:         r.read(labelEndpointCA, setting.Authority),
		ServerName: r.read(labelEndpointName, as(setting.ServerName)),
		ClientCert: r.read(labelEndpointCert, as(setting.FileName)),
	}
	if *e == (ruche.EndpointTLS{}) {
		return nil
	}
	return e
}

// as has a check give the value that it was given.
func as(check func(string) *setting.Problem) func(string) (string, *setting.Problem) {
	return func(value string) (string, *setting.Problem) { return value, check(value) }
}
