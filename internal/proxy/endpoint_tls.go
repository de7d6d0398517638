package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/ruche-project/ruche"
)

// The protocols that endpoints are spoken to by, as TLS agrees on them (RFC 7301 section 6).
const (
	protocolHTTP1 = "http/1.1"
	protocolHTTP2 = "h2"
)

// protocolOf is that of a scheme with TLS.
func protocolOf(scheme string) string {
	if speaksHTTP2(scheme) {
		return protocolHTTP2
	}
	return protocolHTTP1
}

// errUntrusted is that of endpoints that have not proved who they are.
var errUntrusted = errors.New("the endpoint's certificate is not accepted")

// secures makes the TLS of connections to endpoints. Its settings are kept, with the sessions that can be resumed, by what a route declares.
type secures struct {
	peers Peers // may be nil
	plain *tls.Config

	mu   sync.Mutex
	made map[secureKey]*tls.Config
}

type secureKey struct {
	ruche.EndpointTLS
	host     string // whose certificate is wanted where no name is declared
	protocol string
}

// newSecures makes one that verifies nothing and asks for no name where nothing is declared, as nginx does for VIRTUAL_PROTO=https.
func newSecures(peers Peers) *secures {
	return &secures{
		peers: peers, made: make(map[secureKey]*tls.Config),
		plain: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocolHTTP1}, ClientSessionCache: tls.NewLRUClientSessionCache(0)},
	}
}

// maxSecures bounds the settings that are kept: endpoints without a declared name come and go with their addresses.
const maxSecures = 1000

// config returns the settings of connections to an endpoint, on which the protocol will be spoken. The error says why there must be none.
func (s *secures) config(declared *ruche.EndpointTLS, address, protocol string) (*tls.Config, error) {
	switch {
	case declared == nil && protocol == protocolHTTP1:
		return s.plain, nil
	case declared == nil:
		return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}, nil
	case s.peers == nil:
		return nil, fmt.Errorf("%w: there is nothing to verify it by", errUntrusted)
	}
	if _, _, err := s.peers.EndpointCheck(*declared); err != nil {
		return nil, fmt.Errorf("%w: %w", errUntrusted, err)
	}
	key := secureKey{*declared, declared.ServerName, protocol}
	if key.host == "" {
		key.host, _, _ = net.SplitHostPort(address)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.made[key]
	if c == nil {
		if len(s.made) >= maxSecures {
			clear(s.made)
		}
		c = s.build(key)
		s.made[key] = c
	}
	return c, nil
}

// build makes settings that ask for the files as they are at each handshake. What was verified is verified again when a session is resumed.
func (s *secures) build(key secureKey) *tls.Config {
	c := &tls.Config{
		InsecureSkipVerify: true, // VerifyConnection does it, by files that change
		ServerName:         key.ServerName, NextProtos: []string{key.protocol}, MinVersion: tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
		VerifyConnection:   func(state tls.ConnectionState) error { return s.verify(key, &state) },
	}
	if key.MinTLS == ruche.MinTLS13 {
		c.MinVersion = tls.VersionTLS13
	}
	if key.ClientCert != "" {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			_, own, err := s.peers.EndpointCheck(key.EndpointTLS)
			return own, err
		}
	}
	return c
}

// check is that by which an endpoint's certificate is verified now; nil where it is not, or cannot be.
func (s *secures) check(declared *ruche.EndpointTLS) *ruche.PeerCheck {
	if declared == nil || s.peers == nil {
		return nil
	}
	check, _, err := s.peers.EndpointCheck(*declared)
	if err != nil {
		return nil
	}
	return check
}

// holds reports whether the certificate that an endpoint has shown on a kept connection is still accepted. A connection that is used all the time would keep alive what
// was revoked. It costs a map look-up or two while the files stay as they are.
func (s *secures) holds(w *wire) bool {
	now := s.check(w.endpoint.tls)
	if now == w.checked {
		return true
	}
	shown, ok := w.stream.(interface{ ConnectionState() tls.ConnectionState })
	if now == nil || !ok || now.Check(shown.ConnectionState().PeerCertificates, x509.ExtKeyUsageServerAuth) != nil {
		return false
	}
	w.checked = now
	return true
}

func (s *secures) verify(key secureKey, state *tls.ConnectionState) error {
	check, _, err := s.peers.EndpointCheck(key.EndpointTLS)
	if err == nil && check != nil {
		if err = check.Check(state.PeerCertificates, x509.ExtKeyUsageServerAuth); err == nil {
			err = state.PeerCertificates[0].VerifyHostname(key.host)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUntrusted, err)
	}
	return nil
}

// encrypt does the handshake on a new connection to an endpoint, which it closes if that fails. It is for goroutines.
func (s *secures) encrypt(ctx context.Context, c net.Conn, declared *ruche.EndpointTLS, address, protocol string) (*tls.Conn, error) {
	config, err := s.config(declared, address, protocol)
	if err == nil {
		secure := tls.Client(c, config)
		if err = secure.HandshakeContext(ctx); err == nil {
			return secure, nil
		}
	}
	_ = c.Close()
	return nil, err
}
