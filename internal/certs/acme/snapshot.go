package acme

import (
	"context"
	"fmt"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// Snapshot is what is known of certificates, for the inventory.
type Snapshot struct {
	Wants []Want
	// Records, by ID, are without their keys.
	Records map[string]vault.Record
	States  map[string]vault.State
	// Underway has the orders that have begun, without their keys.
	Underway map[string]vault.Order
	Served   map[string]vault.Served
}

// Snapshot reads what is known of certificates. It may be called on any control node.
func (e *Engine) Snapshot(ctx context.Context) (Snapshot, error) {
	b := e.cfg.Buckets
	var s Snapshot
	var specs map[string]ruche.CertificateSpecs
	var declarations map[string]ruche.Declaration
	err := firstError(
		func() (err error) { specs, err = values(ctx, b.Specs, nil); return err },
		func() (err error) { declarations, err = values(ctx, b.Declarations, nil); return err },
		func() (err error) { s.Served, err = values(ctx, b.Served, nil); return err },
		func() (err error) { s.Records, err = values(ctx, b.Certificates, vault.Record.Redacted); return err },
		func() (err error) { s.States, err = values(ctx, b.States, nil); return err },
		func() (err error) {
			s.Underway, err = values(ctx, b.Orders, func(o vault.Order) vault.Order { o.Key = nil; return o })
			return err
		},
	)
	if err != nil {
		return Snapshot{}, fmt.Errorf("cannot list certificates: %w", err)
	}
	s.Wants = Wanted(Input{Now: e.now(), Specs: specs, Declarations: declarations, Served: s.Served, Issuers: e.issuers(), Routes: e.cfg.Routes})
	for i := range s.Wants {
		w := &s.Wants[i]
		w.Terms.EAB, w.Terms.DNS, w.Spec.EAB, w.Spec.DNS, w.Spec.Sealed = nil, nil, nil, nil, nil // there are secrets in them
	}
	return s, nil
}

func firstError(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// values reads the content of a bucket. change may be nil.
func values[T any](ctx context.Context, b Bucket[T], change func(T) T) (map[string]T, error) {
	rows, err := b.List(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]T, len(rows))
	for key, e := range rows {
		if all[key] = e.Value; change != nil {
			all[key] = change(e.Value)
		}
	}
	return all, nil
}
