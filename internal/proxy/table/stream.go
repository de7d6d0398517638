package table

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
)

// streamIndex finds the routes of one listener.
type streamIndex struct {
	exact    map[string]*Route
	patterns []*Route // the closest first
	any      *Route
}

// parseStream is parse for a route that is not about HTTP.
func parseStream(d *ruche.Route) (r *Route, key string, err error) {
	r = &Route{Vocabulary: d.Vocabulary, Match: ruche.Match{EntryPoint: cmp.Or(d.Match.EntryPoint, ruche.EntryPointHTTPS)}, Protocol: d.Protocol}
	written := "*"
	if d.Match.Host != "" && d.Match.Host != written {
		if r.host, err = match.ParseHost(d.Match.Host); err != nil {
			return nil, "", err
		}
		written = r.host.String()
		r.Match.Host, r.Hosts = written, []string{written}
	}
	switch {
	case d.Protocol == ruche.ProtocolUDP && (r.Match.Host != "" || d.Match.EntryPoint == ""):
		return nil, "", errors.New("a route of UDP has an entry point, and no host: datagrams tell none")
	case d.Protocol == ruche.ProtocolUDP:
	case d.Protocol != ruche.ProtocolTCP:
		return nil, "", fmt.Errorf("protocol %q is not known", d.Protocol)
	case r.Match.Host == "" && r.Match.EntryPoint == ruche.EntryPointHTTPS:
		return nil, "", errors.New("a route that passes TLS through on the HTTPS port needs the name of a host: the other names are served there too")
	}
	r.ID = string(d.Vocabulary) + ":" + string(d.Protocol) + "://" + written + "@" + r.Match.EntryPoint
	return r, r.ID, nil
}

// listener is what the routes of a streamIndex have in common.
type listener struct {
	protocol   ruche.Protocol
	entryPoint string
}

func newStreamIndexes(routes []*Route) map[listener]*streamIndex {
	var streams []*Route
	for _, r := range routes {
		if r.Protocol != "" {
			streams = append(streams, r)
		}
	}
	if len(streams) == 0 {
		return nil
	}
	slices.SortStableFunc(streams, precedence)
	indexes := make(map[listener]*streamIndex)
	for _, r := range streams {
		l := listener{r.Protocol, r.Match.EntryPoint}
		if indexes[l] == nil {
			indexes[l] = &streamIndex{exact: make(map[string]*Route)}
		}
		indexes[l].add(r)
	}
	for _, x := range indexes {
		slices.SortStableFunc(x.patterns, func(a, b *Route) int {
			return cmp.Or(cmp.Compare(a.host.Kind(), b.host.Kind()), cmp.Compare(len(b.host.Key()), len(a.host.Key())))
		})
	}
	return indexes
}

// add gives the route its place, unless another route has it: routes come in the order in which they win.
func (x *streamIndex) add(r *Route) {
	switch {
	case x.at(r) != r:
	case r.Match.Host == "":
		x.any = r
	case r.host.Kind() == match.HostExact:
		x.exact[r.host.Key()] = r
	default:
		x.patterns = append(x.patterns, r)
	}
}

// at returns the route that has the place of r, r itself if none has.
func (x *streamIndex) at(r *Route) *Route {
	switch {
	case r.Match.Host == "":
		return cmp.Or(x.any, r)
	case r.host.Kind() == match.HostExact:
		return cmp.Or(x.exact[r.host.Key()], r)
	}
	return r
}

// Stream finds the route for a connection that came in at an entry point; nil when there is none. serverName is the one that TLS asks for, as
// match.CanonicalHost returns it; empty when there is none.
func (t *Table) Stream(entryPoint, serverName string) *Route {
	x := t.streams[listener{ruche.ProtocolTCP, entryPoint}]
	if x == nil {
		return nil
	}
	if serverName != "" {
		if r := x.exact[serverName]; r != nil {
			return r
		}
		for _, r := range x.patterns {
			if r.host.Match(serverName) {
				return r
			}
		}
	}
	return x.any
}

// Datagrams returns the route for datagrams that come in at an entry point; nil when there is none.
func (t *Table) Datagrams(entryPoint string) *Route {
	if x := t.streams[listener{ruche.ProtocolUDP, entryPoint}]; x != nil {
		return x.any
	}
	return nil
}

// ByServerName reports whether some routes of an entry point depend on the server name, so that it has to be known.
func (t *Table) ByServerName(entryPoint string) bool {
	x := t.streams[listener{ruche.ProtocolTCP, entryPoint}]
	return x != nil && len(x.exact)+len(x.patterns) > 0
}

// Bind tells which entry points there are, by protocol and name. Routes of others get a diagnostic. It is called before the table is used.
func (t *Table) Bind(open func(protocol ruche.Protocol, entryPoint string) bool) {
	for _, r := range t.Routes {
		if r.Protocol == "" || open(r.Protocol, r.Match.EntryPoint) || r.owner.life == gone {
			continue
		}
		address := ":5432"
		if r.Protocol == ruche.ProtocolUDP {
			address = ":53/udp"
		}
		d := ruche.Diagnostic{
			Code: ruche.CodeEntryPointUnknown, Severity: ruche.SeverityError, Workload: r.owner.workload.Name, Source: r.Sources[0].Source, Host: r.Match.Host,
			Message: fmt.Sprintf("there is no entry point %q of %s here; nothing comes in for this route", r.Match.EntryPoint, strings.ToUpper(string(r.Protocol))),
			Hint:    fmt.Sprintf("open it with --entry-points, for example %s=%s", r.Match.EntryPoint, address),
		}
		t.find(r, d)
	}
}
