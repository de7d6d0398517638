package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/discovery"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/mesh"
)

// control is what a control node has for other nodes.
type control struct {
	registry *mesh.Registry
	server   *mesh.Server
	listener net.Listener
	nodes    *cluster.Bucket[mesh.Node]
	statuses *cluster.Bucket[ruche.NodeStatus]
}

// mayOpenState refuses to begin a state that nobody asked for: a control node without one would serve nothing to edges that know what is published.
func mayOpenState(roles config.Role, cfg *config.Config) error {
	dir := stateDir(cfg.DataDir)
	_, err := os.Stat(filepath.Join(dir, "member"))
	if errors.Is(err, fs.ErrNotExist) && roles == config.Control && !cfg.Bootstrap {
		return fmt.Errorf("cannot start a control node: %s holds no state (give --bootstrap if there never was one, or bring it back with \"ruche state restore\")", dir)
	}
	return nil
}

func (d *Daemon) openState(ctx context.Context, cfg *config.Config) (err error) {
	d.cluster, err = cluster.Open(ctx, cluster.Config{Dir: stateDir(cfg.DataDir), Name: d.node, Logger: d.logger.With("component", "cluster")})
	return err
}

// newControl makes what serves other nodes.
func (d *Daemon) newControl(ctx context.Context, cfg *config.Config) (_ *control, err error) {
	seal, err := openSeal(cfg)
	if err != nil {
		return nil, err
	}
	host, err := d.meshHost(ctx, cfg)
	if err != nil {
		return nil, err
	}
	authority, err := mesh.OpenAuthority(ctx, cluster.NewBucket[mesh.AuthorityRecord](d.cluster, "authority"), seal, nil)
	if err != nil {
		return nil, err
	}
	c := &control{
		nodes: cluster.NewBucket[mesh.Node](d.cluster, "nodes"), statuses: cluster.NewBucket[ruche.NodeStatus](d.cluster, "nodestatus"),
	}
	c.registry = mesh.NewRegistry(authority, c.nodes, cluster.NewBucket[mesh.Token](d.cluster, "tokens"), c.statuses)
	buckets := map[string]mesh.Bucket[json.RawMessage]{}
	for _, name := range []string{discovery.BucketDeclarations, discovery.BucketEndpoints, discovery.BucketSightings} {
		buckets[name] = cluster.NewBucket[json.RawMessage](d.cluster, name)
	}
	if c.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.MeshAddr); err != nil {
		return nil, fmt.Errorf("cannot listen for other nodes: %w (choose another address with --mesh-addr)", err)
	}
	_, port, _ := net.SplitHostPort(c.listener.Addr().String())
	c.server, err = mesh.NewServer(mesh.ServerConfig{
		Listener: c.listener, Dir: meshDir(cfg), Name: d.node, Roles: []mesh.Role{mesh.RoleControl}, Address: net.JoinHostPort(host, port),
		Registry: c.registry, Quorum: func() bool { return d.cluster.Quorum().OK }, Buckets: buckets,
		Rows:   func(node string) mesh.Rows { return discovery.NodeState(d.cluster, node) },
		Status: d.status, Logger: d.logger.With("component", "mesh"), Health: d.health,
	})
	if err != nil {
		return nil, errors.Join(err, c.listener.Close())
	}
	return c, nil
}

func meshDir(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "mesh") }

// openSeal reads the key that seals private keys in the state. Where no file was put there is one beside the state, which protects backups but not the directory.
func openSeal(cfg *config.Config) (*mesh.Seal, error) {
	seal, err := mesh.ReadSeal(cfg.SealKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return mesh.MakeSeal(filepath.Join(cfg.DataDir, "seal.key"))
	}
	return seal, err
}

// meshHost is the address at which other nodes reach this one, without a port.
func (d *Daemon) meshHost(ctx context.Context, cfg *config.Config) (string, error) {
	if cfg.AdvertiseAddr != "" {
		return cfg.AdvertiseAddr, nil
	}
	client, err := docker.Open(cfg.DockerHost)
	if err != nil {
		return "", err
	}
	defer func() { _ = client.Close() }()
	switch s, err := client.Swarm(ctx); {
	case err != nil:
		return "", fmt.Errorf("cannot learn by which address the Swarm knows this node: %w (or give --advertise-addr)", err)
	case s.Address == "":
		return "", errors.New("cannot tell other nodes where this one is: its Engine is in no Swarm, so give --advertise-addr")
	default:
		return s.Address, nil
	}
}

// status is how this node is, for the control nodes.
func (d *Daemon) status() ruche.NodeStatus {
	return ruche.NodeStatus{Node: d.node, Version: d.version, Warnings: d.health.List()}
}

// newClient makes what speaks to the control nodes, on a node without the state.
func (d *Daemon) newClient(cfg *config.Config) (*mesh.Client, error) {
	token, err := os.ReadFile(cfg.JoinTokenFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the join token: %w", err)
	}
	role, follow := mesh.RoleAgent, []string(nil)
	if d.roles == config.Edge {
		role, follow = mesh.RoleEdge, []string{discovery.BucketDeclarations, discovery.BucketEndpoints}
	}
	client, err := mesh.NewClient(mesh.ClientConfig{
		Dir: meshDir(cfg), Name: d.node, Roles: []mesh.Role{role}, Control: cfg.Control, Token: string(token), Follow: follow,
		Status: d.status, Logger: d.logger.With("component", "mesh"), Health: d.health,
	})
	if err != nil {
		return nil, fmt.Errorf("%w (name control nodes with --control, and the file of a join token with --join-token-file)", err)
	}
	return client, nil
}

// runAgent discovers what runs on this node, once control nodes know the node.
func (d *Daemon) runAgent(ctx context.Context, cfg *config.Config, logger *slog.Logger) error {
	if d.client.Enrolled(ctx) != nil {
		return nil
	}
	found := discovery.New(discovery.Config{
		Node: d.node, DockerHost: cfg.DockerHost, NoDocker: cfg.NoDocker, RoutesDir: cfg.RoutesDir, Swarm: true,
		State: d.client, Logger: logger, Health: d.health,
	})
	go func() {
		select {
		case <-found.Synced():
			close(d.found)
		case <-ctx.Done():
		}
	}()
	return found.Run(ctx)
}
