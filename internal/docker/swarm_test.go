package docker_test

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// manager is a fake Engine that manages a Swarm with one overlay network.
func manager(t *testing.T) (*fakeengine.Engine, *docker.Client) {
	t.Helper()
	engine := fakeengine.New(t)
	engine.SetManager(true)
	engine.AddNetwork(fakeengine.Network{Name: "public", Driver: "overlay"})
	return engine, open(t, engine.Host())
}

func TestSwarmTellsWhoManages(t *testing.T) {
	engine, c := manager(t)
	if s, err := c.Swarm(t.Context()); err != nil || !s.Manager || s.NodeID == "" || !slices.Equal(s.Managers, []string{"10.9.0.1"}) {
		t.Errorf("Swarm() of a manager = %+v, %v", s, err)
	}
	engine.SetManager(false)
	if s, err := c.Swarm(t.Context()); err != nil || s.Manager || s.NodeID != "" {
		t.Errorf("Swarm() outside of a Swarm = %+v, %v", s, err)
	}
	if _, err := c.Services(t.Context()); err == nil {
		t.Error("Services() of an Engine that is no manager succeeded")
	}
}

func TestInfoTellsOfTheEngine(t *testing.T) {
	engine, c := manager(t)
	engine.SetWarnings("WARNING: something")
	if i, err := c.Info(t.Context()); err != nil || i.Version != "20.10.24" || !slices.Equal(i.Warnings, []string{"WARNING: something"}) || !i.Swarm.Manager {
		t.Errorf("Info() = %+v, %v", i, err)
	}
}

func TestServicesAndTasksInPlainTypes(t *testing.T) {
	engine, c := manager(t)
	node := engine.AddNode("n1", "10.9.0.1")
	id := engine.CreateService(fakeengine.Service{
		Name: "shop", Env: []string{"VIRTUAL_HOST=shop.example"}, Labels: map[string]string{"a": "service"},
		ContainerLabels: map[string]string{"a": "container"}, Networks: []string{"public"}, Replicas: 2,
		Binds: []string{"/var/run/docker.sock"}, Constraints: []string{"node.role==manager"},
		Ports: []fakeengine.Port{{Target: 8080, Published: 80}, {Target: 81, Host: true}},
	})
	task := engine.AddTask(id, node, "running", "running")
	engine.AddTask(id, node, "shutdown", "failed")
	engine.AddTask(id, node, "ready", "preparing")
	engine.SetUpdating(id, true)

	other := engine.CreateService(fakeengine.Service{Name: "other"})
	list, err := c.ServicesOf(t.Context(), []string{other, id, "nobody"})
	if err != nil || len(list) != 2 || list[1].ID != other {
		t.Fatalf("ServicesOf() = %+v, %v; want two", list, err)
	}
	s := list[0]
	if s.Name != "shop" || s.Image != "site:1" || s.Env["VIRTUAL_HOST"] != "shop.example" || s.Labels["a"] != "service" ||
		s.ContainerLabels["a"] != "container" || s.Created.IsZero() || s.Version == 0 || !s.Updating || s.Job || s.RoundRobin || s.Replicas != 2 {
		t.Errorf("ServicesOf() = %+v", s)
	}
	wantPorts := []docker.PublishedPort{{Target: 81, Protocol: "tcp", Host: true}, {Target: 8080, Published: 80, Protocol: "tcp"}}
	if !slices.Equal(s.Ports, wantPorts) || len(s.Networks) != 1 || !s.VirtualIPs[s.Networks[0]].IsValid() {
		t.Errorf("ports %v, want %v; networks %v, virtual IPs %v", s.Ports, wantPorts, s.Networks, s.VirtualIPs)
	}
	if !slices.Equal(s.Mounts, []docker.Mount{{Type: "bind", Source: "/var/run/docker.sock", Target: "/var/run/docker.sock"}}) || !slices.Equal(s.Constraints, []string{"node.role==manager"}) {
		t.Errorf("mounts %v, constraints %v", s.Mounts, s.Constraints)
	}
	engine.AddTask(other, node, "running", "running")
	tasks, err := c.TasksOf(t.Context(), []string{id})
	if err != nil || len(tasks) != 3 {
		t.Fatalf("TasksOf() = %+v, %v; want three", tasks, err)
	}
	if both, err := c.TasksOf(t.Context(), []string{id, other}); err != nil || len(both) != 4 {
		t.Errorf("TasksOf() two services = %+v, %v; want four", both, err)
	}
	i := slices.IndexFunc(tasks, func(t docker.Task) bool { return t.ID == task })
	got := tasks[i]
	if !got.Wanted() || got.Ended() || got.Node != node || got.Service != id || len(got.Networks) != 1 ||
		got.Networks[0].IPv4 != netip.MustParseAddr(engine.TaskAddress(task, "public")) || got.Networks[0].NetworkID != s.Networks[0] ||
		len(got.Ports) != 1 || got.Ports[0].Published == 0 || !got.Ports[0].Host {
		t.Errorf("task %+v", got)
	}
	if wanted, err := c.WantedTasks(t.Context()); err != nil || len(wanted) != 3 {
		t.Errorf("WantedTasks() = %+v, %v; want three", wanted, err)
	}
	if _, err := c.TasksOf(t.Context(), []string{id, "nobody"}); !errors.Is(err, docker.ErrNotFound) {
		t.Errorf("tasks of nobody: %v, want ErrNotFound", err)
	}
}

