package metrics_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/metrics"
)

func scrape(cfg metrics.Config) string {
	cfg.Edge = edge{}
	w := httptest.NewRecorder()
	metrics.Handler(cfg).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestNodesShowTheirPlaceAmongTheOthers(t *testing.T) {
	expires := func() time.Time { return time.Unix(1_800_000_000, 0) }
	heard := func() ruche.ReplicaStatus { return ruche.ReplicaStatus{Heard: time.Now().Add(-time.Hour)} }
	for name, tc := range map[string]struct {
		cfg   metrics.Config
		want  []string
		lacks []string
	}{
		"a control node": {metrics.Config{
			State: func() ruche.StateCount {
				return ruche.StateCount{Quorum: true, Members: 3, Healthy: 2, LeadsSwarm: true, Refused: map[string]int64{"forged": 4, "expired": 0}}
			},
			Mesh: func() ruche.MeshCount {
				return ruche.MeshCount{
					Nodes: map[string]int{"edge": 5, "control": 3}, Seen: map[string]int{"edge": 4}, Followers: 7, Refused: map[string]uint64{"token": 2},
				}
			},
			Expires: expires,
		}, []string{
			`ruche_state_quorum 1`, `ruche_state_members 3`, `ruche_state_members_healthy 2`, `ruche_swarm_leading 1`,
			`ruche_state_peers_refused_total{reason="forged"} 4`, `ruche_state_peers_refused_total{reason="expired"} 0`,
			`ruche_nodes{role="edge"} 5`, `ruche_nodes_seen{role="edge"} 4`, `ruche_nodes_seen{role="control"} 0`, `ruche_mesh_followers 7`,
			`ruche_mesh_peers_refused_total{reason="token"} 2`, `ruche_identity_expiry_timestamp_seconds 1.8e+09`,
		}, []string{"ruche_control_connected", "ruche_replica_age_seconds"}},
		"an edge by itself": {metrics.Config{Replica: heard, Expires: expires}, []string{
			`ruche_control_connected 0`, `ruche_replica_age_seconds 36`, `ruche_identity_expiry_timestamp_seconds 1.8e+09`,
		}, []string{"ruche_state_", "ruche_nodes", "ruche_mesh_"}},
		"an edge that begins": {metrics.Config{
			Replica: func() ruche.ReplicaStatus { return ruche.ReplicaStatus{Follows: "192.0.2.1:8901"} }, Expires: func() time.Time { return time.Time{} },
		}, []string{`ruche_control_connected 1`}, []string{"ruche_replica_age_seconds", "ruche_identity_expiry"}},
		"before the members were asked": {metrics.Config{State: func() ruche.StateCount { return ruche.StateCount{} }}, []string{
			`ruche_state_quorum 0`, `ruche_swarm_leading 0`,
		}, []string{"ruche_state_members", "ruche_mesh_"}},
	} {
		body := scrape(tc.cfg)
		for _, want := range tc.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: /metrics lacks %q", name, want)
			}
		}
		for _, lack := range tc.lacks {
			if strings.Contains(body, lack) {
				t.Errorf("%s: /metrics has %q", name, lack)
			}
		}
	}
}
