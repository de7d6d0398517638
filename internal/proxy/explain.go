package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// Explain tells what a GET request for the URL gets now, and why. Without a scheme the URL is taken for an http one; tcp://entry-point, tcp://host@entry-point (by TLS)
// and udp://entry-point ask what becomes of connections and datagrams. The error says what is wrong with the URL.
func (p *Proxy) Explain(rawURL string) (ruche.Explanation, error) {
	a, stream, err := parseArriving(rawURL)
	var q question
	if !stream {
		q, err = parseQuestion(rawURL)
	}
	if err != nil {
		return ruche.Explanation{}, fmt.Errorf("cannot read the URL %q: %w (write for example https://shop.example/path)", rawURL, err)
	}
	s := p.current.Load()
	if s == nil {
		return ruche.Explanation{}, errors.New("cannot explain anything yet: the first route table is still being read")
	}
	if stream {
		return p.explainArriving(s, a), nil
	}
	if ex, ok := p.explainDiverted(s, q); ok {
		return ex, nil
	}
	found := s.table.Lookup(q.host, q.target.path)
	ex := ruche.Explanation{URL: q.String(), Reasons: s.table.Why(q.host, q.target.path), Warnings: p.cfg.Health.List()}
	ex.Certificate = p.certificateOf(q.host)
	ask := p.asked(s.table, found, q.host)
	ask.encrypted, ask.secure, ask.challenge = q.secure, q.secure, isChallenge(q.target.path)
	v := p.judge(found, ask)
	if found.Route != nil {
		st := p.status(s, s.of(found.Route), time.Now())
		ex.Route = &st
		ex.Reasons = append(ex.Reasons, p.reasonScheme(found, v, q)...)
		ex.Diagnostics = append(ex.Diagnostics, st.Diagnostics...)
	}
	var b barrier
	if v.known && found.Route != nil {
		b = barrier{p.restriction(found.Route, ask.query.Host), p.clientRuleFor(found.Route, ask.query.Host)}
		ex.Reasons = append(ex.Reasons, b.reasons(found.Route)...)
	}
	p.decide(&ex, found, v, q, b)
	if found.Route == nil {
		ex.Candidates = s.table.Candidates(q.host, q.target.path)
	}
	for _, d := range s.table.Diagnostics {
		if concerns(d, q.host) && !slices.Contains(ex.Diagnostics, d) {
			ex.Diagnostics = append(ex.Diagnostics, d)
		}
	}
	return ex, nil
}

// question is a URL that is asked about.
type question struct {
	secure bool
	host   string
	target target
}

func (q question) String() string {
	if q.secure {
		return "https://" + q.host + q.target.raw
	}
	return "http://" + q.host + q.target.raw
}

func parseQuestion(rawURL string) (question, error) {
	rawURL = strings.TrimSpace(rawURL)
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		scheme, rest = "http", rawURL
	}
	q := question{secure: strings.EqualFold(scheme, "https")}
	if !q.secure && !strings.EqualFold(scheme, "http") {
		return q, fmt.Errorf("the scheme %q is none of http, https, tcp and udp", scheme)
	}
	rest, _, _ = strings.Cut(rest, "#")
	i := strings.IndexAny(rest, "/?")
	authority, uri := rest, "/"
	if i >= 0 {
		authority, uri = rest[:i], rest[i:]
		if uri[0] == '?' {
			uri = "/" + uri
		}
	}
	if q.host, ok = match.CanonicalHost(authority); !ok {
		return q, errors.New("it has no valid host")
	}
	if _, err := url.ParseRequestURI(uri); err != nil {
		return q, err
	}
	if q.target, ok = parseTarget(uri); !ok {
		return q, errors.New("its path is malformed")
	}
	return q, nil
}

