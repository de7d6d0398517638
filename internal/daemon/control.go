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
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/discovery"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/mesh"
)

// control is what a control node has for other nodes.
type control struct {
	registry   registry
	server     *mesh.Server
	listener   net.Listener
	candidates *candidates
	served     *cluster.Bucket[vault.Served]
}

// registry is who belongs to the installation.
type registry struct {
	*mesh.Registry
	nodes    *cluster.Bucket[mesh.Node]
	statuses *cluster.Bucket[ruche.NodeStatus]
	root     string // the hash of its authority's root
}

// newRegistry makes it from the state, in which the authority is made if there is none.
func newRegistry(ctx context.Context, c *cluster.Cluster, seal *mesh.Seal) (registry, error) {
	authority, err := mesh.OpenAuthority(ctx, cluster.NewBucket[mesh.AuthorityRecord](c, "authority"), seal, nil)
	if err != nil {
		return registry{}, err
	}
	r := registry{nodes: cluster.NewBucket[mesh.Node](c, "nodes"), statuses: cluster.NewBucket[ruche.NodeStatus](c, "nodestatus"), root: authority.RootHash()}
	r.Registry = mesh.NewRegistry(authority, r.nodes, cluster.NewBucket[mesh.Token](c, "tokens"), r.statuses)
	return r, nil
}

// newControl makes what serves other nodes.
func (d *Daemon) newControl(ctx context.Context, cfg *config.Config) (_ *control, err error) {
	c := &control{served: cluster.NewBucket[vault.Served](d.cluster, vault.BucketServed)}
	if c.registry, err = newRegistry(ctx, d.cluster, d.seal); err != nil {
		return nil, err
	}
	buckets := map[string]mesh.Bucket[json.RawMessage]{}
	for _, name := range []string{
		discovery.BucketDeclarations, discovery.BucketEndpoints, discovery.BucketSightings, discovery.BucketIngress, discovery.BucketCertSpecs,
		vault.BucketCertificates, vault.BucketChallenges, vault.BucketTickets, vault.BucketECH, vault.BucketServed, ruche.BucketTrust,
	} {
		buckets[name] = cluster.NewBucket[json.RawMessage](d.cluster, name)
	}
	if c.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.MeshAddr); err != nil {
		return nil, fmt.Errorf("cannot listen for other nodes: %w (choose another address with --mesh-addr)", err)
	}
	logger := d.logger.With("component", "mesh")
	c.candidates = &candidates{
		own: candidate{Peer: "https://" + d.site.peer, Swarm: d.site.swarm}, node: d.node,
		bucket: cluster.NewBucket[candidate](d.cluster, "candidates"), nodes: c.registry.nodes, cluster: d.cluster, logger: logger,
	}
	if d.site.swarm != "" {
		if c.candidates.docker, err = docker.Open(cfg.DockerHost); err != nil {
			return nil, errors.Join(err, c.listener.Close())
		}
	}
	c.server, err = mesh.NewServer(mesh.ServerConfig{
		Listener: c.listener, Dir: meshDir(cfg), Name: d.node, Roles: []mesh.Role{mesh.RoleControl}, Address: at(d.site.host, c.listener.Addr().String()), Member: d.member,
		Registry: c.registry.Registry, Quorum: func() bool { return d.cluster.Quorum().OK }, Buckets: buckets,
		Join: c.candidates.join, Seal: d.seal,
		DockerCertificate: func(ctx context.Context, r mesh.DockerRequest) ([][]byte, error) {
			return d.dockerCertificate(ctx, c.registry.nodes, r)
		},
		Deliver: deliveries(d.safe, logger),
		Rows: func(node string) mesh.Rows {
			return rows{sealedRows{discovery.NodeState(d.cluster, node), d.seal}, d.cluster}
		},
		Status: d.status, Logger: logger, Health: d.health,
	})
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// close gives back what newControl opened, when nothing of it was run.
func (c *control) close() error {
	err := c.listener.Close()
	if c.candidates.docker != nil {
		err = errors.Join(err, c.candidates.docker.Close())
	}
	return err
}

