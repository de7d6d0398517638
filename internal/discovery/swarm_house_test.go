package discovery

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// swarmHouse is a house whose Engine manages a Swarm of three nodes, with Ruche's own container on the network public.
type swarmHouse struct {
	*house
	cfg       SwarmConfig
	timing    timing
	ownID     string
	nodes     []string
	sightings *cluster.Bucket[ruche.Sighting]
	stopSwarm func()
}

func buildSwarm(t testing.TB) *swarmHouse {
	t.Helper()
	h := &swarmHouse{house: build(t), timing: defaultTiming()}
	h.engine.SetManager(true)
	h.engine.AddNetwork(fakeengine.Network{Name: "public", Driver: "overlay"})
	h.engine.AddNetwork(fakeengine.Network{Name: "private", Driver: "overlay"})
	h.engine.AddNetwork(fakeengine.Network{Name: "ingress", Driver: "overlay", Ingress: true, Subnets: []string{"10.0.0.0/24"}})
	for i, name := range []string{"n1", "n2", "n3"} {
		h.nodes = append(h.nodes, h.engine.AddNode(name, "10.9.0."+string(rune('1'+i))))
	}
	h.ownID = h.engine.Run(fakeengine.Container{Name: "ruche", Networks: []string{"public"}})
	h.sightings = cluster.NewBucket[ruche.Sighting](h.cluster, BucketSightings)
	h.timing.minBackoff, h.timing.maxBackoff, h.timing.quick = time.Millisecond, 20*time.Millisecond, 5*time.Millisecond
	h.cfg = SwarmConfig{
		DockerHost: h.engine.Host(), State: SwarmState(h.cluster), Sightings: h.sightings, Logger: h.house.cfg.Logger, Health: h.health,
	}
	return h
}

func startSwarm(t testing.TB) *swarmHouse {
	t.Helper()
	h := buildSwarm(t)
	h.runSwarm()
	return h
}

// runSwarm starts a Swarm and waits until it is synced.
func (h *swarmHouse) runSwarm() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := NewSwarm(h.cfg)
	s.timing = h.timing
	s.ownID = func() string { return h.ownID }
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	h.stopSwarm = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("Run: %v", err)
		}
	})
	h.t.Cleanup(h.stopSwarm)
	select {
	case <-s.Synced():
	case <-time.After(20 * time.Second):
		h.t.Fatal("not synced after 20 s")
	}
}

// shop is a service with a host on the network public.
func shop(name, host string) fakeengine.Service {
	return fakeengine.Service{Name: name, Env: []string{"VIRTUAL_HOST=" + host, "VIRTUAL_PORT=8080"}, Networks: []string{"public"}}
}

// awaitTask waits until a task's endpoint has a state, and returns it.
func (h *swarmHouse) awaitTask(id string, state ruche.EndpointState) ruche.Endpoint {
	h.t.Helper()
	key := taskPrefix + id
	h.await("state "+string(state)+" of task "+id, func() bool { return h.ends[key].State == state })
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ends[key]
}

// awaitNoTask waits until a task has no endpoint.
func (h *swarmHouse) awaitNoTask(id string) {
	h.t.Helper()
	h.await("the end of task "+id, func() bool { _, there := h.ends[taskPrefix+id]; return !there })
}

// see writes what an agent sees of a task.
func (h *swarmHouse) see(task, service string, state ruche.EndpointState, reason string) {
	h.t.Helper()
	s := ruche.Sighting{Task: task, Service: service, Node: "n1", State: state, StateReason: reason, Since: time.Now().UTC()}
	if _, err := h.sightings.Put(h.t.Context(), task, s); err != nil {
		h.t.Fatal(err)
	}
}

func (h *swarmHouse) service(id string) ruche.Declaration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.decls[servicePrefix+id]
}
