package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
	"github.com/ruche-project/ruche/internal/strictyaml"
)

// writtenRoute is one item of a route file.
type writtenRoute struct {
	Host      string            `yaml:"host"`
	Path      string            `yaml:"path"`
	Endpoints []writtenEndpoint `yaml:"endpoints"`
	TLS       string            `yaml:"tls"`
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
func parseRouteFile(name string, data []byte, last []ruche.Route) ([]ruche.Route, []ruche.Diagnostic) {
	items, err := strictyaml.Items(name, data, "routes")
	if err != nil {
		return keepAll(name, last, mistakes(name, err))
	}
	if items == nil {
		return emptyFile(name, last)
	}
	f := fileReader{name: name, last: last, lines: map[ruche.Match]int{}}
	whole := true
	for _, item := range items {
		whole = f.read(item)
	}
	f.keepBad()
	switch {
	case !whole:
		f.keepMissing(items[len(items)-1].Line, "the last route cannot be used", "correct the last route")
	case len(items) > 0 && unended(data):
		f.keepMissing(items[len(items)-1].Line, "it does not end with a newline", "end the last line with a newline")
	}
	f.shorten()
	if encoded, err := json.Marshal(f.routes); err != nil || len(encoded) > maxFile {
		return keepAll(name, last, []ruche.Diagnostic{{
			Source: name, Hint: "spread the routes over several files",
			Message: fmt.Sprintf("it declares %d routes of together %d bytes; more than %d bytes are not taken", len(f.routes), len(encoded), maxFile),
		}})
	}
	return f.routes, f.diagnostics
}

// emptyFile tells a file that somebody began from one that lost its content: it is truncated before it is written, or the disk is full.
func emptyFile(name string, last []ruche.Route) ([]ruche.Route, []ruche.Diagnostic) {
	d := ruche.Diagnostic{Source: name, Message: "the file is empty", Hint: "to take its routes out, write routes: [] or remove the file"}
	if len(last) > 0 {
		return keepAll(name, last, []ruche.Diagnostic{d})
	}
	d.Code, d.Severity, d.Workload = ruche.CodeFileInvalid, ruche.SeverityInfo, name
	d.Message, d.Hint = d.Message+"; it declares no routes", ""
	return nil, []ruche.Diagnostic{d}
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
func keepAll(name string, last []ruche.Route, list []ruche.Diagnostic) ([]ruche.Route, []ruche.Diagnostic) {
	stands := "nothing of this file is in force"
	if len(last) > 0 {
		stands = fmt.Sprintf("the last good version of this file stands, with %s", plural(len(last), "route"))
	}
	for i := range list {
		list[i].Code, list[i].Severity, list[i].Workload = ruche.CodeFileInvalid, ruche.SeverityError, name
		list[i].Message += "; " + stands
	}
	return last, list
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// fileReader reads the items of one file.
type fileReader struct {
	name        string
	last        []ruche.Route
	routes      []ruche.Route
	diagnostics []ruche.Diagnostic
	lines       map[ruche.Match]int // where each match was declared
	bad         []badRoute
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
	if decoded {
		if message, hint := readTLS(written.TLS, &route); message != "" {
			complain(message, hint)
		}
		if message, hint := readEndpoints(written.Endpoints, &route); message != "" {
			complain(message, hint)
		} else {
			for _, p := range append(readBalance(&written, &route), readSecurity(&written, &route)...) {
				complain(p.Message, p.Hint)
			}
		}
		if line, twice := f.lines[route.Match]; twice && len(bad.list) == 0 {
			f.diagnostics = append(f.diagnostics, ruche.Diagnostic{
				Code: ruche.CodeFileInvalid, Severity: ruche.SeverityError, Workload: f.name, Source: source, Host: route.Match.Host,
				Message: fmt.Sprintf("%s is declared in line %d already; this one is not used", describeMatch(route.Match), line),
				Hint:    "list all endpoints in one of the two",
			})
			return false
		}
	}
	if len(bad.list) > 0 {
		f.bad = append(f.bad, bad)
		return false
	}
	route.Name = route.Match.Host + route.Match.Path
	if route.Protocol != "" {
		route.Name = route.Match.Host + "@" + route.Match.EntryPoint
	}
	f.lines[route.Match] = item.Line
	f.routes = append(f.routes, route)
	return true
}

// keepBad lets the last good version of each bad route stand, where it can be told which one that is.
func (f *fileReader) keepBad() {
	for _, bad := range f.bad {
		stands := "this route is not in force"
		for _, old := range f.last {
			if bad.host == "" && bad.entryPoint == "" || old.Match.Host != bad.host || bad.pathKnown && old.Match.Path != bad.path ||
				old.Match.EntryPoint != bad.entryPoint {
				continue
			}
			if _, declared := f.lines[old.Match]; declared {
				continue
			}
			f.lines[old.Match] = 0
			f.routes = append(f.routes, old)
			stands = "the last good version of this route stands"
		}
		for _, d := range bad.list {
			d.Code, d.Severity, d.Workload, d.Host = ruche.CodeFileInvalid, ruche.SeverityError, f.name, bad.host
			d.Message += "; " + stands
			f.diagnostics = append(f.diagnostics, d)
		}
	}
}

// keepMissing lets the routes stand that were in the last good version and are not in this one, because the file may be cut off.
func (f *fileReader) keepMissing(line int, why, hint string) {
	kept := 0
	for _, old := range f.last {
		if _, declared := f.lines[old.Match]; !declared {
			f.lines[old.Match] = 0
			f.routes = append(f.routes, old)
			kept++
		}
	}
	if kept == 0 {
		return
	}
	f.diagnostics = slices.Insert(f.diagnostics, 0, ruche.Diagnostic{
		Code: ruche.CodeFileInvalid, Severity: ruche.SeverityWarning, Workload: f.name, Source: f.name + ":" + strconv.Itoa(line),
		Message: fmt.Sprintf("the file may be cut off here: %s; what is missing of its last version stands, with %s", why, plural(kept, "route")),
		Hint:    hint + "; then the routes that are not in the file are taken out",
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

func readTLS(value string, route *ruche.Route) (message, hint string) {
	switch mode := ruche.TLSMode(value); mode {
	case "":
	case ruche.TLSAuto:
		if route.Protocol != "" { // where it is not the same as nothing
			route.TLS = mode
		}
	case ruche.TLSFile, ruche.TLSOff:
		route.TLS = mode
	case "acme", "internal":
		return fmt.Sprintf("tls: %s is not supported yet", value), "write auto, or file with a certificate in the certificates directory"
	default:
		return fmt.Sprintf("tls: %s is not known", quoted(value)), "write auto, file or off"
	}
	return "", ""
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
