package daemon

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

const (
	feedServices = 500
	feedTasks    = 4 // of each
	feedWorkers  = 5
)

// BenchmarkEventToTable measures in a Swarm of 500 services with 2,000 tasks on five nodes how long it takes from an event of an Engine until the
// route table that has it is in force on every edge: agent, mesh, state on its disk, discovery of the node that leads, mesh, edge. All nodes are whole ones, in
// one process: what each does on a machine of its own shares the processors here. Events are pretended, all else is real.
func BenchmarkEventToTable(b *testing.B) {
	s := newFeedSwarm(b)
	for _, edges := range []int{1, 3, 10} {
		s.growTo(edges)
		b.Run(fmt.Sprintf("edges=%d", edges), func(b *testing.B) {
			b.Run("one", func(b *testing.B) { s.measure(b, s.replaceOne) })
			b.Run("rollout50", func(b *testing.B) { s.measure(b, func() []time.Duration { return s.replaceMany(50) }) })
			b.Run("host", func(b *testing.B) { s.measure(b, s.renameOne) })
			b.Run("node400", func(b *testing.B) { s.measure(b, s.loseNode) })
		})
	}
}

// feedSwarm is a Swarm on pretended Engines, with a control node, an agent on each worker, and edges.
type feedSwarm struct {
	b       *testing.B
	manager *fakeengine.Engine
	workers []*feedWorker
	control *node
	edges   []*node
	join    func(*config.Config)
	sites   []*feedSite
	turn    int
}

type feedWorker struct {
	engine *fakeengine.Engine
	id     string // of the node
}

// feedSite is a service, with the tasks that it has now.
type feedSite struct {
	id, host string
	tasks    []feedTask
}

type feedTask struct {
	id, address, container string
	worker                 *feedWorker
}

func newFeedSwarm(b *testing.B) *feedSwarm {
	s := &feedSwarm{b: b, manager: fakeengine.New(b)}
	s.manager.SetManager(true)
	s.manager.AddNetwork(fakeengine.Network{Name: "public", Driver: "overlay"})
	s.manager.AddNode("m1", "10.9.0.1")
	for i := range feedWorkers {
		s.workers = append(s.workers, &feedWorker{fakeengine.New(b), s.manager.AddNode(fmt.Sprintf("w%d", i), fmt.Sprintf("10.9.1.%d", i+1))})
	}
	for i := range feedServices {
		site := &feedSite{host: fmt.Sprintf("h%d.example", i)}
		site.id = s.manager.CreateService(fakeengine.Service{
			Name: fmt.Sprintf("site%d", i), Env: []string{"VIRTUAL_HOST=" + site.host, "VIRTUAL_PORT=8080", "HTTPS_METHOD=nohttps"}, Networks: []string{"public"}, Replicas: feedTasks,
		})
		for k := range feedTasks {
			t := s.schedule(site, s.workers[(i+k)%feedWorkers], "running")
			s.run(site, &t)
			site.tasks = append(site.tasks, t)
		}
		s.sites = append(s.sites, site)
	}
	s.control = apart(b, config.Control, b.TempDir(), "c1", func(c *config.Config) {
		host := ownHost()
		c.DockerHost, c.AdvertiseAddr, c.MeshAddr, c.Bootstrap, c.EdgeNetworks = s.manager.Host(), host, host+":0", true, []string{"public"}
	})
	token := joinToken(b, s.control, ruche.TokenRequest{Roles: []string{"edge", "agent"}, Uses: -1})
	s.join = func(c *config.Config) {
		c.Control, c.JoinTokenFile = []string{s.control.control.listener.Addr().String()}, token
	}
	for i, w := range s.workers {
		apart(b, config.Agent, b.TempDir(), fmt.Sprintf("w%d", i), func(c *config.Config) { s.join(c); c.DockerHost = w.engine.Host() })
	}
	return s
}

// schedule makes a task.
func (s *feedSwarm) schedule(site *feedSite, w *feedWorker, state string) feedTask {
	t := feedTask{id: s.manager.AddTask(site.id, w.id, "running", state), worker: w}
	t.address = s.manager.TaskAddress(t.id, "public")
	return t
}

// run starts a task's container.
func (s *feedSwarm) run(site *feedSite, t *feedTask) {
	t.container = t.worker.engine.Run(fakeengine.Container{
		Name: "task-" + t.id, Image: "site:1",
		Labels: map[string]string{"com.docker.swarm.task.id": t.id, "com.docker.swarm.service.id": site.id},
	})
}

// growTo starts edges until there are so many, and waits until each has all tasks.
func (s *feedSwarm) growTo(edges int) {
	var all []feedChange
	for _, site := range s.sites {
		for _, t := range site.tasks {
			all = append(all, feedChange{host: site.host, address: t.address, state: ruche.EndpointReady})
		}
	}
	for len(s.edges) < edges {
		s.edges = append(s.edges, apart(s.b, config.Edge, s.b.TempDir(), fmt.Sprintf("e%d", len(s.edges)), s.join))
	}
	s.await(all)
}

// feedChange is something that is to come into force on every edge.
type feedChange struct {
	began         time.Time
	host, address string
	state         ruche.EndpointState // empty: the host alone counts
}

