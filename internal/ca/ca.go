// Package ca is Ruche's own certificate authority: roots and intermediates that rotate by themselves, certificates signed by them, and revocation.
package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"time"

	"github.com/ruche-project/ruche"
)

// What Issue and its kin refuse with, for errors.Is.
var (
	// ErrNoAuthority tells that nobody has made the authority yet. It wraps ruche.ErrNotFound.
	ErrNoAuthority = errors.Join(errors.New("there is no such authority"), ruche.ErrNotFound)
	// ErrRefused tells that the request is against the authority's rules: names, key, profile or time. The error's text says which.
	ErrRefused = errors.New("refused")
	// ErrRevoked tells that the certificate was revoked before.
	ErrRevoked = errors.New("it is revoked already")
)

// Authority signs certificates. It is safe for concurrent use; every control node has one, on the same buckets.
type Authority struct{ cfg Config }

// Request asks for a certificate.
type Request struct {
	// PublicKey is that of the one who will have it: ECDSA on P-256 or P-384, RSA of 2048 to 8192 bits, or Ed25519.
	PublicKey crypto.PublicKey
	// Names are DNS names, wildcards ("*.a.example") and IP addresses; for client profiles also e-mail addresses and URIs. The profile says which.
	Names []string
	// Subject is the common name; empty takes the first DNS name if it is short enough.
	Subject string
	// Profile is the name of one of Profiles.
	Profile string
	// NotAfter is when it ends; zero leaves that to the profile. No certificate outlives its issuer: then it ends sooner.
	NotAfter time.Time
	// Requester is who asked, for the log: "acme:ID", "cli", "mesh:NODE".
	Requester string
	// Replaces is the serial of the certificate that this one takes the place of, for the log.
	Replaces string
}

// Issued is a certificate that was signed and is in the log.
type Issued struct {
	Serial string // 32 hexadecimal digits
	// Chain is the certificate and its intermediates, in DER, without the root.
	Chain               [][]byte
	NotBefore, NotAfter time.Time
}

// Entry is a certificate in the log of what was issued, under its serial.
type Entry struct {
	Serial   string   `json:"serial"`
	Names    []string `json:"names"`
	Subject  string   `json:"subject,omitempty"`
	Profile  string   `json:"profile"`
	Issuer   string   `json:"issuer"` // the issuer's ID: "services-i3"
	KeyHash  string   `json:"key"`    // SHA-256 of the SubjectPublicKeyInfo, in hexadecimal digits
	KeyID    string   `json:"key_id"` // authority key identifier of the certificate, in hexadecimal digits
	Replaces string   `json:"replaces,omitempty"`

	Requester string    `json:"requester,omitempty"`
	Issued    time.Time `json:"issued"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// Revoked is nil of a certificate that is good until NotAfter.
	Revoked *Revocation `json:"revoked,omitempty"`
}

// Revocation says since when a certificate is no longer good, and why.
type Revocation struct {
	At     time.Time `json:"at"`
	Reason int       `json:"reason"` // RFC 5280 section 5.3.1
	By     string    `json:"by,omitempty"`
}

// Profile is a kind of certificate.
type Profile struct {
	Name string
	// Authority is the one that issues it: AuthorityServices, AuthorityClients or AuthorityDocker.
	Authority string
	Lifetime  time.Duration
	Usages    []x509.ExtKeyUsage
	// What it is for, in a sentence.
	Description string
}

// Issue signs a request, and notes it in the log before anybody gets the certificate. Names are checked against the authority's constraints; the profile says lifetime
// and usages. An error that wraps ErrRefused is the requester's to mend.
func (a *Authority) Issue(ctx context.Context, r Request) (Issued, error) {
	return Issued{}, ErrNoAuthority
}

// Revoke makes a certificate bad from now on: in the log, in the list of revoked certificates (CRL), and for Revoked. reason is one of RFC 5280 section 5.3.1; who asked for it
// is kept. The error wraps ruche.ErrNotFound for an unknown serial, ErrRevoked for one that is revoked.
func (a *Authority) Revoke(ctx context.Context, serial string, reason int, who string) error {
	return ruche.ErrNotFound
}

// Lookup gives a certificate from the log. The error wraps ruche.ErrNotFound for an unknown serial.
func (a *Authority) Lookup(ctx context.Context, serial string) (Entry, error) {
	return Entry{}, ruche.ErrNotFound
}

// CRL gives the list of revoked certificates of an issuer ("services-i3"; also Entry.Issuer), in DER. It is kept until a day has passed or something is revoked.
func (a *Authority) CRL(ctx context.Context, issuer string) ([]byte, error) {
	return nil, ruche.ErrNotFound
}

// Profiles lists the kinds of certificates.
func (a *Authority) Profiles() []Profile { return nil }

// Roots gives what clients of servers with our certificates must trust: the roots of AuthorityServices, the next one included.
func (a *Authority) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	return a.RootsOf(ctx, "services")
}

// RootsOf gives the roots of an authority, the next one included.
func (a *Authority) RootsOf(ctx context.Context, authority string) ([]*x509.Certificate, error) {
	return nil, ErrNoAuthority
}

// Config is what an Authority needs.
type Config struct{}

// New gives the authority on its buckets. It reads and writes nothing yet.
func New(cfg Config) *Authority { return &Authority{cfg: cfg} }
