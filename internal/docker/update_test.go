package docker_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

func TestSetImageChangesNothingElse(t *testing.T) {
	engine, c := manager(t)
	node := engine.AddNode("n1", "10.9.0.1")
	service := fakeengine.Service{
		Name: "ruche_edge", Image: "ruche:1@sha256:0001", Labels: map[string]string{"com.docker.stack.image": "ruche:1", "ruche.role": "edge"},
		Env: []string{"A=b"}, Networks: []string{"public"}, ContainerLabels: map[string]string{"c": "d"},
	}
	id := engine.CreateService(service)
	engine.CreateService(fakeengine.Service{Name: "ruche_edge_of_others"})
	engine.SetUpdate(id, "completed", "update completed")
	if err := c.SetImage(t.Context(), id, "ruche:2@sha256:0002"); err != nil {
		t.Fatal(err)
	}
	list, err := c.ServicesNamed(t.Context(), "nobody", "ruche_edge")
	if err != nil || len(list) != 1 {
		t.Fatalf("ServicesNamed() = %+v, %v", list, err)
	}
	s := list[0]
	if s.ID != id || s.Image != "ruche:2" || s.PinnedImage != "ruche:2@sha256:0002" || s.Update != (docker.ServiceUpdate{}) || s.Env["A"] != "b" {
		t.Errorf("after that it is %+v", s)
	}
	given := engine.Given(id)
	if labels := given["Labels"]; !reflect.DeepEqual(labels, map[string]any{"com.docker.stack.image": "ruche:2", "ruche.role": "edge"}) {
		t.Errorf("its labels were set to %v", labels)
	}
	template := given["TaskTemplate"].(map[string]any)
	container := template["ContainerSpec"].(map[string]any)
	if networks := template["Networks"].([]any); len(networks) != 1 || given["Mode"].(map[string]any)["Global"] == nil ||
		!reflect.DeepEqual(container, map[string]any{"Image": "ruche:2@sha256:0002", "Env": []any{"A=b"}, "Labels": map[string]any{"c": "d"}}) {
		t.Errorf("it was set to %v", given)
	}
	engine.SetUpdate(id, "paused", "a task failed")
	engine.AddTask(id, node, "running", "running")
	tasks, err := c.TasksOf(t.Context(), []string{id})
	if err != nil || len(tasks) != 1 || tasks[0].Image != "ruche:2@sha256:0002" {
		t.Errorf("its tasks are %+v, %v", tasks, err)
	}
	list, err = c.ServicesOf(t.Context(), []string{id})
	if err != nil || len(list) != 1 || list[0].Update != (docker.ServiceUpdate{State: docker.UpdatePaused, Message: "a task failed"}) || list[0].Updating {
		t.Errorf("its update is %+v, %v", list, err)
	}
	if err := c.SetImage(t.Context(), "nobody", "x"); !errors.Is(err, docker.ErrNotFound) {
		t.Errorf("of a service that is not there: %v, want ErrNotFound", err)
	}
}

func TestPinImage(t *testing.T) {
	engine, c := manager(t)
	engine.SetDigest("registry.example/ruche:2", "sha256:0002")
	for image, want := range map[string]string{
		"registry.example/ruche:2": "registry.example/ruche:2@sha256:0002", "ruche:2@sha256:0003": "ruche:2@sha256:0003", "unknown:1": "",
	} {
		if got, err := c.PinImage(t.Context(), image); got != want || (err == nil) != (want != "") {
			t.Errorf("PinImage(%q) = %q, %v, want %q", image, got, err, want)
		}
	}
}

func TestBindVolume(t *testing.T) {
	engine, c := manager(t)
	engine.AddVolume("of-the-engine", "")
	for range 2 {
		if err := c.BindVolume(t.Context(), "control", "/srv/ruche"); err != nil {
			t.Fatal(err)
		}
	}
	if device, ok := engine.VolumeDevice("control"); !ok || device != "/srv/ruche" {
		t.Errorf("the volume is bound to %q, %v", device, ok)
	}
	for _, name := range []string{"of-the-engine", "control"} {
		if err := c.BindVolume(t.Context(), name, "/srv/other"); !errors.Is(err, docker.ErrExists) {
			t.Errorf("BindVolume(%s) over another: %v, want ErrExists", name, err)
		}
	}
}

func TestNodesTellWhoIsAway(t *testing.T) {
	engine, c := manager(t)
	engine.AddNode("n1", "10.9.0.1")
	engine.SetUnreachable(engine.AddNode("n2", "10.9.0.2"))
	engine.SetAvailability(engine.AddNode("n3", "10.9.0.3"), "pause")
	nodes, err := c.Nodes(t.Context())
	if err != nil || len(nodes) != 3 {
		t.Fatal(nodes, err)
	}
	slices.SortFunc(nodes, func(a, b docker.Node) int { return int(a.Name[1]) - int(b.Name[1]) })
	if nodes[1].Manager == nil || nodes[1].Manager.Reachability != "unreachable" || nodes[2].Availability != "pause" {
		t.Errorf("Nodes() = %+v", nodes)
	}
}
