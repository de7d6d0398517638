package discovery

import (
	"fmt"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

func compose(number, oneOff string) map[string]string {
	return map[string]string{
		"com.docker.compose.project": "p", "com.docker.compose.service": "web",
		"com.docker.compose.container-number": number, oneOffLabel: oneOff,
	}
}

func TestGroups(t *testing.T) {
	for _, tc := range []struct {
		name, container string
		labels          map[string]string
		want            string
	}{
		{"plain", "shop", nil, "shop"},
		{"Compose", "p-web-2", compose("2", "False"), "p/web/2"},
		{"one-off of Compose", "p-web-run-1", compose("1", "True"), "p-web-run-1"},
		{"task", "x", map[string]string{"com.docker.swarm.service.name": "st_web", "com.docker.swarm.task.name": "st_web.3.abc"}, "swarm/st_web.3"},
		{"task by the container's name", "st_web.1.def", map[string]string{"com.docker.swarm.service.name": "st_web"}, "swarm/st_web.1"},
		{"task of a global service", "st_web.node1.def", map[string]string{"com.docker.swarm.service.name": "st_web"}, "swarm/st_web.node1"},
		{"service with dots", "a.b.1.def", map[string]string{"com.docker.swarm.service.name": "a.b"}, "swarm/a.b.1"},
		{"a name that does not say", "other", map[string]string{"com.docker.swarm.service.name": "st_web"}, "other"},
	} {
		if got := groupOf(docker.Container{Name: tc.container, Labels: tc.labels}); got != tc.want {
			t.Errorf("%s: group %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestTaskReplacesItsPredecessor(t *testing.T) {
	h := start(t)
	var last string
	for i := range 4 {
		c := site(fmt.Sprintf("st_web.1.%025d", i), "shop.example")
		c.Labels = map[string]string{"com.docker.swarm.service.name": "st_web"}
		id := h.engine.Run(c)
		h.awaitState(id, ruche.EndpointReady)
		if last != "" {
			h.engine.Remove(last)
			h.awaitGone(last, false)
		}
		last = id
	}
}

func TestOneOffContainersAreNotPublished(t *testing.T) {
	h := start(t)
	a, b := site("p-web-1", "shop.example"), site("p-web-run-1", "shop.example")
	a.Labels, b.Labels = compose("1", "False"), compose("1", "True")
	web, one := h.engine.Run(a), h.engine.Run(b)
	h.awaitState(web, ruche.EndpointReady)
	h.await("the diagnostic", func() bool { return len(h.decls[containerKey(one)].Diagnostics) == 1 })
	d := h.declaration(one)
	if len(d.Routes) != 0 || d.Diagnostics[0].Severity != ruche.SeverityInfo || d.Diagnostics[0].Host != "shop.example" {
		t.Errorf("declaration %+v", d)
	}
	quiet := h.engine.Run(fakeengine.Container{Name: "p-web-run-2", Labels: compose("1", "True")})
	h.engine.Remove(web) // the one-off container is not its successor
	h.awaitGone(web, true)
	if d := h.declaration(quiet); d.Workload.ID != "" {
		t.Errorf("a one-off container that asks for nothing is reported: %+v", d)
	}
}

func TestSuccessorThatDeclaresNothing(t *testing.T) {
	plain := fakeengine.Container{Name: "shop"}
	for _, tc := range []struct {
		name      string
		successor fakeengine.Container
		create    bool // it is not started
		kept      bool
	}{
		{"nothing", plain, false, false},
		{"nothing, and not started", plain, true, true},
		{"a mistake", fakeengine.Container{Name: "shop", Env: []string{"VIRTUAL_HOST=a b"}}, false, true},
		{"a misspelling", fakeengine.Container{Name: "shop", Env: []string{"VIRTUAL_HOSTS=shop.example"}}, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t)
			old := h.engine.Run(site("shop", "shop.example"))
			h.awaitState(old, ruche.EndpointReady)
			h.engine.Remove(old)
			h.awaitGone(old, true)
			inspects := h.engine.Inspects()
			id := h.engine.Create(tc.successor)
			if !tc.create {
				h.engine.Start(id)
			}
			poll(t, "the inspection", func() bool { return h.engine.Inspects() > inspects })
			other := h.engine.Run(site("other", "other.example"))
			h.awaitState(other, ruche.EndpointReady)
			h.awaitGone(old, tc.kept)
		})
	}
	t.Run("present before the old one goes", func(t *testing.T) {
		h := start(t)
		a := site("abc_p-web-1", "shop.example")
		a.Labels = compose("1", "False")
		old := h.engine.Run(a)
		h.awaitState(old, ruche.EndpointReady)
		h.engine.Run(fakeengine.Container{Name: "p-web-1", Labels: a.Labels})
		h.engine.Remove(old)
		h.awaitGone(old, false)
	})
}
