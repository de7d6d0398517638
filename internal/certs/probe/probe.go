// Package probe looks at the certificate that a server shows, and at how it speaks TLS. It connects as a client does, and believes nothing.
package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
)

// The checks, in the order in which they are made.
const (
	checkConnection = "connection"
	checkChain      = "chain"
	checkName       = "name"
	checkValidity   = "validity"
	checkKey        = "key"
	checkRevocation = "revocation"
	checkCAA        = "caa"
	checkStaple     = "staple"
	checkVersions   = "versions"
	checkExchange   = "key-exchange"
	checkSession    = "session"
)

// Config is what Check needs beside the target. The zero value is good.
type Config struct {
	// Roots are those that are trusted; nil stands for those of the system.
	Roots *x509.CertPool
	// Now tells the time; nil stands for the clock.
	Now func() time.Time
	// Timeout bounds each connection and each download; 0 stands for 10 s.
	Timeout time.Duration
	// Resolver is asked for CAA records; nil: they are not looked at.
	Resolver *dns.Resolver
	// Preface is sent before anything else, such as a header of the PROXY protocol.
	Preface []byte
}

// Check looks at a server. Whatever goes wrong is a finding.
func Check(ctx context.Context, t ruche.CheckTarget, cfg Config) ruche.CertificateCheck {
	p := newProber(t, cfg)
	p.look(ctx)
	return p.result
}

// Look makes one handshake, and gives the certificates that were shown, the server's own first, and what clients have against them, but for their end: that is for who
// knows when they are renewed. Without certificates the problem says why there are none.
func Look(ctx context.Context, t ruche.CheckTarget, cfg Config) (chain []*x509.Certificate, problem string) {
	p := newProber(t, cfg)
	shaken, err := p.handshake(ctx, &tls.Config{NextProtos: p.protocols()})
	if err != nil {
		p.unreachable(ctx, err)
		return nil, p.worst()
	}
	p.chain(shaken.PeerCertificates)
	p.name(shaken.PeerCertificates[0])
	return shaken.PeerCertificates, p.worst()
}

// worst joins the errors that were found.
func (p *prober) worst() string {
	var all []string
	for _, f := range p.result.Findings {
		if f.Level == ruche.LevelError {
			all = append(all, f.Message)
		}
	}
	return strings.Join(all, "; ")
}

func newProber(t ruche.CheckTarget, cfg Config) *prober {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if t.Port == 0 {
		t.Port = map[string]int{startSMTP: 25, startIMAP: 143, "": 443}[t.StartTLS]
	}
	if t.ServerName == "" {
		t.ServerName = t.Host
	}
	return &prober{Config: cfg, target: t, result: ruche.CertificateCheck{Target: t, At: cfg.Now()}}
}

// prober is one look at a server.
type prober struct {
	Config
	target ruche.CheckTarget
	result ruche.CertificateCheck
}

func (p *prober) add(check string, level ruche.Level, hint, format string, args ...any) {
	p.result.Findings = append(p.result.Findings, ruche.Finding{Check: check, Level: level, Subject: p.target.ServerName, Message: fmt.Sprintf(format, args...), Hint: hint})
}

func (p *prober) look(ctx context.Context) {
	first, err := p.handshake(ctx, &tls.Config{NextProtos: p.protocols()})
	if err != nil && p.result.Address != "" {
		first, err = p.secondTry(ctx, err)
	}
	if err != nil {
		p.unreachable(ctx, err)
		return
	}
	for _, c := range first.PeerCertificates {
		p.result.Chain = append(p.result.Chain, describe(c))
	}
	p.result.TLS = &ruche.CheckedTLS{
		Version: tls.VersionName(first.Version), Cipher: tls.CipherSuiteName(first.CipherSuite), ALPN: first.NegotiatedProtocol,
		KeyExchange: "RSA", Stapled: len(first.OCSPResponse) > 0, ClientCertificate: first.asked,
	}
	if first.CurveID != 0 {
		p.result.TLS.KeyExchange, p.result.TLS.PostQuantum = first.CurveID.String(), postQuantum(first.CurveID)
	}
	p.chain(first.PeerCertificates)
	p.name(first.PeerCertificates[0])
	p.validity(first.PeerCertificates)
	p.key(first.PeerCertificates)
	p.revocation(ctx, first.PeerCertificates)
	p.caa(ctx, first.PeerCertificates[0])
	p.staple(first.PeerCertificates[0])
	p.versions(ctx)
	p.exchange()
	p.session(ctx)
}

// unreachable says why there is no certificate to look at.
func (p *prober) unreachable(ctx context.Context, err error) {
	switch {
	case strings.HasSuffix(err.Error(), alertUnrecognizedName.Error()): // which is an error without a type
		p.add(checkConnection, ruche.LevelError, "the name is not published there, or without TLS", "the server has no certificate for %s", p.target.ServerName)
	case p.result.Address != "":
		p.add(checkConnection, ruche.LevelError, "look whether TLS is spoken at this port; for mail there is --starttls", "no handshake: %v", err)
	default:
		p.unconnected(ctx, err)
	}
}

// unconnected says why no connection came about, and where it was tried.
func (p *prober) unconnected(ctx context.Context, err error) {
	var lookup *net.DNSError
	var slow net.Error
	where := p.tried(ctx)
	switch {
	case errors.As(err, &lookup) && lookup.IsNotFound:
		p.add(checkConnection, ruche.LevelError, "look at the name, or say where the server is with --address IP:PORT", "there is no address for %s", p.target.Host)
	case errors.As(err, &lookup):
		p.add(checkConnection, ruche.LevelError, "look at the name servers of this host (/etc/resolv.conf), or say where the server is with --address IP:PORT", "the DNS does not say where %s is: %v", p.target.Host, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		p.add(checkConnection, ruche.LevelError, "nothing listens there: start the server, or name its port (HOST:PORT); where the name leads elsewhere, look at its DNS", "no connection: %s refuses it", where)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		p.add(checkConnection, ruche.LevelError, "look at the routes of this host, and whether the server's is up; an IPv6 address is reached where there is IPv6 alone", "no connection: no way leads to %s", where)
	case errors.As(err, &slow) && slow.Timeout():
		p.add(checkConnection, ruche.LevelError, "look whether the host is up, and for a firewall between that drops what comes to this port", "no connection: %s does not answer within %v", where, p.Timeout)
	default:
		p.add(checkConnection, ruche.LevelError, "look whether the server runs, and at the network between", "no connection: %v", err)
	}
}

// tried gives the addresses that a connection was tried with.
func (p *prober) tried(ctx context.Context) string {
	if p.target.Address != "" {
		return p.target.Address
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, p.target.Host)
	if err != nil {
		return p.address()
	}
	for i, a := range addresses {
		addresses[i] = net.JoinHostPort(a, strconv.Itoa(p.target.Port))
	}
	return few(addresses)
}

// alertUnrecognizedName is by which a server tells that it does not have a name (RFC 6066 section 3).
const alertUnrecognizedName = tls.AlertError(112)

// address is where to connect to.
func (p *prober) address() string {
	if p.target.Address != "" {
		return p.target.Address
	}
	return net.JoinHostPort(p.target.Host, strconv.Itoa(p.target.Port))
}

// protocols are those that a browser offers by ALPN; none where it would not ask.
func (p *prober) protocols() []string {
	if p.target.StartTLS != "" {
		return nil
	}
	return []string{"h2", "http/1.1"}
}
