package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/discovery"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/doctor"
)

const (
	// factsTimeout bounds how long everybody who is asked may take: an Engine whose Swarm looks for a leader takes 20 s to say so.
	factsTimeout = 8 * time.Second
	// dialTimeout is how long another node may take to accept a connection, dialsAtOnce how many are tried at once.
	dialTimeout = time.Second
	dialsAtOnce = 64
)

// examiner gathers what the doctor looks at.
type examiner struct {
	daemon     *Daemon
	noDocker   bool
	dockerHost string
	turn       chan struct{} // held by the one that is looking: nobody makes this node dial others without end
}

func newExaminer(d *Daemon, cfg *config.Config) *examiner {
	return &examiner{daemon: d, noDocker: cfg.NoDocker, dockerHost: cfg.DockerHost, turn: make(chan struct{}, 1)}
}

// look looks at the whole installation. It gives an error when ctx ends before its turn.
func (e *examiner) look(ctx context.Context) (ruche.Checkup, error) {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return ruche.Checkup{}, ctx.Err()
	}
	f := e.gather(ctx)
	f.Dials = doctor.Dials(f)
	dialAll(ctx, f.Dials, dialTimeout)
	return doctor.Check(f), nil
}

// gather asks the state, the Engine and the registry of nodes at the same time.
func (e *examiner) gather(ctx context.Context) doctor.Facts {
	ctx, cancel := context.WithTimeout(ctx, factsTimeout)
	defer cancel()
	d := e.daemon
	f := doctor.Facts{Node: d.node, Alone: d.control == nil, Warnings: d.health.List(), NoDocker: e.noDocker}
	var asked sync.WaitGroup
	asked.Go(func() { f.State, f.Unknown.State = d.cluster.Status(ctx) })
	asked.Go(func() {
		all, err := cluster.NewBucket[ruche.Declaration](d.cluster, discovery.BucketDeclarations).List(ctx)
		for _, entry := range all {
			f.Declarations = append(f.Declarations, entry.Value)
		}
		f.Unknown.Declared = err
	})
	asked.Go(func() { f.Seals, f.Unknown.Seals = d.resealer().Look(ctx) })
	if d.control != nil {
		asked.Go(func() {
			list, err := d.control.List(ctx)
			f.Nodes, f.Unknown.Nodes = list.Nodes, err
		})
	}
	if !e.noDocker {
		asked.Go(func() { e.askEngine(ctx, &f) })
	}
	asked.Wait()
	f.Now = time.Now()
	return f
}

// askEngine fills in what the Engine knows.
func (e *examiner) askEngine(ctx context.Context, f *doctor.Facts) {
	client, err := docker.Open(e.dockerHost)
	if err != nil {
		f.Unknown.Engine = err
		return
	}
	defer func() { _ = client.Close() }()
	f.PlainEngine, f.EngineHost = client.Plain(), client.Host()
	if _, f.Unknown.Engine = client.Ping(ctx); f.Unknown.Engine != nil {
		return
	}
	// What the Engine tells of itself waits for its Swarm, too.
	if f.Engine, f.Unknown.Swarm = client.Info(ctx); f.Unknown.Swarm != nil || !f.Engine.Swarm.Manager {
		return
	}
	nodes, err := client.Nodes(ctx)
	if err == nil {
		f.Services, err = client.Services(ctx)
	}
	if err == nil {
		f.Networks, err = client.Networks(ctx)
	}
	if f.Unknown.Swarm = err; err == nil {
		f.SwarmNodes = nodes
	}
}

// dialAll tries all connections and notes which fail, and why. Each may take as long as timeout.
func dialAll(ctx context.Context, dials []doctor.Dial, timeout time.Duration) {
	var tried sync.WaitGroup
	places := make(chan struct{}, dialsAtOnce)
	for i := range dials {
		tried.Go(func() {
			places <- struct{}{}
			dials[i].Failure = dial(ctx, dials[i], timeout)
			<-places
		})
	}
	tried.Wait()
}

// dial opens and closes a connection, and says why that fails; empty when it does not. Nothing is told to, or believed of, who answers.
func dial(ctx context.Context, d doctor.Dial, timeout time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", d.Address)
	if err == nil {
		defer func() { _ = conn.Close() }()
		if d.TLS {
			err = tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{"h2"}}).HandshakeContext(ctx)
		}
	}
	var wait net.Error
	var system syscall.Errno
	switch {
	case err == nil:
		return ""
	case errors.As(err, &wait) && wait.Timeout():
		return "no answer"
	case errors.As(err, &system):
		return system.Error() // "connection refused", "no route to host"
	}
	return err.Error()
}
