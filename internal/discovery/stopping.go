package discovery

import (
	"context"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// killed notes that a container was told to end.
type killed struct {
	signal string
	at     time.Time
	// stop tells that it was the signal of docker stop, which leaves a container as much time as people ask for.
	stop bool
	// startedAt tells one life of a container from the next; zero when it was not known at the time.
	startedAt time.Time
}

// handleKill takes a container out when a signal is meant to end it. Whether it does is seen later: by die, or by a container
// that still runs long afterwards.
func (t *tracker) handleKill(ctx context.Context, e docker.Event, r *record) {
	if ends(e.Signal, r.container.StopSignal) {
		// A second signal does not restart the waiting: docker stop sends SIGKILL after SIGTERM.
		if r.killed == nil {
			r.killed = &killed{at: time.Now()}
		}
		r.killed.signal, r.killed.startedAt = e.Signal, r.container.State.StartedAt
		r.killed.stop = r.killed.stop || stops(e.Signal, r.container.StopSignal)
		t.inspectLater(ctx, e.Container, t.patience(r)-time.Since(r.killed.at))
		if r.inspecting {
			r.killed.startedAt = time.Time{} // it may have been started since it was inspected last
		}
		t.publish(e.Container, r)
	}
	if !r.known {
		t.inspect(ctx, e.Container, r)
	}
}

// recallKilled finds out whether a container that was seen being stopped before Ruche itself was restarted is still in that
// life: an endpoint that was stopping since after the container's start.
func (t *tracker) recallKilled(ctx context.Context, id string, r *record) {
	before := t.store.get(containerKey(id)).endpoint
	if before == nil || before.State != ruche.EndpointStopping || before.Since.Before(r.container.State.StartedAt) {
		return
	}
	signal, told := strings.CutPrefix(before.StateReason, signalReason)
	if !told {
		return
	}
	r.killed = &killed{
		signal: signal, at: before.Since, stop: stops(signal, r.container.StopSignal), startedAt: r.container.State.StartedAt,
	}
	t.inspectLater(ctx, id, t.patience(r)-time.Since(r.killed.at))
}

// patience is how long a container that was told to end may go on before it counts as running again.
func (t *tracker) patience(r *record) time.Duration {
	limit := t.timing.ending
	if r.killed.stop {
		limit = t.timing.stopping
	}
	if wait := r.container.StopTimeout; wait > 0 {
		limit = max(limit, wait+10*time.Second)
	}
	return limit
}

// overdue reports whether a container was told to end so long ago that it must have declined.
func (t *tracker) overdue(r *record) bool {
	return r.killed != nil && time.Since(r.killed.at) >= t.patience(r)
}
