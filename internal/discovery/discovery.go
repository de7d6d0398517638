package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/health"
)

// Config says what to discover and where to write it.
type Config struct {
	// Node is the name of this node. Keys of other nodes are never touched.
	Node string
	// DockerHost is the Engine's address; empty means DOCKER_HOST, then /var/run/docker.sock, then /tmp/docker.sock.
	DockerHost string
	// NoDocker leaves the Engine alone; what was known of containers on this node is dropped.
	NoDocker bool
	// RoutesDir is the directory of route files; empty means none, and what was known of route files of this node is dropped.
	RoutesDir string

	// Swarm tells that a control node looks after the services of the Swarm: containers of tasks then declare nothing here, and what is seen of
	// them is written as sightings.
	Swarm bool

	// State has the rows of this node.
	State  State
	Logger *slog.Logger
	Health *health.Registry
}

// timing holds the durations that tests shorten.
type timing struct {
	minBackoff time.Duration
	maxBackoff time.Duration
	// resync is the pause between two looks at the whole list, as a net below the events.
	resync time.Duration
	// stopping is how long a container that is being stopped may go on before it counts as running again, ending how long
	// one that was sent another signal which ends most programs.
	stopping time.Duration
	ending   time.Duration
	// gone is how long the routes of a workload that is gone are kept.
	gone time.Duration
	// net is the pause between two looks at the whole Swarm; quick that between two at the tasks of a service that changes, and slow the
	// same when nothing has happened for restless. What is told of a service holds for fresh: its tasks follow a while later.
	net, quick, slow, restless, fresh time.Duration
}

func defaultTiming() timing {
	return timing{
		minBackoff: 100 * time.Millisecond, maxBackoff: 5 * time.Second,
		resync: time.Minute, stopping: 10 * time.Minute, ending: time.Minute, gone: time.Hour,
		net: 30 * time.Second, quick: 250 * time.Millisecond, slow: 5 * time.Second, restless: 30 * time.Second, fresh: 3 * time.Second,
	}
}

// Discovery is the component. Make one with New.
type Discovery struct {
	cfg    Config
	timing timing
	synced chan struct{}
	// ownID finds the container this process runs in; tests replace it.
	ownID func() string
}

// New prepares a Discovery without touching anything.
func New(cfg Config) *Discovery {
	return &Discovery{cfg: cfg, timing: defaultTiming(), synced: make(chan struct{}), ownID: docker.OwnContainer}
}

// Synced is closed after the first full look at the Engine was tried, whether or not it answered, and the route files
// were read, and what was found was written or could not be.
func (d *Discovery) Synced() <-chan struct{} { return d.synced }

// Run discovers until ctx ends, then returns nil. An error means that the configuration cannot work; an Engine that is
// away is a health warning, not an error.
func (d *Discovery) Run(ctx context.Context) error {
	var client *docker.Client
	if !d.cfg.NoDocker {
		var err error
		if client, err = docker.Open(d.cfg.DockerHost); err != nil {
			return fmt.Errorf("cannot discover containers: %w", err)
		}
		defer func() { _ = client.Close() }()
	}
	s := newStore(d.cfg.State, d.cfg.Logger, d.cfg.Health, d.timing)
	if !s.load(ctx) {
		return nil
	}
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { s.run(ctx) })

	files := newFiles(d.cfg, s)
	wait.Go(func() { files.run(ctx) })
	looked := []<-chan struct{}{files.looked}
	if client == nil {
		s.dropKind(ruche.KindContainer)
	} else {
		t := newTracker(d.cfg, d.timing, client, s, d.ownID())
		wait.Go(func() { t.run(ctx) })
		looked = append(looked, t.looked)
	}
	for _, ch := range looked {
		select {
		case <-ch:
		case <-ctx.Done():
			return nil
		}
	}
	s.flush(ctx)
	close(d.synced)
	<-ctx.Done()
	return nil
}

// sleep waits, and reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
