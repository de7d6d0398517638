package acme

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// Bucket is what the engine needs of a part of the state. Errors are those that package ruche names.
type Bucket[T any] interface {
	Get(ctx context.Context, key string) (ruche.Entry[T], error)
	Put(ctx context.Context, key string, v T) (revision int64, err error)
	Create(ctx context.Context, key string, v T) (int64, error)
	CompareAndSet(ctx context.Context, key string, v T, revision int64) (int64, error)
	Delete(ctx context.Context, key string) error
	List(ctx context.Context) (map[string]ruche.Entry[T], error)
	Watch(ctx context.Context, fn func(ruche.Update[T])) error
}

// Buckets are the parts of the state that the engine reads (the first three) and writes. Their names are in package vault.
type Buckets struct {
	Specs        Bucket[ruche.CertificateSpecs]
	Declarations Bucket[ruche.Declaration]
	Served       Bucket[vault.Served]

	Certificates Bucket[vault.Record]
	States       Bucket[vault.State]
	Orders       Bucket[vault.Order]
	Accounts     Bucket[vault.Account]
	Challenges   Bucket[vault.Challenge]
	Issuances    Bucket[vault.Issuance]
}

// mirror is a copy of a bucket that others write.
type mirror[T any] struct {
	mu    sync.Mutex
	rows  map[string]T
	ready chan struct{} // closed when the content is there
	// changes counts what has come.
	changes int
}

func newMirror[T any]() *mirror[T] { return &mirror[T]{ready: make(chan struct{})} }

func (m *mirror[T]) follow(ctx context.Context, b Bucket[T], changed func()) {
	_ = b.Watch(ctx, func(u ruche.Update[T]) {
		m.mu.Lock()
		if m.rows == nil {
			close(m.ready)
		}
		if u.Reset || m.rows == nil {
			m.rows = make(map[string]T, len(u.Puts))
		}
		maps.Copy(m.rows, u.Puts)
		for _, key := range u.Deletes {
			delete(m.rows, key)
		}
		m.changes++
		m.mu.Unlock()
		changed()
	})
}

// version is another number when the content is another.
func (m *mirror[T]) version() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changes
}

func (m *mirror[T]) all() map[string]T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.rows)
}

// table is a bucket that the leader writes, as far as it knows. Writes go to the bucket first, under the condition that nobody else has written the row.
type table[T any] struct {
	bucket Bucket[T]
	mu     sync.Mutex
	rows   map[string]ruche.Entry[T]
}

// load reads the bucket. What is known and newer stays; what is known and was not found may have been written since then, and is asked for once more.
func (t *table[T]) load(ctx context.Context) error {
	rows, err := t.bucket.List(ctx)
	if err != nil {
		return err
	}
	var missing []string
	t.mu.Lock()
	for key, e := range t.rows {
		if _, found := rows[key]; !found {
			missing = append(missing, key)
		}
		if e.Revision > rows[key].Revision {
			rows[key] = e
		}
	}
	t.rows = rows
	t.mu.Unlock()
	for _, key := range missing {
		if err := t.refresh(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func (t *table[T]) get(key string) (e ruche.Entry[T], ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok = t.rows[key]
	return e, ok
}

func (t *table[T]) all() map[string]ruche.Entry[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.rows)
}

// put writes a row if it still has the revision that is known, 0 for none.
func (t *table[T]) put(ctx context.Context, key string, v T) (int64, error) {
	known, _ := t.get(key)
	revision, err := t.bucket.CompareAndSet(ctx, key, v, known.Revision)
	if err != nil {
		return 0, err
	}
	t.keep(ruche.Entry[T]{Key: key, Value: v, Revision: revision})
	return revision, nil
}

func (t *table[T]) keep(e ruche.Entry[T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.Revision > t.rows[e.Key].Revision {
		t.rows[e.Key] = e
	}
}

// change lets fn change a row, and writes it if fn reports that it did. fn is called again when somebody else has written the row meanwhile.
func (t *table[T]) change(ctx context.Context, key string, fn func(*T) bool) error {
	for {
		known, _ := t.get(key)
		v := known.Value
		if !fn(&v) {
			return nil
		}
		_, err := t.put(ctx, key, v)
		if !errors.Is(err, ruche.ErrConflict) {
			return err
		}
		if err := t.refresh(ctx, key); err != nil {
			return err
		}
	}
}

func (t *table[T]) delete(ctx context.Context, key string) error {
	if err := t.bucket.Delete(ctx, key); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.rows, key)
	return nil
}

// refresh reads a row again that somebody else has written.
func (t *table[T]) refresh(ctx context.Context, key string) error {
	known, _ := t.get(key)
	e, err := t.bucket.Get(ctx, key)
	switch {
	case errors.Is(err, ruche.ErrNotFound):
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.rows[key].Revision == known.Revision {
			delete(t.rows, key)
		}
		return nil
	case err != nil:
		return fmt.Errorf("cannot read again what was changed: %w", err)
	}
	t.keep(e)
	return nil
}

// follow takes over what others write: operations are asked for by rows.
func (t *table[T]) follow(ctx context.Context, changed func()) {
	_ = t.bucket.Watch(ctx, func(u ruche.Update[T]) {
		if u.Reset {
			if t.load(ctx) == nil {
				changed()
			}
			return
		}
		news := false
		for key := range u.Puts {
			known, _ := t.get(key)
			if known.Revision < u.Revision {
				news = t.refresh(ctx, key) == nil || news
			}
		}
		for _, key := range u.Deletes {
			news = t.refresh(ctx, key) == nil || news
		}
		if news {
			changed()
		}
	})
}
