package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"slices"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// cipherSuites are those of TLS 1.2: with forward secrecy and authenticated encryption alone. TLS 1.3 has no others.
func cipherSuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// serverTLS is what all TLS that ends here has in common. The groups of the key exchange are the library's: those with ML-KEM first.
func (p *Proxy) serverTLS() *tls.Config {
	return &tls.Config{MinVersion: p.cfg.MinTLS, CipherSuites: cipherSuites(), GetEncryptedClientHelloKeys: p.currentECHKeys}
}

// configFor returns what makes of the common settings those of the name that a client asks for: its minimum version, and the wish for a certificate of
// the client. Most names need nothing of their own, and none is made then.
func (p *Proxy) configFor(common *tls.Config) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if answer, err := p.challengeConfig(hello); answer != nil || err != nil {
			return answer, err
		}
		name, ok := match.CanonicalHost(hello.ServerName)
		if !ok {
			return nil, nil
		}
		minimum, wishes := p.demands(p.current.Load().table, name)
		tooOld := minimum > common.MinVersion && !slices.Contains(hello.SupportedVersions, minimum)
		if !tooOld && wishes == nil {
			return nil, nil
		}
		c := common.Clone()
		c.MinVersion = max(c.MinVersion, minimum)
		if wishes != nil {
			wishes.ask(c)
		}
		return c, nil
	}
}

// wishes are the authorities of which clients may choose a certificate.
type wishes struct {
	pools []*x509.CertPool
	any   bool // of others, too
}

// ask has clients asked for a certificate, which they may refuse: whether they need one, and whether theirs is good, is decided for each request, as
// nginx does, so that people see why. Nothing is resumed: a session that began without a certificate would go on without one, and the library asks for it once.
func (w *wishes) ask(c *tls.Config) {
	c.ClientAuth, c.SessionTicketsDisabled = tls.RequestClientCert, true
	if len(w.pools) == 1 && !w.any {
		c.ClientCAs = w.pools[0]
	}
}

// demands are what the routes that a name may lead to ask of a handshake. The wishes are nil if none asks for a certificate.
func (p *Proxy) demands(t *table.Table, name string) (minimum uint16, w *wishes) {
	q, _ := t.Certificate(name)
	for r := range t.Takers(name) {
		minimum = max(minimum, minimumTLS(r))
		check := p.clientRuleFor(r, q.Host).check
		if check == nil {
			continue
		}
		if w == nil {
			w = &wishes{}
		}
		if check.CAs == nil || r.ClientAuth != nil && r.ClientAuth.Mode == ruche.ClientAuthRequest {
			w.any = true
		} else if !slices.Contains(w.pools, check.CAs) {
			w.pools = append(w.pools, check.CAs)
		}
	}
	return minimum, w
}

// minimumTLS is the route's own, or 0.
func minimumTLS(r *table.Route) uint16 {
	if r.MinTLS == ruche.MinTLS13 {
		return tls.VersionTLS13
	}
	return 0
}
