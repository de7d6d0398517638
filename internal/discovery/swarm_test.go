package discovery

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

func TestServiceBecomesDeclarationAndEndpoints(t *testing.T) {
	h := buildSwarm(t)
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := shop("shop", "shop.example")
	s.Created = created
	id := h.engine.CreateService(s)
	first := h.engine.AddTask(id, h.nodes[0], "running", "running")
	second := h.engine.AddTask(id, h.nodes[1], "running", "running")
	h.engine.CreateService(fakeengine.Service{Name: "database", Networks: []string{"private"}})
	h.runSwarm()
	for i, task := range []string{first, second} {
		e := h.awaitTask(task, ruche.EndpointReady)
		if e.Workload != "service/"+id || e.Address != h.engine.TaskAddress(task, "public") || e.Network != "public" || e.Node != []string{"n1", "n2"}[i] || e.NetworkReason == "" {
			t.Errorf("endpoint %+v", e)
		}
	}
	h.await("the declaration", func() bool { return len(h.decls) == 1 })
	d := h.service(id)
	if w := d.Workload; w.Kind != ruche.KindService || w.Name != "shop" || w.Group != "shop" || w.Image != "site:1" || !w.Created.Equal(created) || w.Node != "" {
		t.Errorf("workload %+v", w)
	}
	if len(d.Routes) != 1 || d.Routes[0].Match.Host != "shop.example" || d.Routes[0].Port != 8080 || len(d.Diagnostics) != 0 {
		t.Errorf("declaration %+v", d)
	}
}

// A rollout with start-first, as the real Swarm goes through it. Only its beginning is told by an event.
func TestRolloutIsFollowed(t *testing.T) {
	h := startSwarm(t)
	id := h.engine.CreateService(shop("shop", "shop.example"))
	old := h.engine.AddTask(id, h.nodes[0], "running", "running")
	h.engine.SetUpdating(id, false)
	h.awaitTask(old, ruche.EndpointReady)

	h.engine.SetUpdating(id, true)
	next := h.engine.AddTask(id, h.nodes[1], "running", "preparing")
	if e := h.awaitTask(next, ruche.EndpointStarting); e.StateReason != "task preparing" {
		t.Errorf("preparing: %+v", e)
	}
	h.engine.SetTask(next, "", "running")
	h.awaitTask(next, ruche.EndpointReady)
	h.engine.SetTask(old, "shutdown", "")
	if e := h.awaitTask(old, ruche.EndpointStopping); e.StateReason != "desired state shutdown" || e.Address == "" {
		t.Errorf("to be shut down: %+v", e)
	}
	h.engine.SetUpdating(id, false)
	h.engine.SetTask(old, "", "shutdown")
	h.awaitNoTask(old)
	h.awaitTask(next, ruche.EndpointReady)
}

func TestWhatAnAgentSeesIsInForceAtOnce(t *testing.T) {
	h := startSwarm(t)
	id := h.engine.CreateService(shop("shop", "shop.example"))
	task := h.engine.AddTask(id, h.nodes[0], "running", "starting")
	h.engine.SetUpdating(id, false)
	h.awaitTask(task, ruche.EndpointStarting)
	release := h.engine.StallSwarm("/tasks") // the Swarm tells nothing from here on
	defer release()
	for _, step := range []struct {
		state  ruche.EndpointState
		reason string
	}{
		{ruche.EndpointReady, "health_status: healthy"}, {ruche.EndpointUnhealthy, "health_status: unhealthy"},
		{ruche.EndpointStopping, "signal 15"}, {ruche.EndpointStopped, "exit code 0"},
	} {
		h.see(task, id, step.state, step.reason)
		if e := h.awaitTask(task, step.state); e.StateReason != step.reason {
			t.Errorf("%s: reason %q, want %q", step.state, e.StateReason, step.reason)
		}
	}
}

