package daemon

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/discovery"
	"github.com/ruche-project/ruche/internal/health"
	"github.com/ruche-project/ruche/internal/mesh"
)

// TestTheMeshStandsOnTheCluster joins the real ones: an agent's row comes to an edge by way of the state.
func TestTheMeshStandsOnTheCluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	c, err := cluster.Open(ctx, cluster.Config{Dir: filepath.Join(dir, "cluster"), Name: "c1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	registry, address := serveMesh(ctx, t, c, dir)
	token, err := registry.MakeToken(ctx, []mesh.Role{mesh.RoleAgent, mesh.RoleEdge}, 2, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	agent := joinMesh(ctx, t, mesh.ClientConfig{Dir: filepath.Join(dir, "a1"), Name: "a1", Roles: []mesh.Role{mesh.RoleAgent}, Control: []string{address}, Token: token})
	edge := joinMesh(ctx, t, mesh.ClientConfig{
		Dir: filepath.Join(dir, "e1"), Name: "e1", Roles: []mesh.Role{mesh.RoleEdge}, Control: []string{address}, Token: token, Follow: []string{"endpoints"},
	})

	got := make(chan ruche.Endpoint, 10)
	background(t, func(ctx context.Context) error {
		return mesh.Follow[ruche.Endpoint](edge, "endpoints").Watch(ctx, func(u ruche.Update[ruche.Endpoint]) {
			for _, e := range u.Puts {
				got <- e
			}
		})
	})
	var state discovery.State = agent // discovery writes over the mesh as it does in the process
	value := json.RawMessage(`{"workload":"container/1","node":"a1","address":"10.0.0.1","state":"ready"}`)
	if err := state.Apply(ctx, []discovery.Change{{Bucket: discovery.BucketEndpoints, Key: "container/1", Value: value}}); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-got:
		if e.Address != "10.0.0.1" {
			t.Errorf("the edge got %+v", e)
		}
	case <-ctx.Done():
		t.Fatal("the edge got nothing")
	}
	rows, err := state.Load(ctx)
	if err != nil || len(rows[discovery.BucketEndpoints]) != 1 {
		t.Errorf("the agent's rows are %s, %v", rows, err)
	}
}

// serveMesh serves the mesh over a member of the state.
func serveMesh(ctx context.Context, t *testing.T, c *cluster.Cluster, dir string) (*mesh.Registry, string) {
	t.Helper()
	seal, err := mesh.MakeSeal(filepath.Join(dir, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := mesh.OpenAuthority(ctx, cluster.NewBucket[mesh.AuthorityRecord](c, "authority"), seal, nil)
	if err != nil {
		t.Fatal(err)
	}
	registry := mesh.NewRegistry(authority, cluster.NewBucket[mesh.Node](c, "nodes"), cluster.NewBucket[mesh.Token](c, "tokens"),
		cluster.NewBucket[ruche.NodeStatus](c, "nodestatus"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	buckets := map[string]mesh.Bucket[json.RawMessage]{}
	for _, name := range []string{discovery.BucketDeclarations, discovery.BucketEndpoints, discovery.BucketSightings, discovery.BucketCertSpecs} {
		buckets[name] = cluster.NewBucket[json.RawMessage](c, name)
	}
	server, err := mesh.NewServer(mesh.ServerConfig{
		Listener: l, Dir: filepath.Join(dir, "mesh"), Name: "c1", Roles: []mesh.Role{mesh.RoleControl}, Address: l.Addr().String(),
		Registry: registry, Quorum: func() bool { return true }, Buckets: buckets, Status: func() ruche.NodeStatus { return ruche.NodeStatus{} },
		Rows:   func(node string) mesh.Rows { return discovery.NodeState(c, node) },
		Logger: slog.New(slog.DiscardHandler), Health: &health.Registry{},
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, server.Run)
	return registry, l.Addr().String()
}

func joinMesh(ctx context.Context, t *testing.T, cfg mesh.ClientConfig) *mesh.Client {
	t.Helper()
	cfg.Status, cfg.Logger, cfg.Health = func() ruche.NodeStatus { return ruche.NodeStatus{} }, slog.New(slog.DiscardHandler), &health.Registry{}
	client, err := mesh.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	background(t, client.Run)
	if err := client.Enrolled(ctx); err != nil {
		t.Fatalf("%s: %v; warnings %v", cfg.Name, err, cfg.Health.List())
	}
	return client
}

// background runs something until the end of the test.
func background(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
