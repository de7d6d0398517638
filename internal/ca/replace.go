package ca

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
)

// Replace notes of certificates that are good that they are to be replaced before their turn, and gives which they are, with the times. Whoever renews by itself then does: clients of the
// ACME server are told by its renewal information, what Ruche itself serves with is renewed. The certificates stay good. What is neither wraps ruche.ErrNotFound.
func (a *Authority) Replace(ctx context.Context, r ruche.ReplacementRequest) (ruche.IssuedList, error) {
	list := ruche.IssuedList{Certificates: []Entry{}}
	chosen, err := a.replaceable(ctx, r)
	if err != nil {
		return list, fmt.Errorf("cannot have certificates replaced: %w", err)
	}
	now := a.now()
	for i, e := range chosen {
		at := now.Add(r.Spread * time.Duration(i) / time.Duration(len(chosen)))
		e, err := a.markReplace(ctx, e.Serial, at)
		if errors.Is(err, ruche.ErrNotFound) {
			continue // it has just been removed from the log
		}
		if err != nil {
			return list, fmt.Errorf("cannot have certificate %s replaced: %w", e.Serial, err)
		}
		list.Certificates = append(list.Certificates, e)
	}
	return list, nil
}

// replaceable gives the certificates that a request means, the newest first.
func (a *Authority) replaceable(ctx context.Context, r ruche.ReplacementRequest) ([]Entry, error) {
	given := 0
	for _, is := range []bool{r.What != "", r.Issuer != "", r.All} {
		if is {
			given++
		}
	}
	if given != 1 || r.Spread < 0 {
		return nil, fmt.Errorf("%w: name one of: a serial or name, an issuer, all", ErrRefused)
	}
	log, err := a.Log(ctx, r.What)
	if err != nil {
		return nil, err
	}
	now := a.now()
	chosen := slices.DeleteFunc(log.Certificates, func(e Entry) bool {
		return r.Issuer != "" && e.Issuer != r.Issuer || e.Revoked != nil || !now.Before(e.NotAfter)
	})
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no such certificate is good now: %w (\"ruche ca list\" lists them, \"ruche ca status\" the issuers)", ruche.ErrNotFound)
	}
	return chosen, nil
}

func (a *Authority) markReplace(ctx context.Context, serial string, at time.Time) (Entry, error) {
	for range tries {
		e, err := a.cfg.Issued.Get(ctx, serial)
		if err != nil {
			return Entry{Serial: serial}, err
		}
		e.Value.Replace = at
		_, err = a.cfg.Issued.CompareAndSet(ctx, serial, e.Value, e.Revision)
		if errors.Is(err, ruche.ErrConflict) {
			continue
		}
		if err == nil {
			a.denied.replace(serial, at)
		}
		return e.Value, err
	}
	return Entry{Serial: serial}, ruche.ErrConflict
}
