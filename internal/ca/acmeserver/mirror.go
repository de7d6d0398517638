package acmeserver

import (
	"maps"
	"sync"

	"github.com/ruche-project/ruche"
)

// mirror is what this node knows of all orders, from a watch: a moment old. It serves limits, lists and the loop; what is answered to a client is read anew.
type mirror struct {
	mu     sync.RWMutex
	orders map[string]Order
	of     map[string]map[string]bool // account -> IDs of its orders
	filled chan struct{}              // closed when the whole content has come once
}

func newMirror() *mirror {
	return &mirror{orders: map[string]Order{}, of: map[string]map[string]bool{}, filled: make(chan struct{})}
}

func (m *mirror) apply(u ruche.Update[Order]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u.Reset {
		clear(m.orders)
		clear(m.of)
	}
	for id, o := range u.Puts {
		m.orders[id] = o
		if m.of[o.Account] == nil {
			m.of[o.Account] = map[string]bool{}
		}
		m.of[o.Account][id] = true
	}
	for _, id := range u.Deletes {
		account := m.orders[id].Account
		delete(m.orders, id)
		delete(m.of[account], id)
		if len(m.of[account]) == 0 {
			delete(m.of, account)
		}
	}
	select {
	case <-m.filled:
	default:
		if u.Reset {
			close(m.filled)
		}
	}
}

// ready tells whether there is anything to go by.
func (m *mirror) ready() bool {
	select {
	case <-m.filled:
		return true
	default:
		return false
	}
}

// account gives the orders of an account.
func (m *mirror) account(id string) map[string]Order {
	m.mu.RLock()
	defer m.mu.RUnlock()
	orders := make(map[string]Order, len(m.of[id]))
	for o := range m.of[id] {
		orders[o] = m.orders[o]
	}
	return orders
}

func (m *mirror) all() map[string]Order {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return maps.Clone(m.orders)
}

func (m *mirror) count() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.orders)
}

// anyOf reports whether fn holds for one of the orders. fn must not block.
func (m *mirror) anyOf(fn func(id string, o Order) bool) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for id, o := range m.orders {
		if fn(id, o) {
			return true
		}
	}
	return false
}
