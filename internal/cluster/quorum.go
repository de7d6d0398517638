package cluster

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrNoQuorum tells that no majority of the members is up. Reads and writes that were under way when that was noticed get it too; such a write may still be
// done, when the members find together again.
var ErrNoQuorum = errors.New("no majority of the cluster's members is up")

// Quorum tells whether a majority of the members is up, as this one sees it.
type Quorum struct {
	OK bool
	// Since is the time of the last change, or of Open.
	Since time.Time
}

const (
	// electionGrace is how long members may be without a leader before that counts as lost quorum: they elect one in about a second.
	electionGrace = 3 * election * time.Millisecond
	// quorumLook is the time between two looks. etcd does not tell when it has lost its leader.
	quorumLook = 2 * tick * time.Millisecond
)

// quorum follows whether there is one.
type quorum struct {
	mu      sync.Mutex
	now     Quorum
	changed chan struct{} // closed when now has changed
	// held ends, with the cause ErrNoQuorum, when the quorum is lost.
	held context.Context
	lose context.CancelCauseFunc
}

func newQuorum() *quorum {
	q := &quorum{now: Quorum{OK: true, Since: time.Now()}, changed: make(chan struct{})}
	q.held, q.lose = context.WithCancelCause(context.Background())
	return q
}

func (q *quorum) set(ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.now.OK == ok {
		return
	}
	q.now = Quorum{OK: ok, Since: time.Now()}
	close(q.changed)
	q.changed = make(chan struct{})
	if ok {
		q.held, q.lose = context.WithCancelCause(context.Background())
	} else {
		q.lose(ErrNoQuorum)
	}
}

// get returns the quorum and what is closed when it changes.
func (q *quorum) get() (Quorum, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.now, q.changed
}

// join gives a context that also ends, with the cause ErrNoQuorum, when there is no quorum. Its function must be called.
func (q *quorum) join(ctx context.Context) (context.Context, func()) {
	q.mu.Lock()
	held := q.held
	q.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	if held.Err() != nil { // AfterFunc would get to that a moment later
		cancel(ErrNoQuorum)
	}
	stop := context.AfterFunc(held, func() { cancel(ErrNoQuorum) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// because makes the error of a call with a joined context say ErrNoQuorum when that ended it.
func because(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), ErrNoQuorum) {
		return ErrNoQuorum
	}
	return err
}

// followQuorum keeps c.quorum true until the cluster is closed. While the member is released nothing changes.
func (c *Cluster) followQuorum() {
	ticker := time.NewTicker(quorumLook)
	defer ticker.Stop()
	led := time.Now() // when there was a leader last
	for {
		select {
		case <-c.closed:
			return
		case <-ticker.C:
		}
		switch _, err := c.held(); {
		case err != nil || c.leaderKnown():
			led = time.Now()
			c.quorum.set(c.quorum.ok() || err == nil)
		case time.Since(led) > electionGrace:
			c.quorum.set(false)
		}
	}
}

func (q *quorum) ok() bool {
	now, _ := q.get()
	return now.OK
}

// Quorum tells whether a majority of the members is up, as this one sees it. It notices a loss within 3 s.
func (c *Cluster) Quorum() Quorum {
	now, _ := c.quorum.get()
	return now
}

// WatchQuorum calls fn with the present Quorum, and then with the newest one after changes, until ctx or the cluster ends.
func (c *Cluster) WatchQuorum(ctx context.Context, fn func(Quorum)) {
	for {
		now, changed := c.quorum.get()
		fn(now)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-c.closed:
			return
		}
	}
}

// awaitQuorum waits until there is a quorum. It gives an error when ctx or the cluster ended.
func (c *Cluster) awaitQuorum(ctx context.Context) error {
	for {
		now, changed := c.quorum.get()
		if now.OK {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.closed:
			return ErrClosed
		}
	}
}
