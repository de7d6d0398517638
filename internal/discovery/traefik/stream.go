package traefik

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
	"github.com/ruche-project/ruche/internal/match"
)

// readStreams reads the TCP routers. Each entry point gives a route.
func (r *reader) readStreams() []ruche.Route {
	var routes []ruche.Route
	for _, e := range r.labels.tcpRouters {
		routes = append(routes, r.readStream(e)...)
	}
	return routes
}

func (r *reader) readStream(e *element) []ruche.Route {
	before := len(r.diagnostics)
	route := ruche.Route{Name: e.name, Vocabulary: ruche.VocabularyTraefik, Protocol: ruche.ProtocolTCP, Scheme: ruche.SchemeTCP}
	rule, ok := r.readStreamRule(e, &route)
	if !ok {
		return nil
	}
	if hosts, _ := rule.Hosts(); len(hosts) > 0 {
		defer func() { r.about(before, len(r.diagnostics), hosts[0]) }()
	}
	r.readPriority(e, &route)
	r.checkStreamOptions(e, &route)
	if !r.readStreamTLS(e, rule, &route) || !r.linkStream(e, r.labels.tcpServices, &route) {
		return nil
	}
	r.readStreamResolver(e, rule, &route)
	var routes []ruche.Route
	for _, route.Match.EntryPoint = range r.streamEntryPoints(e, route.TLS != "" && !rule.MayMatchHost("")) {
		routes = append(routes, route)
	}
	return routes
}

func (r *reader) readStreamRule(e *element, route *ruche.Route) (*match.Rule, bool) {
	o, declared := e.option("rule")
	if !declared {
		o.key = e.options[0].key
	}
	route.Match.Rule, route.Source = o.value, "label "+clip(o.key)
	rule, err := match.ParseConnectionRule(o.value)
	if err != nil {
		r.badRule(o.key, err)
	}
	return rule, err == nil
}

// checkStreamOptions reports what a router asks for and does not get, and blocks the route where that may restrict access.
func (r *reader) checkStreamOptions(e *element, route *ruche.Route) {
	for _, o := range e.options {
		switch {
		case o.path == "rule" || o.path == "entrypoints" || o.path == "service" || o.path == "rulesyntax" || o.path == "priority":
		case o.path == "tls" || o.path == "tls.passthrough" || o.path == "tls.options" || below(o.path, resolverPath) || below(o.path, domainsPath):
		case o.path == "middlewares":
			route.Blocked = "label " + clip(o.key) + " asks for middlewares, which TCP routes do not have"
			r.add(ruche.CodeAccessUnsupported, ruche.SeverityError, o.key, "remove the label if everybody may connect",
				"middlewares of TCP are not supported; they may restrict access, so connections are closed")
		default:
			r.checkUnknownStreamOption(o, route)
		}
	}
}

// checkUnknownStreamOption blocks the route, as checkUnknownOption does.
func (r *reader) checkUnknownStreamOption(o option, route *ruche.Route) {
	route.Blocked = "label " + clip(o.key) + " is not known; it may be a misspelt restriction of access"
	r.add(ruche.CodeKeyUnknown, ruche.SeverityError, o.key, "remove the label if the route may be served without it",
		"option %s is not known; it may be a misspelt restriction of access, so nothing is forwarded", quote(o.path))
}

// readStreamTLS finds out who does the handshake. As with Traefik any option of TLS turns it on. It reports false for a router whose rule needs what only TLS tells, and
// that has none.
func (r *reader) readStreamTLS(e *element, rule *match.Rule, route *ruche.Route) bool {
	for _, o := range e.options {
		if !below(o.path, "tls") {
			continue
		}
		on, err := true, error(nil)
		if o.path == "tls" || o.path == "tls.passthrough" {
			on, err = strconv.ParseBool(strings.ToLower(o.value))
		}
		switch {
		case err != nil:
			r.add(ruche.CodeValueInvalid, ruche.SeverityError, o.key, "write true or false", "%s is neither true nor false; nothing is forwarded", quote(o.value))
			return false
		case o.path == "tls" && !on:
		case o.path == "tls.passthrough" && on:
			route.TLS = ruche.TLSPassthrough
		default:
			route.TLS = cmp.Or(route.TLS, ruche.TLSAuto)
		}
	}
	if route.TLS == "" && rule.AsksTLS() {
		name := "traefik.tcp.routers." + clip(e.name)
		r.add(ruche.CodeRouterIncomplete, ruche.SeverityError, optionOf(e, "rule").key,
			"add the label "+name+".tls=true to have TLS end here, or "+name+".tls.passthrough=true where the container speaks TLS",
			"only TLS tells what the rule asks for, and the router has none; nothing is forwarded")
		return false
	}
	if route.TLS == ruche.TLSAuto {
		r.checkStreamCertificate(e, route)
	}
	return true
}

