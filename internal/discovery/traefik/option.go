package traefik

import (
	"slices"
	"strings"
	"unicode"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

// checkRouterOptions reports what a router asks for and does not get, and blocks the route when leaving that out may open what
// its owner closed.
func (r *reader) checkRouterOptions(e *element, route *ruche.Route) {
	said := map[string]bool{}
	once := func(o option, what, message string) {
		if !said[what] {
			said[what] = true
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityInfo, o.key, "", "%s", message)
		}
	}
	for _, o := range e.options {
		switch {
		case o.path == "rule" || o.path == "service" || o.path == "priority" || o.path == "middlewares":
		case o.path == "entrypoints":
			r.checkEntryPoints(o, route)
		case o.path == "rulesyntax":
			once(o, o.path, "both syntaxes are understood; the label is ignored")
		case below(o.path, "tls.options"):
			r.checkTLSOptions(o, route)
		case below(o.path, resolverPath) || below(o.path, domainsPath):
		case o.path == "tls":
			once(o, "tls", "the router is served on both ports, with the certificate that Ruche chooses by host")
		case below(o.path, "observability"):
			once(o, "observability", "logs and metrics are the same for all routes")
		default:
			r.checkUnknownOption(o, route)
		}
	}
}

func (r *reader) checkTLSOptions(o option, route *ruche.Route) {
	if o.value == "default" {
		return
	}
	route.Blocked = "label " + clip(o.key) + " names TLS options that are not known; they may ask for client certificates"
	r.add(ruche.CodeAccessUnsupported, ruche.SeverityError, o.key, "remove the label to serve it with Ruche's own TLS settings to everybody",
		"TLS options %s come from Traefik's own configuration, which is not read; they may ask for client certificates, so requests get 503", quote(o.value))
}

// checkUnknownOption blocks the route: the option may be a misspelt restriction, as "middleware" for "middlewares".
func (r *reader) checkUnknownOption(o option, route *ruche.Route) {
	known := []string{"rule", "service", "priority", "middlewares", "entrypoints", "rulesyntax", "tls", "tls.certresolver", "tls.domains", "tls.options", "observability"}
	hint := strictyaml.DidYouMean(o.path, known)
	if hint == "" {
		hint = "remove the label if the route may be served without it"
	}
	route.Blocked = "label " + clip(o.key) + " is not known; it may be a misspelt restriction of access"
	r.add(ruche.CodeKeyUnknown, ruche.SeverityError, o.key, hint,
		"option %s is not known; it may be a misspelt restriction of access, so requests get 503", quote(o.path))
}

// checkEntryPoints blocks a route all of whose entry points may have been meant to keep it away from the public ports.
func (r *reader) checkEntryPoints(o option, route *ruche.Route) {
	names := words(o.value)
	closed := slices.IndexFunc(names, func(name string) bool { return !public(name) })
	switch {
	case closed < 0:
		r.add(ruche.CodeKeyUnsupported, ruche.SeverityInfo, o.key, "", "entry points are not supported; the router is served on both ports")
	case slices.ContainsFunc(names, public):
		r.add(ruche.CodeKeyUnsupported, ruche.SeverityWarning, o.key, "",
			"entry points are not supported; the router is served on both ports, not on %s", quote(names[closed]))
	default:
		route.Blocked = "entry point " + quote(names[closed]) + " may be one that only some can reach, which is not supported"
		r.add(ruche.CodeAccessUnsupported, ruche.SeverityError, o.key, "if the site may be public, rename the entry point to web or websecure, or remove the label",
			"entry point %s may be one that only some can reach; entry points are not supported, so requests get 503 instead of opening the site to everybody", quote(names[closed]))
	}
}

// public reports whether an entry point's name says that everybody may reach it. The name is taken apart into words ("web-secure"). It is
// public when it begins with websecure, ends with public, or consists of words for the public web alone, and when no
// word of it tells of a closed place. All other names count as closed.
func public(name string) bool {
	parts := strings.FieldsFunc(strings.ToLower(name), func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsNumber(c) })
	if len(parts) == 0 || slices.ContainsFunc(parts, closedWord) {
		return false
	}
	return parts[0] == "websecure" || parts[len(parts)-1] == "public" ||
		!slices.ContainsFunc(parts, func(word string) bool { return !publicWord(word) })
}

func publicWord(word string) bool {
	switch word {
	case "web", "websecure", "secure", "http", "https", "http3", "www", "tls", "ssl", "public", "external", "internet", "80", "443":
		return true
	}
	return false
}

func closedWord(word string) bool {
	switch word {
	case "internal", "intern", "int", "private", "priv", "lan", "local", "localhost", "home", "intranet", "vpn", "wg", "wireguard", "tailscale", "ts",
		"mgmt", "management", "admin", "traefik", "dashboard", "api", "metrics", "restricted", "secret", "non", "not", "no":
		return true
	}
	return false
}

// unknown reports a label that means nothing.
func (r *reader) unknown(o option, word, what string, known []string) {
	hint := strictyaml.DidYouMean(word, known)
	if !r.suspected(o, hint) {
		r.add(ruche.CodeKeyUnknown, ruche.SeverityWarning, o.key, hint, "%s %s is not known; it is ignored", what, quote(word))
	}
}

// suspected reports a label that means nothing and was to name middlewares, as traefik.http.router.web.middlewares. Nobody knows for
// which router, so it blocks them all.
func (r *reader) suspected(o option, hint string) bool {
	last := o.path[strings.LastIndexByte(o.path, '.')+1:]
	if !strings.HasPrefix(last, "middleware") {
		return false
	}
	if hint == "" {
		hint = "write traefik.http.routers.<name>.middlewares, or remove the label"
	}
	r.suspect = "label " + clip(o.key) + " is not known; it may be a misspelt restriction of access"
	r.add(ruche.CodeKeyUnknown, ruche.SeverityError, o.key, hint,
		"the label is not known; it may be a misspelt restriction of access, so requests to this container get 503")
	return true
}
