package discovery

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
	"github.com/ruche-project/ruche/internal/match"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

// The lists of a route file.
const (
	routesKey       = "routes"
	certificatesKey = "certificates"
)

// writtenRoute is one item of a route file.
type writtenRoute struct {
	Host      string            `yaml:"host"`
	Path      string            `yaml:"path"`
	Endpoints []writtenEndpoint `yaml:"endpoints"`
	TLS       *writtenTLS       `yaml:"tls"`
	// EntryPoint belongs to routes whose endpoints are tcp:// or udp://.
	EntryPoint *string `yaml:"entry_point"`

	Policy        string         `yaml:"policy"`
	Sticky        *writtenSticky `yaml:"sticky"`
	Check         *writtenCheck  `yaml:"check"`
	Eject         *writtenEject  `yaml:"eject"`
	Root          *string        `yaml:"root"`
	ProxyProtocol *int           `yaml:"proxy_protocol"`

	ClientAuth  *writtenClientAuth  `yaml:"client_auth"`
	EndpointTLS *writtenEndpointTLS `yaml:"endpoint_tls"`
	MinTLS      *string             `yaml:"min_tls"`
	HSTS        *string             `yaml:"hsts"`
}

// parseRouteFile reads a route file. last is what stood in it when it was last good: a file that cannot be parsed keeps all
// of it, and a bad route keeps its own last version. What may be the beginning of a file that is still being written takes no route away.
func parseRouteFile(name string, data []byte, last declared) declared {
	lists, err := strictyaml.Lists(name, data, routesKey, certificatesKey)
	if err != nil {
		return keepAll(name, last, mistakes(name, err))
	}
	if lists[routesKey] == nil && lists[certificatesKey] == nil {
		return emptyFile(name, last)
	}
	f := fileReader{name: name, last: last, lines: map[ruche.Match]int{}, named: map[string]int{}}
	end := f.readLists(lists)
	f.keepBad()
	switch {
	case end.why != "":
		f.keepMissing(end.line, end.why, end.hint)
	case end.line > 0 && unended(data):
		f.keepMissing(end.line, "it does not end with a newline", "end the last line with a newline")
	}
	f.noteUncovered(name, f.askedByRoute)
	f.shorten()
	if size := f.size(); size > maxFile {
		return keepAll(name, last, []ruche.Diagnostic{{
			Source: name, Hint: "spread the routes over several files",
			Message: fmt.Sprintf("it declares %s of together %d bytes; more than %d bytes are not taken", contents(len(f.routes), len(f.certificates)), size, maxFile),
		}})
	}
	return f.declared
}

// fileEnd is where a file ends.
type fileEnd struct {
	line int // of the last item; 0 when there is none
	// why says what about it looks as if the file was cut off, and hint what to do about that; empty when nothing does.
	why, hint string
}

// readLists takes all items over, and tells how the file ends.
func (f *fileReader) readLists(lists map[string][]strictyaml.Item) fileEnd {
	var end fileEnd
	for _, of := range []struct {
		key, noun string
		read      func(strictyaml.Item) bool
	}{{routesKey, "route", f.read}, {certificatesKey, "certificate", f.readCertificate}} {
		for _, item := range lists[of.key] {
			good := of.read(item)
			if item.Line < end.line {
				continue
			}
			end = fileEnd{line: item.Line}
			if !good {
				end.why, end.hint = "the last "+of.noun+" cannot be used", "correct the last "+of.noun
			}
		}
	}
	for _, key := range []string{routesKey, certificatesKey} {
		if items, written := lists[key]; written && items == nil {
			end.why, end.hint = "nothing stands under "+key, "write "+key+": []"
		}
	}
	return end
}

// emptyFile tells a file that somebody began from one that lost its content: it is truncated before it is written, or the disk is full.
func emptyFile(name string, last declared) declared {
	d := ruche.Diagnostic{Source: name, Message: "the file is empty", Hint: "to take its routes out, write routes: [] or remove the file"}
	if len(last.routes)+len(last.certificates) > 0 {
		return keepAll(name, last, []ruche.Diagnostic{d})
	}
	d.Code, d.Severity, d.Workload = ruche.CodeFileInvalid, ruche.SeverityInfo, name
	d.Message, d.Hint = d.Message+"; it declares no routes", ""
	return declared{diagnostics: []ruche.Diagnostic{d}}
}

