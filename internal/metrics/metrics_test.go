package metrics_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/metrics"
)

// edge is a fixed edge: metrics only reads it, so there is no behaviour to fake.
type edge struct {
	counts []ruche.RouteCount
	list   ruche.RouteList
}

func (e edge) Counts() []ruche.RouteCount { return e.counts }
func (e edge) Routes() ruche.RouteList    { return e.list }
func (e edge) Connections() ruche.ConnectionCount {
	return ruche.ConnectionCount{Open: 7, Most: 9000, Refused: map[string]uint64{"address": 3}}
}

func (e edge) Streams() []ruche.StreamCount {
	return []ruche.StreamCount{{RouteID: "file:tcp://*@db", Carried: 5, Failed: 1, Received: 10, Sent: 20}}
}

func TestHandlerShowsWhatTheEdgeCounts(t *testing.T) {
	count := ruche.RouteCount{RouteID: "nginx-proxy:shop.example/", ByClass: [5]uint64{0, 3, 0, 0, 1}, Seconds: 1.5}
	count.Buckets[0] = 2 // at most 1 ms
	count.Buckets[len(ruche.LatencyBounds)] = 2
	e := edge{
		counts: []ruche.RouteCount{count},
		list: ruche.RouteList{
			Routes: []ruche.RouteStatus{{
				ID:        "nginx-proxy:shop.example/",
				Endpoints: []ruche.EndpointStatus{{State: ruche.EndpointStarting, InFlight: 2}},
			}},
			Diagnostics: []ruche.Diagnostic{{Code: ruche.CodePortInvalid, Severity: ruche.SeverityError}},
			Warnings:    []ruche.Warning{{Code: ruche.CodeDockerUnreachable, Severity: ruche.SeverityError}},
		},
	}

	w := httptest.NewRecorder()
	metrics.Handler(metrics.Config{Edge: e, Version: "v1.2.3"}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body := w.Body.String()

	for _, want := range []string{
		`ruche_http_requests_total{class="2xx",route="nginx-proxy:shop.example/"} 3`,
		`ruche_http_requests_total{class="5xx",route="nginx-proxy:shop.example/"} 1`,
		`ruche_http_request_duration_seconds_bucket{route="nginx-proxy:shop.example/",le="0.001"} 2`,
		`ruche_http_request_duration_seconds_bucket{route="nginx-proxy:shop.example/",le="60"} 2`,
		`ruche_http_request_duration_seconds_bucket{route="nginx-proxy:shop.example/",le="+Inf"} 4`,
		`ruche_http_request_duration_seconds_sum{route="nginx-proxy:shop.example/"} 1.5`,
		`ruche_endpoints{route="nginx-proxy:shop.example/",state="ready"} 0`,
		`ruche_endpoints{route="nginx-proxy:shop.example/",state="starting"} 1`,
		`ruche_http_requests_in_flight{route="nginx-proxy:shop.example/"} 2`,
		`ruche_stream_connections_total{result="carried",route="file:tcp://*@db"} 5`,
		`ruche_stream_bytes_total{direction="sent",route="file:tcp://*@db"} 20`,
		`ruche_connections 7`, `ruche_connections_max 9000`, `ruche_connections_refused_total{reason="address"} 3`,
		`ruche_diagnostics{code="port-invalid",severity="error"} 1`,
		`ruche_health_warnings{code="docker-unreachable",severity="error"} 1`,
		`version="v1.2.3"} 1`,
		`process_open_fds`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
	if strings.Contains(body, `class="1xx"`) {
		t.Error("/metrics shows a status class that was never answered")
	}
}
