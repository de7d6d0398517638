package dns

import (
	"context"
	"sync"
)

// locks let one at a time change a zone: many APIs replace all values of a name at once, so that two who read, change and write would undo each other.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	token chan struct{} // holds one element while the lock is taken
	users int           // who hold it or wait for it
}

// take waits for the lock of a zone, and gives what frees it.
func (l *locks) take(ctx context.Context, zone string) (free func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = make(map[string]*lock)
	}
	k := l.held[zone]
	if k == nil {
		k = &lock{token: make(chan struct{}, 1)}
		l.held[zone] = k
	}
	k.users++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, zone)
		}
	}
	select {
	case k.token <- struct{}{}:
		return func() { <-k.token; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}