func TestStatesOfTasks(t *testing.T) {
	up, down, lost := docker.Node{Name: "n1", State: "ready"}, docker.Node{Name: "n1", State: "down"}, docker.Node{Name: "n1", State: "unknown"}
	seen := func(s ruche.EndpointState) ruche.Sighting { return ruche.Sighting{State: s, StateReason: "seen"} }
	for _, tc := range []struct {
		name           string
		desired, state string
		node           docker.Node
		sighting       ruche.Sighting
		want           ruche.EndpointState
		reason         string
	}{
		{"runs", "running", "running", up, ruche.Sighting{}, ruche.EndpointReady, "task running"},
		{"runs, seen to be starting a moment ago", "running", "running", up, seen(ruche.EndpointStarting), ruche.EndpointReady, "task running"},
		{"runs, seen to be stopped", "running", "running", up, seen(ruche.EndpointStopping), ruche.EndpointStopping, "seen"},
		{"runs, seen to be unhealthy", "running", "running", up, seen(ruche.EndpointUnhealthy), ruche.EndpointUnhealthy, "seen"},
		{"runs, seen to be paused", "running", "running", up, seen(ruche.EndpointPaused), ruche.EndpointPaused, "seen"},
		{"starts", "running", "starting", up, ruche.Sighting{}, ruche.EndpointStarting, "task starting"},
		{"starts, seen to be healthy", "running", "starting", up, seen(ruche.EndpointReady), ruche.EndpointReady, "seen"},
		{"is ready to be started", "ready", "ready", up, ruche.Sighting{}, ruche.EndpointStarting, "task ready"},
		{"is to end, though seen to be healthy", "shutdown", "running", up, seen(ruche.EndpointReady), ruche.EndpointStopping, "desired state shutdown"},
		{"is to be removed", "remove", "running", up, ruche.Sighting{}, ruche.EndpointStopping, "desired state remove"},
		{"its node is down", "running", "running", down, seen(ruche.EndpointReady), ruche.EndpointUnreachable, "node n1 is down"},
		{"its node seeks a manager", "running", "running", lost, ruche.Sighting{}, ruche.EndpointReady, "task running"},
	} {
		state, reason := stateOfTask(docker.Task{Desired: tc.desired, State: tc.state}, tc.node, tc.sighting)
		if state != tc.want || reason != tc.reason {
			t.Errorf("%s: %s (%s), want %s (%s)", tc.name, state, reason, tc.want, tc.reason)
		}
	}
}

func TestTasksOfADeadNodeLeave(t *testing.T) {
	h := startSwarm(t)
	id := h.engine.CreateService(shop("shop", "shop.example"))
	here, there := h.engine.AddTask(id, h.nodes[0], "running", "running"), h.engine.AddTask(id, h.nodes[2], "running", "running")
	h.engine.SetUpdating(id, false)
	h.awaitTask(there, ruche.EndpointReady)
	h.engine.SetNode(h.nodes[2], "down")
	if e := h.awaitTask(there, ruche.EndpointUnreachable); e.StateReason != "node n3 is down" {
		t.Errorf("endpoint %+v", e)
	}
	h.awaitTask(here, ruche.EndpointReady)
	h.engine.SetNode(h.nodes[2], "ready")
	h.awaitTask(there, ruche.EndpointReady)
}

// The event of a service comes before its tasks, and nothing tells of those.
func TestTasksThatComeAfterTheEvent(t *testing.T) {
	h := startSwarm(t)
	id := h.engine.CreateService(shop("shop", "shop.example"))
	h.await("the service", func() bool { return len(h.decls) == 1 })
	h.awaitTask(h.engine.AddTask(id, h.nodes[0], "running", "running"), ruche.EndpointReady)
}

func TestGlobalServiceOnANewNode(t *testing.T) {
	h := buildSwarm(t)
	id := h.engine.CreateService(shop("shop", "shop.example"))
	first := h.engine.AddTask(id, h.nodes[0], "running", "running")
	h.runSwarm()
	h.awaitTask(first, ruche.EndpointReady)
	asked := h.engine.Asked("/nodes")
	node := h.engine.AddNode("n4", "10.9.0.4")
	poll(t, "a question for the nodes", func() bool { return h.engine.Asked("/nodes") > asked })
	if e := h.awaitTask(h.engine.AddTask(id, node, "running", "running"), ruche.EndpointReady); e.Node != "n4" {
		t.Errorf("endpoint %+v", e)
	}
}

func TestTasksThatAreLackingAreWaitedFor(t *testing.T) {
	h := buildSwarm(t)
	h.timing.fresh = 0
	s := shop("shop", "shop.example")
	s.Replicas = 2
	id := h.engine.CreateService(s)
	first := h.engine.AddTask(id, h.nodes[2], "running", "running")
	h.runSwarm()
	h.awaitTask(first, ruche.EndpointReady)
	second := h.engine.AddTask(id, h.nodes[1], "running", "running")
	h.awaitTask(second, ruche.EndpointReady)
	h.engine.SetNode(h.nodes[2], "down") // its task is replaced a moment later
	h.awaitTask(first, ruche.EndpointUnreachable)
	h.awaitTask(h.engine.AddTask(id, h.nodes[0], "running", "running"), ruche.EndpointReady)
}

