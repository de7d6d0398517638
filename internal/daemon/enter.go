package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/mesh"
)

// location is where a control node is.
type location struct {
	mesh, peer string // addresses, as host:port, at which other nodes reach it
	host       string // of both
	swarm      string // the ID of its node in the Swarm; empty outside of one
}

// newLocation finds out where this node is. An Engine that does not answer keeps no node from starting that was told its address.
func newLocation(ctx context.Context, cfg *config.Config, logger *slog.Logger) (location, error) {
	s := location{host: cfg.AdvertiseAddr}
	if !cfg.NoDocker {
		status, err := settledStatus(ctx, cfg)
		switch {
		case err != nil && s.host == "":
			return s, fmt.Errorf("cannot learn by which address the Swarm knows this node: %w (or give --advertise-addr)", err)
		case err != nil:
			logger.Warn("cannot learn what this node is in the Swarm: its place there counts again after the next start", "error", err)
		case s.host == "":
			s.host = status.Address
		}
		if status.Manager {
			s.swarm = status.NodeID
		}
	}
	if s.host == "" {
		return s, errors.New("cannot tell other nodes where this one is: its Engine is in no Swarm, so give --advertise-addr")
	}
	s.mesh, s.peer = at(s.host, cfg.MeshAddr), at(s.host, cfg.PeerAddr)
	return s, nil
}

const (
	// engineSettles is how long an Engine of a Swarm may be no manager after it was started; engineLook is the time between two looks.
	engineSettles = 30 * time.Second
	engineLook    = time.Second
)

// settledStatus asks what the Engine is in the Swarm. One that has just been started is no manager yet, and what it is decides who begins a state.
func settledStatus(ctx context.Context, cfg *config.Config) (docker.SwarmStatus, error) {
	begin := time.Now()
	for {
		s, err := swarmStatus(ctx, cfg)
		if err != nil || s.Manager || s.NodeID == "" || time.Since(begin) > engineSettles || !pauseFor(ctx, engineLook) {
			return s, err
		}
	}
}

// at is the address of a host with the port of another address.
func at(host, addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return net.JoinHostPort(host, port)
}

func swarmStatus(ctx context.Context, cfg *config.Config) (docker.SwarmStatus, error) {
	client, err := docker.Open(cfg.DockerHost)
	if err != nil {
		return docker.SwarmStatus{}, err
	}
	defer func() { _ = client.Close() }()
	return client.Swarm(ctx)
}

// entrance is how a control node comes to its member of the state.
type entrance struct {
	*Daemon
	cfg    *config.Config
	site   location
	seal   *mesh.Seal
	member *mesh.Member
	seed   *seedRecord // as it was before this node, without a state, began or joined one; nil where there is none

	mu    sync.Mutex
	waits api.Wait
}

// openingSlow is how long the state of one host takes to open at most, unless something is wrong.
const openingSlow = 10 * time.Second

// openState opens this node's member of the state, and makes it one first where it has none. That takes as long as it takes: meanwhile the admin address
// says what is waited for.
func (d *Daemon) openState(ctx context.Context, cfg *config.Config) (err error) {
	if d.roles == config.All { // one host alone opens no port for others
		slow := time.AfterFunc(openingSlow, func() {
			d.logger.Warn("the state does not open: if it is one of several control nodes', start it with \"ruche control\"; docs/state.md tells how to go on with one alone",
				"directory", stateDir(cfg.DataDir))
		})
		defer slow.Stop()
		if err := d.openSealOfHost(cfg); err != nil {
			return err
		}
		d.safe = mesh.Safe{d.seal}
		d.cluster, err = cluster.Open(ctx, cluster.Config{Dir: stateDir(cfg.DataDir), Name: d.node, Logger: d.logger.With("component", "cluster")})
		return err
	}
	e := &entrance{Daemon: d, cfg: cfg}
	if e.site, err = newLocation(ctx, cfg, d.logger); err != nil {
		return err
	}
	lobby, leave := context.WithCancel(ctx)
	closed := make(chan error, 1)
	go func() { closed <- api.ServeLobby(lobby, cfg.AdminAddr, e.wait, d.logger.With("component", "api")) }()
	d.cluster, err = e.open(ctx)
	leave()
	if bad := <-closed; err == nil && bad != nil {
		err = errors.Join(bad, d.cluster.Close())
	}
	if err == nil {
		d.site, d.seal, d.member, d.safe = e.site, e.seal, e.member, mesh.Safe{e.seal}
	}
	return err
}

