package docker_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

func TestConfigsOfASwarm(t *testing.T) {
	engine, c := manager(t)
	if _, err := c.SwarmConfig(t.Context(), "state"); !errors.Is(err, docker.ErrNotFound) {
		t.Errorf("a config that is not there: %v, want ErrNotFound", err)
	}
	for _, name := range []string{"state-of-others", "state"} { // the first has the second's name as its prefix
		if err := c.CreateSwarmConfig(t.Context(), name, map[string]string{"a": "1"}, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.CreateSwarmConfig(t.Context(), "state", nil, nil); !errors.Is(err, docker.ErrExists) {
		t.Errorf("a name that is taken: %v, want ErrExists", err)
	}
	cfg, err := c.SwarmConfig(t.Context(), "state")
	if err != nil || cfg.Name != "state" || string(cfg.Data) != "state" || cfg.Labels["a"] != "1" || cfg.ID == "" || cfg.Version == 0 || cfg.Created.IsZero() {
		t.Fatalf("SwarmConfig() = %+v, %v", cfg, err)
	}
	if err := c.LabelSwarmConfig(t.Context(), cfg, map[string]string{"b": "2"}); err != nil {
		t.Fatal(err)
	}
	if err := c.LabelSwarmConfig(t.Context(), cfg, map[string]string{"b": "3"}); !errors.Is(err, docker.ErrConflict) {
		t.Errorf("a version that is not the last: %v, want ErrConflict", err)
	}
	if data, labels, _ := engine.Config("state"); string(data) != "state" || !maps.Equal(labels, map[string]string{"b": "2"}) {
		t.Errorf("after that it holds %q with labels %v", data, labels)
	}
	engine.RemoveConfig("state")
	if err := c.LabelSwarmConfig(t.Context(), cfg, nil); !errors.Is(err, docker.ErrNotFound) {
		t.Errorf("a config that was removed: %v, want ErrNotFound", err)
	}
	engine.SetManager(false)
	if err := c.CreateSwarmConfig(t.Context(), "later", nil, nil); err == nil || errors.Is(err, docker.ErrExists) {
		t.Errorf("on a worker: %v", err)
	}
}

// Of several at once one labels.
func TestOneOfSeveralLabels(t *testing.T) {
	engine, c := manager(t)
	if err := c.CreateSwarmConfig(t.Context(), "state", nil, []byte("x")); err != nil {
		t.Fatal(err)
	}
	cfg, err := c.SwarmConfig(t.Context(), "state")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var won atomic.Int32
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		all.Go(func() {
			err := c.LabelSwarmConfig(context.Background(), cfg, map[string]string{"founder": name})
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, docker.ErrConflict) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if _, labels, _ := engine.Config("state"); won.Load() != 1 || labels["founder"] == "" {
		t.Errorf("%d were first, the founder is %q", won.Load(), labels["founder"])
	}
}

func TestSecretsOfASwarm(t *testing.T) {
	engine, c := manager(t)
	for _, name := range []string{"join", "join-control"} {
		if err := c.CreateSecret(t.Context(), name, []byte("of "+name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.CreateSecret(t.Context(), "join", []byte("x")); !errors.Is(err, docker.ErrExists) {
		t.Errorf("a name that is taken: %v, want ErrExists", err)
	}
	if names, err := c.Secrets(t.Context()); err != nil || !slices.Equal(slices.Sorted(slices.Values(names)), []string{"join", "join-control"}) {
		t.Errorf("Secrets() = %v, %v", names, err)
	}
	if err := c.RemoveSecret(t.Context(), "join"); err != nil {
		t.Error(err)
	}
	if err := c.RemoveSecret(t.Context(), "join"); !errors.Is(err, docker.ErrNotFound) {
		t.Errorf("a secret that is not there: %v, want ErrNotFound", err)
	}
	engine.UseSecret("join-control")
	if err := c.RemoveSecret(t.Context(), "join-control"); !errors.Is(err, docker.ErrInUse) {
		t.Errorf("a secret in use: %v, want ErrInUse", err)
	}
	if data, ok := engine.Secret("join-control"); !ok || string(data) != "of join-control" {
		t.Errorf("it holds %q, %v", data, ok)
	}
}

func TestOverlayNetworks(t *testing.T) {
	engine := fakeengine.New(t)
	engine.SetManager(true)
	c := open(t, engine.Host())
	if err := c.CreateOverlay(t.Context(), "public"); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateOverlay(t.Context(), "public"); !errors.Is(err, docker.ErrExists) {
		t.Errorf("a name that is taken: %v, want ErrExists", err)
	}
	list, err := c.Networks(t.Context())
	if err != nil || !slices.ContainsFunc(list, func(n docker.Network) bool { return n.Name == "public" && n.Driver == "overlay" }) {
		t.Errorf("Networks() = %v, %v", list, err)
	}
}
