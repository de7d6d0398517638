package daemon

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// awaitMetrics waits until the node shows all of these lines.
func awaitMetrics(t *testing.T, n *node, lines ...string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(10 * time.Millisecond) {
		resp, err := http.Get("http://" + n.AdminAddr() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		missing := ""
		for _, line := range lines {
			if !strings.Contains("\n"+string(body), "\n"+line) {
				missing = line
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s shows no line %q:\n%s", n.Node(), missing, body)
		}
	}
}

// What each node tells of its place among the others, and an edge alone of how old what it serves is.
func TestNodesTellHowTheyAre(t *testing.T) {
	engine := fakeengine.New(t)
	engine.SetManager(true)
	engine.AddNode("n1", "10.9.0.1")
	place := newSeat(t, "c1")
	control := apart(t, config.Control, place.dir, "c1", func(c *config.Config) {
		c.DockerHost, c.AdvertiseAddr, c.MeshAddr, c.Bootstrap = engine.Host(), place.host, place.mesh, true
	})
	token := joinToken(t, control, ruche.TokenRequest{Roles: []string{"edge"}, Uses: -1})
	dir := t.TempDir()
	join := func(c *config.Config) { c.Control, c.JoinTokenFile = []string{place.mesh}, token }
	edge := apart(t, config.Edge, dir, "e1", join)

	awaitMetrics(t, control, "ruche_state_quorum 1", "ruche_state_members 1", "ruche_state_members_healthy 1", "ruche_swarm_leading 1",
		`ruche_nodes{role="edge"} 1`, `ruche_nodes_seen{role="edge"} 1`, `ruche_nodes_seen{role="control"} 1`, "ruche_mesh_followers 1",
		`ruche_mesh_peers_refused_total{reason="forged"} 0`, `ruche_state_peers_refused_total{reason="forged"} 0`, "ruche_identity_expiry_timestamp_seconds ")
	awaitMetrics(t, edge, "ruche_control_connected 1", "ruche_replica_age_seconds ", "ruche_identity_expiry_timestamp_seconds ")

	before := time.Now()
	control.stop(t)
	awaitMetrics(t, edge, "ruche_control_connected 0")
	edge.stop(t)
	edge = apart(t, config.Edge, dir, "e1", join)
	awaitMetrics(t, edge, "ruche_control_connected 0", "ruche_replica_age_seconds ")
	list, err := api.NewClient(edge.AdminAddr()).Routes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := list.Replica; r == nil || r.Follows != "" || r.Heard.IsZero() || r.Heard.After(time.Now()) || r.Heard.Before(before.Add(-time.Minute)) {
		t.Errorf("the edge's routes are of %+v, want the time at which the control node was stopped, about %s", r, before)
	}
	edge.stop(t)

	alone := start(t, t.TempDir(), engine.Host())
	awaitMetrics(t, alone, "ruche_state_quorum 1", "ruche_state_members 1", "ruche_state_members_healthy 1")
	if list := alone.proxy.Routes(); list.Replica != nil {
		t.Errorf("a node with the state has a replica: %+v", list.Replica)
	}
	alone.stop(t)
}
