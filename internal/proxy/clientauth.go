package proxy

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// clientRule says which certificates a route wants of the clients of a host.
type clientRule struct {
	mode   ruche.ClientAuthMode
	check  *ruche.PeerCheck // nil: none are asked for
	closed string           // why the route must not be served; empty if it may be
}

// clientRuleFor looks up what is declared and what files there are. named is the pattern by which the certificate of the host is chosen.
func (p *Proxy) clientRuleFor(r *table.Route, named string) (rule clientRule) {
	if p.cfg.Certificates == nil {
		return rule
	}
	rule.mode = ruche.ClientAuthRequire
	if r.ClientAuth != nil {
		rule.mode = r.ClientAuth.Mode
	}
	var err error
	if rule.check, err = p.cfg.Certificates.ClientCheck(r.ClientAuth, named, r.Match.Host); err != nil {
		rule.closed = err.Error()
	}
	return rule
}

// peer is the certificate that the client of a connection has shown. Requests of one connection may ask at once.
type peer struct {
	chain []*x509.Certificate

	mu    sync.Mutex
	check *ruche.PeerCheck // by which it was verified last
	until time.Time        // the result holds until then
	err   error
}

// verifiedFor is how long a result holds. Certificates and revocation lists expire while a connection lasts; new files count at once.
const verifiedFor = time.Minute

func peerOf(s *tls.ConnectionState) *peer {
	if len(s.PeerCertificates) == 0 {
		return nil
	}
	return &peer{chain: s.PeerCertificates}
}

// verify returns nil when the check accepts the certificate.
func (c *peer) verify(check *ruche.PeerCheck, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.check != check || now.After(c.until) {
		c.err = check.Check(c.chain, x509.ExtKeyUsageClientAuth)
		c.check, c.until = check, now.Add(verifiedFor)
	}
	return c.err
}

// name is the subject, for the access log.
func (c *peer) name() string {
	if c == nil {
		return ""
	}
	leaf := c.chain[0]
	return fmt.Sprintf("%s, serial number %x", leaf.Subject, leaf.SerialNumber)
}

var errNoCertificate = errors.New("the client has shown no certificate")

// accept decides about what a client has shown, which is nil if it has shown nothing.
func (rule *clientRule) accept(shown *peer, now time.Time) error {
	if shown == nil {
		if rule.mode == ruche.ClientAuthRequire {
			return errNoCertificate
		}
		return nil
	}
	err := shown.verify(rule.check, now)
	var refused *ruche.CertificateRefused
	if errors.As(err, &refused) && refused.Foreign && rule.mode == ruche.ClientAuthRequest {
		return nil
	}
	return err
}

// knowsClient decides whether a request may go to a route as far as that depends on its TLS: its version, and the client's certificate. It returns the answer to
// give if not.
func (p *Proxy) knowsClient(x *exchange, r *table.Route, named string) (a answer, ok bool) {
	if x.secure && x.tls.version < minimumTLS(r) { // it asked for another name, or for none
		return misdirected(), false
	}
	rule := p.clientRuleFor(r, named)
	switch {
	case rule.closed != "":
		x.res.err = errors.New(rule.closed)
		return blocked(), false
	case rule.check == nil:
		return answer{}, true
	case !x.secure && rule.mode != ruche.ClientAuthRequire:
		return answer{}, true
	case !x.secure:
		return refuse(http.StatusForbidden, "this site asks for a client certificate, which can be shown by HTTPS only"), false
	}
	// Else a connection that was opened for an open site would lead to a closed one (RFC 9110 section 15.5.20).
	if name, _ := match.CanonicalHost(x.tls.serverName); name != x.host || x.host == "" {
		return misdirected(), false
	}
	err := rule.accept(x.tls.peer, time.Now())
	if err == nil {
		return answer{}, true
	}
	x.res.err = err
	if errors.Is(err, errNoCertificate) {
		return refuse(http.StatusBadRequest, "no required SSL certificate was sent").closing(), false
	}
	brief := ""
	var refused *ruche.CertificateRefused
	if errors.As(err, &refused) {
		brief = refused.Brief
	}
	return refuse(http.StatusBadRequest, "the SSL certificate error: "+cmp.Or(brief, "it is not accepted")).closing(), false
}

func misdirected() answer {
	return refuse(http.StatusMisdirectedRequest, "the connection was made for another name than the request is for; a new connection is needed")
}

// askClients makes settings of a TCP route whose TLS ends here ask for certificates, if they should. There is no answer to be given, so it is the handshake that fails.
func (p *Proxy) askClients(c *tls.Config, rule clientRule) {
	c.SessionTicketsDisabled = true
	c.ClientAuth, c.ClientCAs = tls.RequestClientCert, rule.check.CAs
	if rule.mode == ruche.ClientAuthRequire {
		c.ClientAuth = tls.RequireAnyClientCert
	}
	c.VerifyConnection = func(s tls.ConnectionState) error { return rule.accept(peerOf(&s), time.Now()) }
}

// reason tells what a route wants of its clients.
func (rule *clientRule) reason() string {
	source := rule.check.Source
	switch rule.mode {
	case ruche.ClientAuthRequire:
		return "clients must show a certificate, which is verified by " + source
	case ruche.ClientAuthOptional:
		return "clients may show a certificate, which is verified by " + source
	}
	return "clients may show a certificate; one that " + source + " does not know counts as none"
}
