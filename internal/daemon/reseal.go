package daemon

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
	"github.com/ruche-project/ruche/internal/ca/acmeserver"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/mesh"
)

// sealedField is where something is sealed in the values of a bucket.
type sealedField struct {
	bucket string
	// path leads to it in a value's JSON: names of fields with points between, "*" for each of a list. It is bytes in base64, and may be missing.
	path string
	// what gives what it is sealed for, by the value's key, and by the field "id" beside it, where there is one.
	what func(key, id string) string
}

// sealedFields lists everything that is sealed in the state: what is missing here keeps an old sealing key alive without anybody knowing.
func sealedFields() []sealedField {
	one := func(what string) func(string, string) string { return func(string, string) string { return what } }
	byKey := func(what func(string) string) func(string, string) string {
		return func(key, _ string) string { return what(key) }
	}
	byID := func(_, id string) string { return ca.SealedFor(id) }
	return []sealedField{
		{"authority", "sealed_key", one(mesh.SealedForRoot)},
		{vault.BucketCertificates, "key", byKey(vault.SealedFor)},
		{vault.BucketOrders, "key", byKey(vault.SealedFor)},
		{vault.BucketAccounts, "key", byKey(vault.AccountSealedFor)},
		{vault.BucketTickets, "keys", one(vault.SealedForTickets)},
		{vault.BucketECH, "keys", one(vault.SealedForECH)},
		{vault.BucketSpecs, "specs.*.sealed", byKey(vault.SpecSealedFor)},
		{ca.BucketAuthorities, "roots.*.key", byID}, {ca.BucketAuthorities, "intermediates.*.key", byID}, {ca.BucketAuthorities, "wanted.key", byID},
		{acmeserver.BucketKeys, "secret", byKey(acmeserver.SealedFor)},
	}
}

// resealer looks after what is sealed in the state.
type resealer struct {
	cluster *cluster.Cluster
	seal    *mesh.Seal
	fields  []sealedField
	node    string
	// lacking names the control nodes that could not open what the first key of this node seals; nil where there are no others.
	lacking func(ctx context.Context, key string) ([]string, error)
	logger  *slog.Logger
}

func (d *Daemon) resealer() *resealer {
	r := &resealer{cluster: d.cluster, seal: d.seal, fields: sealedFields(), node: d.node, logger: d.logger}
	if d.control != nil {
		r.lacking = d.control.lacking
	}
	return r
}

// lacking names the control nodes that do not say that they have a sealing key.
func (c *control) lacking(ctx context.Context, key string) ([]string, error) {
	list, err := c.List(ctx)
	var names []string
	for _, n := range list.Nodes {
		if slices.Contains(n.Roles, string(mesh.RoleControl)) && (n.Status == nil || !slices.Contains(n.Status.SealKeys, key)) {
			names = append(names, n.Name)
		}
	}
	return names, err
}

// resealTurn is how long one call of Reseal writes: who asked calls again, and shows meanwhile how far it is.
const resealTurn = 3 * time.Second

// maxUnopened bounds the places that are listed: with the wrong key it is everything.
const maxUnopened = 20

// Look counts what is sealed in the state, by the key that it is sealed with.
func (r *resealer) Look(ctx context.Context) (ruche.SealStatus, error) {
	s := ruche.SealStatus{Node: r.node, Keys: r.seal.Keys(), Values: []ruche.SealCount{}}
	counts := make(map[ruche.SealCount]int)
	err := r.each(ctx, func(f sealedField, e ruche.Entry[json.RawMessage]) (bool, error) {
		_, _, err := visit(e.Value, f.path, func(id string, sealed []byte) []byte {
			c := ruche.SealCount{Bucket: f.bucket, Stale: r.seal.Stale(sealed)}
			c.Key, c.Opens = r.seal.KeyOf(f.what(e.Key, id), sealed)
			if !c.Opens && len(s.Unopened) < maxUnopened {
				s.Unopened = append(s.Unopened, fmt.Sprintf("%s %q", f.bucket, e.Key))
			}
			counts[c]++
			return nil
		})
		return true, err
	})
	if err == nil {
		err = r.eachClear(ctx, func(string, ruche.CertificateSpecs, int64) (bool, error) {
			counts[ruche.SealCount{Bucket: vault.BucketSpecs, Opens: true, Stale: true}]++
			return true, nil
		})
	}
	for c, n := range counts {
		c.Count = n
		s.Values = append(s.Values, c)
	}
	slices.SortFunc(s.Values, func(a, b ruche.SealCount) int {
		return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Count, b.Count))
	})
	if err == nil && r.lacking != nil {
		s.Lacking, err = r.lacking(ctx, s.Keys[0])
	}
	return s, err
}

