package table

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
)

// listener is what the routes of a streamIndex have in common.
type listener struct {
	protocol   ruche.Protocol
	entryPoint string
}

// streamIndex finds the routes of one listener.
type streamIndex struct {
	secure streamSet // those that take TLS alone
	plain  streamSet
}

// streamSet finds routes by host or rule.
type streamSet struct {
	exact    map[string]*Route
	patterns []*Route // the closest first
	any      *Route
	rules    ruleIndex
	byText   map[string]*Route // the first of those with the same rule
}

// Arrival is what is known of a connection before anything is said to it.
type Arrival struct {
	// TLS tells that it began with a TLS handshake, which asks for ServerName, as match.CanonicalHost returns it, and offers Protocols (ALPN). The name may be empty.
	TLS        bool
	ServerName string
	Protocols  []string
	Client     netip.Addr // IPv4 not in the form of IPv6
}

// parseStream is parse for a route that is not about HTTP.
func parseStream(d *ruche.Route) (r *Route, key string, err error) {
	r = &Route{Vocabulary: d.Vocabulary, Match: ruche.Match{EntryPoint: cmp.Or(d.Match.EntryPoint, ruche.EntryPointHTTPS)}, Protocol: d.Protocol}
	if d.Match.Rule != "" && d.Protocol == ruche.ProtocolTCP {
		err = r.parseStreamRule(d)
		return r, r.ID, err
	}
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
		return nil, "", errNameless
	}
	r.ID = string(d.Vocabulary) + ":" + string(d.Protocol) + "://" + written + "@" + r.Match.EntryPoint
	return r, r.ID, nil
}

var errNameless = errors.New("a TCP route on the HTTPS port needs TLS and the name of a host: the other names are served there too")

// parseStreamRule reads the rule of a Traefik TCP router.
func (r *Route) parseStreamRule(d *ruche.Route) (err error) {
	if r.rule, err = match.ParseConnectionRule(d.Match.Rule); err != nil {
		return err
	}
	switch {
	case r.Match.EntryPoint == ruche.EntryPointHTTPS && (d.TLS == "" || r.rule.MayMatchHost("")):
		return errNameless
	case d.TLS == "" && r.rule.AsksTLS():
		return errors.New("the rule asks for what only TLS tells, and the route has none")
	}
	r.ID = string(d.Vocabulary) + ":" + string(d.Protocol) + ":" + d.Name + "@" + r.Match.EntryPoint
	r.Match.Rule, r.Match.Priority = d.Match.Rule, d.Match.Priority
	r.Hosts, _ = r.rule.Hosts()
	if r.priority = cmp.Or(d.Match.Priority, r.rule.Len()); d.Match.Priority == 0 && r.rule.TakesAll() {
		r.priority = -1 // as with Traefik: it is the last choice, though its rule is longer than some
	}
	return nil
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
			indexes[l] = &streamIndex{}
		}
		indexes[l].of(r).add(r)
	}
	for _, x := range indexes {
		x.secure.sort()
		x.plain.sort()
	}
	return indexes
}

// of returns the set that the route belongs to.
func (x *streamIndex) of(r *Route) *streamSet {
	if r.TLS != "" {
		return &x.secure
	}
	return &x.plain
}

// add gives the route its place, unless another route has it: routes come in the order in which they win.
func (s *streamSet) add(r *Route) {
	if s.exact == nil {
		s.exact, s.byText, s.rules.byHost = make(map[string]*Route), make(map[string]*Route), make(map[string][]*Route)
	}
	switch {
	case r.rule != nil:
		s.addRule(r)
	case s.at(r) != r:
	case r.Match.Host == "":
		s.any = r
	case r.host.Kind() == match.HostExact:
		s.exact[r.host.Key()] = r
	default:
		s.patterns = append(s.patterns, r)
	}
}

