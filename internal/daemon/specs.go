package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/discovery"
)

// sealedRows are rows of discovery whose secrets are sealed on their way into the state, and opened on the way back to whoever wrote them: so discovery compares what is declared with what it
// declared before, and writes only what differs.
type sealedRows struct {
	discovery.State
	seal vault.Sealer
}

// Load gives the rows as they were written.
func (r sealedRows) Load(ctx context.Context) (map[string]map[string]json.RawMessage, error) {
	rows, err := r.State.Load(ctx)
	if err != nil {
		return nil, err
	}
	for key, value := range rows[vault.BucketSpecs] {
		var s ruche.CertificateSpecs
		if json.Unmarshal(value, &s) != nil {
			continue // discovery writes it anew
		}
		if s, changed := vault.OpenSpecs(r.seal, key, s); changed {
			rows[vault.BucketSpecs][key], _ = json.Marshal(s) // of plain types only, cannot fail
		}
	}
	return rows, nil
}

// Apply makes all changes or none.
func (r sealedRows) Apply(ctx context.Context, changes []ruche.Change) error {
	changes = slices.Clone(changes)
	for i, c := range changes {
		if c.Bucket != vault.BucketSpecs || c.Value == nil {
			continue
		}
		var s ruche.CertificateSpecs
		if err := json.Unmarshal(c.Value, &s); err != nil {
			return fmt.Errorf("cannot seal the secrets of %s: its certificates cannot be read", c.Key)
		}
		if s, changed := vault.SealSpecs(r.seal, c.Key, s); changed {
			changes[i].Value, _ = json.Marshal(s)
		}
	}
	return r.State.Apply(ctx, changes)
}

// eachClear calls fn for the specs of each workload whose secrets an older release left in the clear, sealed, until it says no.
func (r *resealer) eachClear(ctx context.Context, fn func(workload string, sealed ruche.CertificateSpecs, revision int64) (on bool, err error)) error {
	all, err := cluster.NewBucket[ruche.CertificateSpecs](r.cluster, vault.BucketSpecs).List(ctx)
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		s, clear := vault.SealSpecs(r.seal, key, all[key].Value)
		if !clear {
			continue
		}
		if on, err := fn(key, s, all[key].Revision); err != nil || !on {
			return err
		}
	}
	return nil
}

// sealClear seals what is in the clear, as long as on says so, and counts the workloads.
func (r *resealer) sealClear(ctx context.Context, on func() bool) (n int, err error) {
	bucket := cluster.NewBucket[ruche.CertificateSpecs](r.cluster, vault.BucketSpecs)
	err = r.eachClear(ctx, func(key string, s ruche.CertificateSpecs, revision int64) (bool, error) {
		if !on() {
			return false, nil
		}
		switch _, err := bucket.CompareAndSet(ctx, key, s, revision); {
		case errors.Is(err, ruche.ErrConflict): // somebody else has just written it
		case err != nil:
			return false, err
		default:
			n++
		}
		return true, nil
	})
	if n > 0 {
		r.logger.Info("sealed secrets of workloads that were in the clear", slog.Int("workloads", n))
	}
	return n, err
}
