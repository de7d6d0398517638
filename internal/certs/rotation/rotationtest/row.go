// Package rotationtest has what tests of rotated keys have in common.
package rotationtest

import (
	"context"
	"sync"

	"github.com/ruche-project/ruche"
)

// Row is a bucket of the state that holds one row, in memory. It is safe for concurrent use, and empty as it is.
type Row[T any] struct {
	mu     sync.Mutex
	entry  ruche.Entry[T]
	broken error
}

// Get gives the row. While there is none the error is ruche.ErrNotFound.
func (r *Row[T]) Get(context.Context, string) (ruche.Entry[T], error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken == nil && r.entry.Revision == 0 {
		return r.entry, ruche.ErrNotFound
	}
	return r.entry, r.broken
}

// CompareAndSet writes the row if it still has the revision, 0 for none; else the error is ruche.ErrConflict.
func (r *Row[T]) CompareAndSet(_ context.Context, key string, v T, revision int64) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.broken != nil:
		return 0, r.broken
	case revision != r.entry.Revision:
		return 0, ruche.ErrConflict
	}
	r.entry = ruche.Entry[T]{Key: key, Value: v, Revision: revision + 1}
	return revision + 1, nil
}

// Delete removes the row.
func (r *Row[T]) Delete(context.Context, string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entry = ruche.Entry[T]{}
	return r.broken
}

// Value gives what is in the row.
func (r *Row[T]) Value() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entry.Value
}

// Change changes what is in the row, which keeps its revision.
func (r *Row[T]) Change(fn func(*T)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn(&r.entry.Value)
}

// Break has all calls fail with an error from now on; nil ends that.
func (r *Row[T]) Break(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = err
}
