package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
)

// Record is an authority as it is kept. It is written as a whole, so that no two control nodes make two roots.
type Record struct {
	Organization string   `json:"organization,omitempty"`
	Permit       []string `json:"permit,omitempty"`
	// Parent tells that the root is another organisation's.
	Parent bool `json:"parent,omitempty"`
	// Number is that of the issuer made last; numbers are never given twice.
	Number int `json:"number"`
	// Roots and Intermediates are those that something may still be checked by, the oldest first.
	Roots         []Issuer  `json:"roots"`
	Intermediates []Issuer  `json:"intermediates"`
	Wanted        *Wanted   `json:"wanted,omitempty"`
	Created       time.Time `json:"created"`
}

// Issuer is a root or an intermediate.
type Issuer struct {
	ID          string `json:"id"` // "services-r1" is a root, "services-i2" an intermediate
	Certificate []byte `json:"certificate"`
	// Made is when it was made here, which is later than what its certificate says; zero when that is not known.
	Made time.Time `json:"made,omitzero"`
	// Key is its private key in PKCS #8, sealed for SealedFor(ID); none of another organisation's root.
	Key []byte `json:"key,omitempty"`
	// Above are the certificates between an intermediate and its root, Root is the root's ID.
	Above [][]byte `json:"above,omitempty"`
	Root  string   `json:"root,omitempty"`
	// Cross certifies a root by the one before it, CrossBy; empty of the first.
	Cross   []byte `json:"cross,omitempty"`
	CrossBy string `json:"cross_by,omitempty"`
	// From is when a root signs for the first time; until then it is there to be trusted.
	From time.Time `json:"from,omitzero"`
}

// Wanted is an intermediate that a parent is to sign.
type Wanted struct {
	ID      string    `json:"id"`
	Key     []byte    `json:"key"`     // as Issuer.Key
	Request []byte    `json:"request"` // PKCS #10
	Created time.Time `json:"created"`
	// Organization is that of the request. What it permits in the end is up to the parent.
	Organization string `json:"organization,omitempty"`
}

// SealedFor is what the key of an issuer is sealed for.
func SealedFor(id string) string { return "key of issuer " + id }

// issuer is an Issuer that was read.
type issuer struct {
	Issuer
	cert *x509.Certificate
}

func (i Issuer) parse() (issuer, error) {
	cert, err := x509.ParseCertificate(i.Certificate)
	if err != nil {
		return issuer{}, fmt.Errorf("cannot read the certificate of %s: %w", i.ID, err)
	}
	return issuer{i, cert}, nil
}

// read reads an authority; its revision is for change.
func (a *Authority) read(ctx context.Context, name string) (ruche.Entry[Record], error) {
	e, err := a.cfg.Authorities.Get(ctx, name)
	if errors.Is(err, ruche.ErrNotFound) {
		return e, fmt.Errorf("cannot use the authority %q: %w (\"ruche ca init\" makes it)", name, ErrNoAuthority)
	}
	if err != nil {
		return e, fmt.Errorf("cannot read the authority %q: %w", name, err)
	}
	return e, nil
}

// tries bounds how often a write is tried again because another control node was faster.
const tries = 8

// change reads an authority, has fn change it, and writes it if fn says so; again when another was faster.
func (a *Authority) change(ctx context.Context, name string, fn func(*Record) (bool, error)) error {
	for range tries {
		e, err := a.read(ctx, name)
		if err != nil {
			return err
		}
		changed, err := fn(&e.Value)
		if err != nil || !changed {
			return err
		}
		if _, err = a.cfg.Authorities.CompareAndSet(ctx, name, e.Value, e.Revision); !errors.Is(err, ruche.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("cannot change the authority %q: %w", name, ruche.ErrConflict)
}

// signing gives the root that signs at a time: the newest whose turn has come.
func (r *Record) signing(now time.Time) (issuer, error) {
	for _, root := range slices.Backward(r.Roots) {
		if !root.From.After(now) {
			return root.parse()
		}
	}
	return issuer{}, errors.New("it has no root whose turn has come")
}

// active gives the intermediate that signs at a time: the newest that is good.
func (r *Record) active(now time.Time) (issuer, error) {
	for _, i := range slices.Backward(r.Intermediates) {
		parsed, err := i.parse()
		if err != nil {
			return issuer{}, err
		}
		if !now.Before(parsed.cert.NotBefore) && now.Before(parsed.cert.NotAfter) {
			return parsed, nil
		}
	}
	return issuer{}, errors.New("it has no intermediate that is good now")
}

func (r *Record) root(id string) (issuer, error) {
	n := slices.IndexFunc(r.Roots, func(i Issuer) bool { return i.ID == id })
	if n < 0 {
		return issuer{}, fmt.Errorf("it has no root %s", id)
	}
	return r.Roots[n].parse()
}

// errKey tells that the key of an issuer cannot be had.
var errKey = errors.New("the key cannot be opened")

// signer opens the key of an issuer.
func (a *Authority) signer(i Issuer) (crypto.Signer, error) {
	if len(i.Key) == 0 {
		return nil, fmt.Errorf("cannot sign as %s: its key is not here", i.ID)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if key, ok := a.keys[string(i.Key)]; ok {
		return key, nil
	}
	der, err := a.cfg.Sealer.Open(SealedFor(i.ID), i.Key)
	if err != nil {
		return nil, fmt.Errorf("cannot sign as %s: %w: %w", i.ID, errKey, err)
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("cannot sign as %s: %w", i.ID, errKey) // what is wrong with a secret is not told
	}
	key, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("cannot sign as %s: %w", i.ID, errKey)
	}
	if len(a.keys) > maxKeys { // they change every some weeks
		clear(a.keys)
	}
	a.keys[string(i.Key)] = key
	return key, nil
}

// maxKeys bounds the keys that are held open.
const maxKeys = 64

// newKey makes the key of an issuer, open and sealed.
func (a *Authority) newKey(id string) (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, a.cfg.Sealer.Close(SealedFor(id), der), nil
}
