package discovery

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/discovery/setting"
	"github.com/ruche-project/ruche/internal/match"
)

// isStream reports whether the route carries connections as they come instead of requests.
func (w *writtenRoute) isStream() bool {
	if w.EntryPoint != nil {
		return true
	}
	for _, e := range w.Endpoints {
		if strings.HasPrefix(strings.TrimSpace(e.URL), ruche.SchemeTCP+"://") {
			return true
		}
	}
	return false
}

// readStreamMatch reads which connections the route takes, and complains about what belongs to requests.
func (f *fileReader) readStreamMatch(w *writtenRoute, route *ruche.Route, bad *badRoute, complain func(message, hint string)) {
	route.Protocol, route.Match.EntryPoint = ruche.ProtocolTCP, ruche.EntryPointHTTPS
	if w.EntryPoint != nil {
		if p := setting.EntryPoint(*w.EntryPoint); p != nil {
			complain("entry_point: "+p.Message, p.Hint)
		}
		route.Match.EntryPoint = *w.EntryPoint
	}
	bad.entryPoint = route.Match.EntryPoint
	switch written := strings.TrimSpace(w.Host); {
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
	}{{"path", w.Path != ""}, {"tls", w.TLS != ""}, {"sticky", w.Sticky != nil || w.Policy == "sticky"}, {"root", w.Root != nil}} {
		if key.given {
			complain(key.name+": the route is about connections, not requests", "remove the key")
		}
	}
	for _, e := range w.Endpoints {
		if !strings.HasPrefix(strings.TrimSpace(e.URL), ruche.SchemeTCP+"://") {
			complain(fmt.Sprintf("endpoint %s: a route with an entry point has endpoints with tcp://", quoted(e.URL)), "write tcp://address:port")
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
