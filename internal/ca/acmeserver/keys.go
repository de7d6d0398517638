package acmeserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
)

// Sealer keeps secrets unreadable in a copy of the state. What a thing was closed for is part of the seal.
type Sealer interface {
	Close(what string, data []byte) []byte
	Open(what string, sealed []byte) ([]byte, error)
}

// sharedSecret is the entry of the bucket of keys that no client knows of: what nonces and tokens are made by.
const sharedSecret = "shared"

const secretBytes = 32

// Keys are the external account keys of an installation. It is safe for concurrent use.
type Keys struct {
	bucket Bucket[Key]
	sealer Sealer
	logger *slog.Logger
	now    func() time.Time
}

// NewKeys gives the keys in a bucket. The log gets a line when one is made or removed. now tells the time; nil stands for the clock.
func NewKeys(bucket Bucket[Key], sealer Sealer, logger *slog.Logger, now func() time.Time) *Keys {
	if now == nil {
		now = time.Now
	}
	return &Keys{bucket: bucket, sealer: sealer, logger: logger, now: now}
}

// MakeKey makes a key, and gives it with its secret, which is not shown again.
func (k *Keys) MakeKey(ctx context.Context, spec ruche.ACMEKeySpec) (ruche.ACMEKey, error) {
	if len(spec.Names) == 0 {
		return ruche.ACMEKey{}, errors.New("cannot make the key: it allows no names (--names '*.dept.example')")
	}
	names := make([]string, 0, len(spec.Names))
	for _, p := range spec.Names {
		p = strings.ToLower(strings.TrimSpace(p))
		if err := CheckPattern(p); err != nil {
			return ruche.ACMEKey{}, fmt.Errorf("cannot make the key: %w", err)
		}
		names = append(names, p)
	}
	if err := checkProfiles(spec.Profiles); err != nil {
		return ruche.ACMEKey{}, fmt.Errorf("cannot make the key: %w", err)
	}
	id, secret := strings.ToLower(rand.Text()[:16]), newSecret()
	record := Key{
		Names: names, Profiles: spec.Profiles, Comment: spec.Comment, Created: k.now(), Expires: spec.Expires,
		Secret: k.sealer.Close(SealedFor(id), secret),
	}
	if _, err := k.bucket.Create(ctx, id, record); err != nil {
		return ruche.ACMEKey{}, fmt.Errorf("cannot keep the key: %w", err)
	}
	audit(ctx, k.logger, "external account key made", slog.String("key", id), slog.Any("names", names), slog.Any("profiles", spec.Profiles), slog.String("comment", spec.Comment))
	return record.listed(id, encode(secret)), nil
}

// checkProfiles refuses what is no profile that can be had by ACME: a key for it alone would allow nothing.
func checkProfiles(names []string) error {
	var known []string
	for _, p := range servable(ca.Profiles()) {
		known = append(known, p.Name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("there is no profile %q (%s can be used)", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// servable gives those of the profiles that can be had by ACME: of other authorities nobody gets a certificate by proving a name.
func servable(all []ca.Profile) []ca.Profile {
	return slices.DeleteFunc(slices.Clone(all), func(p ca.Profile) bool { return p.Authority != ruche.AuthorityServices })
}

// listed is the key as people see it.
func (k Key) listed(id, secret string) ruche.ACMEKey {
	spec := ruche.ACMEKeySpec{Names: k.Names, Profiles: k.Profiles, Comment: k.Comment, Expires: k.Expires}
	return ruche.ACMEKey{ID: id, ACMEKeySpec: spec, Created: k.Created, Secret: secret}
}

// ListKeys gives all keys, the oldest first, without their secrets.
func (k *Keys) ListKeys(ctx context.Context) (ruche.ACMEKeyList, error) {
	all, err := k.bucket.List(ctx)
	if err != nil {
		return ruche.ACMEKeyList{}, fmt.Errorf("cannot list the external account keys: %w", err)
	}
	list := make([]ruche.ACMEKey, 0, len(all))
	for id, e := range all {
		if id != sharedSecret {
			list = append(list, e.Value.listed(id, ""))
		}
	}
	slices.SortFunc(list, func(a, b ruche.ACMEKey) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return ruche.ACMEKeyList{Keys: list}, nil
}

// RemoveKey ends a key, and with it what its accounts may order; certificates that they have stay good. The error wraps ruche.ErrNotFound for an unknown ID.
func (k *Keys) RemoveKey(ctx context.Context, id string) error {
	if id == sharedSecret {
		return fmt.Errorf("cannot remove the key %q: %w", id, ruche.ErrNotFound)
	}
	if _, err := k.bucket.Get(ctx, id); err != nil {
		return fmt.Errorf("cannot remove the key %q: %w", id, err)
	}
	if err := k.bucket.Delete(ctx, id); err != nil {
		return fmt.Errorf("cannot remove the key %q: %w", id, err)
	}
	audit(ctx, k.logger, "external account key removed", slog.String("key", id))
	return nil
}

// find gives a key that is good now. The error wraps ruche.ErrNotFound when there is none.
func (k *Keys) find(ctx context.Context, id string) (Key, error) {
	if id == sharedSecret || id == "" {
		return Key{}, ruche.ErrNotFound
	}
	e, err := k.bucket.Get(ctx, id)
	if err == nil && !e.Value.Expires.IsZero() && !k.now().Before(e.Value.Expires) {
		err = ruche.ErrNotFound
	}
	return e.Value, err
}

// shared gives the secret of all nodes, and makes it if there is none. Of several callers one makes it.
func (k *Keys) shared(ctx context.Context) ([]byte, error) {
	e, err := k.bucket.Get(ctx, sharedSecret)
	if errors.Is(err, ruche.ErrNotFound) {
		made := Key{Created: k.now(), Secret: k.sealer.Close(SealedFor(sharedSecret), newSecret())}
		if _, err = k.bucket.Create(ctx, sharedSecret, made); err == nil || errors.Is(err, ruche.ErrExists) {
			e, err = k.bucket.Get(ctx, sharedSecret)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the ACME server's secret: %w", err)
	}
	secret, err := k.sealer.Open(SealedFor(sharedSecret), e.Value.Secret)
	if err != nil {
		return nil, fmt.Errorf("cannot read the ACME server's secret: %w", err)
	}
	return secret, nil
}

// SealedFor is what the secret under an ID is sealed for.
func SealedFor(id string) string { return "ACME server's key " + id }

func newSecret() []byte {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails
	return secret
}
