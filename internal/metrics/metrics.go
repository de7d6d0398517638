// Package metrics shows what Ruche counts in the Prometheus exposition format.
//
// Nothing is counted here: the edge counts with plain atomics on its request path, and this package
// reads the sums when it is scraped.
package metrics

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ruche-project/ruche"
)

// Edge is what the metrics are read from.
type Edge interface {
	Counts() []ruche.RouteCount
	Routes() ruche.RouteList
	Connections() ruche.ConnectionCount
	Streams() []ruche.StreamCount
}

// Config says where the numbers are. What is nil this node does not have. All of it is called at each scrape, and must be cheap.
type Config struct {
	Edge    Edge
	Version string
	// State is of the replicated state, Mesh of the nodes that come to this one, Replica of what this one knows without having the state.
	State   func() ruche.StateCount
	Mesh    func() ruche.MeshCount
	Replica func() ruche.ReplicaStatus
	// Certificates are those of the inventory, as they were a short while ago; on control nodes.
	Certificates func() []ruche.CertificateInfo
	// Authorities are those of the internal authority, as they were a short while ago; on control nodes. ACMEServer is where one is served.
	Authorities func() []ruche.AuthorityStatus
	ACMEServer  func() ruche.ACMEServerCount
	// Expires tells until when the node's certificate of the mesh is good; zero while it has none.
	Expires func() time.Time
}

