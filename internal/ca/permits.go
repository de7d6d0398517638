package ca

import (
	"context"
	"fmt"
)

// Permits tells whether a certificate of a profile may have a name, so that nobody has to prove what would not be signed. The error wraps ErrRefused when it may not.
func (a *Authority) Permits(ctx context.Context, profile, name string) error {
	p, err := a.profile(profile)
	if err != nil {
		return err
	}
	n, err := parseNames([]string{name}, p.names)
	if err != nil {
		return err
	}
	record, err := a.read(ctx, p.Authority)
	if err != nil {
		return err
	}
	by, err := record.Value.active(a.now())
	if err != nil {
		return fmt.Errorf("cannot issue a certificate of %q: %w (\"ruche ca status\" tells more)", p.Authority, err)
	}
	return n.allowedBy(by.cert)
}
