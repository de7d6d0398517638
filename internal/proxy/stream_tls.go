package proxy

import (
	"cmp"
	"crypto/tls"
	"errors"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/loop"
	"github.com/ruche-project/ruche/internal/match"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// streamGuest is a connection of a stream as TLS sees it.
type streamGuest struct {
	guest
	entryPoint string
	route      *table.Route
}

// streamTLSConfig is that of connections whose TLS ends here. No protocol is agreed on (ALPN) unless the route asks for one that the client offers.
func (p *Proxy) streamTLSConfig() *tls.Config {
	c := p.serverTLS()
	c.GetCertificate = p.certificateOr(p.streamCertificate)
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if answer, err := p.challengeConfig(hello); answer != nil || err != nil {
			return answer, err
		}
		g := hello.Conn.(*streamGuest)
		protocols := slices.DeleteFunc(g.route.Protocols(), func(name string) bool { return !slices.Contains(hello.SupportedProtos, name) })
		minimum := minimumTLS(g.route)
		rule := p.clientRuleFor(g.route, streamQuery(g.route, hello.ServerName, g.entryPoint).Host)
		switch {
		case rule.closed != "":
			return nil, errors.New(rule.closed)
		case len(protocols) == 0 && rule.check == nil && (minimum == 0 || slices.Contains(hello.SupportedVersions, minimum)):
			return nil, nil
		}
		own := c.Clone()
		own.NextProtos, own.MinVersion = protocols, max(own.MinVersion, minimum)
		if rule.check != nil {
			p.askClients(own, rule)
		}
		return own, nil
	}
	p.shareTickets(c)
	return c
}

// streamCertificate chooses by the name that the client asks for, and by that of the entry point where it asks for none.
func (p *Proxy) streamCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if p.cfg.Certificates == nil {
		return nil, nil
	}
	g := hello.Conn.(*streamGuest)
	certificate, _ := p.cfg.Certificates.Certificate(streamQuery(g.route, hello.ServerName, g.entryPoint))
	return certificate, nil
}

func streamQuery(r *table.Route, serverName, entryPoint string) ruche.CertificateQuery {
	if name, ok := match.CanonicalHost(serverName); ok {
		return r.StreamCertificate(name)
	}
	q := r.StreamCertificate(entryPoint)
	q.Host, q.Declared = entryPoint, true
	return q
}

// streamRestriction says why the route must not be served although it is not blocked: files protect its hosts in a way that is not supported.
func (p *Proxy) streamRestriction(r *table.Route) (reason string) {
	if !r.EndsTLS() || p.cfg.Certificates == nil {
		return ""
	}
	for _, host := range r.Hosts {
		reason = cmp.Or(reason, p.cfg.Certificates.Restriction(host), p.clientRuleFor(r, host).closed)
	}
	return reason
}

// endTLS does the handshake if the stream's route wants that. It reports false when the connection is of no more use.
func (p *Proxy) endTLS(s *stream) bool {
	r := p.current.Load().table.Stream(s.entry.name, s.arrival)
	if r == nil || r.Blocked != "" || !r.EndsTLS() {
		return true
	}
	v := s.visitor
	g := &streamGuest{guest{Conn: v.conn, remote: v.remote, early: append([]byte(nil), v.buf[:v.n]...)}, s.entry.name, r}
	v.letGo()
	secure := tls.Server(g, p.streamTLS)
	stream := newSecureStream(secure, v.conn)
	_ = v.conn.SetDeadline(v.conn.Loop().Now().Add(s.entry.timeouts.ReadHeader))
	err := secure.Handshake()
	if err == nil {
		err = v.conn.Drain()
	}
	if err != nil {
		p.cfg.Logger.Debug("TLS handshake failed", "peer", v.remote.String(), "entry_point", s.entry.name, "error", err)
		_ = v.conn.Drain()
		return false
	}
	if secure.ConnectionState().NegotiatedProtocol == protocolACME {
		return false
	}
	_ = v.conn.SetDeadline(time.Time{})
	s.secure = stream
	return true
}

var errNoPostgresTLS = errors.New("the endpoint does not begin TLS for a client of PostgreSQL, whose TLS is passed through")

// askForTLS begins TLS with a database, as its client has done here.
func (s *stream) askForTLS(conn *loop.Conn) error {
	if !s.visitor.postgres || s.secure != nil {
		return nil
	}
	if _, err := conn.Write([]byte(postgresAsks)); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(conn.Loop().Now().Add(s.entry.timeouts.ReadHeader))
	defer func() { _ = conn.SetReadDeadline(time.Time{}) }()
	var answer [1]byte
	if _, err := conn.Read(answer[:]); err != nil {
		return err
	}
	if string(answer[:]) != postgresAgrees {
		return errNoPostgresTLS
	}
	return nil
}
