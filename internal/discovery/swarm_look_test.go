package discovery

import (
	"context"
	"fmt"
	"slices"
	"testing"

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
