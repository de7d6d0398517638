package acmeserver

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const maxSubject = 64 // characters of a common name (RFC 5280 appendix A.1)

// csr is what counts of a certificate request: all else is the authority's to say.
type csr struct {
	public  any
	spki    []byte // the public key, in DER
	subject string
	names   []string // in the form of Identifier.parse, ordered, the subject among them
}

// parseCSR reads a request (RFC 2986), and refuses what the authority must not sign.
func parseCSR(der []byte) (*csr, error) {
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: it must be a PKCS #10 request in DER, in base64url")
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("its signature is wrong, or by an algorithm that is not safe (SHA-1)")
	}
	if err := checkKey(r.PublicKey); err != nil {
		return nil, err
	}
	if len(r.EmailAddresses)+len(r.URIs) > 0 {
		return nil, fmt.Errorf("it has e-mail addresses or URIs as names")
	}
	if err := checkConstraints(r); err != nil {
		return nil, err
	}
	c := &csr{public: r.PublicKey, spki: r.RawSubjectPublicKeyInfo, subject: strings.ToLower(r.Subject.CommonName)}
	ids := []Identifier{}
	for _, n := range r.DNSNames {
		ids = append(ids, Identifier{Type: "dns", Value: n})
	}
	for _, ip := range r.IPAddresses {
		a, _ := netip.AddrFromSlice(ip)
		ids = append(ids, Identifier{Type: "ip", Value: a.String()})
	}
	if c.subject != "" {
		ids = append(ids, identifierOf(c.subject))
	}
	if len(ids) == 0 || len(ids) > maxNames+1 {
		return nil, fmt.Errorf("it has %d names", len(ids))
	}
	names, p := parseNames(ids)
	if p != nil {
		return nil, p
	}
	if isIP(c.subject) || len(c.subject) > maxSubject {
		c.subject = ""
	}
	slices.Sort(names)
	c.names = names
	return c, nil
}

// checkConstraints refuses a request to be an authority (RFC 5280 section 4.2.1.9).
func checkConstraints(r *x509.CertificateRequest) error {
	for _, e := range r.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 19}) {
			continue
		}
		var constraints struct {
			CA      bool `asn1:"optional"`
			MaxPath int  `asn1:"optional,default:-1"`
		}
		if rest, err := asn1.Unmarshal(e.Value, &constraints); err != nil || len(rest) > 0 || constraints.CA {
			return fmt.Errorf("it asks to be an authority itself")
		}
	}
	return nil
}

// fits tells whether the request is for the names of the order and no others.
func (c *csr) fits(o *Order) bool {
	names := o.names()
	slices.Sort(names)
	return slices.Equal(names, c.names)
}