// Handler serves the metrics of a node, of its process and of the Go runtime.
func Handler(cfg Config) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newCollector(cfg.Edge, cfg.Version),
		newInstallation(cfg),
		newAuthority(cfg),
	)
	if cfg.Certificates != nil {
		registry.MustRegister(newInventory(cfg.Certificates))
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

type collector struct {
	edge    Edge
	version string

	requests    *prometheus.Desc
	duration    *prometheus.Desc
	endpoints   *prometheus.Desc
	inFlight    *prometheus.Desc
	diagnostics *prometheus.Desc
	warnings    *prometheus.Desc
	streams     *prometheus.Desc
	streamBytes *prometheus.Desc
	connections *prometheus.Desc
	most        *prometheus.Desc
	refused     *prometheus.Desc
	build       *prometheus.Desc
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ruche_"+name, help, labels, nil)
}

func newCollector(edge Edge, version string) *collector {
	return &collector{
		edge:        edge,
		version:     version,
		requests:    desc("http_requests_total", "Requests answered, by route and status class (1xx to 5xx). Requests that no route took count under route \"(none)\".", "route", "class"),
		duration:    desc("http_request_duration_seconds", "Time from the request's head to the last byte of its answer, by route.", "route"),
		endpoints:   desc("endpoints", "Endpoints known to the edge, by route and state. Only those in state \"ready\" take requests.", "route", "state"),
		inFlight:    desc("http_requests_in_flight", "Requests being forwarded now, by route.", "route"),
		diagnostics: desc("diagnostics", "Things found wrong in what is declared, by code (see docs/errors.md) and severity.", "code", "severity"),
		warnings:    desc("health_warnings", "Standing health warnings, by code (see docs/errors.md) and severity.", "code", "severity"),
		streams:     desc("stream_connections_total", "Connections of TCP routes and sessions of UDP routes, by route and result: \"carried\", or \"failed\" where no endpoint took them; with UDP these are datagrams.", "route", "result"),
		streamBytes: desc("stream_bytes_total", "Bytes of TCP and UDP routes, by route and direction: \"received\" from clients, \"sent\" to them.", "route", "direction"),
		connections: desc("connections", "Connections that clients have now."),
		most:        desc("connections_max", "Connections that clients may have."),
		refused:     desc("connections_refused_total", "Connections that were closed unserved, by reason: \"all\" (there were too many), \"address\" (their client had too many), \"udp\" (there were too many sessions of UDP), \"proxy-protocol\" (they did not begin with the PROXY header that their peer has to send), \"http2\" (their client did again and again what only costs time).", "reason"),
		build:       desc("build_info", "Always 1; its labels tell the version.", "version", "go_version"),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.requests, c.duration, c.endpoints, c.inFlight, c.diagnostics, c.warnings, c.streams, c.streamBytes, c.connections, c.most, c.refused, c.build} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, count := range c.edge.Counts() {
		c.collectCount(ch, count)
	}
	list := c.edge.Routes()
	for _, route := range list.Routes {
		c.collectEndpoints(ch, route)
	}

	type kind struct{ code, severity string }
	diagnostics, warnings := map[kind]int{}, map[kind]int{}
	for _, d := range list.Diagnostics {
		diagnostics[kind{string(d.Code), string(d.Severity)}]++
	}
	for _, w := range list.Warnings {
		warnings[kind{string(w.Code), string(w.Severity)}]++
	}
	for k, n := range diagnostics {
		ch <- prometheus.MustNewConstMetric(c.diagnostics, prometheus.GaugeValue, float64(n), k.code, k.severity)
	}
	for k, n := range warnings {
		ch <- prometheus.MustNewConstMetric(c.warnings, prometheus.GaugeValue, float64(n), k.code, k.severity)
	}
	for _, s := range c.edge.Streams() {
		ch <- prometheus.MustNewConstMetric(c.streams, prometheus.CounterValue, float64(s.Carried), s.RouteID, "carried")
		ch <- prometheus.MustNewConstMetric(c.streams, prometheus.CounterValue, float64(s.Failed), s.RouteID, "failed")
		ch <- prometheus.MustNewConstMetric(c.streamBytes, prometheus.CounterValue, float64(s.Received), s.RouteID, "received")
		ch <- prometheus.MustNewConstMetric(c.streamBytes, prometheus.CounterValue, float64(s.Sent), s.RouteID, "sent")
	}
	connections := c.edge.Connections()
	ch <- prometheus.MustNewConstMetric(c.connections, prometheus.GaugeValue, float64(connections.Open))
	ch <- prometheus.MustNewConstMetric(c.most, prometheus.GaugeValue, float64(connections.Most))
	for reason, n := range connections.Refused {
		ch <- prometheus.MustNewConstMetric(c.refused, prometheus.CounterValue, float64(n), reason)
	}
	ch <- prometheus.MustNewConstMetric(c.build, prometheus.GaugeValue, 1, c.version, runtime.Version())
}

func (c *collector) collectCount(ch chan<- prometheus.Metric, count ruche.RouteCount) {
	for i, n := range count.ByClass {
		if n > 0 {
			class := strconv.Itoa(i+1) + "xx"
			ch <- prometheus.MustNewConstMetric(c.requests, prometheus.CounterValue, float64(n), count.RouteID, class)
		}
	}
	if count.ByClass == ([5]uint64{}) {
		return
	}
	var sum uint64
	buckets := make(map[float64]uint64, len(ruche.LatencyBounds))
	for i, bound := range ruche.LatencyBounds {
		sum += count.Buckets[i]
		buckets[bound] = sum // Prometheus buckets are cumulative
	}
	sum += count.Buckets[len(ruche.LatencyBounds)]
	ch <- prometheus.MustNewConstHistogram(c.duration, sum, count.Seconds, buckets, count.RouteID)
}

func (c *collector) collectEndpoints(ch chan<- prometheus.Metric, route ruche.RouteStatus) {
	states := map[ruche.EndpointState]int{ruche.EndpointReady: 0} // 0 ready is what alerts ask for
	var inFlight int64
	for _, e := range route.Endpoints {
		states[e.State]++
		inFlight += e.InFlight
	}
	for state, n := range states {
		ch <- prometheus.MustNewConstMetric(c.endpoints, prometheus.GaugeValue, float64(n), route.ID, string(state))
	}
	ch <- prometheus.MustNewConstMetric(c.inFlight, prometheus.GaugeValue, float64(inFlight), route.ID)
}
