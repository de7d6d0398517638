package traefik

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

// class says what leaving a middleware out would do.
type class int

const (
	classUnknown  class = iota
	classHarmless       // the site works, less well
	classPath           // the container would be asked for wrong paths
	classAccess         // what its owner closed would be open
	classChain          // what its members do
)

func kinds() map[string]class {
	return map[string]class{
		"compress": classHarmless, "headers": classHarmless, "redirectscheme": classHarmless, "redirectregex": classHarmless,
		"retry": classHarmless, "buffering": classHarmless, "errors": classHarmless, "circuitbreaker": classHarmless,
		"contenttype": classHarmless, "grpcweb": classHarmless, "encodedcharacters": classHarmless, "passtlsclientcert": classHarmless,
		"stripprefix": classPath, "stripprefixregex": classPath, "addprefix": classPath, "replacepath": classPath, "replacepathregex": classPath,
		"basicauth": classAccess, "digestauth": classAccess, "forwardauth": classAccess, "ipallowlist": classAccess, "ipwhitelist": classAccess,
		"ratelimit": classAccess, "inflightreq": classAccess, "plugin": classAccess,
		"chain": classChain,
	}
}

// judge reports on the middlewares of a list, and says why the route must not be served without them; empty when it may.
func (r *reader) judge(o option) (blocked string) {
	r.judged = map[string]string{}
	return r.judgeList(o, words(o.value), nil)
}

// judgeList goes through the names; above are the chains they stand in.
func (r *reader) judgeList(o option, names, above []string) (blocked string) {
	for _, name := range names {
		if why := r.judgeOne(o, name, above); why != "" && blocked == "" {
			blocked = why
		}
	}
	return blocked
}

func (r *reader) judgeOne(o option, name string, above []string) string {
	bare, provider, _ := strings.Cut(name, "@")
	elsewhere := provider != "" && !strings.EqualFold(provider, "docker") && !strings.EqualFold(provider, "swarm")
	m := find(r.labels.middlewares, bare)
	if (elsewhere || m == nil) && redirects(bare) {
		r.add(ruche.CodeKeyUnsupported, ruche.SeverityWarning, o.key, "",
			"middleware %s is not read, and its name says that it redirects to HTTPS; Ruche redirects by itself when the host has a trusted certificate", quote(name))
		return ""
	}
	if elsewhere {
		return r.block(ruche.CodeAccessUnsupported, o, name, "comes from Traefik's own configuration, which is not read; it may restrict access", "")
	}
	if m == nil {
		hint := strictyaml.DidYouMean(bare, elementNames(r.labels.middlewares))
		return r.block(ruche.CodeAccessUnsupported, o, name, "is not declared on this container; it may restrict access", hint)
	}
	key := strings.ToLower(bare)
	r.used[key] = true
	// Each is judged once for each router: chains that name one another could otherwise be walked without end.
	if why, done := r.judged[key]; done && !slices.ContainsFunc(above, func(name string) bool { return strings.EqualFold(name, bare) }) {
		return why
	}
	r.judged[key] = ""
	var blocked string
	for _, kind := range m.kinds() {
		if why := r.judgeKind(o, m, kind, above); why != "" && blocked == "" {
			blocked = why
		}
	}
	r.judged[key] = blocked
	return blocked
}

// redirects reports whether the name of a middleware that is declared elsewhere says that all it does is to redirect to HTTPS. Such
// shared ones are common, and a site must not be closed for them.
func redirects(name string) bool {
	switch strings.ReplaceAll(strings.ToLower(name), "_", "-") {
	case "redirect-to-https", "redirect-https", "https-redirect", "http-to-https", "redirect-scheme", "redirectscheme",
		"redirect-http-to-https", "redirect-to-websecure", "redirect-web-to-websecure", "https-redirectscheme", "force-https":
		return true
	}
	return false
}

func (r *reader) judgeKind(o option, m *element, kind string, above []string) string {
	switch kinds()[kind] {
	case classHarmless:
		r.add(ruche.CodeKeyUnsupported, ruche.SeverityWarning, o.key, "", "middleware %s (%s) is not supported; the router is served without it", quote(m.name), kind)
		return ""
	case classPath:
		return r.block(ruche.CodeKeyUnsupported, o, m.name, fmt.Sprintf("(%s) changes the path, which is not supported; the container would be asked for wrong paths", kind), "")
	case classAccess:
		return r.block(ruche.CodeAccessUnsupported, o, m.name, fmt.Sprintf("(%s) restricts access, which is not supported", kind), "")
	case classChain:
		if slices.ContainsFunc(above, func(name string) bool { return strings.EqualFold(name, m.name) }) {
			return r.block(ruche.CodeAccessUnsupported, o, m.name, "is a chain that contains itself", "")
		}
		members, _ := m.option("chain.middlewares")
		return r.judgeList(o, words(members.value), append(slices.Clone(above), m.name))
	}
	names := make([]string, 0, len(kinds()))
	for name := range kinds() {
		names = append(names, name)
	}
	slices.Sort(names)
	return r.block(ruche.CodeAccessUnsupported, o, m.name, fmt.Sprintf("is of kind %s, which is not known; it may restrict access", quote(kind)), strictyaml.DidYouMean(kind, names))
}

// block reports a middleware without which the router must not be served.
func (r *reader) block(code ruche.Code, o option, name, why, hint string) string {
	if hint == "" {
		hint = "take it off the router to serve it without, or put Traefik in front of it"
	}
	r.add(code, ruche.SeverityError, o.key, hint, "middleware %s %s; requests get 503", quote(name), why)
	return fmt.Sprintf("middleware %s %s", quote(name), why)
}

// kinds are the kinds of a middleware: one, unless its labels contradict one another.
func (e *element) kinds() []string {
	var found []string
	for _, o := range e.options {
		kind, _, _ := strings.Cut(o.path, ".")
		if !slices.Contains(found, kind) {
			found = append(found, kind)
		}
	}
	return found
}

// checkUnused reports the middlewares that no router of the container names.
func (r *reader) checkUnused() {
	for _, m := range r.labels.middlewares {
		if !r.used[strings.ToLower(m.name)] {
			r.add(ruche.CodeKeyUnsupported, ruche.SeverityInfo, m.options[0].key, "",
				"middleware %s is not used by a router of this container, and other containers cannot use it", quote(m.name))
		}
	}
}
