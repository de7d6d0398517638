package discovery

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
	"github.com/ruche-project/ruche/internal/health"
)

// house is a Discovery with a real cluster behind it and a fake Engine before it.
type house struct {
	t            testing.TB
	engine       *fakeengine.Engine
	cluster      *cluster.Cluster
	declarations *cluster.Bucket[ruche.Declaration]
	endpoints    *cluster.Bucket[ruche.Endpoint]
	health       *health.Registry
	cfg          Config
	timing       timing
	ownID        string

	stopRun func()

	mu      sync.Mutex
	changed *sync.Cond
	decls   map[string]ruche.Declaration
	ends    map[string]ruche.Endpoint
	// states are all states that each endpoint went through.
	states map[string][]ruche.EndpointState
}

// build prepares everything and starts nothing.
func build(t testing.TB) *house {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	c, err := cluster.Open(t.Context(), cluster.Config{Dir: t.TempDir(), Name: "n1", Logger: logger})
	if err != nil {
		t.Fatalf("cannot open the cluster: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	h := &house{
		t: t, engine: fakeengine.New(t), cluster: c, health: &health.Registry{}, timing: defaultTiming(),
		declarations: cluster.NewBucket[ruche.Declaration](c, "declarations"),
		endpoints:    cluster.NewBucket[ruche.Endpoint](c, "endpoints"),
		decls:        map[string]ruche.Declaration{}, ends: map[string]ruche.Endpoint{}, states: map[string][]ruche.EndpointState{},
	}
	h.changed = sync.NewCond(&h.mu)
	h.timing.minBackoff, h.timing.maxBackoff = time.Millisecond, 20*time.Millisecond
	h.cfg = Config{
		Node: "n1", DockerHost: h.engine.Host(), State: NodeState(c, "n1"),
		Logger: logger, Health: h.health,
	}
	h.watch()
	return h
}

// start builds a house and runs it.
func start(t testing.TB) *house {
	t.Helper()
	h := build(t)
	h.run()
	return h
}

// run starts a Discovery and waits until it is synced.
func (h *house) run() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	d := New(h.cfg)
	d.timing = h.timing
	d.ownID = func() string { return h.ownID }
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	h.stopRun = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("Run: %v", err)
		}
	})
	h.t.Cleanup(h.stopRun)
	select {
	case <-d.Synced():
	case <-time.After(20 * time.Second):
		h.t.Fatal("not synced after 20 s")
	}
}

func (h *house) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		_ = h.declarations.Watch(ctx, func(u ruche.Update[ruche.Declaration]) {
			h.mu.Lock()
			defer h.mu.Unlock()
			defer h.changed.Broadcast()
			if u.Reset {
				clear(h.decls)
			}
			maps.Copy(h.decls, u.Puts)
			for _, key := range u.Deletes {
				delete(h.decls, key)
			}
		})
	})
	wait.Go(func() {
		_ = h.endpoints.Watch(ctx, func(u ruche.Update[ruche.Endpoint]) {
			h.mu.Lock()
			defer h.mu.Unlock()
			defer h.changed.Broadcast()
			if u.Reset {
				clear(h.ends)
			}
			maps.Copy(h.ends, u.Puts)
			for key, e := range u.Puts {
				h.states[key] = append(h.states[key], e.State)
			}
			for _, key := range u.Deletes {
				delete(h.ends, key)
			}
		})
	})
	h.t.Cleanup(func() { cancel(); wait.Wait() })
}

// await waits until condition holds for what the buckets hold.
func (h *house) await(what string, condition func() bool) {
	h.t.Helper()
	expired := false
	timer := time.AfterFunc(15*time.Second, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		expired = true
		h.changed.Broadcast()
	})
	defer timer.Stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	for !condition() {
		if expired {
			h.t.Fatalf("waited in vain for %s\ndeclarations: %+v\nendpoints: %+v\nwarnings: %+v", what, h.decls, h.ends, h.health.List())
		}
		h.changed.Wait()
	}
}

// awaitState waits until a container's endpoint has a state, and returns it. The two buckets are watched independently, so it waits for the
// declaration as well.
func (h *house) awaitState(id string, state ruche.EndpointState) ruche.Endpoint {
	h.t.Helper()
	key := containerKey(id)
	h.await("state "+string(state)+" of "+shortID(id), func() bool {
		_, declared := h.decls[key]
		return declared && h.ends[key].State == state
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ends[key]
}

// seen is for how long a state lasts that has to be seen: of what comes within one update of a bucket only the last is.
const seen = 500 * time.Millisecond

// awaitBack waits until a container's endpoint was stopping and is ready again.
func (h *house) awaitBack(id string) {
	h.t.Helper()
	h.await("the return of "+shortID(id), func() bool {
		states := h.states[containerKey(id)]
		return slices.Contains(states, ruche.EndpointStopping) && states[len(states)-1] == ruche.EndpointReady
	})
}

// awaitGone waits until a container has no endpoint, and its declaration a GoneSince or is away.
func (h *house) awaitGone(id string, kept bool) {
	h.t.Helper()
	key := containerKey(id)
	h.await("the end of "+shortID(id), func() bool {
		_, endpoint := h.ends[key]
		d, declared := h.decls[key]
		return !endpoint && declared == kept && (!kept || !d.GoneSince.IsZero())
	})
}

func (h *house) declaration(id string) ruche.Declaration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.decls[containerKey(id)]
}

// warned reports whether a health warning of a code stands whose subject contains a text.
func (h *house) warned(code ruche.Code, subject string) bool {
	for _, w := range h.health.List() {
		if w.Code == code && strings.Contains(w.Subject, subject) && w.Hint != "" {
			return true
		}
	}
	return false
}

// poll waits for something that is not in the buckets.
func poll(t testing.TB, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(15 * time.Second)
	for !condition() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func site(name, host string) fakeengine.Container {
	return fakeengine.Container{Name: name, Image: "site:1", Env: []string{"VIRTUAL_HOST=" + host}, Ports: []string{"8080/tcp"}}
}