// inForce reports whether an edge's route table has it.
func (c feedChange) inForce(edge *node) bool {
	ex, err := edge.proxy.Explain("http://" + c.host + "/")
	if err != nil || ex.Route == nil {
		return false
	}
	return c.state == "" || slices.ContainsFunc(ex.Route.Endpoints, func(e ruche.EndpointStatus) bool {
		return strings.HasPrefix(e.URL, "http://"+c.address+":") && e.State == c.state
	})
}

// await waits until all changes are in force on all edges, and returns how long each took until it was on the last of them. Edges are asked every millisecond for the first change that
// they lack, so that asking takes nearly nothing: a change that overtook another counts as late as that one.
func (s *feedSwarm) await(changes []feedChange) []time.Duration {
	s.b.Helper()
	took := make([]time.Duration, len(changes))
	have := make([]int, len(s.edges))
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	deadline := time.After(time.Minute)
	for left := len(s.edges); left > 0; {
		left = 0
		for i, edge := range s.edges {
			for have[i] < len(changes) && changes[have[i]].inForce(edge) {
				took[have[i]] = max(took[have[i]], time.Since(changes[have[i]].began))
				have[i]++
			}
			if have[i] < len(changes) {
				left++
			}
		}
		select {
		case <-look.C:
		case <-deadline:
			s.b.Fatalf("of %d changes the edges have %v after a minute", len(changes), have)
		}
	}
	return took
}

// measure reports how long changes take, and the processor time that each costs all nodes and Engines together: that says what is to be expected where each has its own machine.
func (s *feedSwarm) measure(b *testing.B, change func() []time.Duration) {
	var all []time.Duration
	before := processorTime(b)
	for b.Loop() {
		all = append(all, change()...)
	}
	b.ReportMetric(ms(processorTime(b)-before)/float64(len(all)), "cpu-ms/change")
	slices.Sort(all)
	for name, at := range map[string]int{"p50-ms": len(all) / 2, "p99-ms": len(all) * 99 / 100, "max-ms": len(all) - 1} {
		b.ReportMetric(ms(all[at]), name)
	}
	b.ReportMetric(0, "ns/op") // of one round of changes, one after the other
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// next gives one site after the other.
func (s *feedSwarm) next() *feedSite {
	s.turn++
	return s.sites[s.turn%len(s.sites)]
}

// replaceOne replaces a task: it is told to end, and when all edges know, another one starts.
func (s *feedSwarm) replaceOne() []time.Duration {
	site := s.next()
	took := s.await([]feedChange{s.end(site)})
	took = append(took, s.await([]feedChange{s.begin(site)})...)
	s.settle(site)
	return took
}

// replaceMany replaces a task of each of many services, all of them at once.
func (s *feedSwarm) replaceMany(n int) []time.Duration {
	var ends, begins []feedChange
	var sites []*feedSite
	for range n {
		site := s.next()
		sites = append(sites, site)
		s.manager.SetUpdating(site.id, true)
		ends, begins = append(ends, s.end(site)), append(begins, s.begin(site))
	}
	took := append(s.await(ends), s.await(begins)...)
	for _, site := range sites {
		s.settle(site)
		s.manager.SetUpdating(site.id, false)
	}
	return took
}

// end has the first task of a site told to end.
func (s *feedSwarm) end(site *feedSite) feedChange {
	t := site.tasks[0]
	c := feedChange{began: time.Now(), host: site.host, address: t.address, state: ruche.EndpointStopping}
	t.worker.engine.Kill(t.container, 15)
	s.manager.SetTask(t.id, "shutdown", "")
	return c
}

// begin starts a task. Its agent tells sooner than the Swarm that it runs.
func (s *feedSwarm) begin(site *feedSite) feedChange {
	t := s.schedule(site, s.workers[s.turn%feedWorkers], "starting")
	c := feedChange{began: time.Now(), host: site.host, address: t.address, state: ruche.EndpointReady}
	s.run(site, &t)
	site.tasks = append(site.tasks, t)
	return c
}

// settle has the Swarm know that the first task has ended and the last one runs.
func (s *feedSwarm) settle(site *feedSite) {
	old := site.tasks[0]
	site.tasks = site.tasks[1:]
	old.worker.engine.Remove(old.container)
	s.manager.RemoveTask(old.id)
	s.manager.SetTask(site.tasks[len(site.tasks)-1].id, "", "running")
}

// renameOne gives a service another host.
func (s *feedSwarm) renameOne() []time.Duration {
	site := s.next()
	site.host = fmt.Sprintf("new%d.example", s.turn)
	c := feedChange{began: time.Now(), host: site.host}
	s.manager.UpdateService(site.id, func(of *fakeengine.Service) {
		of.Env = []string{"VIRTUAL_HOST=" + site.host, "VIRTUAL_PORT=8080", "HTTPS_METHOD=nohttps"}
	})
	return s.await([]feedChange{c})
}

// loseNode has the Swarm give up a node with its tasks, and find it again.
func (s *feedSwarm) loseNode() []time.Duration {
	w := s.workers[0]
	took := s.turnNode(w, "down", ruche.EndpointUnreachable)
	return append(took, s.turnNode(w, "ready", ruche.EndpointReady)...)
}

func (s *feedSwarm) turnNode(w *feedWorker, to string, state ruche.EndpointState) []time.Duration {
	var changes []feedChange
	began := time.Now()
	for _, site := range s.sites {
		for _, t := range site.tasks {
			if t.worker == w {
				changes = append(changes, feedChange{began: began, host: site.host, address: t.address, state: state})
			}
		}
	}
	s.manager.SetNode(w.id, to)
	return s.await(changes)
}