func TestRemovedServiceKeepsItsRoutesForAWhile(t *testing.T) {
	h := startSwarm(t)
	id := h.engine.CreateService(shop("shop", "shop.example"))
	task := h.engine.AddTask(id, h.nodes[0], "running", "running")
	h.engine.SetUpdating(id, false)
	h.awaitTask(task, ruche.EndpointReady)
	h.engine.RemoveService(id)
	h.awaitNoTask(task)
	h.await("the tombstone", func() bool { return !h.decls["service/"+id].GoneSince.IsZero() })

	again := h.engine.CreateService(shop("shop", "shop.example")) // as docker stack deploy does after docker stack rm
	h.await("its successor", func() bool {
		_, old := h.decls["service/"+id]
		_, now := h.decls["service/"+again]
		return now && !old
	})
}

func TestScaledToNothingStaysDeclared(t *testing.T) {
	h := startSwarm(t)
	id := h.engine.CreateService(shop("shop", "shop.example"))
	task := h.engine.AddTask(id, h.nodes[0], "running", "running")
	h.engine.SetUpdating(id, false)
	h.awaitTask(task, ruche.EndpointReady)
	h.engine.SetTask(task, "remove", "")
	h.engine.SetUpdating(id, false)
	h.awaitTask(task, ruche.EndpointStopping)
	h.engine.RemoveTask(task)
	h.awaitNoTask(task)
	if d := h.service(id); len(d.Routes) != 1 || !d.GoneSince.IsZero() {
		t.Errorf("declaration %+v", d)
	}
}

func TestHalfAnAnswerDropsNothing(t *testing.T) {
	for _, path := range []string{"/services", "/tasks", "/nodes"} {
		t.Run(path, func(t *testing.T) {
			h := buildSwarm(t)
			id := h.engine.CreateService(shop("shop", "shop.example"))
			task := h.engine.AddTask(id, h.nodes[0], "running", "running")
			h.runSwarm()
			h.awaitTask(task, ruche.EndpointReady)
			h.stopSwarm()
			h.engine.FailSwarm(path, 1000000)
			h.engine.UpdateService(id, func(s *fakeengine.Service) { s.Env[0] = "VIRTUAL_HOST=other.example" })
			h.runSwarm() // synced: what was known stays
			poll(t, "the warning", func() bool { return h.warned(ruche.CodeSwarmUnavailable, "swarm") })
			h.mu.Lock()
			states := slices.Clone(h.states["task/"+task])
			_, there := h.ends["task/"+task]
			h.mu.Unlock()
			if d := h.service(id); !there || len(states) != 1 || d.Routes[0].Match.Host != "shop.example" {
				t.Errorf("while %s fails: states %v, declaration %+v", path, states, d)
			}
			h.engine.FailSwarm(path, 0)
			h.await("the change", func() bool { return h.decls["service/"+id].Routes[0].Match.Host == "other.example" })
			poll(t, "the end of the warning", func() bool { return !h.warned(ruche.CodeSwarmUnavailable, "swarm") })
		})
	}
}

// What ended while nobody looked must go, and what nobody can tell of must not.
func TestStartTakesOverWhatIsStored(t *testing.T) {
	h := buildSwarm(t)
	shops := make([]string, 3)
	tasks := make([]string, 3)
	for i, name := range []string{"stays", "ends", "removed"} {
		shops[i] = h.engine.CreateService(shop(name, name+".example"))
		tasks[i] = h.engine.AddTask(shops[i], h.nodes[0], "running", "running")
	}
	h.runSwarm()
	h.await("all three", func() bool { return len(h.ends) == 3 })
	h.stopSwarm()
	h.engine.SetTask(tasks[1], "shutdown", "shutdown")
	h.engine.RemoveService(shops[2])
	h.runSwarm()
	h.awaitNoTask(tasks[1])
	h.awaitNoTask(tasks[2])
	h.await("the tombstone", func() bool { return !h.decls["service/"+shops[2]].GoneSince.IsZero() })
	h.awaitTask(tasks[0], ruche.EndpointReady)
	h.mu.Lock()
	defer h.mu.Unlock()
	if states := h.states["task/"+tasks[0]]; len(states) != 1 {
		t.Errorf("the one that stayed was written again: %v", states)
	}
}

// An answer that was asked for before an event must not undo what the event told.
func TestSlowAnswersAreNotTakenForNews(t *testing.T) {
	h := startSwarm(t)
	id := h.engine.CreateService(shop("shop", "shop.example"))
	task := h.engine.AddTask(id, h.nodes[0], "running", "running")
	h.engine.SetUpdating(id, false)
	h.awaitTask(task, ruche.EndpointReady)
	release := h.engine.StallSwarm("/tasks")
	asked := h.engine.Asked("/tasks")
	h.engine.SetUpdating(id, false)
	poll(t, "a question that is under way", func() bool { return h.engine.Asked("/tasks") > asked })
	h.engine.RemoveService(id)
	h.awaitNoTask(task)
	release()
	other := h.engine.CreateService(shop("other", "other.example"))
	h.await("what came later", func() bool { _, there := h.decls["service/"+other]; return there })
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, there := h.ends["task/"+task]; there || h.decls["service/"+id].GoneSince.IsZero() {
		t.Error("the removed service came back")
	}
}

