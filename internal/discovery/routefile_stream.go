package discovery

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
	"github.com/ruche-project/ruche/internal/match"
)

// isStream reports whether the route carries connections or datagrams as they come instead of requests.
func (w *writtenRoute) isStream() bool {
	return w.EntryPoint != nil || w.speaks(ruche.SchemeTCP) || w.speaks(ruche.SchemeUDP)
}

// speaks reports whether some endpoint has the scheme.
func (w *writtenRoute) speaks(scheme string) bool {
	return slices.ContainsFunc(w.Endpoints, func(e writtenEndpoint) bool { return strings.HasPrefix(strings.TrimSpace(e.URL), scheme+"://") })
}

// readStreamMatch reads which connections the route takes, and complains about what belongs to requests.
func (f *fileReader) readStreamMatch(w *writtenRoute, route *ruche.Route, bad *badRoute, complain func(message, hint string)) {
	route.Protocol, route.Match.EntryPoint = ruche.ProtocolTCP, ruche.EntryPointHTTPS
	if w.speaks(ruche.SchemeUDP) {
		route.Protocol, route.Match.EntryPoint = ruche.ProtocolUDP, ""
	}
	if w.EntryPoint != nil {
		if p := setting.EntryPoint(*w.EntryPoint); p != nil {
			complain("entry_point: "+p.Message, p.Hint)
		}
		route.Match.EntryPoint = *w.EntryPoint
	}
	bad.entryPoint = route.Match.EntryPoint
	if w.mode() == ruche.TLSOff {
		complain("tls: off is for sites", "leave the key out to hand connections on as they come, or write auto or file to have TLS end here")
	}
	switch written := strings.TrimSpace(w.Host); {
	case route.Protocol == ruche.ProtocolUDP:
		if w.EntryPoint == nil || w.Host != "" {
			complain("a route of UDP has an entry_point and no host: datagrams tell none", "write the entry_point that --entry-points names, and nothing else about which datagrams")
		}
	case written == "" || written == "*":
		if route.Match.EntryPoint == ruche.EntryPointHTTPS {
			complain("the route has neither a host nor an entry point of its own", "write the host whose TLS is passed through, or an entry_point that --entry-points names")
		}
	default:
		host, err := match.ParseHost(written)
		if err != nil {
			complain(explain(err))
			break
		}
		bad.host, route.Match.Host = host.String(), host.String()
	}
	for _, key := range []struct {
		name  string
		given bool
	}{
		{"path", w.Path != ""}, {"tls", w.TLS != nil && route.Protocol == ruche.ProtocolUDP}, {"sticky", w.Sticky != nil || w.Policy == "sticky"}, {"root", w.Root != nil},
		{"check", w.Check != nil && route.Protocol == ruche.ProtocolUDP}, {"proxy_protocol", w.ProxyProtocol != nil && route.Protocol == ruche.ProtocolUDP},
	} {
		if key.given {
			what := "connections"
			if route.Protocol == ruche.ProtocolUDP {
				what = "datagrams"
			}
			complain(key.name+": the route is about "+what+", which know nothing like it", "remove the key")
		}
	}
	for _, e := range w.Endpoints {
		if !strings.HasPrefix(strings.TrimSpace(e.URL), string(route.Protocol)+"://") {
			complain(fmt.Sprintf("endpoint %s: a route with an entry point has endpoints with tcp://, or with udp://", quoted(e.URL)), "write tcp://address:port, or udp://address:port for datagrams")
			break
		}
	}
}

// describeMatch names what a route takes.
func describeMatch(m ruche.Match) string {
	if m.EntryPoint != "" {
		return fmt.Sprintf("entry point %s with host %s", m.EntryPoint, cmp.Or(m.Host, "*"))
	}
	return fmt.Sprintf("host %s with path %s", m.Host, m.Path)
}
