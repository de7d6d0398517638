package daemon

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/discovery"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/health"
)

const (
	// swarmPause is the time between two questions what the Engine is in a Swarm: no event tells.
	swarmPause = 10 * time.Second
	// swarmDoubt is how many answers in a row make an Engine that was a manager none any more. One that is being started is none for a while.
	swarmDoubt = 3
	// swarmFirst bounds how long a start waits for the first look at a Swarm of which nothing is known yet.
	swarmFirst = 2 * time.Second
)

// finder runs discovery: that of this node and, where its Engine is a manager, that of the Swarm's services.
type finder struct {
	roles   config.Role
	cluster *cluster.Cluster
	node    discovery.Config
	swarm   discovery.SwarmConfig
	logger  *slog.Logger
	pause   time.Duration // swarmPause, which tests shorten
	pausing chan pause
	synced  chan struct{}
	once    sync.Once
	leads   atomic.Bool // this node looks after the services of the Swarm
}

func newFinder(cfg *config.Config, roles config.Role, node string, c *cluster.Cluster, seal vault.Sealer, logger *slog.Logger, registry *health.Registry) *finder {
	logger = logger.With("component", "discovery")
	return &finder{
		roles: roles, cluster: c, logger: logger, pause: swarmPause, pausing: make(chan pause), synced: make(chan struct{}),
		node: discovery.Config{
			Node: node, DockerHost: cfg.DockerHost, NoDocker: cfg.NoDocker, RoutesDir: cfg.RoutesDir,
			State: sealedRows{discovery.NodeState(c, node), seal}, Logger: logger, Health: registry,
		},
		swarm: discovery.SwarmConfig{
			DockerHost: cfg.DockerHost, EdgeNetworks: cfg.EdgeNetworks, State: sealedRows{discovery.SwarmState(c), seal},
			Sightings: cluster.NewBucket[ruche.Sighting](c, discovery.BucketSightings), Logger: logger, Health: registry,
		},
	}
}

// run discovers until ctx ends, but for pauses.
func (f *finder) run(ctx context.Context) error {
	known := f.knowsServices(ctx)
	manages := known || f.asksManager(ctx) == managing
	changes := make(chan bool)
	var wait sync.WaitGroup
	defer wait.Wait()
	ctx, end := context.WithCancel(ctx)
	defer end()
	if !f.node.NoDocker {
		wait.Go(func() { f.watchSwarm(ctx, manages, changes) })
	}
	for {
		run, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- f.round(run, manages, manages && !known) }()
		var p pause
		select {
		case err := <-ended:
			cancel()
			return err
		case p = <-f.pausing:
		case manages = <-changes:
		}
		cancel()
		if err := <-ended; err != nil {
			return err
		}
		if p.paused == nil {
			continue
		}
		close(p.paused)
		select {
		case <-p.resume:
		case <-ctx.Done():
			return nil
		}
	}
}

// round runs discovery once. Where the Engine manages a Swarm, one of the control nodes looks after its services.
func (f *finder) round(ctx context.Context, manages, await bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running := 0
	ended := make(chan error, 3)
	var synced, looked <-chan struct{}
	if f.roles&config.Agent != 0 {
		node := f.node
		node.Swarm = manages
		d := discovery.New(node)
		synced = d.Synced()
		running++
		go func() { ended <- d.Run(ctx) }()
	}
	if manages {
		s := discovery.NewSwarm(f.swarm)
		looked = s.Synced()
		running++
		go func() {
			ended <- f.cluster.Lead(ctx, "swarm", func(ctx context.Context, _ int64) error {
				f.leads.Store(true)
				defer f.leads.Store(false)
				return s.Run(ctx)
			})
		}()
	} else {
		f.forgetSwarm(ctx)
	}
	if running == 0 { // the Engine of a control node manages nothing yet, or not any more
		running++
		go func() {
			<-ctx.Done()
			ended <- nil
		}()
	}
	if !await {
		looked = nil
	}
	go f.noteSynced(ctx, synced, looked)
	err := <-ended
	cancel()
	for range running - 1 {
		if other := <-ended; err == nil {
			err = other
		}
	}
	return err
}

// noteSynced closes synced when the first looks are through; node is nil where nobody looks at the node, looked when nobody is to wait for the Swarm.
func (f *finder) noteSynced(ctx context.Context, node, looked <-chan struct{}) {
	if node != nil {
		select {
		case <-node:
		case <-ctx.Done():
			return
		}
	}
	if looked != nil {
		// Another control node may lead, or a former life of this one: then what it wrote is served.
		timer := time.NewTimer(swarmFirst)
		defer timer.Stop()
		select {
		case <-looked:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
	f.once.Do(func() { close(f.synced) })
}

// managerState is what the Engine says of itself.
type managerState int

const (
	noAnswer managerState = iota
	managing
	notManaging
)

// asksManager asks whether the Engine is a manager.
func (f *finder) asksManager(ctx context.Context) managerState {
	if f.node.NoDocker {
		return notManaging
	}
	client, err := docker.Open(f.node.DockerHost)
	if err != nil {
		return noAnswer
	}
	defer func() { _ = client.Close() }()
	switch s, err := client.Swarm(ctx); {
	case err != nil:
		return noAnswer
	case s.Manager:
		return managing
	}
	return notManaging
}

// watchSwarm tells when the Engine becomes a manager, or is none any more.
func (f *finder) watchSwarm(ctx context.Context, manages bool, changes chan<- bool) {
	doubts := 0
	for pauseFor(ctx, f.pause) {
		switch state := f.asksManager(ctx); {
		case state == noAnswer:
			continue
		case (state == managing) == manages:
			doubts = 0
			continue
		case manages && doubts+1 < swarmDoubt:
			doubts++
			continue
		}
		manages, doubts = !manages, 0
		f.logger.Info("the Engine's place in the Swarm has changed", "manager", manages)
		select {
		case changes <- manages:
		case <-ctx.Done():
			return
		}
	}
}

// knowsServices reports whether an earlier run followed services. Then the Engine was a manager, and is to be one until it says otherwise for a while.
func (f *finder) knowsServices(ctx context.Context) bool {
	if f.node.NoDocker {
		return false
	}
	rows, err := f.swarm.State.Load(ctx)
	return err == nil && len(rows[discovery.BucketDeclarations]) > 0
}

// forgetSwarm drops the services that an Engine managed and does not any more, unless other members may look after them.
func (f *finder) forgetSwarm(ctx context.Context) {
	members, err := f.cluster.Members(ctx)
	if err == nil && len(members) == 1 {
		err = discovery.DropSwarm(ctx, f.swarm.State)
	}
	if err != nil && ctx.Err() == nil {
		f.logger.Warn("cannot drop the services of a Swarm that this node does not manage", "error", err)
	}
}
