package ca

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/ruche-project/ruche"
)

// maxOrganization is ub-organization-name of RFC 5280 appendix A.1.
const maxOrganization = 64

// Begin makes authorities that are not there: a root and an intermediate each, or, with Parent, a request to another organisation's authority. The error wraps
// ruche.ErrExists when one of them is there, and nothing is changed then; with Again it is forgotten, and what it has issued is to be replaced as Replace has it.
func (a *Authority) Begin(ctx context.Context, r ruche.AuthorityRequest) (ruche.AuthorityAnswer, error) {
	if err := checkRequest(r); err != nil {
		return ruche.AuthorityAnswer{}, err
	}
	if r.Parent {
		return a.askParent(ctx, r)
	}
	old := make([]ruche.Entry[Record], len(r.Names))
	for i, name := range r.Names {
		var err error
		if old[i], err = a.cfg.Authorities.Get(ctx, name); errors.Is(err, ruche.ErrNotFound) {
			continue
		}
		if err == nil && !r.Again {
			err = ruche.ErrExists
		}
		if err != nil {
			return ruche.AuthorityAnswer{}, fmt.Errorf("cannot make the authority %q: %w (\"ruche ca status\" shows it)", name, err)
		}
	}
	for i, name := range r.Names {
		if err := a.begin(ctx, name, r, old[i]); err != nil {
			return ruche.AuthorityAnswer{}, fmt.Errorf("cannot make the authority %q: %w", name, err)
		}
	}
	a.wake()
	return ruche.AuthorityAnswer{}, a.replaceForgotten(ctx, old)
}

// replaceForgotten has replaced what was issued by authorities in whose place there are others: who trusts those alone believes none of it.
func (a *Authority) replaceForgotten(ctx context.Context, old []ruche.Entry[Record]) error {
	for _, e := range old {
		for _, i := range e.Value.Intermediates {
			if _, err := a.Replace(ctx, ruche.ReplacementRequest{Issuer: i.ID}); err != nil && !errors.Is(err, ruche.ErrNotFound) {
				return fmt.Errorf("the new authority is made, but not all of the old one is replaced: %w (\"ruche ca replace --issuer %s\" does it)", err, i.ID)
			}
		}
	}
	return nil
}

// begin makes an authority in the place of an old one, whose revision is 0 where there is none.
func (a *Authority) begin(ctx context.Context, name string, r ruche.AuthorityRequest, old ruche.Entry[Record]) error {
	record := Record{Organization: r.Organization, Permit: r.Permit, Number: old.Value.Number, Created: a.now()}
	if err := a.makeRoot(name, &record, a.now()); err != nil {
		return err
	}
	if err := a.makeIntermediate(name, &record); err != nil {
		return err
	}
	_, err := a.cfg.Authorities.CompareAndSet(ctx, name, record, old.Revision)
	if errors.Is(err, ruche.ErrConflict) {
		return ruche.ErrExists // somebody else has just made it
	}
	if err != nil {
		return err
	}
	a.cfg.Logger.Info("made an authority", "authority", name, "permit", r.Permit)
	return nil
}

// Ensure makes an authority that Ruche itself needs, if it is not there.
func (a *Authority) Ensure(ctx context.Context, name string) error {
	_, err := a.cfg.Authorities.Get(ctx, name)
	if !errors.Is(err, ruche.ErrNotFound) {
		return err
	}
	_, err = a.Begin(ctx, ruche.AuthorityRequest{Names: []string{name}})
	if errors.Is(err, ruche.ErrExists) { // another control node was faster
		return nil
	}
	return err
}

func checkRequest(r ruche.AuthorityRequest) error {
	known := ruche.Authorities()
	if len(r.Names) == 0 {
		return fmt.Errorf("%w: no authority is named (there are %s)", ErrRefused, strings.Join(known, ", "))
	}
	for _, name := range r.Names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%w: there can be no authority %q (there are %s)", ErrRefused, name, strings.Join(known, ", "))
		}
	}
	if r.Parent && r.Again {
		return fmt.Errorf("%w: an authority goes over to a parent as it is", ErrRefused)
	}
	if len([]rune(r.Organization)) > maxOrganization || strings.ContainsFunc(r.Organization, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return fmt.Errorf("%w: the organization must have at most %d characters that can be printed", ErrRefused, maxOrganization)
	}
	_, err := parsePermit(r.Permit)
	return err
}
