// Package ca is Ruche's own certificate authority: roots and intermediates that rotate by themselves, certificates signed by them, and revocation.
package ca

import (
	"context"
	"crypto"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

// What Issue and its kin refuse with, for errors.Is.
var (
	// ErrNoAuthority tells that nobody has made the authority yet. It is ruche.ErrNotFound too.
	ErrNoAuthority error = noAuthority{}
	// ErrRefused tells that the request is against the authority's rules: names, key, profile or time. The error's text says which.
	ErrRefused = errors.New("refused")
	// ErrRevoked tells that the certificate was revoked before.
	ErrRevoked = errors.New("it is revoked already")
)

type noAuthority struct{}

func (noAuthority) Error() string        { return "it was never made" }
func (noAuthority) Is(target error) bool { return target == ruche.ErrNotFound }

// Bucket is what the authority needs of a part of the state. Errors are those that package ruche names.
type Bucket[T any] interface {
	Get(ctx context.Context, key string) (ruche.Entry[T], error)
	Create(ctx context.Context, key string, v T) (revision int64, err error)
	CompareAndSet(ctx context.Context, key string, v T, revision int64) (int64, error)
	Delete(ctx context.Context, key string) error
	List(ctx context.Context) (map[string]ruche.Entry[T], error)
	Watch(ctx context.Context, fn func(ruche.Update[T])) error
}

// The buckets. Every control node writes them, by creation and compare-and-set.
const (
	BucketAuthorities = "authorities" // name of the authority -> Record
	BucketIssued      = "issued"      // serial -> Entry
	BucketCRLs        = "crls"        // ID of the issuer -> CRL
)

// Sealer keeps private keys unreadable in a copy of the state. What a thing was closed for is part of the seal.
type Sealer interface {
	Close(what string, data []byte) []byte
	Open(what string, sealed []byte) ([]byte, error)
}

// Config is what an Authority needs.
type Config struct {
	Authorities Bucket[Record]
	Issued      Bucket[Entry]
	CRLs        Bucket[CRL]
	Sealer      Sealer
	// URL is where the lists of revoked certificates are reached, without a slash at its end: "http://ca.example". Empty: certificates name none.
	URL string
	// Lead runs fn on one control node at a time; nil runs it here.
	Lead func(ctx context.Context, name string, fn func(ctx context.Context, token int64) error) error
	// Now tells the time; nil stands for the clock.
	Now    func() time.Time
	Logger *slog.Logger
	Health *health.Registry
}

// Authority signs certificates. It is safe for concurrent use; every control node has one, on the same buckets.
type Authority struct {
	cfg  Config
	poke chan struct{} // wakes the loop

	mu   sync.Mutex
	keys map[string]crypto.Signer // by what they are sealed in

	denied   denyList
	pruned   time.Time // by the loop alone, as are the warnings
	warnings health.Group
}

// New gives the authority on its buckets. It reads and writes nothing yet.
func New(cfg Config) *Authority {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Lead == nil {
		cfg.Lead = func(ctx context.Context, _ string, fn func(context.Context, int64) error) error { return fn(ctx, 0) }
	}
	return &Authority{cfg: cfg, warnings: health.Group{Registry: cfg.Health}, poke: make(chan struct{}, 1), keys: map[string]crypto.Signer{}}
}

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
	// NotAfter is when it ends, where that is sooner than the profile says; zero leaves it to the profile. No certificate outlives its issuer: then it ends with that.
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

// Entry is a certificate in the log of what was issued.
type Entry = ruche.IssuedCertificate