func meshDir(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "mesh") }

// openSeal reads the keys that seal private keys in the state. Where no file was put there is one beside the state, which protects backups but not the directory. It opens what it sealed also after
// a file was put.
func openSeal(cfg *config.Config) (*mesh.Seal, error) {
	seal, err := mesh.ReadSeal(cfg.SealKeyFile, ownSeal(cfg))
	if errors.Is(err, fs.ErrNotExist) {
		return mesh.MakeSeal(ownSeal(cfg))
	}
	return seal, err
}

func ownSeal(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "seal.key") }

// status is how this node is, for the control nodes.
func (d *Daemon) status() ruche.NodeStatus {
	revision, _ := d.challenges.now()
	s := ruche.NodeStatus{Node: d.node, Version: d.version, Warnings: d.health.List(), Challenges: revision}
	if d.seal != nil {
		s.SealKeys = d.seal.Keys()
	}
	return s
}

// nodeSafe keeps the keys of a node without the state: under the sealing key where it has one, else under its join token, which is not in the data directory
// either. Where there is neither they lie in the clear.
func nodeSafe(cfg *config.Config, token string) (safe mesh.Safe, err error) {
	seal, err := mesh.ReadSeal(cfg.SealKeyFile)
	if err == nil {
		safe = append(safe, seal)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if token != "" {
		if seal, err = mesh.TokenSeal(token); err != nil {
			return nil, err
		}
		safe = append(safe, seal)
	}
	return safe, nil
}

// newClient makes what speaks to the control nodes, on a node without the state. address is where others reach it, if they do; member is that of a control node.
func (d *Daemon) newClient(ctx context.Context, cfg *config.Config, role mesh.Role, address string, member *mesh.Member) (*mesh.Client, error) {
	token, err := os.ReadFile(cfg.JoinTokenFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the join token: %w", err)
	}
	var follow []string
	switch role {
	case mesh.RoleAgent:
		follow = followedByAgent(cfg)
	case mesh.RoleEdge:
		follow = []string{
			discovery.BucketDeclarations, discovery.BucketEndpoints, discovery.BucketIngress,
			vault.BucketChallenges, vault.BucketTickets, vault.BucketECH, ruche.BucketTrust, vault.BucketCertificates, // the last has most
		}
	}
	safe, err := nodeSafe(cfg, string(token))
	if err != nil {
		return nil, err
	}
	if member == nil {
		d.safe = safe
	}
	client, err := mesh.NewClient(mesh.ClientConfig{
		Safe: safe, Member: member,
		Dir: meshDir(cfg), Name: d.node, Roles: []mesh.Role{role}, Address: address, Control: d.findControl(ctx, cfg, role), Token: string(token), Follow: follow,
		Status: d.status, Changed: d.challenges.told, Logger: d.logger.With("component", "mesh"), Health: d.health,
	})
	if err != nil {
		return nil, fmt.Errorf("%w (name control nodes with --control, and the file of a join token with --join-token-file)", err)
	}
	return client, nil
}

// findControl gives addresses of control nodes to begin with: those that were given, else those of the Swarm's managers, if this node may ask its Engine.
func (d *Daemon) findControl(ctx context.Context, cfg *config.Config, role mesh.Role) []string {
	if len(cfg.Control) > 0 || role == mesh.RoleEdge || cfg.NoDocker {
		return cfg.Control
	}
	status, err := swarmStatus(ctx, cfg)
	if err != nil {
		d.logger.Warn("cannot learn from the Engine where the managers of the Swarm are", "error", err)
	}
	addresses := make([]string, 0, len(status.Managers))
	for _, m := range status.Managers {
		addresses = append(addresses, net.JoinHostPort(m, config.MeshPort))
	}
	return addresses
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
