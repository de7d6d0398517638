package proxy

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// exchange is one request on its way through the proxy.
type exchange struct {
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	started time.Time

	secure  bool   // it came by TLS
	port    string // the port it came in at
	peer    netip.Addr
	client  netip.Addr
	trusted bool // the peer is a trusted proxy
	id      string
	hop     string // this proxy's token, see hopHeader

	host    string // canonical; empty when the request names none
	target  target
	upgrade string // the protocol it asks to switch to
	route   *routeState

	timeouts *Timeouts
	received counter // bytes read of the request's body
	bodyRead atomic.Bool
	res      result
}

// scheme is how the request came in here.
func (x *exchange) scheme() string { return scheme(x.secure) }

func scheme(secure bool) string {
	if secure {
		return "https"
	}
	return "http"
}

// encrypted reports whether the client's own connection is encrypted, as far as can be known: a trusted proxy in front may
// have taken TLS off.
func (x *exchange) encrypted() bool {
	return x.secure || x.trusted && x.r.Header.Get("X-Forwarded-Proto") == "https"
}

// handler serves the requests of one listener.
type handler struct {
	proxy  *Proxy
	secure bool
	port   string
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := h.proxy
	x := &exchange{w: w, r: r, control: http.NewResponseController(w), started: time.Now(), secure: h.secure, port: h.port, hop: p.hop, timeouts: &p.cfg.Timeouts}
	x.peer = parsePeer(r.RemoteAddr)
	x.trusted = p.trusted(x.peer)
	x.client = p.clientIP(x.peer, x.trusted, r.Header)
	x.id = requestID(r.Header, x.trusted)
	defer p.account(x)
	if r.ProtoMajor == 1 {
		if r.ProtoMinor > 0 { // RFC 9110 section 7.8
			x.upgrade = upgradeType(r.Header)
		} else {
			// net/http passes over a Transfer-Encoding here; what stands behind the head must not become a request (RFC 9112 section 6.1).
			w.Header().Set("Connection", "close")
		}
		if r.Body != http.NoBody {
			_ = x.control.EnableFullDuplex()
		}
	}
	a := p.serve(x)
	if a.status != 0 {
		a.write(x)
	}
	if r.ProtoMajor == 1 && r.Body != http.NoBody && !x.bodyRead.Load() && x.res.status != http.StatusSwitchingProtocols {
		// net/http now reads some of what is left, to keep the connection.
		_ = x.control.SetReadDeadline(time.Now().Add(p.cfg.Timeouts.Body))
	}
	if x.broken() {
		panic(http.ErrAbortHandler)
	}
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

// broken reports whether the client must not take what it got for a whole answer.
func (x *exchange) broken() bool {
	return x.res.err != nil && x.res.sentHead && x.res.status != http.StatusSwitchingProtocols
}

// serve decides what happens to a request, and has it forwarded if it should be. It returns the answer that Ruche is to
// give itself; the zero answer when an endpoint's was given.
func (p *Proxy) serve(x *exchange) answer {
	switch x.r.Method {
	case http.MethodConnect:
		return refuse(http.StatusBadRequest, "this server does not tunnel")
	case http.MethodTrace:
		return refuse(http.StatusMethodNotAllowed, "the method TRACE is not allowed")
	}
	if x.looped() {
		return refuse(http.StatusLoopDetected, "this server has forwarded the request to itself: the endpoint of the site is this server")
	}
	var ok bool
	if x.target, ok = parseTarget(x.r.RequestURI); !ok {
		return refuse(http.StatusBadRequest, "the path of the request is malformed")
	}
	if x.r.Host != "" {
		if x.host, ok = match.CanonicalHost(x.r.Host); !ok {
			return refuse(http.StatusBadRequest, "the host of the request is malformed")
		}
	}
	return p.route(x)
}

// route has the request answered by a route of the table in force. When none of the route's endpoints could be reached, that
// is most often a container that has just ended, a moment before the Engine says so, or one that has just started and does not listen
// yet. So the request does not fail at once: it waits for the next table, which may know better, and knocks again now and then.
func (p *Proxy) route(x *exchange) answer {
	var giveUp time.Time
	pause := knockFirst
	for {
		s := p.current.Load()
		a, forwarded := p.find(x, s)
		if !forwarded {
			return a
		}
		x.res = p.forwarder.forward(x)
		switch {
		case x.res.err == nil || x.res.sentHead:
			return answer{}
		case !x.res.repeatable:
			return answerFor(x.res.err)
		}
		now := time.Now()
		if giveUp.IsZero() {
			// An endpoint that has been failing for longer is not about to be replaced: its requests need not wait.
			giveUp = now.Add(p.cfg.Timeouts.Hold - x.res.endpoint.failingFor(now))
		}
		left := giveUp.Sub(now)
		if left <= 0 {
			return answerFor(x.res.err)
		}
		knock := time.NewTimer(min(pause, left))
		select {
		case <-s.replaced:
		case <-knock.C:
			pause = min(2*pause, knockLast)
		case <-x.r.Context().Done():
			knock.Stop()
			return answerFor(errClientGone)
		}
		knock.Stop()
	}
}

// find looks for the route of a request in a snapshot. Either the request is to be forwarded to it, or the answer is to be given.
func (p *Proxy) find(x *exchange, s *snapshot) (a answer, forward bool) {
	found := s.table.Lookup(x.host, x.target.path)
	v := p.judge(s.table, found, asked{host: x.host, encrypted: x.encrypted(), secure: x.secure})
	if v.known && found.Route != nil {
		x.route = s.routes[found.Route.Index]
	}
	switch {
	case !v.known:
		return refuse(p.cfg.UnknownHostStatus, "no site is published under this name"), false
	case found.Route == nil:
		return refuse(http.StatusNotFound, "nothing is published under this path"), false
	case p.restriction(s.table, found.Route, x.host) != "":
		return blocked(), false
	case v.redirect:
		return answer{status: http.StatusMovedPermanently, location: "https://" + x.host + p.httpsPort() + x.target.raw}, false
	case found.AddSlash:
		return answer{status: http.StatusMovedPermanently, location: scheme(x.encrypted()) + "://" + x.r.Host + x.target.rawPath + "/" + x.target.raw[len(x.target.rawPath):]}, false
	case found.Route.Blocked != "":
		return blocked(), false
	case p.cfg.MaxBodyBytes > 0 && x.r.ContentLength > p.cfg.MaxBodyBytes:
		return refuse(http.StatusRequestEntityTooLarge, "the body of the request is larger than this server allows").closing(), false
	}
	return answer{}, true
}

// restriction tells why files keep the route from serving the host; it is empty when none does. They may be named after the pattern
// that the host's certificate goes by, or after the route's own.
func (p *Proxy) restriction(t *table.Table, r *table.Route, host string) string {
	if p.cfg.Certificates == nil {
		return ""
	}
	q, _ := t.Certificate(host)
	reason := p.cfg.Certificates.Restriction(q.Host)
	if reason == "" && r.Match.Host != "" && r.Match.Host != q.Host {
		reason = p.cfg.Certificates.Restriction(r.Match.Host)
	}
	return reason
}

// asked is what the decision about a request's scheme depends on.
type asked struct {
	host      string
	encrypted bool // from the client's point of view
	secure    bool // on this listener
}

// verdict is what a route's HTTPS method makes of a request.
type verdict struct {
	known    bool // the host exists on this scheme
	redirect bool // to HTTPS
	// method is the one in force, after what is missing for it.
	method ruche.HTTPSMethod
	// certificate is what decided about it.
	certificate ruche.CertificateStatus
}

// judge applies HTTPS_METHOD: a host that is served on the other scheme only is unknown on this one. Nothing is
// redirected, and HTTP stays open, where HTTPS has no certificate that somebody provided.
func (p *Proxy) judge(t *table.Table, found table.Result, a asked) verdict {
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
	if _, v.certificate = p.fileCertificate(t, a.host); v.certificate.Trusted() {
		v.method = method
		v.known = method != ruche.HTTPSNoHTTP
		v.redirect = method == ruche.HTTPSRedirect
	}
	return v
}

// fileCertificate asks for the certificate file of a host; none is made for the question.
func (p *Proxy) fileCertificate(t *table.Table, host string) (*tls.Certificate, ruche.CertificateStatus) {
	q, ok := t.Certificate(host)
	if !ok || q.Mode == ruche.TLSOff || p.cfg.Certificates == nil {
		return nil, ruche.CertificateStatus{Kind: ruche.CertificateNone, Reason: "no route serves this host by HTTPS"}
	}
	q.Mode = ruche.TLSFile
	return p.cfg.Certificates.Certificate(q)
}
