package acmeserver

import (
	"context"
	"sync"

	"github.com/ruche-project/ruche"
)

// mirror is what this node knows of a bucket, from a watch: a moment old. It serves limits, lists and the loop; what is answered to a client is read anew. It is safe for concurrent use.
type mirror[T any] struct {
	mu       sync.RWMutex
	rows     map[string]known[T]
	groups   map[string]map[string]bool // IDs, by each of what groupsOf says of a row
	groupsOf func(id string, v T) []string
	updates  uint64
	changed  chan struct{} // closed when something comes
	filled   chan struct{} // closed when the whole content has come once
}

type known[T any] struct {
	value T
	came  uint64 // the update by which the row came first
}

func newMirror[T any](groupsOf func(id string, v T) []string) *mirror[T] {
	return &mirror[T]{
		rows: map[string]known[T]{}, groups: map[string]map[string]bool{}, groupsOf: groupsOf, changed: make(chan struct{}), filled: make(chan struct{}),
	}
}

func (m *mirror[T]) apply(u ruche.Update[T]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.updates++; u.Reset {
		clear(m.rows)
		clear(m.groups)
	}
	for id, v := range u.Puts {
		before, stood := m.rows[id]
		if !stood {
			before.came = m.updates
		}
		m.drop(id)
		m.rows[id] = known[T]{v, before.came}
		for _, g := range m.groupsOf(id, v) {
			if m.groups[g] == nil {
				m.groups[g] = map[string]bool{}
			}
			m.groups[g][id] = true
		}
	}
	for _, id := range u.Deletes {
		m.drop(id)
	}
	close(m.changed)
	m.changed = make(chan struct{})
	select {
	case <-m.filled:
	default:
		if u.Reset {
			close(m.filled)
		}
	}
}

// drop forgets a row. The caller holds mu.
func (m *mirror[T]) drop(id string) {
	row, ok := m.rows[id]
	if !ok {
		return
	}
	delete(m.rows, id)
	for _, g := range m.groupsOf(id, row.value) {
		if delete(m.groups[g], id); len(m.groups[g]) == 0 {
			delete(m.groups, g)
		}
	}
}

// ready tells whether there is anything to go by.
func (m *mirror[T]) ready() bool {
	select {
	case <-m.filled:
		return true
	default:
		return false
	}
}

// arrived waits until a row that was written has come, and so all that was written before it, at whichever node.
func (m *mirror[T]) arrived(ctx context.Context, id string) error {
	for {
		m.mu.RLock()
		_, ok := m.rows[id]
		changed := m.changed
		m.mu.RUnlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// of gives the rows of a group, but for the one with an ID, and those that certainly came after that. Without an ID it gives all of them.
func (m *mirror[T]) of(group, but string) map[string]T {
	m.mu.RLock()
	defer m.mu.RUnlock()
	own, ok := m.rows[but]
	rows := make(map[string]T, len(m.groups[group]))
	for id := range m.groups[group] {
		if row := m.rows[id]; id != but && (!ok || row.came <= own.came) {
			rows[id] = row.value
		}
	}
	return rows
}

func (m *mirror[T]) all() map[string]T {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make(map[string]T, len(m.rows))
	for id, row := range m.rows {
		all[id] = row.value
	}
	return all
}

// sizes gives how many rows each group has.
func (m *mirror[T]) sizes() map[string]int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n := make(map[string]int, len(m.groups))
	for g, ids := range m.groups {
		n[g] = len(ids)
	}
	return n
}

func (m *mirror[T]) size(group string) int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.groups[group])
}

// anyOf reports whether fn holds for one of the rows. fn must not block.
func (m *mirror[T]) anyOf(fn func(id string, v T) bool) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for id, row := range m.rows {
		if fn(id, row.value) {
			return true
		}
	}
	return false
}
