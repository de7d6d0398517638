// Package fakeengine is the other side of the wire for tests: a server on a unix socket that speaks the part of the Docker
// Engine's API which Ruche uses, with containers that run nothing and are started, killed and removed by the test.
package fakeengine

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Engine is a pretended Docker Engine. Its methods are safe for concurrent use; those that change a container emit the
// events that the real one emits, in the same order.
type Engine struct {
	t      testing.TB
	socket string

	mu         sync.Mutex
	server     *http.Server
	containers map[string]*container
	networks   map[string]*network // by name
	swarm      swarm
	configs    *objects
	secrets    *objects
	volumes    map[string]string // the directory that each is bound to, by name
	streams    map[*stream]struct{}
	serial     int
	minAPI     int // minor versions of 1.x
	maxAPI     int
	warnings   []string

	failLists    int
	failNetworks int
	failInspects map[string]int
	inspects     int
	lists        int
}

// New starts an Engine with the networks bridge, host and none. It is stopped when the test ends.
func New(t testing.TB) *Engine {
	t.Helper()
	// Not t.TempDir: its path may exceed the 107 bytes of a unix socket's address.
	dir, err := os.MkdirTemp("", "fakeengine")
	if err != nil {
		t.Fatalf("cannot make a directory for the fake engine: %v", err)
	}
	e := &Engine{
		t: t, socket: filepath.Join(dir, "docker.sock"), minAPI: 12, maxAPI: 41,
		containers: map[string]*container{}, networks: map[string]*network{}, volumes: map[string]string{}, streams: map[*stream]struct{}{},
		failInspects: map[string]int{}, swarm: newSwarm(),
	}
	e.configs, e.secrets = newObjects(e, "config"), newObjects(e, "secret")
	e.AddNetwork(Network{Name: "bridge", Driver: "bridge"})
	e.AddNetwork(Network{Name: "host", Driver: "host"})
	e.AddNetwork(Network{Name: "none", Driver: "null"})
	e.Up()
	t.Cleanup(func() {
		e.Down()
		_ = os.RemoveAll(dir)
	})
	return e
}

// Host is the address of the Engine, in the form of DOCKER_HOST.
func (e *Engine) Host() string { return "unix://" + e.socket }

// Socket is the path of the Engine's socket.
func (e *Engine) Socket() string { return e.socket }

// SetAPI makes the Engine refuse versions outside 1.minimum to 1.maximum. The default is Engine 20.10's: 1.12 to 1.41.
func (e *Engine) SetAPI(minimum, maximum int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.minAPI, e.maxAPI = minimum, maximum
}

// SetWarnings says what the Engine finds wrong with its set-up.
func (e *Engine) SetWarnings(warnings ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.warnings = warnings
}

// Up lets the Engine listen again after Down. Its containers are as they were left.
func (e *Engine) Up() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server != nil {
		return
	}
	listener, err := net.Listen("unix", e.socket)
	if err != nil {
		e.t.Fatalf("cannot start the fake engine: %v", err)
	}
	e.server = &http.Server{Handler: e.handler(), ReadHeaderTimeout: 10 * time.Second}
	go func(s *http.Server) { _ = s.Serve(listener) }(e.server)
}

// Down closes the socket and breaks all connections, as an Engine does that was killed.
func (e *Engine) Down() {
	e.mu.Lock()
	server := e.server
	e.server = nil
	e.mu.Unlock()
	if server != nil {
		_ = server.Close()
		e.DropStreams()
	}
}

// DropStreams ends all event streams; the Engine goes on answering.
func (e *Engine) DropStreams() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for s := range e.streams {
		close(s.events)
		delete(e.streams, s)
	}
}

// FailLists makes the next n lists of containers fail with status 500.
func (e *Engine) FailLists(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failLists = n
}

// FailNetworks makes the next n lists of networks fail with status 500.
func (e *Engine) FailNetworks(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failNetworks = n
}

// FailInspects makes the next n inspections of one container fail with status 500.
func (e *Engine) FailInspects(id string, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failInspects[id] = n
}

// Inspects counts the inspections that were asked for.
func (e *Engine) Inspects() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.inspects
}

// Lists counts the lists of containers that were asked for.
func (e *Engine) Lists() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lists
}

// Streams counts the event streams that are open.
func (e *Engine) Streams() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.streams)
}

// ID returns the 64 digits of the n-th thing the Engine made.
func id(n int) string { return fmt.Sprintf("%012x%052x", 0xe_0000_0000+n, n) }
