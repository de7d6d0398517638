package acme_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/acme"
)

// state is a replicated state of one process: buckets with one revision. TestOnACluster runs the engine on a real one.
type state struct {
	mu       sync.Mutex
	revision int64
	changed  chan struct{} // closed and replaced at each write
	resets   int           // how often watches have lost the thread
	// hook is asked before a write, and after it, whether the writer still leads.
	hook func(bucket string, after bool) bool
}

func newState() *state { return &state{changed: make(chan struct{})} }

func (s *state) setHook(h func(bucket string, after bool) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = h
}

// lose changes rows without a watch seeing how, and has all watches begin again.
func (s *state) lose(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.revision++
	s.resets++
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *state) ask(bucket string, after bool) bool {
	s.mu.Lock()
	h := s.hook
	s.mu.Unlock()
	return h == nil || h(bucket, after)
}

// fence is what cluster.Lead puts into the context of a leader: writes with it are refused when it leads no more.
type fenceKey struct{}

var errNotLeading = errors.New("this member leads no more")

func lead(ctx context.Context) (context.Context, context.CancelFunc) {
	lost := &atomic.Bool{}
	ctx, cancel := context.WithCancel(context.WithValue(ctx, fenceKey{}, lost))
	return ctx, func() {
		lost.Store(true)
		cancel()
	}
}

func leads(ctx context.Context) error {
	if lost, ok := ctx.Value(fenceKey{}).(*atomic.Bool); ok && lost.Load() {
		return errNotLeading
	}
	return ctx.Err()
}

type row struct {
	value    json.RawMessage
	revision int64
}

type bucket[T any] struct {
	s    *state
	name string
	rows map[string]row
}

func bucketOf[T any](s *state, name string) *bucket[T] {
	return &bucket[T]{s: s, name: name, rows: make(map[string]row)}
}

var _ acme.Bucket[int] = (*bucket[int])(nil)

func decode[T any](key string, r row) ruche.Entry[T] {
	e := ruche.Entry[T]{Key: key, Revision: r.revision}
	if err := json.Unmarshal(r.value, &e.Value); err != nil {
		panic(err)
	}
	return e
}

func (b *bucket[T]) Get(ctx context.Context, key string) (ruche.Entry[T], error) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	r, ok := b.rows[key]
	if !ok {
		return ruche.Entry[T]{}, fmt.Errorf("cannot read %s: %w", key, ruche.ErrNotFound)
	}
	return decode[T](key, r), ctx.Err()
}

func (b *bucket[T]) List(ctx context.Context) (map[string]ruche.Entry[T], error) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	all := make(map[string]ruche.Entry[T])
	for key, r := range b.rows {
		all[key] = decode[T](key, r)
	}
	return all, ctx.Err()
}

func (b *bucket[T]) count() int {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	return len(b.rows)
}

// write changes a row under a condition on its revision.
func (b *bucket[T]) write(ctx context.Context, key string, v *T, allowed func(revision int64) error) (int64, error) {
	if !b.s.ask(b.name, false) || leads(ctx) != nil {
		return 0, errNotLeading
	}
	revision, err := b.change(key, v, allowed)
	if err == nil && !b.s.ask(b.name, true) {
		return 0, errNotLeading
	}
	return revision, err
}

func (b *bucket[T]) change(key string, v *T, allowed func(revision int64) error) (int64, error) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	if err := allowed(b.rows[key].revision); err != nil {
		return 0, fmt.Errorf("cannot write %s %s: %w", b.name, key, err)
	}
	b.s.revision++
	if v == nil {
		delete(b.rows, key)
	} else {
		data, err := json.Marshal(*v)
		if err != nil {
			return 0, err
		}
		b.rows[key] = row{data, b.s.revision}
	}
	close(b.s.changed)
	b.s.changed = make(chan struct{})
	return b.s.revision, nil
}

func anyRevision(int64) error { return nil }

func (b *bucket[T]) Put(ctx context.Context, key string, v T) (int64, error) {
	return b.write(ctx, key, &v, anyRevision)
}

func (b *bucket[T]) Create(ctx context.Context, key string, v T) (int64, error) {
	return b.write(ctx, key, &v, func(r int64) error {
		if r != 0 {
			return ruche.ErrExists
		}
		return nil
	})
}

func (b *bucket[T]) CompareAndSet(ctx context.Context, key string, v T, revision int64) (int64, error) {
	return b.write(ctx, key, &v, func(r int64) error {
		if r != revision {
			return ruche.ErrConflict
		}
		return nil
	})
}

func (b *bucket[T]) Delete(ctx context.Context, key string) error {
	_, err := b.write(ctx, key, nil, anyRevision)
	return err
}

func (b *bucket[T]) Watch(ctx context.Context, fn func(ruche.Update[T])) error {
	var known map[string]row
	resets := -1
	for {
		b.s.mu.Lock()
		reset := resets != b.s.resets
		if resets = b.s.resets; reset {
			known = nil
		}
		u := ruche.Update[T]{Reset: reset, Puts: make(map[string]T), Revision: b.s.revision}
		for key, r := range b.rows {
			if known[key].revision != r.revision {
				u.Puts[key] = decode[T](key, r).Value
			}
		}
		for key := range known {
			if _, ok := b.rows[key]; !ok {
				u.Deletes = append(u.Deletes, key)
			}
		}
		known = maps.Clone(b.rows)
		changed := b.s.changed
		b.s.mu.Unlock()
		if reset || len(u.Puts)+len(u.Deletes) > 0 {
			fn(u)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}
