package traefik

import (
	"regexp"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
)

// readStreams reads the TCP routers. Each host and entry point gives a route.
func (r *reader) readStreams() []ruche.Route {
	var routes []ruche.Route
	for _, e := range r.labels.tcpRouters {
		routes = append(routes, r.readStream(e)...)
	}
	return routes
}

func (r *reader) readStream(e *element) []ruche.Route {
	before := len(r.diagnostics)
	route := ruche.Route{Name: e.name, Vocabulary: ruche.VocabularyTraefik, Protocol: ruche.ProtocolTCP, Scheme: ruche.SchemeTCP, Source: "label " + clip(optionOf(e, "rule").key)}
	hosts, ok := r.readStreamRule(e)
	if ok && hosts[0] != "*" {
		defer func() { r.about(before, len(r.diagnostics), hosts[0]) }()
	}
	if !ok || !r.checkStreamOptions(e, &route) || !r.checkStreamTLS(e, hosts) || !r.linkStream(e, r.labels.tcpServices, &route) {
		return nil
	}
	var routes []ruche.Route
	for _, entryPoint := range r.streamEntryPoints(e, hosts) {
		for _, host := range hosts {
			if route.Match = (ruche.Match{EntryPoint: entryPoint, Host: host}); host == "*" {
				route.Match.Host = ""
			}
			routes = append(routes, route)
		}
	}
	return routes
}

var (
	hostSNI     = regexp.MustCompile(`(?i)^HostSNI\(([^()]*)\)$`)
	sniArgument = regexp.MustCompile("^[`\"]([^`\"]+)[`\"]$")
)

// readStreamRule returns the names that the router takes; "*" alone for all.
func (r *reader) readStreamRule(e *element) (hosts []string, ok bool) {
	o, declared := e.option("rule")
	if !declared {
		o.key = e.options[0].key
	}
	for term := range strings.SplitSeq(o.value, "||") {
		m := hostSNI.FindStringSubmatch(strings.TrimSpace(term))
		if m == nil {
			r.add(ruche.CodeRuleInvalid, ruche.SeverityError, o.key, "write HostSNI(`db.example`), several of them joined by ||, or HostSNI(`*`)",
				"TCP rule %s is not supported; nothing is forwarded", quote(o.value))
			return nil, false
		}
		for word := range strings.SplitSeq(m[1], ",") {
			name := sniArgument.FindStringSubmatch(strings.TrimSpace(word))
			if name == nil {
				r.add(ruche.CodeRuleInvalid, ruche.SeverityError, o.key, "write HostSNI(`db.example`)", "TCP rule %s has no name in backquotes; nothing is forwarded", quote(o.value))
				return nil, false
			}
			hosts = append(hosts, strings.ToLower(name[1]))
		}
	}
	for _, host := range hosts {
		if host == "*" {
			return []string{"*"}, true
		}
	}
	return hosts, true
}

// checkStreamOptions reports what a router asks for and does not get. It reports false when the router cannot be served without it.
func (r *reader) checkStreamOptions(e *element, route *ruche.Route) bool {
	for _, o := range e.options {
		switch {
		case o.path == "rule" || o.path == "entrypoints" || o.path == "service" || o.path == "rulesyntax" || below(o.path, "tls"):
		case o.path == "priority":
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityInfo, o.key, "", "the more specific name goes first, whatever the priority")
		case o.path == "middlewares":
			route.Blocked = "label " + clip(o.key) + " asks for middlewares, which TCP routes do not have"
			r.add(ruche.CodeAccessUnsupported, ruche.SeverityError, o.key, "remove the label if everybody may connect",
				"middlewares of TCP are not supported; they may restrict access, so connections are closed")
		default:
			r.checkUnknownStreamOption(o, route)
		}
	}
	return true
}

// checkUnknownStreamOption blocks the route, as checkUnknownOption does.
func (r *reader) checkUnknownStreamOption(o option, route *ruche.Route) {
	route.Blocked = "label " + clip(o.key) + " is not known; it may be a misspelt restriction of access"
	r.add(ruche.CodeKeyUnknown, ruche.SeverityError, o.key, "remove the label if the route may be served without it",
		"option %s is not known; it may be a misspelt restriction of access, so nothing is forwarded", quote(o.path))
}

// checkStreamTLS reports false for a router that wants TLS taken off, or that chooses by a name without TLS.
func (r *reader) checkStreamTLS(e *element, hosts []string) bool {
	if strings.EqualFold(optionOf(e, "tls.passthrough").value, "true") {
		return true
	}
	const hint = "add the label traefik.tcp.routers.<name>.tls.passthrough=true, and have the container speak TLS"
	if hasTLS(e) {
		r.add(ruche.CodeKeyUnsupported, ruche.SeverityError, optionOf(e, "rule").key, hint, "TLS is not taken off for TCP routers; nothing is forwarded")
		return false
	}
	if hosts[0] != "*" {
		r.add(ruche.CodeRouterIncomplete, ruche.SeverityError, optionOf(e, "rule").key, hint, "only TLS tells the name that the rule asks for, and the router has none; nothing is forwarded")
		return false
	}
	return true
}

// streamEntryPoints returns the entry points of a router by the names that they have here.
func (r *reader) streamEntryPoints(e *element, hosts []string) []string {
	o, declared := e.option("entrypoints")
	names := words(strings.ToLower(o.value))
	if !declared || len(names) == 0 {
		if hosts[0] != "*" {
			return []string{ruche.EntryPointHTTPS}
		}
		r.add(ruche.CodeRouterIncomplete, ruche.SeverityError, optionOf(e, "rule").key, "add the label traefik.tcp.routers.<name>.entrypoints=postgres, and start Ruche with --entry-points postgres=:5432",
			"the router names no entry point; nothing is forwarded")
		return nil
	}
	var points []string
	for _, name := range names {
		switch {
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
