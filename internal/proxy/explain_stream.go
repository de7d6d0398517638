package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// arriving is a connection or a datagram that is asked about.
type arriving struct {
	text       string // the URL
	protocol   ruche.Protocol
	entryPoint string
	arrival    table.Arrival
}

// parseArriving reads tcp://entry-point, tcp://host@entry-point for TLS that asks for the host, and udp://entry-point. It reports false for other URLs.
func parseArriving(rawURL string) (a arriving, ok bool, err error) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(rawURL), "://")
	a.protocol = ruche.Protocol(strings.ToLower(scheme))
	if a.protocol != ruche.ProtocolTCP && a.protocol != ruche.ProtocolUDP {
		return a, false, nil
	}
	a.entryPoint = strings.ToLower(strings.TrimSuffix(rest, "/"))
	if i := strings.LastIndexByte(a.entryPoint, '@'); i >= 0 {
		host := a.entryPoint[:i]
		a.entryPoint = a.entryPoint[i+1:]
		if host != "*" {
			if a.arrival.ServerName, a.arrival.TLS = match.CanonicalHost(host); !a.arrival.TLS {
				return a, true, errors.New("it has no valid host")
			}
		}
	}
	a.text = scheme + "://" + rest
	return a, true, nil
}

// explainArriving tells what becomes of a connection or of datagrams at an entry point.
func (p *Proxy) explainArriving(s *snapshot, a arriving) ruche.Explanation {
	ex := ruche.Explanation{URL: a.text, Reasons: []string{}, Warnings: p.cfg.Health.List(), Certificate: noCertificate("nothing asks for one")}
	if !p.opens(a.protocol, a.entryPoint) {
		ex.Answer = fmt.Sprintf("nothing: there is no entry point %q of %s", a.entryPoint, strings.ToUpper(string(a.protocol)))
	}
	var r *table.Route
	switch {
	case a.protocol == ruche.ProtocolUDP:
		r = s.table.Datagrams(a.entryPoint)
	case a.arrival.TLS:
		r = s.table.Stream(a.entryPoint, a.arrival)
	default:
		if r = s.table.Stream(a.entryPoint, a.arrival); r == nil {
			a.arrival.TLS = true
			r = s.table.Stream(a.entryPoint, a.arrival)
		}
	}
	switch {
	case r != nil:
		p.explainStream(s, r, a, &ex)
	case ex.Answer == "" && a.protocol == ruche.ProtocolUDP:
		ex.Answer = "datagrams are dropped: no route takes them"
	case ex.Answer == "":
		ex.Answer = "the connection is closed: no route takes it"
	}
	return ex
}

// explainDiverted answers for a URL whose server name belongs to a TCP route; ok is false for others.
func (p *Proxy) explainDiverted(s *snapshot, q question) (ex ruche.Explanation, ok bool) {
	if !q.secure || p.httpsOff() {
		return ex, false
	}
	a := arriving{protocol: ruche.ProtocolTCP, entryPoint: ruche.EntryPointHTTPS, arrival: table.Arrival{TLS: true, ServerName: q.host}}
	r := s.table.Stream(a.entryPoint, a.arrival)
	if r == nil {
		return ex, false
	}
	ex = ruche.Explanation{URL: q.String(), Warnings: p.cfg.Health.List()}
	p.explainStream(s, r, a, &ex)
	return ex, true
}

// explainStream fills in what becomes of what a route takes.
func (p *Proxy) explainStream(s *snapshot, r *table.Route, a arriving, ex *ruche.Explanation) {
	st := p.status(s, s.of(r), time.Now())
	ex.Route, ex.Diagnostics = &st, st.Diagnostics
	what, dropped := "the connection", "the connection is closed"
	if a.protocol == ruche.ProtocolUDP {
		what, dropped = "datagrams", "datagrams are dropped"
	}
	switch {
	case r.EndsTLS():
		ex.Certificate = p.certificateFor(streamQuery(r, a.arrival.ServerName, a.entryPoint))
		ex.Reasons = append(ex.Reasons, fmt.Sprintf("the TLS of %s ends here for %s, and what is inside is carried on", nameText(a.arrival.ServerName), r.ID))
	case r.TLS == ruche.TLSPassthrough:
		ex.Certificate = noCertificate("the endpoint has its own: the handshake is not looked into")
		ex.Reasons = append(ex.Reasons, fmt.Sprintf("the TLS of %s is passed through by %s, before any route of requests is asked", nameText(a.arrival.ServerName), r.ID))
	default:
		ex.Reasons = append(ex.Reasons, fmt.Sprintf("%s takes what comes in at %s", r.ID, a.entryPoint))
	}
	var c endpointCount
	for _, e := range st.Endpoints {
		if reason := c.add(e); reason != "" {
			ex.Reasons = append(ex.Reasons, reason)
		}
	}
	ex.Reasons = append(ex.Reasons, fmt.Sprintf("%d of %s ready", st.ReadyEndpoints(), plural(len(st.Endpoints), "endpoint")))
	switch {
	case ex.Answer != "":
	case st.Blocked != "":
		ex.Answer = dropped + ": not served on purpose: " + st.Blocked
	case c.ready == 0:
		ex.Answer = dropped + ": no endpoint is ready"
	case r.TLS == ruche.TLSPassthrough:
		ex.Answer = "TLS is passed through to " + plural(c.ready, "endpoint")
	default:
		ex.Answer = what + " is carried to " + plural(c.ready, "endpoint")
		if a.protocol == ruche.ProtocolUDP {
			ex.Answer = what + " are carried to " + plural(c.ready, "endpoint")
		}
	}
	if c.ready > 1 {
		ex.Reasons = append(ex.Reasons, reasonPolicy(&st, c.ready)...)
	}
}

func nameText(name string) string {
	if name == "" {
		return "clients that name no server"
	}
	return fmt.Sprintf("server name %q", name)
}

func noCertificate(reason string) ruche.CertificateStatus {
	return ruche.CertificateStatus{Kind: ruche.CertificateNone, Reason: reason}
}

// certificateFor is what the query would get; none is made for the question.
func (p *Proxy) certificateFor(q ruche.CertificateQuery) ruche.CertificateStatus {
	if p.cfg.Certificates == nil {
		return noCertificate("there are no certificates")
	}
	st := p.cfg.Certificates.Status(q)
	if st.Kind == ruche.CertificateNone && q.Mode != ruche.TLSFile && q.Mode != ruche.TLSOff {
		st = ruche.CertificateStatus{Kind: ruche.CertificateSelfSigned, Reason: "made for each name when it is first asked for: " + st.Reason}
	}
	return st
}

// streamStatus fills in what only routes have that are not about HTTP.
func (p *Proxy) streamStatus(st *ruche.RouteStatus, r *routeState) {
	c := &r.life.streams
	st.Requests[1], st.Requests[4] = c.carried.Load(), c.failed.Load()
	if !r.route.EndsTLS() {
		return
	}
	if st.Blocked == "" {
		st.Blocked = p.streamRestriction(r.route)
	}
	st.Certificates = make(map[string]ruche.CertificateStatus)
	for _, host := range slices.DeleteFunc(slices.Clone(r.route.Hosts), func(h string) bool { return strings.HasPrefix(h, "~") }) {
		st.Certificates[host] = p.certificateFor(r.route.StreamCertificate(sample(host)))
	}
}
