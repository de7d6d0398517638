package discovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

func TestContainerBecomesDeclarationAndEndpoint(t *testing.T) {
	h := build(t)
	id := h.engine.Run(site("shop", "shop.example"))
	h.engine.Run(fakeengine.Container{Name: "database"})
	h.run()
	e := h.awaitState(id, ruche.EndpointReady)
	if e.Address != h.engine.Address(id, "bridge") || e.Network != "bridge" || e.NetworkReason == "" || e.Since.IsZero() || e.Node != "n1" {
		t.Errorf("endpoint %+v", e)
	}
	h.await("the declaration", func() bool { return len(h.decls) == 1 })
	d := h.declaration(id)
	if d.Workload.Name != "shop" || d.Workload.Group != "shop" || d.Workload.Node != "n1" || d.Workload.Image != "site:1" || d.Workload.Created.IsZero() {
		t.Errorf("workload %+v", d.Workload)
	}
	if len(d.Routes) != 1 || d.Routes[0].Match.Host != "shop.example" || d.Routes[0].Port != 8080 {
		t.Errorf("routes %+v", d.Routes)
	}
}

func TestEachEvent(t *testing.T) {
	h := start(t)
	h.engine.AddNetwork(fakeengine.Network{Name: "extra", Driver: "bridge"})
	id := h.engine.Create(site("shop", "shop.example"))
	if e := h.awaitState(id, ruche.EndpointStopped); e.StateReason != "created, not started yet" || e.Address != "" {
		t.Errorf("created: %+v", e)
	}
	h.engine.Start(id)
	h.awaitState(id, ruche.EndpointReady)
	h.engine.Pause(id)
	h.awaitState(id, ruche.EndpointPaused)
	h.engine.Unpause(id)
	h.awaitState(id, ruche.EndpointReady)
	h.engine.Rename(id, "store")
	h.await("the new name", func() bool { return h.decls[containerKey(id)].Workload.Name == "store" })

	h.engine.Connect(id, "extra")
	h.engine.Disconnect(id, "bridge")
	h.await("the other network", func() bool { return h.ends[containerKey(id)].Network == "extra" })
	h.engine.Disconnect(id, "extra")
	e := h.awaitState(id, ruche.EndpointUnreachable)
	if e.Address != "" || e.StateReason == "" {
		t.Errorf("without network: %+v", e)
	}
	h.await("the diagnostic with the command that helps", func() bool {
		return slices.ContainsFunc(h.decls[containerKey(id)].Diagnostics, func(d ruche.Diagnostic) bool {
			return d.Code == ruche.CodeNetworkUnreachable && strings.Contains(d.Hint, "docker network connect bridge store")
		})
	})
	h.engine.Connect(id, "bridge")
	h.awaitState(id, ruche.EndpointReady)

	h.engine.Kill(id, 15)
	if e := h.awaitState(id, ruche.EndpointStopping); e.StateReason != "signal 15" || e.Address == "" {
		t.Errorf("killed: %+v", e)
	}
	h.engine.Die(id, 137)
	if e := h.awaitState(id, ruche.EndpointStopped); e.StateReason != "exit code 137" || e.Address != "" {
		t.Errorf("dead: %+v", e)
	}
	h.engine.Start(id)
	h.awaitState(id, ruche.EndpointReady)
	h.engine.Restarting(id, 2)
	h.await("restarting", func() bool { return h.ends[containerKey(id)].StateReason == "restarting after exit code 2" })
	h.engine.Start(id)
	h.awaitState(id, ruche.EndpointReady)
	h.engine.Remove(id)
	h.awaitGone(id, true)
}

func TestHealthCheckIsHonoured(t *testing.T) {
	h := start(t)
	c := site("shop", "shop.example")
	c.HealthCheck = true
	id := h.engine.Run(c)
	h.awaitState(id, ruche.EndpointStarting)
	h.engine.SetHealth(id, "healthy")
	h.awaitState(id, ruche.EndpointReady)
	h.engine.SetHealth(id, "unhealthy")
	h.awaitState(id, ruche.EndpointUnhealthy)
	h.engine.SetHealth(id, "healthy")
	h.awaitState(id, ruche.EndpointReady)
}

func TestStopNeverShowsReadyAgain(t *testing.T) {
	h := start(t)
	id := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointReady)
	h.engine.Stop(id)
	h.awaitState(id, ruche.EndpointStopped)
	h.engine.Start(id)
	h.awaitState(id, ruche.EndpointReady)
	h.mu.Lock()
	defer h.mu.Unlock()
	// What is joined may be missing, but the order must hold.
	states := h.states[containerKey(id)]
	first, last := slices.Index(states, ruche.EndpointReady), len(states)-1
	if first < 0 || slices.Contains(states[first+1:last], ruche.EndpointReady) {
		t.Errorf("states %v: ready came back before the start", states)
	}
}