func TestMissedEventsAreCaughtUpWith(t *testing.T) {
	h := buildSwarm(t)
	h.timing.net = 20 * time.Millisecond
	h.runSwarm()
	var id, task string
	h.engine.Quietly(func() {
		id = h.engine.CreateService(shop("shop", "shop.example"))
		task = h.engine.AddTask(id, h.nodes[0], "running", "running")
	})
	h.awaitTask(task, ruche.EndpointReady)
	h.engine.Quietly(func() { h.engine.SetTask(task, "shutdown", "") })
	h.awaitTask(task, ruche.EndpointStopping)
	h.engine.Quietly(func() { h.engine.RemoveService(id) })
	h.awaitNoTask(task)
}

func TestReachingTasks(t *testing.T) {
	public := []string{"public"}
	host := []fakeengine.Port{{Target: 8080, Host: true}}
	for _, tc := range []struct {
		name       string
		change     func(h *swarmHouse, s *fakeengine.Service)
		state      ruche.EndpointState
		address    string // "task" for that in the network public
		network    string
		ports      bool
		diagnostic string // contained in a hint
	}{
		{"the container of Ruche shares a network", nil, ruche.EndpointReady, "task", "public", false, ""},
		{"no shared network", func(_ *swarmHouse, s *fakeengine.Service) { s.Networks = []string{"private"} },
			ruche.EndpointUnreachable, "", "", false, "docker service update --network-add public shop"},
		{"the routing mesh is no shared network", func(_ *swarmHouse, s *fakeengine.Service) { s.Networks = []string{"ingress"} },
			ruche.EndpointUnreachable, "", "", false, "--network-add public shop"},
		{"published in mode host", func(_ *swarmHouse, s *fakeengine.Service) { s.Networks, s.Ports = []string{"private"}, host },
			ruche.EndpointReady, "10.9.0.1", "host", true, ""},
		{"a shared network before mode host", func(_ *swarmHouse, s *fakeengine.Service) { s.Ports = host }, ruche.EndpointReady, "task", "public", false, ""},
		{"the network of the node", func(_ *swarmHouse, s *fakeengine.Service) { s.Networks = []string{"host"} }, ruche.EndpointReady, "10.9.0.1", "host", false, ""},
		{"Ruche on the host", func(h *swarmHouse, _ *fakeengine.Service) { h.ownID = "" }, ruche.EndpointUnreachable, "", "", false, "mode=host"},
		{"a service of edges", func(h *swarmHouse, s *fakeengine.Service) {
			h.ownID = ""
			h.engine.CreateService(fakeengine.Service{Name: "edge", Labels: map[string]string{"ruche.role": "edge"}, Networks: []string{"public", "ingress"}})
		}, ruche.EndpointReady, "task", "public", false, ""},
		{"a service of edges elsewhere", func(h *swarmHouse, s *fakeengine.Service) {
			h.engine.CreateService(fakeengine.Service{Name: "edge", Labels: map[string]string{"ruche.role": "edge"}, Networks: []string{"private"}})
		}, ruche.EndpointUnreachable, "", "", false, "--network-add private shop"},
		{"a setting", func(h *swarmHouse, s *fakeengine.Service) {
			h.cfg.EdgeNetworks, s.Networks = []string{"private"}, []string{"private", "public"}
		}, ruche.EndpointReady, "", "private", false, ""},
		{"a label chooses", func(h *swarmHouse, s *fakeengine.Service) {
			h.cfg.EdgeNetworks, s.Networks = []string{"private", "public"}, []string{"private", "public"}
			s.Labels = map[string]string{"traefik.swarm.network": "public"}
		}, ruche.EndpointReady, "task", "public", false, ""},
		{"several and no label", func(h *swarmHouse, s *fakeengine.Service) {
			h.cfg.EdgeNetworks, s.Networks = []string{"private", "public"}, []string{"private", "public"}
		}, ruche.EndpointReady, "", "private", false, "traefik.swarm.network"},
		{"a label for a network that is not there", func(_ *swarmHouse, s *fakeengine.Service) {
			s.ContainerLabels = map[string]string{"traefik.docker.network": "web"}
		}, ruche.EndpointReady, "task", "public", false, "--network-add web shop"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := buildSwarm(t)
			s := shop("shop", "shop.example")
			s.Networks = public
			if tc.change != nil {
				tc.change(h, &s)
			}
			id := h.engine.CreateService(s)
			task := h.engine.AddTask(id, h.nodes[0], "running", "running")
			h.runSwarm()
			e := h.awaitTask(task, tc.state)
			address := tc.address
			if address == "task" {
				address = h.engine.TaskAddress(task, "public")
			}
			if (address != "" || tc.network == "") && e.Address != address || e.Network != tc.network || (len(e.Ports) > 0) != tc.ports || e.NetworkReason == "" {
				t.Errorf("endpoint %+v, want %s in %q", e, address, tc.network)
			}
			h.await("the declaration", func() bool { return len(h.decls["service/"+id].Routes) == 1 })
			d := h.service(id)
			if found := slices.ContainsFunc(d.Diagnostics, func(d ruche.Diagnostic) bool { return strings.Contains(d.Hint, tc.diagnostic) }); found != (tc.diagnostic != "") {
				t.Errorf("diagnostics %+v, want one whose hint has %q", d.Diagnostics, tc.diagnostic)
			}
		})
	}
}

