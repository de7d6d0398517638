package discovery

import (
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// taskContainer is the container of a task of a service that declares a host.
func taskContainer(task string) fakeengine.Container {
	c := site("shop.1."+task, "shop.example")
	c.HealthCheck = true
	c.Labels = map[string]string{
		"com.docker.swarm.task.id": task, "com.docker.swarm.service.id": "svc", "com.docker.swarm.service.name": "shop", "com.docker.swarm.task.name": c.Name,
	}
	return c
}

// watchSightings collects what is seen, and all states that each task went through.
func (h *house) watchSightings(seen map[string]ruche.Sighting) {
	h.cfg.Swarm = true
	go func() {
		_ = cluster.NewBucket[ruche.Sighting](h.cluster, BucketSightings).Watch(h.t.Context(), func(u ruche.Update[ruche.Sighting]) {
			h.mu.Lock()
			defer h.mu.Unlock()
			for key, s := range u.Puts {
				seen[key] = s
			}
			for _, key := range u.Deletes {
				delete(seen, key)
			}
			h.changed.Broadcast()
		})
	}()
}

func TestContainersOfTasksAreSighted(t *testing.T) {
	h := build(t)
	seen := map[string]ruche.Sighting{}
	h.watchSightings(seen)
	plain := h.engine.Run(site("plain", "plain.example"))
	h.run()
	h.awaitState(plain, ruche.EndpointReady)
	id := h.engine.Run(taskContainer("t1"))
	state := func(want ruche.EndpointState) {
		t.Helper()
		h.await("sighting "+string(want), func() bool { return seen["t1"].State == want })
	}
	state(ruche.EndpointStarting)
	h.engine.SetHealth(id, "healthy")
	state(ruche.EndpointReady)
	h.engine.Kill(id, 15)
	state(ruche.EndpointStopping)
	h.mu.Lock()
	if s := seen["t1"]; s.Task != "t1" || s.Service != "svc" || s.Node != "n1" || s.StateReason != "signal 15" || s.Since.IsZero() {
		t.Errorf("sighting %+v", s)
	}
	h.mu.Unlock()
	h.engine.Die(id, 0)
	state(ruche.EndpointStopped)
	h.engine.Remove(id)
	h.await("the end of the sighting", func() bool { _, there := seen["t1"]; return !there })
	if len(h.decls) != 1 || len(h.ends) != 1 {
		t.Errorf("the container of the task declares: %+v, %+v", h.decls, h.ends)
	}
}

func TestWhatATaskDeclaredBeforeIsDropped(t *testing.T) {
	h := build(t)
	seen := map[string]ruche.Sighting{}
	id := h.engine.Run(taskContainer("t1"))
	h.run()
	h.awaitState(id, ruche.EndpointStarting) // nobody looks after the services yet
	h.stopRun()
	h.watchSightings(seen)
	h.run()
	h.await("the sighting in its place", func() bool { return len(h.decls) == 0 && len(h.ends) == 0 && len(seen) == 1 })
	h.stopRun()
	h.engine.Quietly(func() { h.engine.Remove(id) })
	h.run()
	h.await("the end of what an earlier run saw", func() bool { return len(seen) == 0 })
	other := h.engine.Run(taskContainer("t2"))
	h.await("another", func() bool { return len(seen) == 1 })
	h.stopRun()
	h.cfg.Swarm = false // the node left the Swarm
	h.run()
	h.awaitState(other, ruche.EndpointStarting)
	h.await("no sighting", func() bool { return len(seen) == 0 })
}