func TestSignalsThatDoNotEndAContainer(t *testing.T) {
	h := start(t)
	id := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointReady)
	h.engine.Kill(id, 1)  // HUP
	h.engine.Kill(id, 10) // USR1
	h.engine.Kill(id, 3)  // QUIT
	h.engine.Rename(id, "after")
	h.await("the event after the signals", func() bool { return h.decls[containerKey(id)].Workload.Name == "after" })
	h.awaitState(id, ruche.EndpointReady)

	c := site("apache", "apache.example")
	c.StopSignal = "SIGWINCH"
	apache := h.engine.Run(c)
	h.awaitState(apache, ruche.EndpointReady)
	h.engine.Kill(apache, 28)
	h.awaitState(apache, ruche.EndpointStopping)
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.Contains(h.states[containerKey(id)], ruche.EndpointStopping) {
		t.Errorf("HUP, USR1 or QUIT took the container out: %v", h.states[containerKey(id)])
	}
}

func TestStopRightAfterStart(t *testing.T) {
	h := start(t)
	id := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointReady)
	for i := range 20 {
		h.engine.Die(id, 0)
		h.awaitState(id, ruche.EndpointStopped)
		h.engine.Start(id)
		h.engine.Kill(id, 15)
		h.engine.Rename(id, fmt.Sprintf("shop%d", i)) // its inspection sees the container run
		h.await("the inspection", func() bool { return h.decls[containerKey(id)].Workload.Name == fmt.Sprintf("shop%d", i) })
		h.awaitState(id, ruche.EndpointStopping)
	}
}

func TestKilledButRunningComesBack(t *testing.T) {
	h := build(t)
	h.timing.ending = seen
	h.run()
	id := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointReady)
	h.engine.Kill(id, 2)
	h.awaitBack(id)
}

func TestRestartedContainerIsReadyAtOnce(t *testing.T) {
	h := start(t)
	id := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointReady)
	h.engine.Kill(id, 15)
	h.engine.Die(id, 0)
	h.engine.Start(id)
	address := h.engine.Address(id, "bridge")
	h.await("the new address", func() bool {
		e := h.ends[containerKey(id)]
		return e.State == ruche.EndpointReady && e.Address == address
	})
}

func TestChangesDuringALostStreamAreSeen(t *testing.T) {
	h := start(t)
	kept, stopped, removed := h.engine.Run(site("kept", "kept.example")), h.engine.Run(site("stopped", "stopped.example")), h.engine.Run(site("removed", "removed.example"))
	for _, id := range []string{kept, stopped, removed} {
		h.awaitState(id, ruche.EndpointReady)
	}
	h.engine.Down()
	poll(t, "the warning", func() bool { return h.warned(ruche.CodeDockerUnreachable, "") })
	h.engine.Stop(stopped)
	h.engine.Remove(removed)
	added := h.engine.Run(site("added", "added.example"))
	for _, id := range []string{kept, stopped, removed} {
		h.awaitState(id, ruche.EndpointReady) // nothing shrinks while the Engine is away
	}
	h.engine.Up()
	h.awaitState(added, ruche.EndpointReady)
	h.awaitState(stopped, ruche.EndpointStopped)
	h.awaitGone(removed, true)
	h.awaitState(kept, ruche.EndpointReady)
	poll(t, "the warning to go", func() bool { return len(h.health.List()) == 0 })

	h.engine.DropStreams()
	poll(t, "the new stream", func() bool { return h.engine.Streams() == 1 })
	h.engine.Stop(kept)
	h.awaitState(kept, ruche.EndpointStopped)
}

func TestTimerFindsWhatEventsDidNotTell(t *testing.T) {
	h := build(t)
	h.timing.resync = 20 * time.Millisecond
	h.run()
	id := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointReady)
	var other string
	h.engine.Quietly(func() { h.engine.Stop(id); other = h.engine.Run(site("other", "other.example")) })
	h.awaitState(id, ruche.EndpointStopped)
	h.awaitState(other, ruche.EndpointReady)
	inspects, lists := h.engine.Inspects(), h.engine.Lists()
	poll(t, "more looks", func() bool { return h.engine.Lists() > lists+3 })
	if more := h.engine.Inspects() - inspects; more > 2 {
		t.Errorf("%d containers were inspected although nothing changed", more)
	}
}

func TestFailingListShrinksNothing(t *testing.T) {
	h := build(t)
	h.timing.resync = 20 * time.Millisecond
	h.run()
	id := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointReady)
	for name, fail := range map[string]func(int){"containers": h.engine.FailLists, "networks": h.engine.FailNetworks} {
		fail(1 << 30)
		poll(t, "the warning when the list of "+name+" fails", func() bool { return h.warned(ruche.CodeDockerUnreachable, "") })
		h.awaitState(id, ruche.EndpointReady)
		fail(0)
		poll(t, "the warning to go", func() bool { return len(h.health.List()) == 0 })
	}
	if d := h.declaration(id); !d.GoneSince.IsZero() {
		t.Errorf("declaration %+v", d)
	}
}