// unended reports whether the text may go on after its end. What begins with a brace cannot: without its end it is no YAML.
func unended(data []byte) bool {
	return !bytes.HasSuffix(data, []byte("\n")) && !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{"))
}

// mistakes turns what the decoder found into diagnostics.
func mistakes(name string, err error) []ruche.Diagnostic {
	var list []ruche.Diagnostic
	for _, e := range strictyaml.All(err) {
		d := ruche.Diagnostic{Source: name, Message: e.Message, Hint: e.Hint}
		if e.Line > 0 {
			d.Source += ":" + strconv.Itoa(e.Line)
		}
		list = append(list, d)
	}
	if len(list) == 0 {
		list = []ruche.Diagnostic{{Source: name, Message: err.Error()}}
	}
	return list
}

// keepAll leaves the last good version of a file in force and says so with each mistake.
func keepAll(name string, last declared, list []ruche.Diagnostic) declared {
	stands := "nothing of this file is in force"
	if len(last.routes)+len(last.certificates) > 0 {
		stands = "the last good version of this file stands, with " + contents(len(last.routes), len(last.certificates))
	}
	for i := range list {
		list[i].Code, list[i].Severity, list[i].Workload = ruche.CodeFileInvalid, ruche.SeverityError, name
		list[i].Message += "; " + stands
	}
	return declared{routes: last.routes, certificates: last.certificates, diagnostics: list}
}

// contents says how much of a file is meant.
func contents(routes, certificates int) string {
	switch {
	case certificates == 0:
		return plural(routes, "route")
	case routes == 0:
		return plural(certificates, "certificate")
	}
	return plural(routes, "route") + " and " + plural(certificates, "certificate")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// fileReader reads the items of one file.
type fileReader struct {
	name string
	last declared
	declared
	lines map[ruche.Match]int // where each match was declared
	bad   []badRoute
	// named says where each certificate without a route was declared, by its first name.
	named           map[string]int
	badCertificates []badCertificate
}

// badRoute is an item that cannot be used.
type badRoute struct {
	// host is empty when it is not known; path only counts when pathKnown.
	host, path string
	pathKnown  bool
	entryPoint string // of a route that is not about HTTP
	list       []ruche.Diagnostic
}

// read takes one item over, and reports whether it can be used.
func (f *fileReader) read(item strictyaml.Item) bool {
	var written writtenRoute
	source := f.name + ":" + strconv.Itoa(item.Line)
	bad := badRoute{}
	if err := item.Decode(&written); err != nil {
		bad.list = mistakes(f.name, err)
	}
	complain := func(message, hint string) {
		bad.list = append(bad.list, ruche.Diagnostic{Source: source, Message: message, Hint: hint})
	}
	route := ruche.Route{Vocabulary: ruche.VocabularyFile, Source: source}
	decoded := len(bad.list) == 0
	if written.isStream() {
		f.readStreamMatch(&written, &route, &bad, complain)
	} else if host, err := match.ParseHost(strings.TrimSpace(written.Host)); err == nil {
		bad.host, route.Match.Host = host.String(), host.String()
	} else if decoded {
		complain(explain(err))
	}
	if written.Path == "" && !written.isStream() {
		written.Path = "/"
	}
	if written.Path == "" {
		bad.pathKnown = true
	} else if path, err := match.ParsePath(written.Path); err == nil {
		bad.path, bad.pathKnown, route.Match.Path = path.String(), true, path.String()
	} else if decoded {
		complain(explain(err))
	}
	route.Name = route.Match.Host + route.Match.Path
	if route.Protocol != "" {
		route.Name = route.Match.Host + "@" + route.Match.EntryPoint
	}
	return f.take(item.Line, &written, route, bad, decoded)
}

// take reads the rest of a route whose match is known, and takes it over if all of it is good.
func (f *fileReader) take(line int, written *writtenRoute, route ruche.Route, bad badRoute, decoded bool) bool {
	complain := func(problems ...setting.Problem) {
		for _, p := range problems {
			bad.list = append(bad.list, ruche.Diagnostic{Source: route.Source, Message: p.Message, Hint: p.Hint})
		}
	}
	var dropped []setting.NameProblem
	if decoded {
		wish, names, problems := readTLS(written.TLS, &route)
		dropped = names
		complain(problems...)
		if message, hint := readEndpoints(written.Endpoints, &route); message != "" {
			complain(setting.Problem{Message: message, Hint: hint})
		} else {
			complain(readBalance(written, &route)...)
			complain(readSecurity(written, &route)...)
		}
		if first, twice := f.lines[route.Match]; twice && len(bad.list) == 0 {
			f.say(ruche.SeverityError, route.Source, route.Match.Host, "list all endpoints in one of the two",
				"%s is declared in line %d already; this one is not used", describeMatch(route.Match), first)
			return false
		}
		if len(bad.list) == 0 {
			complain(f.order(wish, route)...)
		}
	}
	if len(bad.list) > 0 {
		f.bad = append(f.bad, bad)
		return false
	}
	f.drop(route.Source, dropped)
	f.lines[route.Match] = line
	f.routes = append(f.routes, route)
	return true
}

// say reports about a place of the file.
func (f *fileReader) say(severity ruche.Severity, source, host, hint, format string, args ...any) {
	f.diagnostics = append(f.diagnostics, ruche.Diagnostic{
		Code: ruche.CodeFileInvalid, Severity: severity, Workload: f.name, Source: source, Host: host, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// keepBad lets the last good version of each bad route stand, where it can be told which one that is.
func (f *fileReader) keepBad() {
	for _, bad := range f.bad {
		stands := "this route is not in force"
		for _, old := range f.last.routes {
			if bad.host == "" && bad.entryPoint == "" || old.Match.Host != bad.host || bad.pathKnown && old.Match.Path != bad.path ||
				old.Match.EntryPoint != bad.entryPoint {
				continue
			}
			if _, declared := f.lines[old.Match]; declared {
				continue
			}
			f.keepRoute(old)
			stands = "the last good version of this route stands"
		}
		for _, d := range bad.list {
			d.Code, d.Severity, d.Workload, d.Host = ruche.CodeFileInvalid, ruche.SeverityError, f.name, bad.host
			d.Message += "; " + stands
			f.diagnostics = append(f.diagnostics, d)
		}
	}
	f.keepBadCertificates()
}

// keepMissing lets stand what was in the last good version and is not in this one, because the file may be cut off.
func (f *fileReader) keepMissing(line int, why, hint string) {
	routes, certificates := 0, 0
	for _, old := range f.last.routes {
		if _, declared := f.lines[old.Match]; !declared {
			f.keepRoute(old)
			routes++
		}
	}
	for _, old := range f.last.certificates {
		if f.keepCertificate(old) {
			certificates++
		}
	}
	if routes+certificates == 0 {
		return
	}
	f.diagnostics = slices.Insert(f.diagnostics, 0, ruche.Diagnostic{
		Code: ruche.CodeFileInvalid, Severity: ruche.SeverityWarning, Workload: f.name, Source: f.name + ":" + strconv.Itoa(line),
		Message: fmt.Sprintf("the file may be cut off here: %s; what is missing of its last version stands, with %s", why, contents(routes, certificates)),
		Hint:    hint + "; then what is not in the file is taken out",
	})
}

// shorten bounds the diagnostics of one file.
func (f *fileReader) shorten() {
	if left := len(f.diagnostics) - maxDiagnostics; left > 0 {
		f.diagnostics = append(f.diagnostics[:maxDiagnostics], ruche.Diagnostic{
			Code: ruche.CodeFileInvalid, Severity: ruche.SeverityWarning, Workload: f.name, Source: f.name,
			Message: fmt.Sprintf("%d more problems are not shown", left), Hint: "correct the ones above first",
		})
	}
}

func explain(err error) (message, hint string) {
	var e *match.Error
	if errors.As(err, &e) {
		return e.Error(), e.Hint
	}
	return err.Error(), ""
}

func readEndpoints(list []writtenEndpoint, route *ruche.Route) (message, hint string) {
	const form = "write http://address:port or https://address:port"
	if len(list) == 0 {
		return "the route has no endpoints", "endpoints: [http://127.0.0.1:8080]"
	}
	for _, written := range list {
		endpoint, scheme, why := parseEndpoint(written.URL)
		if why != "" {
			return fmt.Sprintf("endpoint %s %s", quoted(written.URL), why), form
		}
		if route.Scheme != "" && route.Scheme != scheme {
			return fmt.Sprintf("the endpoints mix %s and %s", route.Scheme, scheme), "use one scheme for all endpoints of a route"
		}
		route.Scheme = scheme
		if slices.Contains(route.Endpoints, endpoint) {
			continue
		}
		route.Endpoints = append(route.Endpoints, endpoint)
		if p := weigh(written.Weight, route); p != nil {
			return fmt.Sprintf("endpoint %s: %s", quoted(written.URL), p.Message), p.Hint
		}
	}
	return "", ""
}

// parseEndpoint checks a base URL and gives it with its port.
func parseEndpoint(text string) (endpoint, scheme, why string) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return "", "", "is not a URL: " + err.Error()
	}
	usual, known := ruche.DefaultPort(u.Scheme)
	known = known || u.Scheme == ruche.SchemeTCP || u.Scheme == ruche.SchemeUDP
	port := u.Port()
	if port == "" {
		port = strconv.Itoa(int(usual))
	}
	number, err := strconv.ParseUint(port, 10, 16)
	switch {
	case !known:
		return "", "", "does not begin with one of " + schemes()
	case u.Hostname() == "" || strings.ContainsAny(u.Hostname(), " \t\"<>\\^`{|}%") || strings.HasSuffix(u.Host, ":"):
		return "", "", "names no address"
	case u.Port() == "" && usual == 0:
		return "", "", "names no port"
	case err != nil || number == 0:
		return "", "", "has a port that is not a number from 1 to 65535"
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", "", "has a path; an endpoint is an address and a port"
	case u.User != nil:
		return "", "", "has a user name; an endpoint is an address and a port"
	}
	return u.Scheme + "://" + net.JoinHostPort(u.Hostname(), port), u.Scheme, ""
}

func quoted(value string) string {
	const most = 80
	if len(value) > most {
		value = strings.ToValidUTF8(value[:most], "") + "..."
	}
	return strconv.Quote(value)
}