// reasonScheme tells what the route's HTTPS method makes of the request.
func (p *Proxy) reasonScheme(found table.Result, v verdict, q question) []string {
	declared := found.Route.HTTPSMethod
	if declared == "" {
		declared = ruche.HTTPSRedirect
	}
	switch {
	case !v.known:
		return []string{fmt.Sprintf("its HTTPS method is %s, so this scheme does not serve it", v.method)}
	case v.redirect:
		return []string{"its certificate is trusted (" + p.trustedCertificate(p.current.Load().table, q.host).Reason + "), so plain HTTP redirects to HTTPS"}
	case !q.secure && isChallenge(q.target.path) && v.method == ruche.HTTPSRedirect:
		return []string{"CAs ask for this path by plain HTTP, so it is not redirected; tokens that Ruche itself has asked for it answers on every edge"}
	case !q.secure && declared != v.method && p.httpsOff():
		return []string{"HTTPS is not listened on, so plain HTTP serves it"}
	case !q.secure && declared != v.method:
		return []string{"there is no trusted certificate (" + p.trustedCertificate(p.current.Load().table, q.host).Reason + "), so plain HTTP serves it instead of redirecting"}
	}
	return nil
}

// barrier is what keeps clients from a route.
type barrier struct {
	restriction string // by files, against everybody; empty if there is none
	clients     clientRule
}

// reasons tells of it, and of what the route asks of TLS.
func (b *barrier) reasons(r *table.Route) (why []string) {
	if b.restriction != "" {
		why = append(why, "a file closes the host on every path and both schemes: "+b.restriction)
	}
	if b.clients.check != nil {
		why = append(why, b.clients.reason())
	}
	if r.MinTLS == ruche.MinTLS13 {
		why = append(why, "clients must speak TLS 1.3")
	}
	return why
}

// decide fills in what the request gets.
func (p *Proxy) decide(ex *ruche.Explanation, found table.Result, v verdict, q question, b barrier) {
	switch {
	case q.secure && ex.Certificate.Kind == ruche.CertificateNone:
		ex.Answer = "the TLS handshake is refused (unrecognized_name): " + ex.Certificate.Reason
	case !v.known:
		ex.Status = p.cfg.UnknownHostStatus
		ex.Answer = fmt.Sprintf("%d: no route takes the host %s", ex.Status, q.host)
		if found.Route != nil {
			ex.Answer = fmt.Sprintf("%d: the host %s is served on the other scheme only", ex.Status, q.host)
		}
	case found.Route == nil:
		ex.Status = http.StatusNotFound
		ex.Answer = fmt.Sprintf("404: the host %s is known, but no route takes the path %s", q.host, q.target.path)
	case b.restriction != "":
		ex.Status = http.StatusServiceUnavailable
		ex.Answer = "503: not served on purpose: " + b.restriction
	case v.redirect:
		ex.Status, ex.Location = http.StatusMovedPermanently, "https://"+q.host+p.httpsPort()+q.target.raw
		ex.Answer = "301: redirected to " + ex.Location
	case b.clients.closed != "":
		ex.Status = http.StatusServiceUnavailable
		ex.Answer = "503: not served on purpose: " + b.clients.closed
	case b.clients.check != nil && b.clients.mode == ruche.ClientAuthRequire && !q.secure:
		ex.Status = http.StatusForbidden
		ex.Answer = "403: clients must show a certificate, which they can by HTTPS only"
	case found.AddSlash:
		q.target.raw = q.target.rawPath + "/" + q.target.raw[len(q.target.rawPath):]
		ex.Status, ex.Location = http.StatusMovedPermanently, q.String()
		ex.Answer = "301: redirected to " + ex.Location
	case found.Route.Blocked != "":
		ex.Status = http.StatusServiceUnavailable
		ex.Answer = "503: not served on purpose: " + found.Route.Blocked
	default:
		decideEndpoints(ex)
	}
}