func TestFailingListAtTheStartKeepsWhatWasKnown(t *testing.T) {
	h := start(t)
	id, gone := h.engine.Run(site("shop", "shop.example")), h.engine.Run(site("gone", "gone.example"))
	h.awaitState(id, ruche.EndpointReady)
	h.awaitState(gone, ruche.EndpointReady)
	h.stopRun()
	h.engine.FailLists(1 << 30)
	h.engine.Remove(gone)
	h.run()
	h.awaitState(id, ruche.EndpointReady)
	h.awaitState(gone, ruche.EndpointReady)
	h.engine.FailLists(0)
	h.awaitGone(gone, true)
	h.awaitState(id, ruche.EndpointReady)
}

func TestFailingInspectKeepsTheContainer(t *testing.T) {
	h := start(t)
	id := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointReady)
	h.engine.FailInspects(id, 1<<30)
	h.engine.Rename(id, "renamed")
	poll(t, "the warning", func() bool { return h.warned(ruche.CodeDockerUnreachable, shortID(id)) })
	other := h.engine.Run(site("other", "other.example"))
	h.awaitState(other, ruche.EndpointReady)
	h.awaitState(id, ruche.EndpointReady)
	h.engine.FailInspects(id, 0)
	h.await("the new name", func() bool { return h.decls[containerKey(id)].Workload.Name == "renamed" })
	poll(t, "the warning to go", func() bool { return len(h.health.List()) == 0 })
}

func TestRecreatedContainerReplacesItsPredecessor(t *testing.T) {
	h := start(t)
	first := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(first, ruche.EndpointReady)
	h.engine.Remove(first)
	h.awaitGone(first, true)
	second := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(second, ruche.EndpointReady)
	h.awaitGone(first, false)

	// Compose renames the old one, starts the new one and removes the old one then.
	labels := map[string]string{
		"com.docker.compose.project": "p", "com.docker.compose.service": "web", "com.docker.compose.container-number": "1",
	}
	composed := func(name string) string {
		c := site(name, "web.example")
		c.Labels = labels
		return h.engine.Run(c)
	}
	before := composed("p_web_1")
	h.awaitState(before, ruche.EndpointReady)
	h.engine.Rename(before, "abc_p_web_1")
	after := composed("p_web_1")
	h.awaitState(after, ruche.EndpointReady)
	h.engine.Remove(before)
	h.awaitGone(before, false)
	if g := h.declaration(after).Workload.Group; g != "p/web/1" {
		t.Errorf("group %q", g)
	}
}

func TestGoneRoutesAreForgottenInTime(t *testing.T) {
	h := build(t)
	h.timing.gone = 100 * time.Millisecond
	h.run()
	id := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointReady)
	h.engine.Remove(id)
	h.awaitGone(id, false)
}

func TestRestartRemembersTheGone(t *testing.T) {
	h := start(t)
	first, second := h.engine.Run(site("first", "first.example")), h.engine.Run(site("second", "second.example"))
	h.awaitState(first, ruche.EndpointReady)
	h.awaitState(second, ruche.EndpointReady)
	h.engine.Remove(first)
	h.awaitGone(first, true)
	since := h.declaration(first).GoneSince
	h.stopRun()
	h.engine.Remove(second)
	h.run()
	h.awaitGone(second, true)
	if again := h.declaration(first).GoneSince; !again.Equal(since) {
		t.Errorf("GoneSince moved from %v to %v", since, again)
	}
	h.stopRun()
	h.timing.gone = time.Millisecond
	h.run()
	h.awaitGone(first, false)
	h.awaitGone(second, false)
}

func TestOtherNodesAreLeftAlone(t *testing.T) {
	h := build(t)
	key := containerKey("elsewhere")
	foreign := ruche.Declaration{Workload: ruche.Workload{ID: key, Kind: ruche.KindContainer, Name: "x", Node: "n2"}, Routes: []ruche.Route{{Name: "x"}}}
	if _, err := h.declarations.Put(t.Context(), key, foreign); err != nil {
		t.Fatal(err)
	}
	if _, err := h.endpoints.Put(t.Context(), key, ruche.Endpoint{Workload: key, Node: "n2", State: ruche.EndpointReady}); err != nil {
		t.Fatal(err)
	}
	h.run()
	id := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointReady)
	h.await("the other node's keys", func() bool { return len(h.decls) == 2 && len(h.ends) == 2 })
	h.mu.Lock()
	defer h.mu.Unlock()
	if d, ok := h.decls[key]; !ok || !d.GoneSince.IsZero() || h.ends[key].State != ruche.EndpointReady {
		t.Errorf("the other node's keys are %+v, %+v", d, h.ends[key])
	}
}

