package certs

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/rotation"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

const (
	// ticketsKey is the only key of the bucket of ticket keys.
	ticketsKey = "keys"
	// ticketLife is how long a key seals new tickets, ticketKeys how many are kept: who stayed away for longer than the others last does a whole handshake.
	ticketLife = 12 * time.Hour
	ticketKeys = 3
)

// TicketBucket is the bucket of ticket keys, as whoever rotates them needs it.
type TicketBucket interface {
	Get(ctx context.Context, key string) (ruche.Entry[vault.Tickets], error)
	CompareAndSet(ctx context.Context, key string, v vault.Tickets, revision int64) (int64, error)
}

// RotateTickets sees to it that there are session ticket keys, and that the newest is not older than 12 hours, until ctx ends; then it returns nil. One node
// runs it at a time, the one that leads.
func RotateTickets(ctx context.Context, bucket TicketBucket, seal vault.Sealer, logger *slog.Logger) error {
	return rotation.Run(ctx, logger, "the session ticket keys", func(ctx context.Context, now time.Time) (time.Duration, error) {
		return rotate(ctx, bucket, seal, logger, now)
	})
}

// rotate puts a new key before the others if it is time, and gives how long to wait.
func rotate(ctx context.Context, bucket TicketBucket, seal vault.Sealer, logger *slog.Logger, now time.Time) (time.Duration, error) {
	entry, err := bucket.Get(ctx, ticketsKey)
	if err != nil && !errors.Is(err, ruche.ErrNotFound) {
		return 0, err
	}
	var keys [][32]byte
	if err == nil {
		age := now.Sub(entry.Value.Rotated)
		if keys, err = openTickets(seal, entry.Value); err != nil {
			logger.Warn("the session ticket keys are replaced: TLS sessions begin anew", "error", err)
		} else if age >= 0 && age < ticketLife {
			return ticketLife - age, nil
		}
	}
	var fresh [32]byte
	_, _ = rand.Read(fresh[:]) // never fails
	keys = append([][32]byte{fresh}, keys[:min(len(keys), ticketKeys-1)]...)
	data, err := json.Marshal(keys)
	if err != nil {
		return 0, err
	}
	_, err = bucket.CompareAndSet(ctx, ticketsKey, vault.Tickets{Keys: seal.Close(vault.SealedForTickets, data), Rotated: now}, entry.Revision)
	return ticketLife, err
}

// openTickets gives the keys of a record.
func openTickets(open Opener, t vault.Tickets) ([][32]byte, error) {
	data, err := open.Open(vault.SealedForTickets, t.Keys)
	if err != nil {
		return nil, err
	}
	var keys [][32]byte
	if json.Unmarshal(data, &keys) != nil || len(keys) == 0 || len(keys) > 2*ticketKeys {
		return nil, errors.New("cannot read the session ticket keys") // what is wrong with a secret is not told
	}
	return keys, nil
}

// applyTickets puts the shared ticket keys in force. When they go away the last known stay.
func (c *Certs) applyTickets(u ruche.Update[vault.Tickets]) {
	t, ok := u.Puts[ticketsKey]
	if !ok {
		return
	}
	keys, err := openTickets(c.cfg.Opener, t)
	if err != nil {
		c.cfg.Logger.Warn("the shared session ticket keys cannot be used: sessions of this node do not go on at others", "error", fmt.Sprint(err))
		return
	}
	c.cfg.ApplyTickets(keys)
}
