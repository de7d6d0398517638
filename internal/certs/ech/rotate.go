package ech

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/rotation"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

const (
	// rowKey is the only key of the bucket.
	rowKey = "keys"
	// Life is how long a key is the one to publish; then it is taken for two more of these at least.
	Life = 30 * 24 * time.Hour
	// kept is how many keys are taken.
	kept = 3
)

// Bucket is the bucket of the keys, as whoever rotates them needs it.
type Bucket interface {
	Get(ctx context.Context, key string) (ruche.Entry[vault.ECH], error)
	CompareAndSet(ctx context.Context, key string, v vault.ECH, revision int64) (int64, error)
	Delete(ctx context.Context, key string) error
}

// Rotate sees to it that there are keys for the public name, and that the newest is not older than 30 days, until ctx ends; then it returns nil. Without a public name it sees to it that there are
// none. One node runs it at a time, the one that leads.
func Rotate(ctx context.Context, bucket Bucket, seal vault.Sealer, publicName string, logger *slog.Logger) error {
	return rotation.Run(ctx, logger, "the keys of Encrypted Client Hello", func(ctx context.Context, now time.Time) (time.Duration, error) {
		return Renew(ctx, bucket, seal, publicName, now)
	})
}

// Renew puts a new key before the others if it is time, or if the public name is another one, and gives how long to wait.
func Renew(ctx context.Context, bucket Bucket, seal vault.Sealer, publicName string, now time.Time) (time.Duration, error) {
	entry, err := bucket.Get(ctx, rowKey)
	none := errors.Is(err, ruche.ErrNotFound)
	switch {
	case err != nil && !none:
		return 0, err
	case publicName == "" && none:
		return Life, nil
	case publicName == "":
		return Life, bucket.Delete(ctx, rowKey)
	}
	row := entry.Value
	keys, err := Keys(seal, row)
	if none || err != nil { // what nobody can open is of no use
		row, keys = vault.ECH{}, nil
	}
	age := now.Sub(row.Rotated)
	if len(keys) > 0 && row.PublicName == publicName && age >= 0 && age < Life {
		return Life - age, nil
	}
	secret, own, err := newKey(publicName, row.Configs)
	if err != nil {
		return 0, err
	}
	secrets := [][]byte{secret}
	for _, k := range keys[:min(len(keys), kept-1)] {
		secrets = append(secrets, k.PrivateKey)
	}
	data, err := json.Marshal(secrets)
	if err != nil {
		return 0, err
	}
	configs := slices.Concat([][]byte{own}, row.Configs)
	row = vault.ECH{PublicName: publicName, Configs: configs[:len(secrets)], Keys: seal.Close(vault.SealedForECH, data), Rotated: now}
	if _, err = bucket.CompareAndSet(ctx, rowKey, row, entry.Revision); err != nil {
		return 0, fmt.Errorf("cannot keep a new key: %w", err)
	}
	return Life, nil
}

// Of gives the row of an update, if it says anything of it; an empty one means that there is none any more.
func Of(u ruche.Update[vault.ECH]) (row vault.ECH, told bool) {
	row, told = u.Puts[rowKey]
	return row, told || u.Reset || slices.Contains(u.Deletes, rowKey)
}
