package ca

import (
	"context"
	"errors"
	"fmt"
)

// Reseal seals anew, with the key of now, what only an old sealing key opens. What neither opens stays as it is.
func (a *Authority) Reseal(ctx context.Context, old Sealer) error {
	all, err := a.cfg.Authorities.List(ctx)
	if err != nil {
		return fmt.Errorf("cannot list the authorities: %w", err)
	}
	var errs []error
	for name := range all {
		errs = append(errs, a.change(ctx, name, func(r *Record) (bool, error) { return a.reseal(r, old), nil }))
	}
	return errors.Join(errs...)
}

func (a *Authority) reseal(r *Record, old Sealer) (changed bool) {
	anew := func(id string, key *[]byte) {
		if len(*key) == 0 {
			return
		}
		if _, err := a.cfg.Sealer.Open(sealedFor(id), *key); err == nil {
			return
		}
		if open, err := old.Open(sealedFor(id), *key); err == nil {
			*key, changed = a.cfg.Sealer.Close(sealedFor(id), open), true
		}
	}
	for _, list := range [][]Issuer{r.Roots, r.Intermediates} {
		for i := range list {
			anew(list[i].ID, &list[i].Key)
		}
	}
	if r.Wanted != nil {
		anew(r.Wanted.ID, &r.Wanted.Key)
	}
	return changed
}
