package acmeserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
)

// alpnProtocol is that of tls-alpn-01 (RFC 8737 section 6.2).
const alpnProtocol = "acme-tls/1"

// turn counts around. It is safe for concurrent use.
type turn struct{ n atomic.Uint32 }

func (t *turn) of(n int) int { return int((t.n.Add(1) - 1) % uint32(n)) }

// unverified is TLS without regard to who is there: to prove that a name is the client's is what the connection is for.
func unverified() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
}

// tlsALPN01 asks for a certificate that carries the answer (RFC 8737 section 3).
func (p *prover) tlsALPN01(ctx context.Context, what proof) *Problem {
	where := net.JoinHostPort(what.name, strconv.Itoa(p.tlsPort))
	raw, err := p.dial(ctx, "tcp", where)
	if err != nil {
		return because(err, "cannot connect to %s", where)
	}
	defer func() { _ = raw.Close() }() // nothing was written that could be lost
	cfg := unverified()
	cfg.NextProtos, cfg.ServerName = []string{alpnProtocol}, what.name
	if a, err := netip.ParseAddr(what.name); err == nil {
		cfg.ServerName = reverse(a)
	}
	c := tls.Client(raw, cfg)
	if err := c.HandshakeContext(ctx); err != nil {
		return problem(tlsFailed, "the TLS handshake for %s with %s fails: %s", alpnProtocol, where, err)
	}
	state := c.ConnectionState()
	if state.NegotiatedProtocol != alpnProtocol {
		return problem(unauthorized, "%s does not speak %s", where, alpnProtocol)
	}
	if err := checkALPN(state.PeerCertificates[0], what); err != nil {
		return problem(unauthorized, "the certificate of %s is not the answer: %s", where, err)
	}
	return nil
}

// reverse is the name by which an address is asked for in TLS (RFC 8738 section 6), that of its reverse look-up.
func reverse(a netip.Addr) string {
	if a.Is4() {
		b := a.As4()
		return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0])
	}
	var s strings.Builder
	b := a.As16()
	for i := len(b) - 1; i >= 0; i-- {
		fmt.Fprintf(&s, "%x.%x.", b[i]&15, b[i]>>4)
	}
	return s.String() + "ip6.arpa"
}

// checkALPN holds a certificate against RFC 8737 section 3: this name alone, and the answer in a critical extension.
func checkALPN(cert *x509.Certificate, what proof) error {
	if len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.EmailAddresses)+len(cert.URIs) != 1 {
		return fmt.Errorf("it does not have exactly one name")
	}
	if a, err := netip.ParseAddr(what.name); err == nil {
		if len(cert.IPAddresses) != 1 || !cert.IPAddresses[0].Equal(net.IP(a.AsSlice())) {
			return fmt.Errorf("it has not the address %s", a)
		}
	} else if len(cert.DNSNames) != 1 || !strings.EqualFold(cert.DNSNames[0], what.name) {
		return fmt.Errorf("it has not the name %s", what.name)
	}
	if !bytes.Equal(cert.RawSubject, cert.RawIssuer) || cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) != nil {
		return fmt.Errorf("it is not self-signed")
	}
	sum := sha256.Sum256([]byte(what.authorization))
	found := 0
	for _, e := range cert.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) {
			continue
		}
		var digest []byte
		if rest, err := asn1.Unmarshal(e.Value, &digest); err != nil || len(rest) > 0 || !e.Critical || !bytes.Equal(digest, sum[:]) {
			return fmt.Errorf("its acmeIdentifier is another one, or not critical")
		}
		found++
	}
	if found != 1 {
		return fmt.Errorf("it has %d acmeIdentifiers", found)
	}
	return nil
}
