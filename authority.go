package ruche

import "time"

// The authorities of an installation, each with roots of its own, so that who trusts one trusts nothing else. The identities of nodes are the mesh's.
const (
	AuthorityServices = "services" // servers, and the hop from a load balancer to the cluster
	AuthorityClients  = "clients"  // people and machines, as clients
	AuthorityDocker   = "docker"   // the Docker Engine's API: its servers and its clients
)

// Authorities are the names of all that there can be.
func Authorities() []string { return []string{AuthorityServices, AuthorityClients, AuthorityDocker} }

// AuthorityList is how the installation's authorities are.
type AuthorityList struct {
	Authorities []AuthorityStatus `json:"authorities"`
	Profiles    []ProfileInfo     `json:"profiles"`
	// URL is where the lists of revoked certificates are reached, as written into certificates; empty: they name none.
	URL string `json:"url,omitempty"`
}

// AuthorityStatus is how one authority is.
type AuthorityStatus struct {
	Name         string `json:"name"`
	Organization string `json:"organization,omitempty"`
	// Permit are the domains and networks that its certificates may be for; empty: any.
	Permit []string `json:"permit"`
	// Parent tells that its intermediate is signed by another organisation's authority, Waiting that a request to that is open.
	Parent        bool           `json:"parent,omitempty"`
	Waiting       bool           `json:"waiting,omitempty"`
	Roots         []IssuerStatus `json:"roots"`
	Intermediates []IssuerStatus `json:"intermediates"`
	// Live counts the certificates that are good now, Revoked those that would be and were revoked.
	Live    int `json:"live"`
	Revoked int `json:"revoked"`
}

// IssuerState says what an issuer is for at the moment.
type IssuerState string

// The states of issuers.
const (
	IssuerActive IssuerState = "active" // it signs
	IssuerNext   IssuerState = "next"   // it is to be trusted already, and signs later
	IssuerOld    IssuerState = "old"    // what it signed is still good
)

// IssuerStatus is one root or intermediate.
type IssuerStatus struct {
	ID          string      `json:"id"`
	Subject     string      `json:"subject"`
	Fingerprint string      `json:"fingerprint"` // SHA-256 of the certificate, in hexadecimal digits
	State       IssuerState `json:"state"`
	// Made is when it was made here: NotBefore is earlier, for verifiers whose clock is behind. It is zero when that is not known.
	Made      time.Time `json:"made,omitzero"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// Turn is when the next one takes over, or of a next one when it does itself; zero when that is not planned.
	Turn time.Time `json:"turn,omitzero"`
	// CRL is when the list of what it has revoked was signed, CRLUntil how long that is good; zero when there is none.
	CRL      time.Time `json:"crl,omitzero"`
	CRLUntil time.Time `json:"crl_until,omitzero"`
}

// ProfileInfo is a kind of certificate.
type ProfileInfo struct {
	Name      string        `json:"name"`
	Authority string        `json:"authority"`
	Lifetime  time.Duration `json:"lifetime"`
	For       string        `json:"for"`
}

// IssuedCertificate is a certificate in the log of what the authority has issued.
type IssuedCertificate struct {
	Serial  string   `json:"serial"` // 32 hexadecimal digits
	Names   []string `json:"names"`
	Subject string   `json:"subject,omitempty"` // the common name
	Profile string   `json:"profile"`
	Issuer  string   `json:"issuer"` // the ID of the intermediate: "services-i3"
	// KeyHash is the SHA-256 of its SubjectPublicKeyInfo, in hexadecimal digits.
	KeyHash   string    `json:"key"`
	Replaces  string    `json:"replaces,omitempty"`  // the serial of the one before
	Requester string    `json:"requester,omitempty"` // "acme:ID", "cli", "mesh:NODE"
	Issued    time.Time `json:"issued"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// Revoked is nil of a certificate that is good until NotAfter.
	Revoked *Revocation `json:"revoked,omitempty"`
	// Replace is from when on it is to be replaced, if somebody wants that before its turn.
	Replace time.Time `json:"replace,omitzero"`
}