func (e *entrance) wait() api.Wait {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.waits
}

// await says what is waited for.
func (e *entrance) await(w api.Wait) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w.For != e.waits.For {
		e.logger.Info("waiting: "+w.For, "hint", w.Hint)
	}
	e.waits = w
}

func (e *entrance) open(ctx context.Context) (*cluster.Cluster, error) {
	dir := stateDir(e.cfg.DataDir)
	if !cluster.HasData(dir) {
		found, err := e.mayFound(ctx)
		switch {
		case err != nil:
			return nil, err
		case found:
			return e.openOwn(ctx)
		}
		return e.join(ctx)
	}
	c, err := e.openOwn(ctx)
	if !errors.Is(err, cluster.ErrRemoved) {
		return c, err
	}
	kept, err := cluster.SetAside(dir)
	if err != nil {
		return nil, err
	}
	e.logger.Warn("the other members have removed this one: it joins them anew", "its_old_data", kept)
	return e.join(ctx)
}

// config is that of this node's member, which others reach if it has what proves it to them.
func (e *entrance) config(reachable bool) cluster.Config {
	c := cluster.Config{Dir: stateDir(e.cfg.DataDir), Name: e.node, Logger: e.logger.With("component", "cluster")}
	if reachable {
		certificate := e.member.Certificate()
		c.Peer = "https://" + e.site.peer
		c.PeerTLS = &cluster.PeerTLS{CertFile: certificate, KeyFile: certificate, CAFile: mesh.FilesOfMember(meshDir(e.cfg)).Root, AllowedCN: mesh.PeerName}
	}
	return c
}

