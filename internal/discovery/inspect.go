package discovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ruche-project/ruche/internal/docker"
)

// inspection is what the Engine answered about one container.
type inspection struct {
	id string
	// changed is record.changed when the question was asked; events that came later are not in the answer.
	changed   uint64
	container docker.Container
	// declared is read outside of the tracker's own goroutine.
	declared declared
	// networks is set when the container is in a network that was not known.
	networks networkList
	err      error
}

// subject names a container in health warnings. It must not change while one stands.
func (r *record) subject(id string) string { return "container " + shortID(id) }

// inspect asks about a container. Wishes that come while a question is open are joined to one more.
func (t *tracker) inspect(ctx context.Context, id string, r *record) {
	if r.inspecting {
		r.again = true
		return
	}
	r.inspecting = true
	result := inspection{id: id, changed: r.changed}
	known := t.networks
	t.work.Go(func() {
		select {
		case t.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		result.container, result.err = t.client.Inspect(ctx, id)
		if result.err == nil && !known.covers(result.container) {
			result.networks, result.err = t.client.Networks(ctx)
		}
		if result.err == nil {
			result.declared = declaredBy(result.container)
		}
		<-t.slots
		select {
		case t.inspections <- result:
		case <-ctx.Done():
		}
	})
}

// inspected takes over an answer.
func (t *tracker) inspected(ctx context.Context, i inspection) {
	r := t.records[i.id]
	if r == nil {
		return // destroyed meanwhile
	}
	again := r.again
	r.inspecting, r.again = false, false
	switch {
	case errors.Is(i.err, docker.ErrNotFound):
		t.destroyed(i.id)
		return
	case i.err != nil:
		if ctx.Err() == nil {
			t.inspectFailed(ctx, i, r)
		}
		return
	case r.changed != i.changed:
		again = true // the answer is older than an event
	default:
		t.take(ctx, i, r)
	}
	if again {
		t.inspect(ctx, i.id, r)
	}
}

// take replaces what is known of a container by what the Engine said of it now.
func (t *tracker) take(ctx context.Context, i inspection, r *record) {
	first := !r.known
	r.container, r.known = i.container, true
	if i.networks != nil {
		t.learn(i.networks)
	}
	r.failures = 0
	t.reachable(r.subject(i.id))
	if r.killed != nil && r.killed.startedAt.IsZero() {
		r.killed.startedAt = r.container.State.StartedAt
	}
	if first && r.killed == nil {
		t.recallKilled(ctx, i.id, r)
	}
	if t.overdue(r) {
		t.logger.Info("a container was told to end and goes on running; it takes requests again",
			"container", r.container.Name, "signal", r.killed.signal)
		r.killed = nil
	}
	r.declared = i.declared
	t.publish(i.id, r)
}

// inspectFailed keeps what was known of a container and asks again later.
func (t *tracker) inspectFailed(ctx context.Context, i inspection, r *record) {
	delay := t.timing.minBackoff << min(r.failures, 10)
	r.failures++
	name := r.container.Name
	if name == "" {
		name = shortID(i.id)
	}
	t.warn(r.subject(i.id), fmt.Sprintf("container %s cannot be inspected: %v", name, i.err), docker.Hint(i.err))
	t.inspectLater(ctx, i.id, min(delay, t.timing.maxBackoff))
}

// inspectLater asks about a container after a while.
func (t *tracker) inspectLater(ctx context.Context, id string, delay time.Duration) {
	time.AfterFunc(delay, func() {
		select {
		case t.retries <- id:
		case <-ctx.Done():
		}
	})
}

func (t *tracker) retry(ctx context.Context, id string) {
	if r := t.records[id]; r != nil {
		t.inspect(ctx, id, r)
	}
}
