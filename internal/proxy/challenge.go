package proxy

import (
	"crypto/tls"
	"net/http"
	"strings"
)

const (
	// challengePath begins the paths that CAs ask for (RFC 8555 section 8.3).
	challengePath = "/.well-known/acme-challenge/"
	// protocolACME is what a CA offers, and nothing else, for TLS-ALPN-01 (RFC 8737 section 3).
	protocolACME = "acme-tls/1"
)

// isChallenge reports whether a path is one that a CA may ask for.
func isChallenge(path string) bool { return strings.HasPrefix(path, challengePath) }

// answerCA answers a CA that looks whether the name is ours, whatever is published under it. Tokens that are not known are the site's own.
func (p *Proxy) answerCA(host, path string) (a answer) {
	if p.cfg.Challenges == nil || host == "" || !isChallenge(path) {
		return a
	}
	if content := p.cfg.Challenges.KeyAuthorization(bareHost(host), path[len(challengePath):]); content != "" {
		a = answer{status: http.StatusOK, content: content}
	}
	return a
}

// bareHost is a host without the brackets of an IPv6 address.
func bareHost(host string) string {
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// challengeConfig is what a CA is answered with that checks a name by its handshake; nil for everybody else.
func (p *Proxy) challengeConfig(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if p.cfg.Challenges == nil || len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != protocolACME {
		return nil, nil
	}
	certificate, err := p.cfg.Challenges.ChallengeCertificate(hello.ServerName)
	if certificate == nil || err != nil {
		return nil, err // without one the handshake fails, since the protocol is none of those that are served
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*certificate}, NextProtos: []string{protocolACME}, SessionTicketsDisabled: true,
	}, nil
}