// openOwn opens the member whose data is in the directory, or begins a state there.
func (e *entrance) openOwn(ctx context.Context) (_ *cluster.Cluster, err error) {
	if e.seal, err = openSeal(e.cfg); err != nil {
		return nil, err
	}
	if err := e.openMember(); err != nil {
		return nil, err
	}
	files := mesh.FilesOfMember(meshDir(e.cfg))
	reachable := files.There()
	e.await(api.Wait{
		For:  "the state of this node to open; where it has several members, a majority of them must be up",
		Hint: `start the other control nodes; if they are lost for good, docs/state.md ("The majority is lost for good") has the way out`,
	})
	c, err := cluster.Open(ctx, e.config(reachable))
	if err != nil {
		return nil, err
	}
	again, err := e.prove(ctx, c, files)
	if err == nil {
		err = e.resealOwn(ctx, c)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if reachable && !again {
		return c, nil
	}
	if err := c.Close(); err != nil {
		return nil, err
	}
	return cluster.Open(ctx, e.config(true))
}

// resealOwn seals with the key that was given what the node sealed with one of its own, while it was alone: no other node could open that.
func (e *entrance) resealOwn(ctx context.Context, c *cluster.Cluster) error {
	own, err := mesh.ReadSeal(ownSeal(e.cfg))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r := resealer{cluster: c, seal: e.seal, fields: sealedFields(), logger: e.logger}
	_, err = r.reseal(ctx, func(key string) bool { return slices.Contains(own.Keys(), key) }, func() bool { return true })
	return err
}

// prove makes what proves this node to other members, where that is missing or of another time: it was alone so far, elsewhere, or of another authority. The member
// must be opened again where the authority is another, which it reads only then.
func (e *entrance) prove(ctx context.Context, c *cluster.Cluster, files mesh.MemberFiles) (again bool, err error) {
	if err := e.plant(ctx, c); err != nil {
		return false, err
	}
	registry, err := newRegistry(ctx, c, e.seal)
	if err != nil {
		return false, err
	}
	same := files.Of(registry.root)
	_, err = registry.nodes.Get(ctx, e.node)
	switch {
	case err == nil && same && files.For(e.site.host):
		return false, nil
	case err != nil && !errors.Is(err, ruche.ErrNotFound):
		return false, err
	}
	return !same, mesh.EnrolOwn(ctx, registry.Registry, e.member, e.node, e.site.mesh, e.logger.With("component", "mesh"), e.health)
}

// openMember opens what proves this node to other members, once.
func (e *entrance) openMember() (err error) {
	if e.member == nil {
		e.member, err = mesh.OpenMember(meshDir(e.cfg), mesh.Safe{e.seal})
	}
	return err
}

const (
	// standbyAfter is how long a node waits to be invited until it takes it that there are members enough.
	standbyAfter = 30 * time.Second
	// standbyPause is the time between two times that it says so then; it has to be shorter than joinSilence.
	standbyPause = 8 * time.Second
)

// join makes this node a member of the state of other control nodes.
func (e *entrance) join(ctx context.Context) (c *cluster.Cluster, err error) {
	e.seal, err = mesh.ReadSeal(e.cfg.SealKeyFile, ownSeal(e.cfg))
	if errors.Is(err, fs.ErrNotExist) {
		e.seal, err = mesh.ReadSeal(ownSeal(e.cfg))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot join other control nodes: %w (the key must be theirs: --seal-key-file)", err)
	}
	if err := e.openMember(); err != nil {
		return nil, err
	}
	for {
		inv, err := e.ask(ctx)
		if err != nil {
			return nil, err
		}
		if _, err := cluster.SetAside(stateDir(e.cfg.DataDir)); err != nil { // of a try that failed before it was a member
			return nil, err
		}
		e.await(api.Wait{For: "the state of the other control nodes to be copied to this one", Hint: "the log says what hinders"})
		cfg := e.config(true)
		cfg.Join = inv
		if c, err = cluster.Open(ctx, cfg); !errors.Is(err, cluster.ErrInvitation) {
			return c, err
		}
		e.logger.Info("the members have changed meanwhile, asking again", "error", err)
	}
}

// ask enrols this node, and asks the other control nodes until it is invited.
func (e *entrance) ask(ctx context.Context) (*cluster.Invitation, error) {
	client, err := e.newClient(ctx, e.cfg, mesh.RoleControl, e.site.mesh, e.member)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = client.Run(running) // it ends because it is told to
	}()
	defer func() {
		stop()
		<-ended
	}()
	e.awaitOthers()
	if err := client.Enrolled(ctx); err != nil {
		return nil, err
	}
	wish := mesh.JoinRequest{Ask: rand.Text(), Peer: "https://" + e.site.peer, Swarm: e.site.swarm}
	begin := time.Now()
	for {
		answer, err := client.Join(ctx, wish, e.seal)
		switch {
		case err == nil && len(answer.Members) > 0:
			return &cluster.Invitation{Members: answer.Members}, nil
		case errors.Is(err, mesh.ErrSeal):
			return nil, err
		case err != nil:
			begin = time.Now()
			e.await(api.Wait{For: "a control node that answers", Hint: "a majority of them must be up; the last answer was: " + err.Error()})
		case time.Since(begin) > standbyAfter:
			e.await(api.Wait{For: "to be needed as a member of the state: there are enough (1, 3 or 5)", Ready: true, Hint: "nothing is to be done"})
		default:
			e.await(api.Wait{For: "an invitation to become a member of the state", Hint: "that takes some seconds for each member"})
		}
		pause := joinPause
		if e.wait().Ready {
			pause = standbyPause
		}
		if !pauseFor(ctx, pause) {
			return nil, context.Cause(ctx)
		}
	}
}
