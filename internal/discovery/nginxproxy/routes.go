package nginxproxy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/match"
)

// reader collects what one container declares.
type reader struct {
	c           docker.Container
	diagnostics []ruche.Diagnostic
	// hosts are the good ones, in the order they were written.
	hosts []string
}

// Routes reads the variables of one container. A bad host in the list does not spoil the others; a bad value of another
// variable keeps the container's routes out, because nobody can know where they should lead.
//
// What acme-companion would read is read too: the certificates that the container asks for by itself.
func Routes(c docker.Container) ([]ruche.Route, []ruche.CertificateSpec, []ruche.Diagnostic) {
	r := &reader{c: c}
	r.unquote()
	routes := r.readRoutes()
	return routes, r.readCertificates(), r.diagnostics
}

func (r *reader) readRoutes() []ruche.Route {
	r.checkUnknown()
	if !r.declares("VIRTUAL_HOST") {
		if r.declares("VIRTUAL_HOST_MULTIPORTS") {
			r.checkUnsupported()
		}
		return nil
	}
	r.readHosts()
	template, usable := r.template()
	r.checkUnsupported()
	if r.declares("VIRTUAL_HOST_MULTIPORTS") || !usable {
		return nil
	}
	routes := make([]ruche.Route, 0, len(r.hosts))
	for _, host := range r.hosts {
		route := template
		route.Match.Host = host
		route.Name = host + route.Match.Path
		routes = append(routes, route)
	}
	return routes
}

func (r *reader) value(key string) string { return strings.TrimSpace(r.c.Env[key]) }

func (r *reader) declares(key string) bool { return r.value(key) != "" }

// source names the place of a variable or label.
func source(key string) string {
	if strings.HasPrefix(key, labelPrefix) {
		return "label " + key
	}
	return "env " + key
}

