package proxy

import (
	"net/http"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/h1"
	"github.com/ruche-project/ruche/internal/match"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// exchange has a request answered, whatever protocol it came by, and counts and logs it.
func (p *Proxy) exchange(x *exchange) {
	if a := p.serve(x); a.status != 0 {
		x.say(a)
	}
	p.account(x)
}

// account counts a finished exchange and logs it.
func (p *Proxy) account(x *exchange) {
	took := time.Since(x.started)
	if x.route != nil {
		x.route.life.counts.add(x.res.status, took)
	} else {
		p.unrouted.add(x.res.status, took)
	}
	p.log.add(x, took)
}

// serve decides what happens to a request, and has it forwarded if it should be. It returns the answer that Ruche is to
// give itself; the zero answer when an endpoint's was given.
func (p *Proxy) serve(x *exchange) answer {
	switch string(x.req.Method) {
	case http.MethodConnect:
		return refuse(http.StatusBadRequest, "this server does not tunnel")
	case http.MethodTrace:
		return refuse(http.StatusMethodNotAllowed, "the method TRACE is not allowed")
	}
	if !h1.ValidFieldName(x.req.Method) || !h1.ValidTarget(x.req.Path) { // HTTP/2 has room for what would be several words of a request line
		return refuse(http.StatusBadRequest, "the method or the path of the request is malformed")
	}
	if x.looped() {
		return refuse(http.StatusLoopDetected, "this server has forwarded the request to itself: the endpoint of the site is this server")
	}
	var ok bool
	if x.target, ok = parseTarget(text(x.req.Path)); !ok {
		return refuse(http.StatusBadRequest, "the path of the request is malformed")
	}
	if len(x.req.Host) > 0 {
		if x.host, ok = match.CanonicalHost(text(x.req.Host)); !ok {
			return refuse(http.StatusBadRequest, "the host of the request is malformed")
		}
	}
	if a := p.answerCA(x.host, x.target.path); a.status != 0 {
		return a
	}
	return p.route(x)
}

// route has the request answered by a route of the table in force. When none of the route's endpoints takes it, that
// is most often because they are being replaced: a container has ended a moment before the Engine says so, its successor does not listen
// yet, or is not healthy yet. Then the request does not fail at once: it waits for a newer table, which may know better, and knocks again now and
// then.
func (p *Proxy) route(x *exchange) answer {
	var giveUp time.Time
	held, again := false, false
	defer func() {
		if held {
			p.held.Add(-1)
		}
	}()
	for pause := knockFirst; ; pause = min(2*pause, knockLast) {
		s := p.current.Load()
		a, forward := p.find(x, s)
		if !forward {
			return a
		}
		before := x.res
		x.res = p.forward(x, again)
		switch {
		case x.res.err == nil || x.res.sentHead:
			return answer{}
		case !x.res.repeatable:
			return answerFor(x.res.err)
		case x.res.endpoint == nil && len(x.route.ready) > 0: // the retry budget is spent for the moment
			x.res = before
		}
		now := time.Now()
		if giveUp.IsZero() {
			giveUp = now.Add(p.patience(x, now))
		}
		left := giveUp.Sub(now)
		if left <= 0 {
			return answerFor(x.res.err)
		}
		if !held {
			if held = true; p.held.Add(1) > maxHeld {
				return answerFor(x.res.err)
			}
		}
		x.ground.pause(x, s, min(pause, left))
		if x.gone.Load() {
			return answerFor(errClientGone)
		}
		again = x.res.endpoint != nil && x.res.endpoint.failingSince.Load() != 0
	}
}

// patience is how long a request waits that no endpoint took. Endpoints that have been away or failing for longer are not being replaced:
// nobody needs to wait for them.
func (p *Proxy) patience(x *exchange, now time.Time) time.Duration {
	hold := p.cfg.Timeouts.Hold
	switch {
	case x.res.endpoint != nil:
		return hold - x.res.endpoint.failingFor(now)
	case x.route.starting:
		return hold
	}
	return hold - now.Sub(time.Unix(0, x.route.life.emptied.Load()))
}

// find looks for the route of a request in a snapshot. Either the request is to be forwarded to it, or the answer is to be given.
func (p *Proxy) find(x *exchange, s *snapshot) (a answer, forward bool) {
	found := s.table.Lookup(x.host, x.target.path)
	ask := p.asked(s.table, found, x.host)
	ask.encrypted, ask.secure, ask.challenge = x.encrypted(), x.secure, isChallenge(x.target.path)
	v := p.judge(found, ask)
	if v.known && found.Route != nil {
		x.route = s.of(found.Route)
		x.hsts = p.hsts(found.Route, &ask, v)
	}
	switch {
	case !v.known:
		return refuse(p.cfg.UnknownHostStatus, "no site is published under this name"), false
	case found.Route == nil:
		return refuse(http.StatusNotFound, "nothing is published under this path"), false
	case p.restriction(found.Route, ask.query.Host) != "":
		return blocked(), false
	case v.redirect:
		return answer{status: http.StatusMovedPermanently, location: "https://" + x.host + p.httpsPort() + x.target.raw}, false
	}
	if a, ok := p.knowsClient(x, found.Route, ask.query.Host); !ok {
		return a, false
	}
	switch {
	case found.AddSlash:
		return answer{status: http.StatusMovedPermanently, location: scheme(x.encrypted()) + "://" + text(x.req.Host) + x.target.rawPath + "/" + x.target.raw[len(x.target.rawPath):]}, false
	case found.Route.Blocked != "":
		return blocked(), false
	case p.cfg.MaxBodyBytes > 0 && x.req.ContentLength > p.cfg.MaxBodyBytes:
		return refuse(http.StatusRequestEntityTooLarge, "the body of the request is larger than this server allows").closing(), false
	}
	return answer{}, true
}

// restriction tells why files keep the route from serving a host; it is empty when none does. They may be named after the pattern
// that the host's certificate goes by, or after the route's own.
func (p *Proxy) restriction(r *table.Route, named string) string {
	if p.cfg.Certificates == nil {
		return ""
	}
	reason := p.cfg.Certificates.Restriction(named)
	if reason == "" && r.Match.Host != "" && r.Match.Host != named {
		reason = p.cfg.Certificates.Restriction(r.Match.Host)
	}
	return reason
}

// asked is what the decision about a request's scheme depends on.
type asked struct {
	encrypted bool                   // from the client's point of view
	secure    bool                   // on this listener
	challenge bool                   // a CA may ask, which is to find what answers it by plain HTTP
	query     ruche.CertificateQuery // by what the host's certificate is chosen
	named     bool                   // a route asks for one
}

// asked looks up what files there may be for the host of a route.
func (p *Proxy) asked(t *table.Table, found table.Result, host string) (a asked) {
	if found.Route != nil && p.cfg.Certificates != nil {
		a.query, a.named = t.Certificate(host)
	}
	return a
}

// verdict is what a route's HTTPS method makes of a request.
type verdict struct {
	known    bool // the host exists on this scheme
	redirect bool // to HTTPS
	// method is the one in force, after what is missing for it.
	method ruche.HTTPSMethod
}

// judge applies HTTPS_METHOD: a host that is served on the other scheme only is unknown on this one. Nothing is
// redirected, and HTTP stays open, where HTTPS has no certificate that somebody provided.
func (p *Proxy) judge(found table.Result, a asked) verdict {
	v := verdict{known: found.KnownHost, method: ruche.HTTPSNoRedirect}
	if found.Route == nil {
		return v
	}
	method := found.Route.HTTPSMethod
	if method == "" {
		method = ruche.HTTPSRedirect
	}
	if method == ruche.HTTPSNoHTTPS || found.Route.TLS == ruche.TLSOff {
		v.method, v.known = ruche.HTTPSNoHTTPS, !a.secure
		return v
	}
	if method == ruche.HTTPSNoRedirect || a.encrypted {
		v.method = method
		return v
	}
	if p.httpsOff() {
		return v
	}
	if a.named && p.cfg.Certificates.Trusted(a.query) {
		v.method = method
		v.known = method != ruche.HTTPSNoHTTP
		v.redirect = method == ruche.HTTPSRedirect && !a.challenge
	}
	return v
}
