package proxy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// Routes tells what is published now.
func (p *Proxy) Routes() ruche.RouteList {
	list := ruche.RouteList{Routes: []ruche.RouteStatus{}, Diagnostics: []ruche.Diagnostic{}, Warnings: p.cfg.Health.List()}
	s := p.current.Load()
	if s == nil {
		return list
	}
	now := time.Now()
	for _, r := range s.table.Routes {
		list.Routes = append(list.Routes, p.status(s, s.of(r), now))
	}
	list.Diagnostics = append(list.Diagnostics, s.table.Diagnostics...)
	return list
}

func (p *Proxy) status(s *snapshot, r *routeState, now time.Time) ruche.RouteStatus {
	route := r.route
	st := ruche.RouteStatus{
		ID: route.ID, Vocabulary: route.Vocabulary, Match: route.Match, Hosts: route.Hosts, Sources: route.Sources,
		Endpoints: make([]ruche.EndpointStatus, len(route.Endpoints)), Blocked: route.Blocked, ShadowedBy: s.table.ShadowedBy(route),
		Diagnostics: s.table.DiagnosticsOf(route), Requests: r.life.counts.classes(), HTTPSMethod: ruche.HTTPSNoRedirect,
		Policy: r.policy, Sticky: r.cookieName(),
	}
	for i := range route.Endpoints {
		st.Endpoints[i] = endpointStatus(&route.Endpoints[i], r.all[i], now)
		if r.checks != nil {
			st.Endpoints[i].Check = r.checks[i].status()
		}
	}
	if st.Protocol = route.Protocol; st.Protocol != "" {
		p.streamStatus(&st, r)
		return st
	}
	for i, host := range route.Hosts {
		if st.Blocked == "" && p.cfg.Certificates != nil {
			st.Blocked = cmp.Or(p.cfg.Certificates.Restriction(host), p.clientRuleFor(route, host).closed)
		}
		if strings.HasPrefix(host, "~") {
			continue
		}
		if st.Certificates == nil {
			st.Certificates = make(map[string]ruche.CertificateStatus)
		}
		st.Certificates[host] = p.hostCertificate(s.table, route, host)
		if i == 0 {
			found := table.Result{Route: route, KnownHost: true}
			st.HTTPSMethod = p.judge(found, p.asked(s.table, found, sample(host))).method
		}
	}
	return st
}

func endpointStatus(e *table.Endpoint, state *endpointState, now time.Time) ruche.EndpointStatus {
	st := ruche.EndpointStatus{
		URL: e.URL, Workload: e.Workload, Node: e.Node, Network: e.Network, NetworkReason: e.NetworkReason, PortReason: e.PortReason,
		State: e.State, StateReason: e.StateReason, Since: e.Since, InFlight: state.inFlight.Load(), Weight: e.Weight,
		CoolingDown: state.cooling(now), EjectedUntil: state.ejectedUntil(now),
	}
	st.LastError, st.LastErrorAt = state.failure()
	return st
}

// sample is a host that the pattern takes.
func sample(pattern string) string {
	if base, ok := strings.CutPrefix(pattern, "*."); ok {
		return "any." + base
	}
	if base, ok := strings.CutSuffix(pattern, ".*"); ok {
		return base + ".any"
	}
	return pattern
}

// hostCertificate tells which certificate a host pattern is served with; none is made for the question.
func (p *Proxy) hostCertificate(t *table.Table, r *table.Route, pattern string) ruche.CertificateStatus {
	if r.TLS == ruche.TLSOff || r.HTTPSMethod == ruche.HTTPSNoHTTPS {
		return ruche.CertificateStatus{Kind: ruche.CertificateNone, Reason: "the route is not served by HTTPS"}
	}
	q, ok := t.Certificate(sample(pattern))
	if !ok || q.Mode == ruche.TLSOff {
		return noCertificate("no route serves this host by HTTPS")
	}
	return p.certificateFor(q)
}

// Serving tells what each host of a route with TLS is served with, patterns that are no wildcards left out, and each of the names that certificates are there for, and
// what is closed when there may be other hosts.
func (p *Proxy) Serving(names []string) (map[string]ruche.CertificateStatus, <-chan struct{}) {
	s := p.current.Load()
	all := make(map[string]ruche.CertificateStatus)
	for _, r := range s.table.Routes {
		for _, host := range r.Hosts {
			_, known := all[host]
			if known || strings.HasPrefix(host, "~") || strings.HasSuffix(host, ".*") {
				continue
			}
			switch {
			case r.Protocol == "":
				if st := p.hostCertificate(s.table, r, host); st.Kind != ruche.CertificateNone || r.TLS != ruche.TLSOff && r.HTTPSMethod != ruche.HTTPSNoHTTPS {
					all[host] = st
				}
			case r.EndsTLS():
				all[host] = p.certificateFor(r.StreamCertificate(sample(host)))
			}
		}
	}
	for _, name := range names {
		if q := query(s.table, sample(name)); q.ServerName != "" {
			if _, known := all[name]; !known {
				all[name] = p.certificateFor(q)
			}
		}
	}
	if e := p.ech.Load(); e != nil && e.publicName != "" && p.cfg.Certificates != nil {
		if _, known := all[e.publicName]; !known {
			q, _ := p.publicName(e.publicName)
			all[e.publicName] = p.certificateFor(q)
		}
	}
	return all, s.replaced
}

// PassedThrough is a name that is passed through to an endpoint, which does the handshake.
type PassedThrough struct {
	Name string
	// Address is that of the endpoint, Preamble what it wants to get first.
	Address  string
	Preamble []byte
}

// PassedThrough tells which exact names are passed through, each with an endpoint that is ready; names without one are left out.
func (p *Proxy) PassedThrough() []PassedThrough {
	var all []PassedThrough
	known := make(map[string]bool)
	for _, r := range p.current.Load().table.Routes {
		if r.Protocol != ruche.ProtocolTCP || r.TLS != ruche.TLSPassthrough {
			continue
		}
		ready := slices.IndexFunc(r.Endpoints, func(e table.Endpoint) bool { return e.Ready() })
		for _, host := range r.Hosts {
			if ready >= 0 && !known[host] && !strings.ContainsAny(host, "*~") {
				known[host] = true
				all = append(all, PassedThrough{host, r.Endpoints[ready].Address, proxyPreamble(r.ProxyProtocol)})
			}
		}
	}
	return all
}

// trustedCertificate tells about the certificate of a host that somebody vouches for; none is made for the question.
func (p *Proxy) trustedCertificate(t *table.Table, host string) ruche.CertificateStatus {
	q, ok := t.Certificate(host)
	if !ok || q.Mode == ruche.TLSOff || p.cfg.Certificates == nil {
		return ruche.CertificateStatus{Kind: ruche.CertificateNone, Reason: "no route serves this host by HTTPS"}
	}
	return p.cfg.Certificates.Status(q)
}

// certificateOf tells what certificate a TLS handshake for the host gets.
func (p *Proxy) certificateOf(host string) ruche.CertificateStatus {
	if p.cfg.Certificates == nil {
		return ruche.CertificateStatus{Kind: ruche.CertificateNone, Reason: "HTTPS is not served"}
	}
	_, st := p.cfg.Certificates.Certificate(query(p.current.Load().table, host))
	return st
}

// concerns reports whether a diagnostic may be why the host is not served, or not as its owner meant it.
func concerns(d ruche.Diagnostic, host string) bool {
	if d.Host == host || strings.Contains(d.Message, host) || strings.Contains(d.Source, host) {
		return true
	}
	pattern, err := match.ParseHost(d.Host)
	return err == nil && pattern.Match(host)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
