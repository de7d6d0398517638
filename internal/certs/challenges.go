package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// challenges are what CAs are to be answered with now.
type challenges struct {
	current atomic.Pointer[answers] // replaced as a whole
	applied func(revision int64)    // may be nil
}

// answers are never changed.
type answers struct {
	byKey map[string]vault.Challenge
	http  map[string]vault.Challenge // by host, a slash and the token
	alpn  map[string]vault.Challenge // by server name
}

func newChallenges(applied func(revision int64)) *challenges {
	c := &challenges{applied: applied}
	c.current.Store(&answers{})
	return c
}

// apply takes in what happened in the bucket.
func (c *challenges) apply(u ruche.Update[vault.Challenge]) {
	all := make(map[string]vault.Challenge)
	if !u.Reset {
		maps.Copy(all, c.current.Load().byKey)
	}
	maps.Copy(all, u.Puts)
	for _, key := range u.Deletes {
		delete(all, key)
	}
	next := &answers{byKey: all, http: map[string]vault.Challenge{}, alpn: map[string]vault.Challenge{}}
	for _, a := range all {
		name := strings.ToLower(a.Name)
		switch a.Type {
		case ruche.ChallengeHTTP01:
			next.http[name+"/"+a.Token] = a
		case ruche.ChallengeTLSALPN01:
			// A name has one answer: that of the order which came last. What is left of another one may be there still.
			if had, ok := next.alpn[alpnName(name)]; !ok || a.Expires.After(had.Expires) {
				next.alpn[alpnName(name)] = a
			}
		}
	}
	c.current.Store(next)
	if c.applied != nil {
		c.applied(u.Revision)
	}
}

// KeyAuthorization is what a CA is to get that asks host for a token (RFC 8555 section 8.3); empty when nobody waits for that. It costs a map look-up.
func (c *Certs) KeyAuthorization(host, token string) string {
	known := c.challenges.current.Load().http
	if len(known) == 0 {
		return ""
	}
	if a, ok := known[host+"/"+token]; ok && !expired(a) {
		return a.KeyAuthorization
	}
	return ""
}

// ChallengeCertificate makes what a CA is to be shown that offers the protocol acme-tls/1 alone (RFC 8737 section 3); nil when nobody waits for that.
func (c *Certs) ChallengeCertificate(serverName string) (*tls.Certificate, error) {
	a, ok := c.challenges.current.Load().alpn[strings.ToLower(strings.TrimSuffix(serverName, "."))]
	if !ok || expired(a) {
		return nil, nil //nolint:nilnil // that there is none is no error
	}
	return validation(a)
}

func expired(a vault.Challenge) bool { return !a.Expires.IsZero() && time.Now().After(a.Expires) }

// alpnName is the server name that a CA sends: of an address that of its reverse look-up (RFC 8738 section 6).
func alpnName(name string) string {
	a, err := netip.ParseAddr(name)
	if err != nil {
		return name
	}
	var b strings.Builder
	bytes := a.AsSlice()
	for i := len(bytes) - 1; i >= 0; i-- {
		if a.Is4() {
			fmt.Fprintf(&b, "%d.", bytes[i])
		} else {
			fmt.Fprintf(&b, "%x.%x.", bytes[i]&0xf, bytes[i]>>4)
		}
	}
	if a.Is4() {
		return b.String() + "in-addr.arpa"
	}
	return b.String() + "ip6.arpa"
}

// validation makes the certificate of a challenge: for the name alone, with the hash of the key authorization in a critical extension.
func validation(a vault.Challenge) (*tls.Certificate, error) {
	sum := sha256.Sum256([]byte(a.KeyAuthorization))
	value, err := asn1.Marshal(sum[:])
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ACME challenge"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}, Critical: true, Value: value}},
	}
	if ip := net.ParseIP(a.Name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{a.Name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("cannot make the certificate of a challenge: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
