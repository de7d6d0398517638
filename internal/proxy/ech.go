package proxy

import (
	"crypto/tls"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/match"
)

// echKeys are those by which clients hide the name that they ask for (RFC 9849), and the name that they ask for openly.
type echKeys struct {
	publicName string
	keys       []tls.EncryptedClientHelloKey
}

// SetECHKeys puts keys of Encrypted Client Hello in force for new connections, with the name that clients ask for openly; without keys it is off.
func (p *Proxy) SetECHKeys(publicName string, keys []tls.EncryptedClientHelloKey) {
	p.ech.Store(&echKeys{publicName, keys})
}

// currentECHKeys is for tls.Config.
func (p *Proxy) currentECHKeys(*tls.ClientHelloInfo) ([]tls.EncryptedClientHelloKey, error) {
	if e := p.ech.Load(); e != nil && e.keys != nil {
		return e.keys, nil
	}
	return []tls.EncryptedClientHelloKey{}, nil
}

// publicName serves the public name of Encrypted Client Hello, which need not have a route: by its certificate clients whose key is not known any more believe the new one (RFC 9849 section 6.1.6).
// ok is false for other names.
func (p *Proxy) publicName(serverName string) (q ruche.CertificateQuery, ok bool) {
	e := p.ech.Load()
	if e == nil || e.publicName == "" {
		return q, false
	}
	if name, _ := match.CanonicalHost(serverName); name != e.publicName {
		return q, false
	}
	if q, ok = p.current.Load().table.Certificate(e.publicName); ok && q.Mode != ruche.TLSOff {
		return q, true
	}
	return ruche.CertificateQuery{ServerName: e.publicName, Host: e.publicName, Declared: true}, true
}

// certificateOr gives the certificate of the public name, and those of other names by choose.
func (p *Proxy) certificateOr(choose func(*tls.ClientHelloInfo) (*tls.Certificate, error)) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		q, ok := p.publicName(hello.ServerName)
		if !ok || p.cfg.Certificates == nil {
			return choose(hello)
		}
		certificate, _ := p.cfg.Certificates.Certificate(q)
		return certificate, nil
	}
}
