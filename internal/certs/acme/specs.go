package acme

import (
	"context"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// openedSpecs is the bucket of specs with what is sealed in them opened, as far as it can be.
type openedSpecs struct {
	Bucket[ruche.CertificateSpecs]
	seal vault.Sealer
}

// List reads all of it.
func (b openedSpecs) List(ctx context.Context) (map[string]ruche.Entry[ruche.CertificateSpecs], error) {
	rows, err := b.Bucket.List(ctx)
	for key, e := range rows {
		e.Value, _ = vault.OpenSpecs(b.seal, key, e.Value)
		rows[key] = e
	}
	return rows, err
}

// Watch follows it.
func (b openedSpecs) Watch(ctx context.Context, fn func(ruche.Update[ruche.CertificateSpecs])) error {
	return b.Bucket.Watch(ctx, func(u ruche.Update[ruche.CertificateSpecs]) {
		opened := make(map[string]ruche.CertificateSpecs, len(u.Puts))
		for key, s := range u.Puts {
			opened[key], _ = vault.OpenSpecs(b.seal, key, s)
		}
		u.Puts = opened
		fn(u)
	})
}
