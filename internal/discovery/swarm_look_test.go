package discovery

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

func TestWishesGatherToQuestions(t *testing.T) {
	l := &lookout{services: map[string]*serviceRecord{}}
	wish := func(failures int, ids ...string) {
		for _, id := range ids {
			l.services[id] = &serviceRecord{looking: true, wished: true, failures: failures}
			l.wishes = append(l.wishes, id)
		}
	}
	wish(0, "a", "b")
	l.wishes = append(l.wishes, "removed")
	wish(1, "bad", "worse")
	var many []string
	for i := range maxLook + 1 {
		many = append(many, fmt.Sprintf("m%d", i))
	}
	wish(0, many...)
	l.wishes = append(l.wishes, "removed too")
	for _, want := range [][]string{{"a", "b"}, {"bad"}, {"worse"}, many[:maxLook], many[maxLook:], nil} {
		got := l.takeWishes()
		if !slices.Equal(got, want) {
			t.Fatalf("the next question is for %v, want %v", got, want)
		}
		for _, id := range got {
			if r := l.services[id]; r.wished || !r.looking {
				t.Errorf("%s is wished %v, looked at %v after it was taken", id, r.wished, r.looking)
			}
		}
	}
	if len(l.wishes) > 0 {
		t.Errorf("%v are left", l.wishes)
	}
}

// A service that is removed while it is asked for must not keep the others of the same question from being seen.
func TestAServiceIsRemovedBetweenTwoQuestions(t *testing.T) {
	engine := fakeengine.New(t)
	engine.SetManager(true)
	client, err := docker.Open(engine.Host())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	node := engine.AddNode("n1", "10.9.0.1")
	stays, goes := engine.CreateService(fakeengine.Service{Name: "stays"}), engine.CreateService(fakeengine.Service{Name: "goes"})
	task := engine.AddTask(stays, node, "running", "running")
	release := engine.StallSwarm("/services")
	a := serviceAnswer{ids: []string{goes, stays, "never"}}
	done := make(chan error)
	go func() { done <- a.fill(context.Background(), client) }()
	poll(t, "the first question", func() bool { return engine.Asked("/services") > 0 })
	engine.RemoveService(goes)
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(a.services) != 1 || a.services[0].ID != stays || len(a.tasks) != 1 || a.tasks[0].ID != task {
		t.Errorf("the answer is %+v with %+v", a.services, a.tasks)
	}
}

// deposed is the State of a leader that loses its place when it writes.
type deposed struct {
	State
	end context.CancelFunc
}

func (d deposed) Apply(context.Context, []Change) error {
	d.end()
	return cluster.ErrNotLeading
}

func TestWhoLeadsNoMoreHasNothingToSay(t *testing.T) {
	h := buildSwarm(t)
	id := h.engine.CreateService(shop("shop", "shop.example"))
	h.engine.AddTask(id, h.nodes[0], "running", "running")
	ctx, cancel := context.WithCancel(t.Context())
	h.cfg.State = deposed{h.cfg.State, cancel}
	if err := NewSwarm(h.cfg).Run(ctx); err != nil {
		t.Error(err)
	}
	if list := h.health.List(); len(list) > 0 {
		t.Errorf("a write that was refused because another one leads left %v", list)
	}

	h.cfg.State = SwarmState(h.cluster)
	h.engine.FailSwarm("/services", 1000)
	h.runSwarm()
	if !h.warned(ruche.CodeSwarmUnavailable, swarmSubject) {
		t.Error("no warning while the Swarm does not answer")
	}
	h.stopSwarm()
	if list := h.health.List(); len(list) > 0 {
		t.Errorf("who leads no more goes on complaining: %v", list)
	}
}
