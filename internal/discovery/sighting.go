package discovery

import (
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// The labels that Swarm gives to the containers of its tasks.
const (
	taskLabel    = "com.docker.swarm.task.id"
	serviceLabel = "com.docker.swarm.service.id"
)

// taskOf returns the task that a container is of, when a control node looks after the services: then the container declares nothing itself.
func (t *tracker) taskOf(c docker.Container) (task string, sighted bool) {
	task = c.Labels[taskLabel]
	return task, t.swarm && task != ""
}

// sight asks for what is seen of a task's container to be written.
func (t *tracker) sight(task, id string, r *record) {
	t.store.set(containerKey(id), row{}) // what it declared while nobody looked after the services
	s := &ruche.Sighting{Task: task, Service: r.container.Labels[serviceLabel], Node: t.node, Since: time.Now().UTC()}
	s.State, s.StateReason = t.stateOf(r)
	if before := t.store.get(task).sighting; before != nil && before.State == s.State && before.StateReason == s.StateReason {
		s.Since = before.Since
	}
	if t.store.set(task, row{sighting: s}) {
		t.logger.Debug("task container", "name", r.container.Name, "state", s.State, "reason", s.StateReason)
	}
}

// dropSightings forgets what was seen of containers that do not exist any more. An earlier run may have left it, so it takes that all are known.
func (t *tracker) dropSightings() {
	seen := map[string]bool{}
	for _, r := range t.records {
		if !r.known {
			return
		}
		if task, sighted := t.taskOf(r.container); sighted {
			seen[task] = true
		}
	}
	for _, task := range t.store.sightings() {
		if !seen[task] {
			t.store.set(task, row{})
		}
	}
}
