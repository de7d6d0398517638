package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// state is the replicated state of a test, in memory.
type state struct {
	mu       sync.Mutex
	revision int64
	rows     map[string]map[string]stored // by bucket and key
	changed  chan struct{}
	broken   error // what every read and write of now answers
}

type stored struct {
	data     []byte
	revision int64
}

func newState() *state {
	return &state{rows: map[string]map[string]stored{}, changed: make(chan struct{})}
}

// bucket is a part of the state, with the answers of the cluster's.
type bucket[T any] struct {
	*state
	name string
}

func bucketOf[T any](s *state, name string) bucket[T] { return bucket[T]{s, name} }

func (b bucket[T]) Get(_ context.Context, key string) (ruche.Entry[T], error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.rows[b.name][key]
	if b.broken != nil {
		return ruche.Entry[T]{}, b.broken
	}
	if !ok {
		return ruche.Entry[T]{}, fmt.Errorf("cannot read %s %q: %w", b.name, key, ruche.ErrNotFound)
	}
	e := ruche.Entry[T]{Key: key, Revision: s.revision}
	return e, json.Unmarshal(s.data, &e.Value)
}

func (b bucket[T]) List(context.Context) (map[string]ruche.Entry[T], error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]ruche.Entry[T]{}
	for key, s := range b.rows[b.name] {
		e := ruche.Entry[T]{Key: key, Revision: s.revision}
		if err := json.Unmarshal(s.data, &e.Value); err != nil {
			return nil, err
		}
		all[key] = e
	}
	return all, b.broken
}

func (b bucket[T]) Create(_ context.Context, key string, v T) (int64, error) {
	return b.set(key, v, func(_ stored, ok bool) error {
		if ok {
			return ruche.ErrExists
		}
		return nil
	})
}

func (b bucket[T]) CompareAndSet(_ context.Context, key string, v T, revision int64) (int64, error) {
	return b.set(key, v, func(s stored, _ bool) error {
		if s.revision != revision {
			return ruche.ErrConflict
		}
		return nil
	})
}

func (b bucket[T]) Put(_ context.Context, key string, v T) (int64, error) {
	return b.set(key, v, func(stored, bool) error { return nil })
}

func (b bucket[T]) put(key string, v T) {
	if _, err := b.Put(context.Background(), key, v); err != nil {
		panic(err)
	}
}

func (b bucket[T]) set(key string, v T, check func(stored, bool) error) (int64, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old, ok := b.rows[b.name][key]
	if err := check(old, ok); err != nil {
		return 0, fmt.Errorf("cannot write %s %q: %w", b.name, key, err)
	}
	if b.broken != nil {
		return 0, b.broken
	}
	b.write(b.name, key, data)
	return b.revision, nil
}

// putAll writes several values in one transaction.
func (b bucket[T]) putAll(values map[string]any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, v := range values {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		b.store(b.name, key, data)
	}
	b.tell()
}

// write stores data, nil for nothing. The caller holds mu.
func (s *state) write(bucket, key string, data []byte) {
	s.store(bucket, key, data)
	s.tell()
}

func (s *state) store(bucket, key string, data []byte) {
	s.revision++
	if s.rows[bucket] == nil {
		s.rows[bucket] = map[string]stored{}
	}
	s.rows[bucket][key] = stored{data, s.revision}
	if data == nil {
		delete(s.rows[bucket], key)
	}
}

// tell wakes those who watch.
func (s *state) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (b bucket[T]) Delete(_ context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken == nil {
		b.write(b.name, key, nil)
	}
	return b.broken
}

func (b bucket[T]) Watch(ctx context.Context, fn func(ruche.Update[T])) error {
	var known map[string]stored
	for {
		b.mu.Lock()
		rows, rev, changed := maps.Clone(b.rows[b.name]), b.revision, b.changed
		b.mu.Unlock()
		u := ruche.Update[T]{Reset: known == nil, Puts: map[string]T{}, Revision: rev}
		for key, s := range rows {
			if known[key].revision != s.revision {
				var v T
				if json.Unmarshal(s.data, &v) == nil {
					u.Puts[key] = v
				}
			}
		}
		for key := range known {
			if _, ok := rows[key]; !ok {
				u.Deletes = append(u.Deletes, key)
			}
		}
		slices.Sort(u.Deletes)
		if u.Reset || len(u.Puts)+len(u.Deletes) > 0 {
			fn(u)
		}
		if known = rows; known == nil {
			known = map[string]stored{}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (s *state) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

// clock is one that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// eventually waits until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-limit:
			t.Fatalf("%s: not within 30 s", what)
		case <-tick.C:
		}
	}
}
