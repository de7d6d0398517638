package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/health"
)

// sealsAgain is when it is looked again whether what no key opened still stands: each look reads all that is sealed.
const sealsAgain = 5 * time.Minute

// openSealOfHost is openSeal for one host alone, which starts without its sealing key as well: visitors have their files then, and what can be ordered anew. It says so where there is a state,
// which may be sealed with the one before.
func (d *Daemon) openSealOfHost(cfg *config.Config) (err error) {
	_, before := os.Stat(ownSeal(cfg))
	if d.seal, err = openSeal(cfg); err != nil {
		return err
	}
	_, after := os.Stat(ownSeal(cfg))
	if errors.Is(before, fs.ErrNotExist) && after == nil && cluster.HasData(stateDir(cfg.DataDir)) {
		d.logger.Error("there is a state, and no sealing key: a new one was made, which opens nothing that is sealed already", "file", ownSeal(cfg), "key", d.seal.Keys()[0],
			"hint", `bring the old key back as a second line of that file, and start again; if it is lost for good, docs/state.md ("The sealing key is lost") says what to do`)
	}
	return nil
}

// watchSeals warns of what is sealed in the state with keys that are not here: as it starts, and until all of it opens or is gone.
func (d *Daemon) watchSeals(ctx context.Context) error {
	r, warnings := d.resealer(), health.Group{Registry: d.health}
	defer warnings.Stand(nil)
	for {
		s, err := r.lost(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			d.logger.Warn("cannot look whether the sealing keys open all that is sealed in the state, trying again", "in", sealsAgain, "error", err)
		} else {
			lost := lostSeals(s)
			for _, w := range warnings.Stand(lost) {
				d.logger.Error(w.Message, "hint", w.Hint)
			}
			if len(lost) == 0 {
				<-ctx.Done() // keys change with a start alone
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sealsAgain):
		}
	}
}

// lost is Look without the certificates that nobody wants any more and that do not open: nobody misses them, and they are kept for months.
func (r *resealer) lost(ctx context.Context) (ruche.SealStatus, error) {
	s, err := r.Look(ctx)
	if _, _, lost := s.Total(); err != nil || lost == 0 {
		return s, err
	}
	records, err := cluster.NewBucket[vault.Record](r.cluster, vault.BucketCertificates).List(ctx)
	for id, e := range records {
		if e.Value.Retired.IsZero() || len(e.Value.Key) == 0 {
			continue
		}
		key, opens := r.seal.KeyOf(vault.SealedFor(id), e.Value.Key)
		if i := slices.IndexFunc(s.Values, func(c ruche.SealCount) bool { return c.Bucket == vault.BucketCertificates && c.Key == key && !c.Opens }); i >= 0 && !opens {
			if s.Values[i].Count--; s.Values[i].Count == 0 {
				s.Values = slices.Delete(s.Values, i, i+1)
			}
		}
	}
	return s, err
}

// lostSeals warns of each key that something is sealed with and that does not open it.
func lostSeals(s ruche.SealStatus) []ruche.Warning {
	counts := make(map[string]map[string]int) // key -> bucket -> values
	for _, c := range s.Values {
		if c.Opens {
			continue
		}
		if counts[c.Key] == nil {
			counts[c.Key] = make(map[string]int)
		}
		counts[c.Key][c.Bucket] += c.Count
	}
	all := make([]ruche.Warning, 0, len(counts))
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		n, parts := 0, []string(nil)
		for _, bucket := range slices.Sorted(maps.Keys(counts[key])) {
			n += counts[key][bucket]
			parts = append(parts, fmt.Sprintf("%s %d", bucket, counts[key][bucket]))
		}
		with := fmt.Sprintf("the key %s, which is not here: this node seals with %s", key, s.Keys[0])
		switch {
		case key == "":
			with = "a key that does not say which it is, and is not here: this node seals with " + s.Keys[0]
		case slices.Contains(s.Keys, key):
			with = fmt.Sprintf("the key %s, and damaged", key)
		}
		values := "values of the state are"
		if n == 1 {
			values = "value of the state is"
		}
		all = append(all, ruche.Warning{
			Code: ruche.CodeSealKeyMissing, Severity: ruche.SeverityError, Subject: key,
			Message: fmt.Sprintf("%d %s sealed with %s (%s)", n, values, with, strings.Join(parts, ", ")),
			Hint: `add that key as a line to the file of --seal-key-file (on one host without it, seal.key in the data directory) and start again; if it is lost for good, docs/state.md ` +
				`("The sealing key is lost") says what comes back by itself and what to do; "ruche state reseal --check" lists the values`,
		})
	}
	return all
}