func TestNonsenseNextToAGoodOne(t *testing.T) {
	h := start(t)
	good := h.engine.Run(site("good", "good.example"))
	bad := h.engine.Run(fakeengine.Container{Name: "bad", Env: []string{
		"VIRTUAL_HOST=good.example,http://x/y z", "VIRTUAL_PORT=http", "VIRTUAL_PROTO=gopher", "VIRTUAL_PATH=~ [", "VIRTUAL_DEST=\x01",
		"HTTPS_METHOD=?", "CERT_NAME=../..", "VIRTUAL_HOSTT=x",
	}, Labels: map[string]string{
		"traefik.enable": "perhaps", "traefik.http.routers.a.rule": "Host(", "traefik.http.services.a.loadbalancer.server.port": "x", "ruche.x": "y",
	}})
	h.awaitState(good, ruche.EndpointReady)
	h.await("the diagnostics", func() bool { return len(h.decls[containerKey(bad)].Diagnostics) >= 7 })
	if d := h.declaration(bad); len(d.Routes) != 0 {
		t.Errorf("routes %+v", d.Routes)
	}
}

func TestNoDockerDropsContainers(t *testing.T) {
	h := start(t)
	id := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointReady)
	h.stopRun()
	h.cfg.NoDocker = true
	h.run()
	h.awaitGone(id, false)
}

func TestBadDockerHostEndsRun(t *testing.T) {
	h := build(t)
	h.cfg.DockerHost = "carrier-pigeon"
	if err := New(h.cfg).Run(t.Context()); err == nil {
		t.Error("Run succeeded")
	}
}

func TestSyncedWithoutEngine(t *testing.T) {
	h := build(t)
	h.engine.Down()
	h.run()
	if !h.warned(ruche.CodeDockerUnreachable, "") {
		t.Errorf("warnings %+v", h.health.List())
	}
	h.engine.Up()
	id := h.engine.Run(site("shop", "shop.example"))
	h.awaitState(id, ruche.EndpointReady)
}

func TestOwnNetworksDecide(t *testing.T) {
	h := build(t)
	h.engine.AddNetwork(fakeengine.Network{Name: "web", Driver: "bridge"})
	h.engine.AddNetwork(fakeengine.Network{Name: "back", Driver: "bridge"})
	h.ownID = h.engine.Run(fakeengine.Container{Name: "ruche", Networks: []string{"web"}})
	c := site("shop", "shop.example")
	c.Networks = []string{"back"}
	id := h.engine.Run(c)
	h.run()
	e := h.awaitState(id, ruche.EndpointUnreachable)
	if !strings.Contains(e.NetworkReason, `"back" (not shared with Ruche)`) {
		t.Errorf("reason %q", e.NetworkReason)
	}
	h.engine.Connect(h.ownID, "back")
	if e := h.awaitState(id, ruche.EndpointReady); e.Network != "back" {
		t.Errorf("endpoint %+v", e)
	}
	h.engine.Disconnect(h.ownID, "back")
	h.awaitState(id, ruche.EndpointUnreachable)
}

func TestSharedNetworkFollows(t *testing.T) {
	h := start(t)
	pause := h.engine.Run(fakeengine.Container{Name: "pause"})
	c := site("shop", "shop.example")
	c.NetworkMode = "container:" + pause
	id := h.engine.Run(c)
	if e := h.awaitState(id, ruche.EndpointReady); e.Address != h.engine.Address(pause, "bridge") {
		t.Errorf("endpoint %+v", e)
	}
	h.engine.Stop(pause)
	h.awaitState(id, ruche.EndpointUnreachable)
	h.engine.Start(pause)
	h.await("the hint to restart it", func() bool {
		return slices.ContainsFunc(h.decls[containerKey(id)].Diagnostics, func(d ruche.Diagnostic) bool { return d.Hint == "docker restart shop" })
	})
	h.awaitState(id, ruche.EndpointUnreachable)
	h.engine.Die(id, 0)
	h.engine.Start(id)
	h.awaitState(id, ruche.EndpointReady)
	h.await("the new address", func() bool { return h.ends[containerKey(id)].Address == h.engine.Address(pause, "bridge") })
	h.engine.Kill(pause, 15)
	if e := h.awaitState(id, ruche.EndpointStopping); !strings.Contains(e.StateReason, `"pause", which is being stopped`) {
		t.Errorf("endpoint %+v", e)
	}
	h.engine.Remove(pause)
	h.awaitState(id, ruche.EndpointUnreachable)
}