// decideEndpoints tells which endpoints a forwarded request goes to, and what keeps the others out.
func decideEndpoints(ex *ruche.Explanation) {
	var c endpointCount
	for _, e := range ex.Route.Endpoints {
		if reason := c.add(e); reason != "" {
			ex.Reasons = append(ex.Reasons, reason)
		}
	}
	switch n := len(ex.Route.Endpoints); {
	case n == 0:
		ex.Reasons = append(ex.Reasons, "no endpoint is running"+goneText(ex.Route.Sources))
	default:
		ex.Reasons = append(ex.Reasons, fmt.Sprintf("%d of %s ready", c.ready, plural(n, "endpoint")))
	}
	if c.ready == 0 {
		ex.Status = http.StatusServiceUnavailable
		ex.Answer = "503 with Retry-After: the route is known, but no endpoint is ready"
		return
	}
	asked := c.ready - c.unwell
	if asked == 0 {
		asked = c.ready
		ex.Reasons = append(ex.Reasons, "the health check fails for all of them, so it is not heeded")
	}
	ex.Reasons = append(ex.Reasons, reasonPolicy(ex.Route, asked)...)
	ex.Answer = "forwarded to " + plural(asked, "endpoint")
	if c.cooling == asked {
		ex.Answer += ", though all of them failed a moment ago"
	}
}

// endpointCount counts the endpoints of a route: those that may get requests, of these those whose active check fails, and of the others
// those that are ejected.
type endpointCount struct{ ready, unwell, cooling int }

// add counts an endpoint, and tells what keeps requests away from it; empty when nothing does.
func (c *endpointCount) add(e ruche.EndpointStatus) string {
	switch {
	case e.State != ruche.EndpointReady:
		reason := fmt.Sprintf("endpoint %s (%s) takes no requests: %s", nameOf(e), e.Workload, e.State)
		if e.StateReason != "" {
			reason += " (" + e.StateReason + ")"
		}
		return reason
	case e.URL == "":
		return fmt.Sprintf("endpoint of %s has no address: %s", e.Workload, e.NetworkReason)
	case e.Weight == 0:
		return fmt.Sprintf("endpoint %s weighs 0 and gets no requests", e.URL)
	}
	c.ready++
	switch {
	case e.Check != nil && !e.Check.Healthy:
		c.unwell++
		reason := fmt.Sprintf("endpoint %s is out: its health check failed at %s", e.URL, timeOfDay(e.Check.At))
		if e.Check.Error != "" {
			reason += ": " + e.Check.Error
		}
		return reason
	case e.CoolingDown:
		c.cooling++
		return fmt.Sprintf("endpoint %s is the last choice until %s: %s", e.URL, timeOfDay(e.EjectedUntil), e.LastError)
	}
	return ""
}

func timeOfDay(t time.Time) string { return t.UTC().Format("15:04:05 MST") }

// reasonPolicy tells how one of several endpoints is chosen.
func reasonPolicy(r *ruche.RouteStatus, asked int) []string {
	var why []string
	if r.Sticky != "" {
		why = append(why, fmt.Sprintf("the cookie %s keeps a client at the endpoint that answered it first", r.Sticky))
	}
	if asked < 2 {
		return why
	}
	how := fmt.Sprintf("one of them is chosen by the policy %s", r.Policy)
	var weights []string
	even := true
	for _, e := range r.Endpoints {
		weights = append(weights, strconv.Itoa(e.Weight))
		even = even && e.Weight == r.Endpoints[0].Weight
	}
	if !even {
		how += ", with the weights " + strings.Join(weights, ", ")
	}
	return append(why, how)
}

func nameOf(e ruche.EndpointStatus) string {
	if e.URL == "" {
		return "without address"
	}
	return e.URL
}

func goneText(sources []ruche.RouteSource) string {
	var gone []string
	for _, s := range sources {
		if !s.GoneSince.IsZero() {
			gone = append(gone, fmt.Sprintf("%s is gone since %s", s.Workload, s.GoneSince.UTC().Format(time.RFC3339)))
		}
	}
	if len(gone) == 0 {
		return ""
	}
	return ": " + strings.Join(gone, ", ")
}
