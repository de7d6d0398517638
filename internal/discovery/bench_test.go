package discovery

import (
	"fmt"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

func TestThousandContainers(t *testing.T) {
	h := build(t)
	const n = 1000
	ids := make([]string, n)
	for i := range ids {
		ids[i] = h.engine.Run(site(fmt.Sprintf("site%d", i), fmt.Sprintf("h%d.example", i)))
	}
	began := time.Now()
	h.run()
	t.Logf("%d containers synced in %v", n, time.Since(began))
	h.await("all endpoints", func() bool { return len(h.ends) == n && len(h.decls) == n })
	for _, id := range ids[:n/2] {
		h.engine.Remove(id)
	}
	h.await("half of the endpoints", func() bool { return len(h.ends) == n/2 && len(h.decls) == n })
	h.await("the others untouched", func() bool {
		for _, id := range ids[n/2:] {
			if h.ends[containerKey(id)].State != ruche.EndpointReady {
				return false
			}
		}
		return true
	})
}

// BenchmarkStartToBucket measures from the start event to the watch of the endpoints' bucket.
func BenchmarkStartToBucket(b *testing.B) {
	h := start(b)
	for i := range 200 {
		h.engine.Run(site(fmt.Sprintf("other%d", i), fmt.Sprintf("o%d.example", i)))
	}
	h.await("the others", func() bool { return len(h.ends) == 200 })
	id := h.engine.Create(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointStopped)
	for b.Loop() {
		h.engine.Start(id)
		h.awaitState(id, ruche.EndpointReady)
		b.StopTimer()
		h.engine.Stop(id)
		h.awaitState(id, ruche.EndpointStopped)
		b.StartTimer()
	}
}

// BenchmarkKillToBucket measures from the kill event to the watch of the endpoints' bucket.
func BenchmarkKillToBucket(b *testing.B) {
	h := start(b)
	id := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointReady)
	for b.Loop() {
		h.engine.Kill(id, 15)
		h.awaitState(id, ruche.EndpointStopping)
		b.StopTimer()
		h.engine.Die(id, 0)
		h.engine.Start(id)
		h.awaitState(id, ruche.EndpointReady)
		b.StartTimer()
	}
}

// BenchmarkResync1000 measures a full look at 1,000 containers whose state is in the buckets already, each inspected.
func BenchmarkResync1000(b *testing.B) {
	h := build(b)
	for i := range 1000 {
		h.engine.Run(site(fmt.Sprintf("site%d", i), fmt.Sprintf("h%d.example", i)))
	}
	h.run()
	h.await("all endpoints", func() bool { return len(h.ends) == 1000 })
	for b.Loop() {
		h.stopRun()
		h.run()
	}
}

// BenchmarkDeclaredBy measures the vocabularies of one container.
func BenchmarkDeclaredBy(b *testing.B) {
	c := docker.Container{
		Name: "shop", Env: map[string]string{"VIRTUAL_HOST": "a.example,b.example"},
		Labels: map[string]string{
			"traefik.http.routers.r.rule":                      "Host(`c.example`) && PathPrefix(`/api`)",
			"traefik.http.services.r.loadbalancer.server.port": "80",
		},
	}
	for b.Loop() {
		if found := declaredBy(c); len(found.routes) != 3 {
			b.Fatalf("routes %+v", found.routes)
		}
	}
}