// add reports about one variable or label.
func (r *reader) add(code ruche.Code, severity ruche.Severity, key, hint, format string, args ...any) {
	r.diagnostics = append(r.diagnostics, ruche.Diagnostic{
		Code: code, Severity: severity, Workload: r.c.Name, Source: source(key),
		Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// refuse reports an error that keeps all hosts of the container out, for each of them, so that a search by host finds it.
func (r *reader) refuse(code ruche.Code, key, hint, format string, args ...any) {
	const most = 20
	r.add(code, ruche.SeverityError, key, hint, format, args...)
	d := &r.diagnostics[len(r.diagnostics)-1]
	if len(r.hosts) == 0 {
		return
	}
	d.Host = r.hosts[0]
	again := *d
	for _, host := range r.hosts[1:min(len(r.hosts), most)] {
		again.Host = host
		r.diagnostics = append(r.diagnostics, again)
	}
}

func (r *reader) readHosts() {
	seen := map[string]bool{}
	for _, item := range items(r.value("VIRTUAL_HOST")) {
		host, err := match.ParseHost(item)
		if err != nil {
			message, hint := reason(err)
			if strings.HasPrefix(item, "~") && strings.Contains(r.c.Env["VIRTUAL_HOST"], ",") {
				hint = "a comma ends a host also inside a regular expression; write the repetition without it"
			}
			r.add(ruche.CodeHostInvalid, ruche.SeverityError, "VIRTUAL_HOST", hint, "%s", message)
			r.diagnostics[len(r.diagnostics)-1].Host = clip(item)
			continue
		}
		if name := host.String(); !seen[name] {
			seen[name] = true
			r.hosts = append(r.hosts, name)
		}
	}
}

// items takes a list apart. As in nginx, a name with a dot in front stands for itself and for all below it.
func items(list string) []string {
	var found []string
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		bare, dotted := strings.CutPrefix(item, ".")
		if host, err := match.ParseHost(bare); dotted && err == nil && host.Kind() == match.HostExact {
			found = append(found, bare, "*"+item)
		} else if item != "" {
			found = append(found, item)
		}
	}
	return found
}

// template reads what all hosts of the container have in common. It is not usable when a value makes it impossible
// to know where requests should go.
func (r *reader) template() (route ruche.Route, usable bool) {
	route = ruche.Route{Vocabulary: ruche.VocabularyNginxProxy, Source: "env VIRTUAL_HOST"}
	usable = r.readProto(&route)
	usable = r.readPort(&route) && usable
	usable = r.readPath(&route) && usable
	usable = r.readRoot(&route) && usable
	r.readTLS(&route)
	r.readAccess(&route)
	r.readVerify(&route)
	r.readHSTS(&route)
	r.readPolicy(&route)
	r.readBalance(&route)
	r.readKeepAlive(&route)
	return route, usable
}

func (r *reader) readProto(route *ruche.Route) bool {
	const key = "VIRTUAL_PROTO"
	switch scheme := strings.ToLower(r.value(key)); scheme {
	case "":
		route.Scheme = ruche.SchemeHTTP
	case ruche.SchemeHTTP, ruche.SchemeHTTPS, ruche.SchemeGRPC, ruche.SchemeGRPCS, ruche.SchemeFastCGI, ruche.SchemeUWSGI:
		route.Scheme = scheme
	default:
		r.refuse(ruche.CodeProtoUnsupported, key, "write http, https, grpc, grpcs, fastcgi or uwsgi", "protocol %s is not known", quote(r.value(key)))
		return false
	}
	return true
}

// readRoot reads the directory of the scripts. A wrong one would have the endpoint run other scripts, or none.
func (r *reader) readRoot(route *ruche.Route) bool {
	const key = "VIRTUAL_ROOT"
	value := r.value(key)
	switch {
	case value == "":
		return true
	case route.Scheme != ruche.SchemeFastCGI:
		r.add(ruche.CodeKeyUnsupported, ruche.SeverityInfo, key, "", "it has an effect with VIRTUAL_PROTO=fastcgi only")
		return true
	}
	if p := setting.Root(value); p != nil {
		r.refuse(ruche.CodeValueInvalid, key, p.Hint, "%s", p.Message)
		return false
	}
	route.Root = value
	return true
}

func (r *reader) readPath(route *ruche.Route) bool {
	const key, destKey = "VIRTUAL_PATH", "VIRTUAL_DEST"
	route.Match.Path = "/"
	kind := match.PathPrefix
	if value := r.value(key); value != "" {
		path, err := match.ParsePath(value)
		if err != nil {
			message, hint := reason(err)
			r.refuse(ruche.CodePathInvalid, key, hint, "%s", message)
			return false
		}
		route.Match.Path, kind = path.String(), path.Kind()
	}
	dest := r.value(destKey)
	switch {
	case dest == "":
	case kind == match.PathRegexp:
		r.refuse(ruche.CodeValueInvalid, destKey, "use a prefix as VIRTUAL_PATH, or remove VIRTUAL_DEST",
			"a destination cannot replace a path that is a regular expression")
		return false
	case dest[0] != '/' || strings.ContainsFunc(dest, notPath):
		r.refuse(ruche.CodeValueInvalid, destKey, "write a path such as / or /app",
			"destination %s is not a path that begins with a slash", quote(dest))
		return false
	}
	route.Dest = dest
	return true
}

func notPath(c rune) bool { return c <= ' ' || c == '?' || c == '#' || c >= 0x7f }

func (r *reader) readTLS(route *ruche.Route) {
	const methodKey, certKey = "HTTPS_METHOD", "CERT_NAME"
	switch method := ruche.HTTPSMethod(strings.ToLower(r.value(methodKey))); method {
	case "", ruche.HTTPSRedirect, ruche.HTTPSNoRedirect, ruche.HTTPSNoHTTP, ruche.HTTPSNoHTTPS:
		route.HTTPSMethod = method
	default:
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, methodKey, "write redirect, noredirect, nohttp or nohttps",
			"method %s is not known; redirect is used", quote(r.value(methodKey)))
	}
	name := r.value(certKey)
	if name == "" {
		return
	}
	if strings.ContainsFunc(name, func(c rune) bool { return c == '/' || c == '\\' || c < ' ' }) || name == "." || name == ".." || len(name) > 200 {
		r.add(ruche.CodeValueInvalid, ruche.SeverityWarning, certKey, "write the name of the file in the certificates directory, without .crt",
			"certificate name %s is not a file name; the certificate is chosen by host", quote(name))
		return
	}
	route.CertName = name
}

// readAccess blocks what asks for a restriction, also one that nobody knows: serving it would open what its owner closed.
func (r *reader) readAccess(route *ruche.Route) {
	const key = "NETWORK_ACCESS"
	value := r.value(key)
	if value != "" && value != "external" {
		route.Blocked = "NETWORK_ACCESS=" + clip(value) + " asks for a restriction of access, which is not supported"
		r.refuse(ruche.CodeAccessUnsupported, key, "remove NETWORK_ACCESS to serve it to everybody, or restrict access in front of Ruche",
			"restricting access (%s) is not supported; requests get 503, because serving it would open it to everybody", quote(value))
	}
}

// reason takes an error of package match apart.
func reason(err error) (message, hint string) {
	var e *match.Error
	if errors.As(err, &e) {
		return e.Error(), e.Hint
	}
	return err.Error(), ""
}

// quote shows a value in a message, shortened.
func quote(value string) string { return strconv.Quote(clip(value)) }

func clip(value string) string {
	const most = 80
	if len(value) > most {
		return strings.ToValidUTF8(value[:most], "") + "..."
	}
	return value
}