func TestTheLeadersAddressIsKnown(t *testing.T) {
	engine, c := manager(t)
	engine.AddNode("n1", "10.9.0.1")
	engine.SetNode(engine.AddNode("n2", "10.9.0.2"), "down")
	nodes, err := c.Nodes(t.Context())
	if err != nil || len(nodes) != 2 {
		t.Fatalf("Nodes() = %v, %v", nodes, err)
	}
	for i, want := range []docker.Node{
		{Name: "n1", Address: netip.MustParseAddr("10.9.0.1"), State: "ready", Manager: &docker.Manager{Leader: true, Reachability: "reachable", Address: "10.9.0.1:2377"}},
		{Name: "n2", Address: netip.MustParseAddr("10.9.0.2"), State: "down"},
	} {
		want.ID, want.Availability, want.Engine = nodes[i].ID, "active", "20.10.24"
		if !reflect.DeepEqual(nodes[i], want) {
			t.Errorf("node %+v, want %+v", nodes[i], want)
		}
	}
}

func TestSubscribeSwarmDeliversWhatChanged(t *testing.T) {
	engine, c := manager(t)
	s, err := c.SubscribeSwarm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return engine.Streams() == 1 })
	c1 := engine.Create(fakeengine.Container{Name: "c", NetworkMode: "none"}) // which is of no interest
	engine.Connect(c1, "public")
	node := engine.AddNode("n1", "10.9.0.1")
	id := engine.CreateService(fakeengine.Service{Name: "shop"})
	engine.SetUpdating(id, true)
	engine.SetNode(node, "down")
	engine.RemoveService(id)
	for _, want := range []docker.Event{
		{Action: docker.ActionNetworkConnect, Container: c1}, {Action: docker.ActionNodeChange}, {Action: docker.ActionServiceCreate, Service: id}, {Action: docker.ActionServiceUpdate, Service: id},
		{Action: docker.ActionNodeChange}, {Action: docker.ActionServiceRemove, Service: id},
	} {
		if e := <-s.Events(); e.Action != want.Action || e.Service != want.Service || e.Container != want.Container || e.Time.IsZero() {
			t.Errorf("event %+v, want %+v", e, want)
		}
	}
}

func TestTaskStatesAreOrdered(t *testing.T) {
	for _, tc := range []struct {
		desired, state string
		wanted, ended  bool
	}{
		{"running", "running", true, false}, {"ready", "preparing", true, false}, {"running", "failed", true, true},
		{"shutdown", "running", false, false}, {"remove", "complete", false, true}, {"running", "something new", true, false},
	} {
		task := docker.Task{Desired: tc.desired, State: tc.state}
		if task.Wanted() != tc.wanted || task.Ended() != tc.ended {
			t.Errorf("desired %s, actual %s: wanted %v, ended %v; want %v, %v", tc.desired, tc.state, task.Wanted(), task.Ended(), tc.wanted, tc.ended)
		}
	}
}
