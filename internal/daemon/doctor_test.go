package daemon

import (
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
	"github.com/ruche-project/ruche/internal/doctor"
	"github.com/ruche-project/ruche/internal/mesh"
)

// examined waits until the doctor of a node has all of these findings, each as "check level subject".
func examined(t *testing.T, n *node, want ...string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		c, err := api.NewClient(n.AdminAddr()).Doctor(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range c.Findings {
			got = append(got, f.Check+" "+string(f.Level)+" "+f.Subject)
		}
		missing := ""
		for _, w := range want {
			if !strings.Contains("\n"+strings.Join(got, "\n")+"\n", "\n"+w+"\n") {
				missing = w
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no finding %q; there are:\n%+v", missing, c.Findings)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestTheDoctorLooksAtAnInstallation(t *testing.T) {
	engine := fakeengine.New(t)
	engine.SetManager(true)
	engine.SetWarnings("WARNING: API is accessible on http://0.0.0.0:2375 without encryption.")
	engine.AddNetwork(fakeengine.Network{Name: "public", Driver: "overlay", Attachable: true})
	first := engine.AddNode("n1", "127.0.0.1")
	engine.SetNode(engine.AddNode("n2", "127.0.0.2"), "down")
	engine.CreateService(fakeengine.Service{
		Name: "ruche_edge", Labels: map[string]string{"ruche.role": "edge"}, Networks: []string{"public"},
		Binds: []string{engine.Socket()}, Ports: []fakeengine.Port{{Target: 80, Published: 80}},
	})
	shop := engine.CreateService(fakeengine.Service{Name: "shop", Env: []string{"VIRTUAL_HOST=shop.example"}, Replicas: 1, Constraints: []string{"node.hostname==n1"}})
	engine.AddTask(shop, first, "running", "running")
	seat := newSeat(t, "c1")
	control := apart(t, config.Control, seat.dir, seat.name, func(c *config.Config) {
		c.DockerHost, c.AdvertiseAddr, c.MeshAddr, c.PeerAddr, c.Bootstrap = engine.Host(), seat.host, seat.mesh, seat.peer, true
	})
	token := joinToken(t, control, ruche.TokenRequest{Roles: []string{"edge"}, Uses: -1})
	edge := apart(t, config.Edge, t.TempDir(), "n1-edge", func(c *config.Config) {
		c.Control, c.JoinTokenFile = []string{seat.mesh}, token
	})
	examined(t, control,
		"swarm-quorum ok ", "state-quorum ok ", "data-centres ok ", "clock ok ", "versions ok ", "nodes error n2", "networks warning ", "sockets error c1", "sockets error ruche_edge",
		"single-points warning n1", "single-points warning c1", "single-points warning n1-edge", "single-points note ", "ingress warning ruche_edge")

	engine.FailSwarm("/nodes", 1<<30)
	examined(t, control, "swarm-quorum error ", "ingress note ")
	if _, err := api.NewClient(edge.AdminAddr()).Doctor(t.Context()); err == nil || !strings.Contains(err.Error(), "ask a control node") {
		t.Errorf("an edge answers %v, want whom to ask", err)
	}
	// What another control node tries here is not taken for a stranger that was refused.
	if failure := dial(t.Context(), doctor.Dial{Address: seat.mesh, TLS: true}, time.Minute); failure != "" {
		t.Errorf("the mesh cannot be reached: %s", failure)
	}
	edge.stop(t)
	control.stop(t)
	refused := control.control.server.Refused()
	delete(refused, mesh.ReasonUnavailable) // the edge, while the control node ended
	if len(refused) > 0 {
		t.Errorf("the mesh refused %v", refused)
	}
}

func TestTheDoctorOfOneHost(t *testing.T) {
	engine := fakeengine.New(t)
	n := start(t, t.TempDir(), engine.Host())
	examined(t, n, "swarm-quorum ok ", "state-quorum ok ", "ports ok ", "nodes ok ", "single-points note n1")
	engine.Down()
	examined(t, n, "swarm-quorum error n1", "nodes error n1")
	n.stop(t)
}

func TestDialsSayWhyTheyFail(t *testing.T) {
	open, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close() }()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	server := httptest.NewUnstartedServer(nil)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	for name, tc := range map[string]struct {
		dial    doctor.Dial
		timeout time.Duration
		want    string
	}{
		"somebody listens":  {doctor.Dial{Address: open.Addr().String()}, time.Minute, ""},
		"nobody listens":    {doctor.Dial{Address: closed.Addr().String()}, time.Minute, "connection refused"},
		"TLS":               {doctor.Dial{Address: server.Listener.Addr().String(), TLS: true}, time.Minute, ""},
		"nobody speaks TLS": {doctor.Dial{Address: open.Addr().String(), TLS: true}, 10 * time.Millisecond, "no answer"},
	} {
		dials := []doctor.Dial{tc.dial}
		if dialAll(t.Context(), dials, tc.timeout); dials[0].Failure != tc.want {
			t.Errorf("%s: %q, want %q", name, dials[0].Failure, tc.want)
		}
	}
}