// checkStreamCertificate reports what a router asks for of the TLS that ends here.
func (r *reader) checkStreamCertificate(e *element, route *ruche.Route) {
	for _, o := range e.options {
		if o.path == "tls.options" && o.value != "default" {
			route.Blocked = "label " + clip(o.key) + " names TLS options that are not known; they may ask for client certificates"
			r.add(ruche.CodeAccessUnsupported, ruche.SeverityError, o.key, "remove the label to serve everybody with Ruche's own TLS settings",
				"TLS options %s come from Traefik's own configuration, which is not read; they may ask for client certificates, so connections are closed", quote(o.value))
		}
	}
}

// streamEntryPoints returns the entry points of a router by the names that they have here. named tells that it takes TLS for some names alone, so that it may share the
// HTTPS port.
func (r *reader) streamEntryPoints(e *element, named bool) []string {
	o, declared := e.option("entrypoints")
	names := words(strings.ToLower(o.value))
	if !declared || len(names) == 0 {
		if named {
			return []string{ruche.EntryPointHTTPS}
		}
		r.add(ruche.CodeRouterIncomplete, ruche.SeverityError, optionOf(e, "rule").key, "add the label traefik.tcp.routers.<name>.entrypoints=postgres, and start Ruche with --entry-points postgres=:5432",
			"the router names no entry point; nothing is forwarded")
		return nil
	}
	var points []string
	for _, name := range names {
		switch {
		case (name == "websecure" || name == ruche.EntryPointHTTPS) && !named:
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityError, o.key, "have the rule name hosts, with TLS, or name another entry point",
				"entry point %s serves sites too, and the router does not take certain names alone; nothing is forwarded from it", quote(name))
			continue
		case name == "websecure" || name == ruche.EntryPointHTTPS:
			name = ruche.EntryPointHTTPS
		case name == "web" || name == "http":
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityError, o.key, "name another entry point", "entry point %s serves HTTP alone; nothing is forwarded from it", quote(name))
			continue
		default:
			if p := setting.EntryPoint(name); p != nil {
				r.add(ruche.CodeValueInvalid, ruche.SeverityError, o.key, p.Hint, "%s", p.Message)
				continue
			}
		}
		points = append(points, name)
	}
	return points
}

// linkStream finds the router's service and reads it.
func (r *reader) linkStream(e *element, services []*element, route *ruche.Route) bool {
	name, _, _ := strings.Cut(optionOf(e, "service").value, "@")
	protocol := string(route.Protocol)
	s := find(services, name)
	switch {
	case name != "" && s == nil:
		r.add(ruche.CodeRouterIncomplete, ruche.SeverityError, optionOf(e, "service").key, "declare it on this container", "%s service %s is not declared on this container", strings.ToUpper(protocol), quote(name))
		return false
	case name == "" && len(services) > 1:
		r.add(ruche.CodeRouterIncomplete, ruche.SeverityError, "traefik."+protocol+".routers."+e.name, "add the label traefik."+protocol+".routers."+clip(e.name)+".service",
			"the router does not say which of %d %s services it leads to", len(services), strings.ToUpper(protocol))
		return false
	case name == "" && len(services) == 1:
		s = services[0]
	case s == nil:
		s = &element{name: e.name}
	}
	return r.readStreamService(s, route)
}

func (r *reader) readStreamService(e *element, route *ruche.Route) bool {
	s := service{name: e.name, usable: true}
	tcp := route.Protocol == ruche.ProtocolTCP
	for _, o := range e.options {
		switch {
		case o.path == portPath:
			r.readPort(&s, o)
		case !tcp:
			s.usable = false
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityError, o.key, "remove the label if datagrams may be forwarded without it",
				"option %s of a UDP service is not supported; nothing is forwarded to it", quote(o.path))
		case o.path == "loadbalancer.proxyprotocol" || o.path == "loadbalancer.proxyprotocol.version":
			r.readStreamProxy(&s, o, route)
		case o.path == "loadbalancer.terminationdelay":
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityInfo, o.key, "", "a connection whose one direction has ended goes on while something comes the other way")
		case o.path == "loadbalancer.server.tls" && strings.EqualFold(o.value, "false"):
		default:
			s.usable = false
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityError, o.key, "remove the label if connections may be forwarded without it",
				"option %s of a TCP service is not supported; nothing is forwarded to it", quote(o.path))
		}
	}
	if _, declared := e.option(portPath); !declared && s.usable {
		r.lowestPort(&s, "traefik."+string(route.Protocol)+".services."+s.name+"."+portPath)
	}
	route.Port, route.PortReason = s.port, s.reason
	return s.usable
}

// readStreamProxy reads the version of the PROXY protocol that the container is spoken to with; 2 where none is named.
func (r *reader) readStreamProxy(s *service, o option, route *ruche.Route) {
	switch strings.ToLower(o.value) {
	case "1":
		route.ProxyProtocol = 1
	case "2":
		route.ProxyProtocol = 2
	case "true":
		if route.ProxyProtocol == 0 {
			route.ProxyProtocol = 2
		}
	case "false":
	default:
		s.usable = false
		r.add(ruche.CodeValueInvalid, ruche.SeverityError, o.key, "write 1 or 2", "there is no version %s of the PROXY protocol; nothing is forwarded", quote(o.value))
	}
}
