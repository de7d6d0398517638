package mesh

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/ruche-project/ruche"
)

const (
	// SeedConfig is the name of the config of the Swarm that holds the seed, as JSON.
	SeedConfig = "ruche-state"
	// SeedFounder is the label of that config with the ID of the Swarm node that begins the state.
	SeedFounder = "ruche.founder"
)

// Seed is what an installation begins with, made before any of its nodes runs: so all of them can be started at once with what they need to join.
// Whoever has it alone can make no certificate and join nothing: the root's key is sealed, and of tokens it has the hashes of their secrets.
type Seed struct {
	Authority AuthorityRecord `json:"authority"`
	// Tokens are those of the bucket "tokens", by their keys.
	Tokens map[string]Token `json:"tokens"`
}

// NewSeed makes an authority, and for each role a token that lets nodes in as that alone: what is stolen from an edge lets nobody in as an agent. The texts of the
// tokens are kept nowhere.
func NewSeed(seal *Seal, now time.Time) (seed Seed, tokens map[Role]string, err error) {
	seed.Tokens = make(map[string]Token)
	if seed.Authority, err = makeRoot(seal, now); err != nil {
		return Seed{}, nil, fmt.Errorf("cannot make the mesh's authority: %w", err)
	}
	hash, err := seed.Root()
	if err != nil {
		return Seed{}, nil, err
	}
	tokens = make(map[Role]string)
	for _, role := range []Role{RoleControl, RoleEdge, RoleAgent} {
		text, key := newToken(hash)
		seed.Tokens[key] = Token{Roles: []Role{role}, Uses: -1, Created: now}
		tokens[role] = text
	}
	return seed, tokens, nil
}

// Root is the SHA-256 of the root's public key, which the tokens pin: by it a state is known to be of this installation.
func (s Seed) Root() (hash string, err error) {
	return s.Authority.Root()
}

// Root is the SHA-256 of the root's public key, in hexadecimal digits.
func (r AuthorityRecord) Root() (hash string, err error) {
	root, err := x509.ParseCertificate(r.Certificate)
	if err != nil {
		return "", fmt.Errorf("cannot read the root certificate of the mesh's authority: %w", err)
	}
	return keyHash(root.PublicKey), nil
}

// Plant writes the seed to a state without authority, the authority last: where there is one, nothing is written, since what is missing may have been
// removed on purpose. A state with another authority is another installation's: that is an error.
func (s Seed) Plant(ctx context.Context, authority Bucket[AuthorityRecord], tokens Bucket[Token]) error {
	ours, err := s.Root()
	if err != nil {
		return err
	}
	if _, err = authority.Get(ctx, rootKey); errors.Is(err, ruche.ErrNotFound) {
		err = s.plant(ctx, authority, tokens)
	}
	if err == nil {
		err = sameRoot(ctx, authority, ours)
	}
	if err != nil {
		return fmt.Errorf("cannot begin the state with the installation's authority: %w", err)
	}
	return nil
}

func (s Seed) plant(ctx context.Context, authority Bucket[AuthorityRecord], tokens Bucket[Token]) error {
	for key, t := range s.Tokens {
		if _, err := tokens.Create(ctx, key, t); err != nil && !errors.Is(err, ruche.ErrExists) {
			return err
		}
	}
	if _, err := authority.Create(ctx, rootKey, s.Authority); !errors.Is(err, ruche.ErrExists) {
		return err
	}
	return nil
}

// sameRoot returns an error where the bucket has another root than the one with that hash.
func sameRoot(ctx context.Context, authority Bucket[AuthorityRecord], hash string) error {
	entry, err := authority.Get(ctx, rootKey)
	if err != nil {
		return err
	}
	there, err := entry.Value.Root()
	if err == nil && there != hash {
		err = fmt.Errorf("the state here is another installation's (its authority is %.8s, this installation's is %.8s)", there, hash)
	}
	return err
}

// newToken makes the text of a token that pins a root by its hash, and the key under which the token is kept.
func newToken(root string) (text, key string) {
	pin, _ := hex.DecodeString(root)
	secret := newSecret()
	return writeToken(pin, secret), tokenKey(digits().EncodeToString(secret))
}
