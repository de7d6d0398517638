package discovery

import (
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// TestOlderListOfNetworks gives a look's answer that was asked for before a network was made after the answer about a container in
// that network, as happens when both are under way at once.
func TestOlderListOfNetworks(t *testing.T) {
	h := build(t)
	client, err := docker.Open(h.engine.Host())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	older, err := client.Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.engine.AddNetwork(fakeengine.Network{Name: "new", Driver: "bridge"})
	c := site("shop", "shop.example")
	c.Networks = []string{"new"}
	id := h.engine.Run(c)
	newer, err := client.Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(h.cfg.State, h.cfg.Logger, h.cfg.Health, h.timing)
	tr := newTracker(h.cfg, h.timing, client, s, "")
	defer tr.work.Wait()
	state := func(when string) {
		t.Helper()
		if e := s.get(containerKey(id)).endpoint; e == nil || e.State != ruche.EndpointReady {
			t.Errorf("%s: endpoint %+v", when, e)
		}
	}

	tr.clock = 5
	r := tr.record(id)
	shop, err := client.Inspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	found := declaredBy(shop)
	tr.take(t.Context(), inspection{id: id, container: shop, declared: found, networks: newer}, r)
	state("after the inspection")
	tr.synced(t.Context(), syncResult{wish: syncChanged, own: place{host: true}, networks: older})
	state("after the older list")
	if !r.inspecting {
		t.Error("the container is not looked at again")
	}
	tr.inspected(t.Context(), <-tr.inspections)
	tr.take(t.Context(), inspection{id: id, container: shop, declared: found, networks: older}, r)
	state("after an older answer about the container")

	delete(tr.records, id)
	if changed := tr.learn(older); !changed || len(tr.networks) != len(older) {
		t.Errorf("networks that nobody is in are kept: %+v", tr.networks)
	}
}

func TestReconnectPause(t *testing.T) {
	for host, want := range map[string]time.Duration{"unix:///run/x.sock": 500 * time.Millisecond, "tcp://192.0.2.1:2375": 5 * time.Second} {
		client, err := docker.Open(host)
		if err != nil {
			t.Fatal(err)
		}
		if got := reconnect(defaultTiming().maxBackoff, client); got != want {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
		_ = client.Close()
	}
}