// Reseal seals with the first key what another one sealed, for some seconds, and tells how it is then. It does nothing while a control node lacks that key. It may be broken off anywhere, and
// run on several nodes at once: each value is written as a whole, if it is still what was read.
func (r *resealer) Reseal(ctx context.Context) (ruche.SealStatus, error) {
	before, err := r.Look(ctx)
	if err != nil || len(before.Lacking) > 0 {
		return before, err
	}
	end := time.Now().Add(resealTurn)
	on := func() bool { return time.Now().Before(end) }
	n, err := r.reseal(ctx, func(string) bool { return true }, on)
	if err != nil {
		return before, err
	}
	clear, err := r.sealClear(ctx, on)
	if err != nil {
		return before, err
	}
	after, err := r.Look(ctx)
	after.Resealed = n + clear
	return after, err
}

// reseal seals anew what a key sealed that of accepts, as long as on says so, and counts the values. Those that somebody else changes meanwhile are left to the next time.
func (r *resealer) reseal(ctx context.Context, of func(key string) bool, on func() bool) (n int, err error) {
	err = r.each(ctx, func(f sealedField, e ruche.Entry[json.RawMessage]) (bool, error) {
		if !on() {
			return false, nil
		}
		value, changed, err := visit(e.Value, f.path, func(id string, sealed []byte) []byte {
			what := f.what(e.Key, id)
			if key, opens := r.seal.KeyOf(what, sealed); !opens || !r.seal.Stale(sealed) || !of(key) {
				return nil
			}
			again, err := r.seal.Reseal(what, sealed)
			if err != nil {
				return nil // it did open a moment ago
			}
			return again
		})
		if err != nil || !changed {
			return true, err
		}
		_, err = cluster.NewBucket[json.RawMessage](r.cluster, f.bucket).CompareAndSet(ctx, e.Key, value, e.Revision)
		if errors.Is(err, ruche.ErrConflict) {
			return true, nil
		}
		if err == nil {
			n++
		}
		return true, err
	})
	if n > 0 {
		r.logger.Info("sealed values of the state anew", "values", n, "key", r.seal.Keys()[0])
	}
	return n, err
}

// each calls fn for each value of each field's bucket, in order, until it says no.
func (r *resealer) each(ctx context.Context, fn func(sealedField, ruche.Entry[json.RawMessage]) (on bool, err error)) error {
	for _, f := range r.fields {
		all, err := cluster.NewBucket[json.RawMessage](r.cluster, f.bucket).List(ctx)
		if err != nil {
			return err
		}
		for _, key := range slices.Sorted(maps.Keys(all)) {
			if on, err := fn(f, all[key]); err != nil || !on {
				return err
			}
		}
	}
	return nil
}

// visit calls fn for what is at a path in a value, and puts what it gives in its place, if it gives anything. Fields of the value that nobody here knows stay.
func visit(value json.RawMessage, path string, fn func(id string, sealed []byte) []byte) (_ json.RawMessage, changed bool, err error) {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, false, errors.New("a value of the state is no JSON")
	}
	changed = walk(v, strings.Split(path, "."), fn)
	if !changed {
		return value, false, nil
	}
	value, err = json.Marshal(v)
	return value, true, err
}

func walk(v any, path []string, fn func(id string, sealed []byte) []byte) (changed bool) {
	if list, ok := v.([]any); ok && path[0] == "*" {
		for _, item := range list {
			changed = walk(item, path[1:], fn) || changed
		}
		return changed
	}
	object, ok := v.(map[string]any)
	if !ok {
		return false
	}
	if len(path) > 1 {
		return walk(object[path[0]], path[1:], fn)
	}
	text, _ := object[path[0]].(string)
	sealed, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(sealed) == 0 {
		return false
	}
	id, _ := object["id"].(string)
	if again := fn(id, sealed); again != nil {
		object[path[0]] = base64.StdEncoding.EncodeToString(again)
		return true
	}
	return false
}
