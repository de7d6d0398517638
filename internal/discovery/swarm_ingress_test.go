package discovery

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// ingressNow follows what edges are told of the routing mesh.
func (h *swarmHouse) ingressNow() func() (ruche.Ingress, bool) {
	var mu sync.Mutex
	var now map[string]ruche.Ingress
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		_ = cluster.NewBucket[ruche.Ingress](h.cluster, BucketIngress).Watch(ctx, func(u ruche.Update[ruche.Ingress]) {
			mu.Lock()
			defer mu.Unlock()
			if u.Reset || len(u.Deletes) > 0 {
				now = nil
			}
			if len(u.Puts) > 0 {
				now = u.Puts
			}
		})
	})
	h.t.Cleanup(func() { cancel(); wait.Wait() })
	return func() (ruche.Ingress, bool) {
		mu.Lock()
		defer mu.Unlock()
		i, ok := now[ingressKey]
		return i, ok
	}
}

// settles waits until something holds.
func (h *swarmHouse) settles(what string, holds func() bool) {
	h.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(15 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			h.t.Fatalf("waited in vain for %s; warnings %+v", what, h.health.List())
		}
	}
}

// meshWarning is the warning about services of edges; empty when none stands.
func (h *swarmHouse) meshWarning() (w ruche.Warning) {
	for _, w := range h.health.List() {
		if w.Code == ruche.CodeIngressMesh {
			return w
		}
	}
	return ruche.Warning{}
}

func TestEdgesAreToldOfTheRoutingMesh(t *testing.T) {
	h := startSwarm(t)
	now := h.ingressNow()
	h.settles("the subnet", func() bool {
		i, ok := now()
		return ok && len(i.Subnets) == 1 && i.Subnets[0].String() == "10.0.0.0/24" && i.Mend == ""
	})
	if w := h.meshWarning(); w.Code != "" {
		t.Errorf("without an edge there is %+v", w)
	}

	id := h.engine.CreateService(fakeengine.Service{
		Name: "ruche_edge", Labels: map[string]string{roleLabel: roleEdge}, Networks: []string{"public"}, Ports: []fakeengine.Port{{Target: 80, Published: 80}, {Target: 443, Published: 8443}},
	})
	const mend = "docker service update --publish-rm 80 --publish-add mode=host,target=80,published=80 --publish-rm 443 --publish-add mode=host,target=443,published=8443 ruche_edge"
	h.settles("how to mend it", func() bool { i, _ := now(); return i.Mend == mend })
	h.settles("the warning", func() bool { return h.meshWarning().Subject == "service ruche_edge" })
	if w := h.meshWarning(); !strings.Contains(w.Message, "80/tcp, 8443/tcp") || !strings.HasSuffix(w.Hint, mend) {
		t.Errorf("the warning is %+v", w)
	}

	// Published on the nodes no client comes over the mesh, whatever its address looks like.
	h.engine.UpdateService(id, func(s *fakeengine.Service) { s.Ports = []fakeengine.Port{{Target: 80, Published: 80, Host: true}} })
	h.settles("the end of it", func() bool { _, ok := now(); return !ok && h.meshWarning().Code == "" })
	h.engine.UpdateService(id, func(s *fakeengine.Service) { s.Ports = []fakeengine.Port{{Target: 80, Published: 80}} })
	h.settles("the warning again", func() bool { i, _ := now(); return i.Mend != "" && h.meshWarning().Code != "" })
	h.engine.RemoveService(id)
	h.settles("the subnet alone", func() bool { i, ok := now(); return ok && i.Mend == "" && h.meshWarning().Code == "" })

	h.engine.CreateService(fakeengine.Service{Name: "edge", Labels: map[string]string{roleLabel: roleEdge}, Ports: []fakeengine.Port{{Target: 80, Published: 80}}})
	h.settles("a warning once more", func() bool { i, _ := now(); return i.Mend != "" && h.meshWarning().Subject == "service edge" })
	h.stopSwarm()
	if w := h.meshWarning(); w.Code != "" {
		t.Errorf("another control node leads, and this one still warns: %+v", w)
	}
	if i, ok := now(); !ok || i.Mend == "" {
		t.Errorf("what edges were told does not stay: %+v", i)
	}
	if err := DropSwarm(t.Context(), SwarmState(h.cluster)); err != nil {
		t.Fatal(err)
	}
	h.settles("the end of the Swarm", func() bool { _, ok := now(); return !ok })
}

func TestLeavingTheMesh(t *testing.T) {
	s := docker.Service{Name: "edge", Ports: []docker.PublishedPort{
		{Target: 80, Published: 80, Protocol: "tcp", Host: true}, {Target: 443, Published: 443, Protocol: "tcp"}, {Target: 443, Published: 443, Protocol: "udp"},
	}}
	const want = "docker service update --publish-rm 443 --publish-add mode=host,target=443,published=443 " +
		"--publish-rm 443/udp --publish-add mode=host,target=443,published=443,protocol=udp edge"
	if got := leaveMesh(s); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
