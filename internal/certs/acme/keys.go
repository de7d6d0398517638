package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche"
)

// newKey makes a private key, in PKCS #8.
func newKey(t ruche.KeyType) ([]byte, error) {
	var key crypto.Signer
	var err error
	switch keyType(t) {
	case ruche.KeyP256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ruche.KeyP384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case ruche.KeyRSA2048:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case ruche.KeyRSA3072:
		key, err = rsa.GenerateKey(rand.Reader, 3072)
	case ruche.KeyRSA4096:
		key, err = rsa.GenerateKey(rand.Reader, 4096)
	default:
		return nil, fmt.Errorf("the key type %q is not known (p256, p384, rsa2048, rsa3072 and rsa4096 are)", t)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

// open gives a private key that was sealed.
func (e *Engine) open(what string, sealed []byte) (crypto.Signer, error) {
	der, err := e.cfg.Seal.Open(what, sealed)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("cannot read the %s", what) // what is wrong with a secret is not told
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("cannot sign with the %s", what)
	}
	return signer, nil
}

// request makes a certificate signing request (RFC 2986) for names.
func request(names []string, key crypto.Signer) ([]byte, error) {
	template := &x509.CertificateRequest{}
	for _, n := range names {
		if a, err := netip.ParseAddr(n); err == nil {
			template.IPAddresses = append(template.IPAddresses, a.AsSlice())
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate request: %w", err)
	}
	return der, nil
}

// identifiers are names as an order has them.
func identifiers(names []string) []acmez.Identifier {
	all := make([]acmez.Identifier, 0, len(names))
	for _, n := range names {
		id := acmez.Identifier{Type: "dns", Value: n}
		if isAddress(n) {
			id.Type = "ip"
		}
		all = append(all, id)
	}
	return all
}

// sameNames reports whether an order is for these names.
func sameNames(ids []acmez.Identifier, names []string) bool {
	var have []string
	for _, id := range ids {
		have = append(have, id.Value)
	}
	have, names = normalize(have), slices.Clone(names)
	slices.Sort(have)
	slices.Sort(names)
	return slices.Equal(have, names)
}

// choose takes the chain that ends at the preferred root, or else the first one, and gives it in DER.
func choose(chains []acmez.Certificate, preferred string) ([][]byte, error) {
	var first [][]byte
	for _, c := range chains {
		der, last, err := parseChain(c.ChainPEM)
		if err != nil {
			return nil, err
		}
		if preferred != "" && last.Issuer.CommonName == preferred {
			return der, nil
		}
		if first == nil {
			first = der
		}
	}
	if first == nil {
		return nil, errors.New("the CA has given no certificate")
	}
	return first, nil
}

func parseChain(text []byte) (der [][]byte, last *x509.Certificate, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if last, err = x509.ParseCertificate(block.Bytes); err != nil {
			return nil, nil, fmt.Errorf("cannot read the certificate of the CA: %w", err)
		}
		der = append(der, block.Bytes)
	}
	if last == nil {
		return nil, nil, errors.New("the CA has given no certificate")
	}
	return der, last, nil
}

// check makes sure that a chain begins with a certificate for the key and for all names. One that has ended by our clock is refused, since another one would be ordered in its place at
// once, and so on.
func check(chain [][]byte, key crypto.Signer, names []string, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("there is no certificate")
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return fmt.Errorf("cannot read the certificate: %w", err)
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(leaf.PublicKey) {
		return errors.New("the certificate is for another key than was asked for")
	}
	for _, n := range names {
		if !has(leaf, n) {
			return fmt.Errorf("the certificate does not name %s", n)
		}
	}
	if !now.Before(leaf.NotAfter) {
		return fmt.Errorf("the certificate that was issued ended at %s already, and here it is %s (look at the clock of this node, and at that of the CA)",
			leaf.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

func has(leaf *x509.Certificate, name string) bool {
	if a, err := netip.ParseAddr(name); err == nil {
		for _, ip := range leaf.IPAddresses {
			if b, ok := netip.AddrFromSlice(ip); ok && a == b.Unmap() {
				return true
			}
		}
		return false
	}
	return slices.Contains(leaf.DNSNames, name)
}