func (s *streamSet) addRule(r *Route) {
	hosts, exact := r.rule.Hosts()
	for _, h := range hosts {
		if exact {
			s.rules.byHost[h] = append(s.rules.byHost[h], r)
		}
	}
	if !exact {
		s.rules.others = append(s.rules.others, r)
	}
	if same := s.byText[r.Match.Rule]; same == nil || ranks(r, same) < 0 {
		s.byText[r.Match.Rule] = r
	}
}

func (s *streamSet) sort() {
	slices.SortStableFunc(s.patterns, func(a, b *Route) int {
		return cmp.Or(cmp.Compare(a.host.Kind(), b.host.Kind()), cmp.Compare(len(b.host.Key()), len(a.host.Key())))
	})
	for _, list := range s.rules.byHost {
		slices.SortFunc(list, ranks)
	}
	slices.SortFunc(s.rules.others, ranks)
}

// at returns the route that has the place of r, r itself if none has.
func (s *streamSet) at(r *Route) *Route {
	switch {
	case r.rule != nil:
		return cmp.Or(s.byText[r.Match.Rule], r)
	case r.Match.Host == "":
		return cmp.Or(s.any, r)
	case r.host.Kind() == match.HostExact:
		return cmp.Or(s.exact[r.host.Key()], r)
	}
	return r
}

// find returns the route for a connection; nil when there is none.
func (s *streamSet) find(a Arrival) *Route {
	byName := s.byName(a.ServerName)
	if byRule, _ := s.rules.find(match.Request{Host: a.ServerName, Client: a.Client, Protocols: a.Protocols}, byName); byRule != nil {
		return byRule
	}
	return byName
}

func (s *streamSet) byName(name string) *Route {
	if name == "" {
		return s.any
	}
	if r := s.exact[name]; r != nil {
		return r
	}
	for _, r := range s.patterns {
		if r.host.Match(name) {
			return r
		}
	}
	return s.any
}

// Stream finds the route for a connection that came in at an entry point; nil when there is none. Routes that take TLS alone go before the others. On the HTTPS port
// a name that a site declares goes before patterns of names.
func (t *Table) Stream(entryPoint string, a Arrival) *Route {
	x := t.streams[listener{ruche.ProtocolTCP, entryPoint}]
	if x == nil {
		return nil
	}
	if !a.TLS {
		return x.plain.find(a)
	}
	r := x.secure.find(a)
	switch {
	case r == nil:
		return x.plain.find(a)
	case entryPoint == ruche.EntryPointHTTPS && !r.names(a.ServerName) && t.servesHTTPS(a.ServerName):
		return nil
	}
	return r
}

// servesHTTPS reports whether a site that is served by HTTPS has been declared by this very name.
func (t *Table) servesHTTPS(name string) bool {
	q, ok := t.Certificate(name)
	return ok && q.Declared && q.Mode != ruche.TLSOff
}

// LooksAhead reports whether some routes of an entry point take TLS alone, so that it has to be known how a connection begins.
func (t *Table) LooksAhead(entryPoint string) bool {
	x := t.streams[listener{ruche.ProtocolTCP, entryPoint}]
	return x != nil && x.secure.exact != nil
}

// Datagrams returns the route for datagrams that come in at an entry point; nil when there is none.
func (t *Table) Datagrams(entryPoint string) *Route {
	if x := t.streams[listener{ruche.ProtocolUDP, entryPoint}]; x != nil {
		return x.plain.any
	}
	return nil
}

// EndsTLS reports whether Ruche does the handshake for connections of this route.
func (r *Route) EndsTLS() bool {
	return r.Protocol == ruche.ProtocolTCP && r.TLS != "" && r.TLS != ruche.TLSPassthrough && r.TLS != ruche.TLSOff
}

// StreamCertificate says by what the certificate for a server name is chosen where the route ends TLS.
func (r *Route) StreamCertificate(name string) ruche.CertificateQuery {
	q := r.certificate(name, r.names(name))
	if r.rule == nil && r.Match.Host != "" {
		q.Host = r.Match.Host
	}
	return q
}

// Protocols are those that the route asks for by its rule (ALPN).
func (r *Route) Protocols() []string {
	if r.rule == nil {
		return nil
	}
	return r.rule.Protocols()
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