func TestRuchesContainerJoinsANetwork(t *testing.T) {
	h := buildSwarm(t)
	s := shop("shop", "shop.example")
	s.Networks = []string{"private"}
	task := h.engine.AddTask(h.engine.CreateService(s), h.nodes[0], "running", "running")
	h.runSwarm()
	h.awaitTask(task, ruche.EndpointUnreachable)
	h.engine.Connect(h.ownID, "private")
	if e := h.awaitTask(task, ruche.EndpointReady); e.Network != "private" {
		t.Errorf("endpoint %+v", e)
	}
	h.engine.Disconnect(h.ownID, "private")
	h.awaitTask(task, ruche.EndpointUnreachable)
}

func TestHostPortsThatAreNotBoundYet(t *testing.T) {
	h := buildSwarm(t)
	s := shop("shop", "shop.example")
	s.Networks, s.Ports = nil, []fakeengine.Port{{Target: 8080, Host: true}}
	id := h.engine.CreateService(s)
	task := h.engine.AddTask(id, h.nodes[0], "running", "running")
	h.engine.SetTaskPorts(task, nil)
	h.runSwarm()
	if e := h.awaitTask(task, ruche.EndpointStarting); e.Address != "" {
		t.Errorf("endpoint %+v", e)
	}
	h.engine.SetTaskPorts(task, []fakeengine.Port{{Target: 8080, Published: 32768, Host: true}})
	h.engine.SetUpdating(id, false)
	if e := h.awaitTask(task, ruche.EndpointReady); e.Address != "10.9.0.1" || e.Ports[8080] != 32768 {
		t.Errorf("endpoint %+v", e)
	}
	h.engine.SetTaskPorts(task, nil) // as the Swarm does when the task is to end
	h.engine.SetTask(task, "shutdown", "")
	h.engine.SetUpdating(id, false)
	if e := h.awaitTask(task, ruche.EndpointStopping); e.Ports[8080] != 32768 {
		t.Errorf("endpoint %+v", e)
	}
}

func TestVirtualAddress(t *testing.T) {
	h := startSwarm(t)
	s := shop("shop", "shop.example")
	s.Labels = map[string]string{"traefik.docker.lbswarm": "true"}
	id := h.engine.CreateService(s)
	h.await("the virtual address without tasks", func() bool { return h.ends["service/"+id].State == ruche.EndpointStopped })
	task := h.engine.AddTask(id, h.nodes[0], "running", "running")
	h.engine.SetUpdating(id, false)
	h.await("the virtual address", func() bool { return h.ends["service/"+id].State == ruche.EndpointReady })
	h.mu.Lock()
	e, ends := h.ends["service/"+id], len(h.ends)
	h.mu.Unlock()
	if e.Address == h.engine.TaskAddress(task, "public") || !strings.HasSuffix(e.Address, ".255.1") || ends != 1 {
		t.Errorf("endpoint %+v of %d", e, ends)
	}
	h.engine.UpdateService(id, func(s *fakeengine.Service) { s.RoundRobin = true })
	h.awaitTask(task, ruche.EndpointReady)
	h.await("what is wrong", func() bool {
		return len(h.ends) == 1 && slices.ContainsFunc(h.decls["service/"+id].Diagnostics, func(d ruche.Diagnostic) bool {
			return d.Source == "service label traefik.docker.lbswarm" && strings.Contains(d.Message, "dnsrr")
		})
	})
}
