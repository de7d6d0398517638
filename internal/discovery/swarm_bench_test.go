package discovery

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// town makes 500 services with four tasks each, on three nodes.
func (h *swarmHouse) town() (services, tasks []string) {
	for i := range 500 {
		id := h.engine.CreateService(shop(fmt.Sprintf("site%d", i), fmt.Sprintf("h%d.example", i)))
		services = append(services, id)
		for k := range 4 {
			tasks = append(tasks, h.engine.AddTask(id, h.nodes[(i+k)%3], "running", "running"))
		}
	}
	return services, tasks
}

func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

func TestFiveHundredServices(t *testing.T) {
	h := buildSwarm(t)
	services, tasks := h.town()
	before, began := heap(), time.Now()
	h.runSwarm()
	h.await("all", func() bool { return len(h.decls) == 500 && len(h.ends) == 2000 })
	t.Logf("500 services with 2000 tasks are in the buckets %v after the start; all together takes %.1f MB", time.Since(began).Round(time.Millisecond), heap()-before)

	began = time.Now()
	for _, id := range services[:100] { // a release of everything, as of a stack
		h.engine.SetUpdating(id, true)
	}
	for i := range 100 {
		h.engine.SetTask(tasks[4*i], "shutdown", "")
		tasks = append(tasks, h.engine.AddTask(services[i], h.nodes[0], "running", "running"))
	}
	h.await("a hundred rollouts at once", func() bool {
		for i := range 100 {
			if h.ends[taskPrefix+tasks[4*i]].State != ruche.EndpointStopping || h.ends[taskPrefix+tasks[2000+i]].State != ruche.EndpointReady {
				return false
			}
		}
		return true
	})
	t.Logf("100 rollouts at once are followed %v after they began", time.Since(began).Round(time.Millisecond))
	h.await("the others untouched", func() bool {
		for _, id := range tasks[400:2000] {
			if h.ends[taskPrefix+id].State != ruche.EndpointReady {
				return false
			}
		}
		return true
	})
}

// A control node that begins to lead looks at everything and writes what is another than before, and nothing else: a storm of writes would come just when the state has lost a member.
func TestANewLeaderWritesOnlyWhatDiffers(t *testing.T) {
	h := buildSwarm(t)
	services, tasks := h.town()
	h.runSwarm()
	h.await("all", func() bool { return len(h.decls) == 500 && len(h.ends) == 2000 })
	h.stopSwarm()
	revision := func() int64 {
		status, err := h.cluster.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return status.Revision
	}
	before, began := revision(), time.Now()
	h.runSwarm()
	took := time.Since(began)
	if after := revision(); after != before {
		t.Errorf("a new leader to whom nothing is new has written %d times", after-before)
	}
	h.stopSwarm()
	t.Logf("a new leader has seen 500 services with 2000 tasks after %v", took.Round(time.Millisecond))

	h.engine.Quietly(func() { // while nobody led
		h.engine.SetTask(tasks[0], "shutdown", "")
		h.engine.RemoveService(services[7])
		h.engine.UpdateService(services[8], func(s *fakeengine.Service) { s.Env = []string{"VIRTUAL_HOST=other.example", "VIRTUAL_PORT=8080"} })
	})
	h.runSwarm()
	h.awaitTask(tasks[0], ruche.EndpointStopping)
	h.await("the service that is gone, and the one that is another", func() bool {
		return !h.decls[servicePrefix+services[7]].GoneSince.IsZero() && h.decls[servicePrefix+services[8]].Routes[0].Match.Host == "other.example"
	})
	if n := revision() - before; n > 7 { // one row each, and four tasks of the one that is gone
		t.Errorf("three changes took %d writes", n)
	}
}

// quantiles reports the time that each of many things took.
func quantiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	at := func(q int) float64 { return float64(took[(len(took)-1)*q/100].Microseconds()) / 1000 }
	b.ReportMetric(at(50), "p50-ms")
	b.ReportMetric(at(99), "p99-ms")
}

// BenchmarkSightingToBucket measures from an agent's write to the watch of the endpoints' bucket, among 2,000 tasks.
func BenchmarkSightingToBucket(b *testing.B) {
	h := buildSwarm(b)
	services, tasks := h.town()
	h.runSwarm()
	h.await("all", func() bool { return len(h.ends) == 2000 })
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		task, service := tasks[4*i%2000], services[i%500]
		began := time.Now()
		h.see(task, service, ruche.EndpointStopping, "signal 15")
		h.awaitTask(task, ruche.EndpointStopping)
		took = append(took, time.Since(began))
		h.see(task, service, ruche.EndpointReady, "running")
		h.awaitTask(task, ruche.EndpointReady)
	}
	quantiles(b, took)
}

// BenchmarkServiceToBucket measures from the event of a changed service to the watch of the declarations' bucket, among 500 services.
func BenchmarkServiceToBucket(b *testing.B) {
	h := buildSwarm(b)
	services, _ := h.town()
	h.runSwarm()
	h.await("all", func() bool { return len(h.ends) == 2000 })
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		id, host := services[i%500], fmt.Sprintf("new%d.example", i)
		began := time.Now()
		h.engine.UpdateService(id, func(s *fakeengine.Service) { s.Env = []string{"VIRTUAL_HOST=" + host, "VIRTUAL_PORT=8080"} })
		h.await("the new host", func() bool {
			d := h.decls[servicePrefix+id]
			return len(d.Routes) == 1 && d.Routes[0].Match.Host == host
		})
		took = append(took, time.Since(began))
	}
	quantiles(b, took)
}

// BenchmarkWholeSwarm measures a start with 500 services and 2,000 tasks whose state is in the buckets already.
func BenchmarkWholeSwarm(b *testing.B) {
	h := buildSwarm(b)
	h.town()
	h.runSwarm()
	h.await("all", func() bool { return len(h.ends) == 2000 })
	b.ReportAllocs()
	for b.Loop() {
		h.stopSwarm()
		h.runSwarm()
	}
}
