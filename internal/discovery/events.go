package discovery

import (
	"context"
	"slices"
	"strings"

	"github.com/ruche-project/ruche/internal/docker"
)

// handle takes one event. What an event tells for certain is in force at once: a container that is being stopped leaves
// before it is dead. Everything else is learnt by inspecting the container.
func (t *tracker) handle(ctx context.Context, e docker.Event) {
	t.clock++
	if e.Action == docker.ActionDestroy {
		t.destroyed(e.Container)
		return
	}
	if network := e.Action == docker.ActionNetworkConnect || e.Action == docker.ActionNetworkDisconnect; network &&
		slices.Contains(t.own.ids, e.Container) {
		t.sync(ctx, syncChanged)
	}
	r := t.record(e.Container)
	if e.Action == docker.ActionKill {
		t.handleKill(ctx, e, r)
		return
	}
	if e.Action != docker.ActionStop { // it follows die, and adds nothing
		r.changed = t.clock
	}
	state := &r.container.State
	switch e.Action {
	case docker.ActionStart:
		r.killed = nil
	case docker.ActionDie:
		r.killed = nil
		*state = docker.State{Status: "exited", ExitCode: max(e.ExitCode, 0), StartedAt: state.StartedAt}
		t.publish(e.Container, r)
	case docker.ActionPause:
		state.Status, state.Paused = "paused", true
		t.publish(e.Container, r)
	}
	t.inspect(ctx, e.Container, r)
}

// record returns what is known of a container; of a new one, that it exists.
func (t *tracker) record(id string) *record {
	r := t.records[id]
	if r == nil {
		r = &record{born: t.clock, changed: t.clock}
		t.records[id] = r
	}
	return r
}

// destroyed forgets a container that does not exist any more.
func (t *tracker) destroyed(id string) {
	if r := t.records[id]; r != nil {
		delete(t.records, id)
		t.reachable(r.subject(id))
		if task, sighted := t.taskOf(r.container); sighted {
			t.store.set(task, row{})
		}
	}
	t.entomb(containerKey(id))
	t.publishFollowers(id)
}

const containerPrefix = "container/"

// containerKey is the Workload.ID of a container.
func containerKey(id string) string { return containerPrefix + id }

// containerID is the container of a Workload.ID.
func containerID(key string) string { return strings.TrimPrefix(key, containerPrefix) }

// sharesWith returns the container whose network this one uses.
func sharesWith(c docker.Container) (id string, shared bool) {
	return strings.CutPrefix(c.NetworkMode, "container:")
}
