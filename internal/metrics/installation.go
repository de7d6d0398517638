package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ruche-project/ruche"
)

// installation shows a node's place among the others: the state, the mesh, and what it knows.
type installation struct {
	cfg Config

	quorum, members, healthy, leads, leadsCerts, stateRefused *prometheus.Desc
	nodes, seen, followers, meshRefused                       *prometheus.Desc
	connected, age                                            *prometheus.Desc
	expires                                                   *prometheus.Desc
}

func newInstallation(cfg Config) *installation {
	return &installation{
		cfg:          cfg,
		quorum:       desc("state_quorum", "1 while a majority of the members of the replicated state is up, else 0."),
		members:      desc("state_members", "Members of the replicated state."),
		healthy:      desc("state_members_healthy", "Members of the replicated state that answered when they were asked last, at most some 15 s ago."),
		leads:        desc("swarm_leading", "1 on the control node that looks after the services of the Swarm, else 0."),
		leadsCerts:   desc("certificates_leading", "1 on the control node that has certificates issued and renewed, else 0."),
		stateRefused: desc("state_peers_refused_total", "Connections to this member's port for replicating the state that were refused, by reason.", "reason"),
		nodes:        desc("nodes", "Nodes of the installation, by role. One with several roles counts in each.", "role"),
		seen:         desc("nodes_seen", "Nodes of the installation that a control node has heard of in the last minute, by role.", "role"),
		followers:    desc("mesh_followers", "Nodes that follow the state at this control node."),
		meshRefused:  desc("mesh_peers_refused_total", "Peers that were turned away at this control node's port for other nodes, by reason.", "reason"),
		connected:    desc("control_connected", "1 while this node follows a control node, else 0."),
		age:          desc("replica_age_seconds", "How old what this node knows of the installation may be. Missing while it knows nothing."),
		expires:      desc("identity_expiry_timestamp_seconds", "When this node's certificate of the mesh expires, in seconds of the Unix epoch. Missing before it has one."),
	}
}

// Describe implements prometheus.Collector.
func (i *installation) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		i.quorum, i.members, i.healthy, i.leads, i.leadsCerts, i.stateRefused, i.nodes, i.seen, i.followers, i.meshRefused, i.connected, i.age, i.expires,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (i *installation) Collect(ch chan<- prometheus.Metric) {
	if i.cfg.State != nil {
		i.collectState(ch, i.cfg.State())
	}
	if i.cfg.Mesh != nil {
		i.collectMesh(ch, i.cfg.Mesh())
	}
	if i.cfg.Replica != nil {
		r := i.cfg.Replica()
		gauge(ch, i.connected, number(r.Follows != ""))
		if !r.Heard.IsZero() {
			gauge(ch, i.age, max(time.Since(r.Heard).Seconds(), 0))
		}
	}
	if i.cfg.Expires != nil {
		if at := i.cfg.Expires(); !at.IsZero() {
			gauge(ch, i.expires, float64(at.Unix()))
		}
	}
}

func (i *installation) collectState(ch chan<- prometheus.Metric, c ruche.StateCount) {
	gauge(ch, i.quorum, number(c.Quorum))
	if c.Members > 0 {
		gauge(ch, i.members, float64(c.Members))
		gauge(ch, i.healthy, float64(c.Healthy))
	}
	gauge(ch, i.leads, number(c.LeadsSwarm))
	gauge(ch, i.leadsCerts, number(c.LeadsCertificates))
	for reason, n := range c.Refused {
		ch <- prometheus.MustNewConstMetric(i.stateRefused, prometheus.CounterValue, float64(n), reason)
	}
}

func (i *installation) collectMesh(ch chan<- prometheus.Metric, c ruche.MeshCount) {
	for role, n := range c.Nodes {
		gauge(ch, i.nodes, float64(n), role)
		gauge(ch, i.seen, float64(c.Seen[role]), role)
	}
	gauge(ch, i.followers, float64(c.Followers))
	for reason, n := range c.Refused {
		ch <- prometheus.MustNewConstMetric(i.meshRefused, prometheus.CounterValue, float64(n), reason)
	}
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
