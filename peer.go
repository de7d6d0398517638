package ruche

import (
	"crypto/x509"
)

// ClientAuthMode says what a route wants of its clients' certificates.
type ClientAuthMode string

// The modes of client authentication, from the one that closes most to the one that closes nothing.
const (
	ClientAuthRequire  ClientAuthMode = "require"  // who shows none, or one that is not accepted, gets 400
	ClientAuthOptional ClientAuthMode = "optional" // nobody needs one; who shows one that is not accepted gets 400
	ClientAuthRequest  ClientAuthMode = "request"  // likewise, and one of an authority that is not known is as good as none
	ClientAuthOff      ClientAuthMode = "off"      // nobody is asked, whatever files there are
)

// AuthorityInternal stands where the file of an authority is named, for Ruche's own; AuthoritySystem for those that the system trusts.
const (
	AuthorityInternal = "internal"
	AuthoritySystem   = "system"
)

// ClientAuth says which certificates the clients of a route must show.
type ClientAuth struct {
	Mode ClientAuthMode `json:"mode"`
	// CA is the base name of the file with the authorities, NAME.ca.crt in the directory of the certificates, or AuthorityInternal. Empty: by
	// host, as nginx-proxy does.
	CA string `json:"ca,omitempty"`
	// CRL is the base name of the file with what the authorities have revoked, NAME.crl.pem in the same directory; empty: that of the same base name as
	// the authorities, if it exists.
	CRL string `json:"crl,omitempty"`
}

// EndpointTLS says how the endpoints of a route prove who they are, and Ruche to them. A route without it takes any certificate.
type EndpointTLS struct {
	// CA is the base name of the file with the authorities, NAME.ca.crt in the directory of the certificates; AuthoritySystem or AuthorityInternal. What is in
	// NAME.crl.pem is refused. Empty: any certificate is taken.
	CA string `json:"ca,omitempty"`
	// ServerName is the name that is asked for, and that the certificate must be for; empty: none is asked for, and it must be for the endpoint's address.
	ServerName string `json:"server_name,omitempty"`
	// ClientCert is the base name of the certificate that endpoints are shown, NAME.crt and NAME.key; empty: none.
	ClientCert string `json:"client_cert,omitempty"`
	// MinTLS is the oldest version of TLS to speak, MinTLS12 or MinTLS13; empty: MinTLS12.
	MinTLS string `json:"min_tls,omitempty"`
}

// Versions of TLS, as people write them. Older ones are not spoken (RFC 8996).
const (
	MinTLS12 = "1.2"
	MinTLS13 = "1.3"
)

// HSTSOff is the value of Route.HSTS that sends no field.
const HSTSOff = "off"

// PeerCheck decides whose certificates are accepted: of clients, or of endpoints. It does not change; when its files do there is another one. It is safe for
// concurrent use.
type PeerCheck struct {
	// Source names the files, for people.
	Source string
	// CAs are the authorities, for clients to choose a certificate by; nil: those of the system.
	CAs *x509.CertPool
	// Check returns nil when a chain, the peer's own certificate first, leads to one of the authorities now, is for the use, and nothing in it was revoked. The error is one
	// of CertificateRefused's kinds.
	Check func(chain []*x509.Certificate, use x509.ExtKeyUsage) error
}

// CertificateRefused says why a peer's certificate is not accepted.
type CertificateRefused struct {
	// Foreign tells that it leads to no authority that is known, and that nothing else was found wrong.
	Foreign bool
	// Brief may be told to the peer: "it is expired". Err has the details.
	Brief string
	Err   error
}

func (e *CertificateRefused) Error() string { return e.Brief + ": " + e.Err.Error() }

// Unwrap returns the details.
func (e *CertificateRefused) Unwrap() error { return e.Err }

// BucketTrust is where edges find Trust of AuthorityServices and AuthorityClients, and agents that of AuthorityDocker, each under its name.
const BucketTrust = "trust"

// Trust is what edges and agents verify certificates of one of Ruche's own authorities by.
type Trust struct {
	// Authorities are its roots, the next one included; Revoked what they have revoked. Both are PEM.
	Authorities []byte `json:"authorities"`
	Revoked     []byte `json:"revoked"`
}
