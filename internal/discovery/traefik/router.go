package traefik

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

// readRouters reads the declared routers, or makes the implicit one.
func (r *reader) readRouters() []ruche.Route {
	if len(r.labels.routers) == 0 {
		if len(r.services) > 1 {
			r.add(ruche.CodeRouterIncomplete, ruche.SeverityError, r.anyLabel(), "add a label traefik.http.routers.<name>.rule and .service for each of them",
				"there are %d services and no router; nothing of this container is served", len(r.services))
			return nil
		}
		if route, ok := r.readRouter(&element{name: r.services[0].name}); ok {
			return []ruche.Route{route}
		}
		return nil
	}
	var routes []ruche.Route
	for _, e := range r.labels.routers {
		if secure := r.secureTwin(e); secure != nil {
			r.add(ruche.CodeRouteShadowed, ruche.SeverityInfo, optionOf(e, "rule").key, "",
				"router %s has the same rule for HTTPS and is served on both ports; this one is not needed", quote(secure.name))
			continue
		}
		if route, ok := r.readRouter(e); ok {
			routes = append(routes, route)
		}
	}
	return routes
}

// secureTwin finds, for a router of plain HTTP, the router that differs from it by TLS alone. People write such pairs to redirect one to
// the other; here one router is served on both ports, and what the one for HTTPS demands holds for both.
func (r *reader) secureTwin(e *element) *element {
	if !plain(e) || optionOf(e, "rule").value == "" {
		return nil
	}
	for _, other := range r.labels.routers {
		if other != e && secure(other) && optionOf(other, "rule").value == optionOf(e, "rule").value &&
			(len(r.services) == 1 || strings.EqualFold(optionOf(other, "service").value, optionOf(e, "service").value)) {
			return other
		}
	}
	return nil
}

func plain(e *element) bool {
	points := words(strings.ToLower(optionOf(e, "entrypoints").value))
	return len(points) > 0 && !hasTLS(e) && !slices.ContainsFunc(points, func(p string) bool { return p != "web" && p != "http" })
}

func secure(e *element) bool {
	points := words(strings.ToLower(optionOf(e, "entrypoints").value))
	return !slices.ContainsFunc(points, func(p string) bool { return p != "websecure" && p != "https" }) && (len(points) > 0 || hasTLS(e))
}

func hasTLS(e *element) bool {
	return slices.ContainsFunc(e.options, func(o option) bool { return below(o.path, "tls") && o.value != "false" })
}

func (r *reader) readRouter(e *element) (ruche.Route, bool) {
	before := len(r.diagnostics)
	route := ruche.Route{Name: e.name, Vocabulary: ruche.VocabularyTraefik, CleanPath: true}
	rule, ok := r.readRule(e, &route)
	if !ok {
		return route, false
	}
	host := ""
	if hosts, _ := rule.Hosts(); len(hosts) > 0 {
		host = hosts[0]
	}
	defer func() { r.about(before, len(r.diagnostics), host) }()

	s, linked := r.link(e)
	r.readPriority(e, &route)
	r.checkRouterOptions(e, &route)
	for _, list := range []option{optionOf(e, "middlewares"), s.middlewares} {
		if blocked := r.judge(list); blocked != "" && route.Blocked == "" {
			route.Blocked = blocked
		}
	}
	r.about(s.from, s.to, host)
	if !linked || !s.usable {
		return route, false
	}
	route.Scheme, route.Port, route.PortReason = s.scheme, s.port, s.reason
	route.Weights, route.Policy, route.Sticky, route.Check, route.Eject = s.weights, s.policy, s.sticky, s.check, s.eject
	if r.readResolver(e, rule, "http") {
		route.TLS = ruche.TLSACME
	}
	return route, true
}

func optionOf(e *element, path string) option {
	o, _ := e.option(path)
	return o
}

// readRule takes the router's rule, or Traefik's default rule: the name of the service or container as host.
func (r *reader) readRule(e *element, route *ruche.Route) (*match.Rule, bool) {
	o, declared := e.option("rule")
	if !declared || o.value == "" {
		o.value = "Host(`" + r.defaultName() + "`)"
		if !declared {
			o.key = r.anyLabel()
			if len(e.options) > 0 {
				o.key = e.options[0].key
			}
		}
	}
	route.Match.Rule, route.Source = o.value, "label "+clip(o.key)
	rule, err := match.ParseRule(o.value)
	if err == nil {
		return rule, true
	}
	r.badRule(o.key, err)
	r.diagnostics[len(r.diagnostics)-1].Host = guessHost(o.value)
	return nil, false
}

// badRule reports a rule that cannot be parsed.
func (r *reader) badRule(key string, err error) {
	message, hint, place := err.Error(), "", key
	var e *match.Error
	if errors.As(err, &e) {
		message, hint = e.Message, e.Hint
		if e.Column > 0 {
			place = fmt.Sprintf("%s, column %d", clip(key), e.Column)
		}
	}
	r.add(ruche.CodeRuleInvalid, ruche.SeverityError, place, hint, "%s", message)
}

var hostArgument = regexp.MustCompile("(?i)\\bHost\\(\\s*[`\"]([^`\"]{1,253})[`\"]")

// guessHost finds a host in a rule that cannot be parsed, so that a search by host finds the mistake.
func guessHost(rule string) string {
	if m := hostArgument.FindStringSubmatch(rule); m != nil {
		return strings.ToLower(m[1])
	}
	return ""
}

// link finds the service of a router: the one it names, else the only one.
func (r *reader) link(e *element) (service, bool) {
	o, declared := e.option("service")
	if !declared || o.value == "" {
		if len(r.services) == 1 {
			return r.services[0], true
		}
		r.add(ruche.CodeRouterIncomplete, ruche.SeverityError, "traefik.http.routers."+e.name, "add the label traefik.http.routers."+clip(e.name)+".service",
			"the router does not say which of %d services it leads to", len(r.services))
		return service{}, false
	}
	name, provider, _ := strings.Cut(o.value, "@")
	if provider != "" && !strings.EqualFold(provider, "docker") && !strings.EqualFold(provider, "swarm") {
		r.add(ruche.CodeRouterIncomplete, ruche.SeverityError, o.key, "name a service of this container",
			"service %s comes from Traefik's own configuration, which is not read", quote(o.value))
		return service{}, false
	}
	var known []string
	for _, s := range r.services {
		if strings.EqualFold(s.name, name) {
			return s, true
		}
		known = append(known, s.name)
	}
	hint := strictyaml.DidYouMean(name, known)
	if hint == "" {
		hint = "declare the router on the container that has the service"
	}
	r.add(ruche.CodeRouterIncomplete, ruche.SeverityError, o.key, hint, "service %s is not declared on this container", quote(name))
	return service{}, false
}

func (r *reader) readPriority(e *element, route *ruche.Route) {
	o, declared := e.option("priority")
	if !declared {
		return
	}
	n, err := strconv.Atoi(o.value)
	if err != nil {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, o.key, "write a whole number",
			"priority %s is not a whole number of 64 bits; the length of the rule counts", quote(o.value))
		return
	}
	route.Match.Priority = n
}
