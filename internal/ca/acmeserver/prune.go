package acmeserver

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

const (
	failedLife = time.Hour      // of an order after its time without a certificate: a client may still ask what became of it
	goneLife   = 24 * time.Hour // of an external account key after its end: people may still see that it ended
)

// pruneRounds forgets what is over, time and again until ctx ends. Every node does, each at a moment of its own: who comes later finds less.
func (s *Server) pruneRounds(ctx context.Context) {
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			s.pause(ctx, s.timing.prune/2+rand.N(s.timing.prune))
		}
		if err := s.prune(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("the ACME server cannot forget what is over", slog.Any("error", err))
		}
	}
}

// prune forgets orders, accounts and keys whose time is over.
func (s *Server) prune(ctx context.Context) error {
	now := s.now()
	for id, o := range s.orders.all() {
		if now.After(o.end()) {
			if err := s.cfg.Orders.Delete(ctx, id); err != nil {
				return err
			}
		}
	}
	accounts, err := s.cfg.Accounts.List(ctx)
	if err != nil {
		return err
	}
	for key, e := range accounts {
		if _, index := strings.CutPrefix(key, "key/"); !index && now.Before(e.Value.Expires) || index && indexed(accounts, key, now) {
			continue
		}
		if err := s.cfg.Accounts.Delete(ctx, key); err != nil {
			return err
		}
	}
	return s.pruneKeys(ctx, now)
}

// end is when an order can be forgotten.
func (o *Order) end() time.Time {
	if o.Issued {
		return o.Expires
	}
	return o.Expires.Add(failedLife)
}

// indexed tells whether an entry under "key/" still leads to an account. That is written before the entry.
func indexed(accounts map[string]ruche.Entry[Account], key string, now time.Time) bool {
	of, ok := accounts[accounts[key].Value.Of]
	return ok && now.Before(of.Value.Expires)
}

func (s *Server) pruneKeys(ctx context.Context, now time.Time) error {
	keys, err := s.cfg.Keys.ListKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys.Keys {
		if !k.Expires.IsZero() && now.After(k.Expires.Add(goneLife)) {
			if err := s.cfg.Keys.RemoveKey(ctx, k.ID); err != nil {
				return err
			}
		}
	}
	return nil
}
