package daemon

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// watching makes a node that asks often what its Engine is in a Swarm.
func watching(t *testing.T, dir string, engine *fakeengine.Engine) *Daemon {
	t.Helper()
	d := prepare(t, dir, engine.Host())
	d.finder.pause = 10 * time.Millisecond
	return d
}

func TestServicesAreFollowedWhileTheEngineManages(t *testing.T) {
	engine, dir := fakeengine.New(t), t.TempDir()
	n := serve(t, watching(t, dir, engine))
	n.eventually(t, "http", "shop.example", 503, "")

	local := engine.AddNode("n1", "127.0.0.1")
	id := engine.CreateService(service(t, "shop"))
	engine.AddTask(id, local, "running", "running")
	engine.SetManager(true)
	n.eventually(t, "http", "shop.example", 200, "shop")
	n.stop(t)

	engine.Down() // what is known of the Swarm is served, also after a restart
	n = serve(t, watching(t, dir, engine))
	n.eventually(t, "http", "shop.example", 200, "shop")
	engine.Up()
	other := engine.CreateService(service(t, "other"))
	engine.AddTask(other, local, "running", "running")
	n.eventually(t, "http", "other.example", 200, "other")

	engine.SetManager(false)
	n.eventually(t, "http", "other.example", 503, "")
	deadline := time.After(20 * time.Second)
	for len(n.proxy.Routes().Routes) > 0 {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatalf("routes of a Swarm that is left: %+v", n.proxy.Routes().Routes)
		}
	}
}

// A process that takes over goes on with the services at once: the one before hands its leadership back.
func TestAnUpgradeGoesOnWithTheServices(t *testing.T) {
	engine, dir := fakeengine.New(t), t.TempDir()
	engine.SetManager(true)
	local := engine.AddNode("n1", "127.0.0.1")
	n, _ := begin(t, dir, engine.Host(), "v0")
	n.ready(t)
	for i := range 3 {
		next, _ := begin(t, dir, engine.Host(), fmt.Sprintf("v%d", i+1))
		next.ready(t)
		name := fmt.Sprintf("shop-%d", i)
		engine.AddTask(engine.CreateService(service(t, name)), local, "running", "running")
		next.eventually(t, "http", name+".example", 200, name)
		if err := <-n.done; err != nil {
			t.Errorf("process %d ended with %v", i, err)
		}
		n = next
	}
	n.stop(t)
}

// service is a site as a service, whose tasks publish its port on their node.
func service(t *testing.T, name string) fakeengine.Service {
	t.Helper()
	c := site(t, name)
	port, err := strconv.Atoi(strings.TrimPrefix(c.Env[1], "VIRTUAL_PORT="))
	if err != nil {
		t.Fatal(err)
	}
	return fakeengine.Service{Name: name, Env: []string{c.Env[0], "VIRTUAL_PORT=8080"}, Ports: []fakeengine.Port{{Target: 8080, Published: port, Host: true}}}
}
