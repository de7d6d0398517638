package ca_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/ruche-project/ruche"
)

// bucket is a part of the state in memory, with the answers of the cluster's. TestTwoControlNodesMakeOneRoot has the cluster's own.
type bucket[T any] struct {
	name string

	mu       sync.Mutex
	revision int64
	rows     map[string]row
	changed  chan struct{}
}

type row struct {
	data     []byte
	revision int64
}

func newBucket[T any](name string) *bucket[T] {
	return &bucket[T]{name: name, rows: map[string]row{}, changed: make(chan struct{})}
}

func (b *bucket[T]) entry(key string, r row) (ruche.Entry[T], error) {
	e := ruche.Entry[T]{Key: key, Revision: r.revision}
	return e, json.Unmarshal(r.data, &e.Value)
}

func (b *bucket[T]) Get(_ context.Context, key string) (ruche.Entry[T], error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.rows[key]
	if !ok {
		return ruche.Entry[T]{}, fmt.Errorf("cannot read %s %q: %w", b.name, key, ruche.ErrNotFound)
	}
	return b.entry(key, r)
}

func (b *bucket[T]) Create(_ context.Context, key string, v T) (int64, error) {
	return b.set(key, v, func(r row) error {
		if r.revision != 0 {
			return fmt.Errorf("cannot create %s %q: %w", b.name, key, ruche.ErrExists)
		}
		return nil
	})
}

func (b *bucket[T]) CompareAndSet(_ context.Context, key string, v T, revision int64) (int64, error) {
	return b.set(key, v, func(r row) error {
		if r.revision != revision {
			return fmt.Errorf("cannot change %s %q: %w", b.name, key, ruche.ErrConflict)
		}
		return nil
	})
}

func (b *bucket[T]) set(key string, v T, check func(row) error) (int64, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := check(b.rows[key]); err != nil {
		return 0, err
	}
	b.revision++
	b.rows[key] = row{data, b.revision}
	b.wake()
	return b.revision, nil
}

func (b *bucket[T]) Delete(_ context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.revision++
	delete(b.rows, key)
	b.wake()
	return nil
}

func (b *bucket[T]) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *bucket[T]) List(context.Context) (map[string]ruche.Entry[T], error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[string]ruche.Entry[T], len(b.rows))
	for key, r := range b.rows {
		e, err := b.entry(key, r)
		if err != nil {
			return nil, err
		}
		all[key] = e
	}
	return all, nil
}

// Watch gives the whole content first, and whatever has changed since in each call after that.
func (b *bucket[T]) Watch(ctx context.Context, fn func(ruche.Update[T])) error {
	known := map[string]row{}
	for first := true; ; first = false {
		b.mu.Lock()
		u := ruche.Update[T]{Reset: first, Puts: map[string]T{}, Revision: b.revision}
		for key, r := range b.rows {
			if known[key].revision == r.revision {
				continue
			}
			e, err := b.entry(key, r)
			if err != nil {
				b.mu.Unlock()
				return err
			}
			u.Puts[key] = e.Value
		}
		for _, key := range slices.Sorted(maps.Keys(known)) {
			if _, ok := b.rows[key]; !ok {
				u.Deletes = append(u.Deletes, key)
			}
		}
		known = maps.Clone(b.rows)
		changed := b.changed
		b.mu.Unlock()
		fn(u)
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}