// Revocation says since when a certificate is no longer good, and why.
type Revocation struct {
	At     time.Time `json:"at"`
	Reason int       `json:"reason"` // RFC 5280 section 5.3.1
	By     string    `json:"by,omitempty"`
}

// AuthorityRequest asks for authorities to be made.
type AuthorityRequest struct {
	Names        []string `json:"names"`
	Organization string   `json:"organization,omitempty"`
	Permit       []string `json:"permit,omitempty"`
	// Parent asks for a request to another organisation's authority instead of a root of one's own; for one name.
	Parent bool `json:"parent,omitempty"`
	// Again forgets an authority that is there, and begins it anew.
	Again bool `json:"again,omitempty"`
}

// AuthorityAnswer tells what was made.
type AuthorityAnswer struct {
	// Request is what to have signed by the parent, as PKCS #10 in PEM.
	Request []byte `json:"request,omitempty"`
}

// ParentChain is what a parent has signed: the intermediate, those above it and the root, in PEM.
type ParentChain struct {
	Authority string `json:"authority"`
	Chain     []byte `json:"chain"`
}

// SigningRequest asks for a certificate.
type SigningRequest struct {
	Request []byte   `json:"request"` // PKCS #10, in DER; its key alone is taken
	Names   []string `json:"names"`
	Subject string   `json:"subject,omitempty"`
	Profile string   `json:"profile"`
	// NotAfter is when it is to end; zero leaves that to the profile.
	NotAfter time.Time `json:"not_after,omitzero"`
}

// SignedCertificate is the answer to a SigningRequest.
type SignedCertificate struct {
	Serial   string    `json:"serial"`
	Chain    []byte    `json:"chain"` // the certificate and its intermediates, in PEM
	NotAfter time.Time `json:"not_after"`
}

// RevocationRequest asks for certificates to be revoked: the one with a serial, or those with a name.
type RevocationRequest struct {
	What   string `json:"what"`
	Reason string `json:"reason,omitempty"` // as RFC 5280 names it: "keyCompromise"; empty gives none
	// All tells that What may name several certificates.
	All bool `json:"all,omitempty"`
}

// ReplacementRequest asks for certificates that are good to be replaced before their turn: those with a name or serial, those of an issuer, or all.
type ReplacementRequest struct {
	What   string `json:"what,omitempty"`
	Issuer string `json:"issuer,omitempty"` // the ID of an intermediate: "services-i3"
	All    bool   `json:"all,omitempty"`
	// Spread is the time over which they are spread; 0 is at once.
	Spread time.Duration `json:"spread,omitempty"`
}

// IssuedList is a part of the log of what was issued, the newest first.
type IssuedList struct {
	Certificates []IssuedCertificate `json:"certificates"`
}

// ACMEKeySpec is what an external account key of the authority's ACME server allows.
type ACMEKeySpec struct {
	// Names are patterns: "a.example" is that name, "*.a.example" all below it, "10.1.0.0/16" or "10.1.2.3" are addresses, "*" is all that the authority permits.
	Names []string `json:"names"`
	// Profiles that may be asked for; none: all.
	Profiles []string `json:"profiles,omitempty"`
	// Comment says for people whose the key is.
	Comment string `json:"comment,omitempty"`
	// Expires ends the key and the rights of its accounts; zero: never.
	Expires time.Time `json:"expires,omitzero"`
}

// ACMEKey is an external account key.
type ACMEKey struct {
	ID string `json:"id"`
	ACMEKeySpec
	Created time.Time `json:"created"`
	// Secret is the MAC key in base64url without padding, as clients want it. It is there when the key was just made, and never again.
	Secret string `json:"secret,omitempty"`
}

// ACMEKeyList lists external account keys, the oldest first.
type ACMEKeyList struct {
	Keys []ACMEKey `json:"keys"`
}
