package daemon

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// visitFrom asks the edge for a page from an address of this host.
func visitFrom(t *testing.T, edge *node, address string) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}
	resp, err := client.Get("http://" + edge.proxy.HTTPAddr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}

// awaitWarning visits until the node has a warning of the code, or has none, and returns it.
func awaitWarning(t *testing.T, n *node, code ruche.Code, stands bool, visit func()) ruche.Warning {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(5 * time.Millisecond) {
		visit()
		var found ruche.Warning
		for _, w := range n.health.List() {
			if w.Code == code {
				found = w
			}
		}
		if (found.Code != "") == stands {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("a warning %s is to stand: %t; there are %+v", code, stands, n.health.List())
		}
	}
}

// An edge, which has no Engine to ask, learns from the control node how the gateways of the routing mesh are known, and tells when clients come by them.
func TestAnEdgeNoticesTheRoutingMesh(t *testing.T) {
	engine := fakeengine.New(t)
	engine.SetManager(true)
	engine.AddNode("n1", "10.9.0.1")
	engine.AddNetwork(fakeengine.Network{Name: "ingress", Driver: "overlay", Ingress: true, Subnets: []string{"127.9.0.0/16"}})
	id := engine.CreateService(fakeengine.Service{
		Name: "ruche_edge", Labels: map[string]string{"ruche.role": "edge"}, Ports: []fakeengine.Port{{Target: 80, Published: 80}},
	})
	place := newSeat(t, "c1")
	control := apart(t, config.Control, place.dir, "c1", func(c *config.Config) {
		c.DockerHost, c.AdvertiseAddr, c.MeshAddr, c.Bootstrap = engine.Host(), place.host, place.mesh, true
	})
	token := joinToken(t, control, ruche.TokenRequest{Roles: []string{"edge"}, Uses: -1})
	edge := apart(t, config.Edge, t.TempDir(), "e1", func(c *config.Config) {
		c.Control, c.JoinTokenFile = []string{place.mesh}, token
	})

	const mend = "docker service update --publish-rm 80 --publish-add mode=host,target=80,published=80 ruche_edge"
	w := awaitWarning(t, control, ruche.CodeIngressMesh, true, func() {})
	if !strings.Contains(w.Hint, mend) {
		t.Errorf("the control node warns %+v, want the hint %q", w, mend)
	}
	w = awaitWarning(t, edge, ruche.CodeIngressMesh, true, func() { visitFrom(t, edge, "127.9.0.3") })
	if !strings.Contains(w.Message, "127.9.0.3") || !strings.Contains(w.Hint, mend) {
		t.Errorf("the edge warns %+v, want the address and the hint %q", w, mend)
	}
	if shown := fmt.Sprint(edge.proxy.Routes().Warnings); !strings.Contains(shown, string(ruche.CodeIngressMesh)) {
		t.Errorf("the routes of the edge tell %s", shown)
	}

	engine.UpdateService(id, func(s *fakeengine.Service) { s.Ports = []fakeengine.Port{{Target: 80, Published: 80, Host: true}} })
	awaitWarning(t, control, ruche.CodeIngressMesh, false, func() {})
	awaitWarning(t, edge, ruche.CodeIngressMesh, false, func() {})
	visitFrom(t, edge, "127.9.0.3") // a client whose own address it is
	if list := edge.health.List(); len(list) > 0 {
		t.Errorf("with its ports on the nodes the edge warns %+v", list)
	}
	edge.stop(t)
	control.stop(t)
}
