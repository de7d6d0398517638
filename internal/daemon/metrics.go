package daemon

import (
	"context"
	"net/http"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/metrics"
	"github.com/ruche-project/ruche/internal/proxy"
)

// membersLook is the time between two looks which members of the state answer. A scrape asks nobody.
const membersLook = 15 * time.Second

// metrics serves what the parts of this node count.
func (d *Daemon) metrics(edge metrics.Edge) http.Handler {
	cfg := metrics.Config{Edge: edge, Version: d.version}
	if d.cluster != nil {
		cfg.State, cfg.Certificates, cfg.Authorities = d.stateCount, d.certificates.lately, d.certificates.authorities
	}
	if d.acmeServer != nil {
		cfg.ACMEServer = d.acmeServer.server.Counts
	}
	switch {
	case d.control != nil:
		cfg.Mesh, cfg.Expires = d.control.server.Counts, d.control.server.Expires
	case d.client != nil:
		cfg.Replica, cfg.Expires = d.replica, d.client.Expires
	}
	return metrics.Handler(cfg)
}

func (d *Daemon) stateCount() ruche.StateCount {
	c := ruche.StateCount{Quorum: d.cluster.Quorum().OK, Refused: map[string]int64{}, LeadsSwarm: d.finder.leads.Load(), LeadsCertificates: d.leadsCerts.Load()}
	for _, reason := range cluster.RefusalReasons() {
		c.Refused[reason] = 0 // so that the first one is seen to be more
	}
	for reason, n := range d.cluster.Refused() {
		c.Refused[reason] = n
	}
	if members := d.members.Load(); members != nil {
		for _, m := range *members {
			c.Members++
			if m.Healthy {
				c.Healthy++
			}
		}
	}
	return c
}

// watchMembers looks which members of the state answer, until ctx ends.
func (d *Daemon) watchMembers(ctx context.Context) {
	for {
		if members, err := d.cluster.Members(ctx); err == nil { // else what was found before stands
			d.members.Store(&members)
		}
		if !pauseFor(ctx, membersLook) {
			return
		}
	}
}

// replica tells how this node, which is no member of the state, knows it.
func (d *Daemon) replica() ruche.ReplicaStatus {
	f := d.client.Following()
	return ruche.ReplicaStatus{Follows: f.Control, FollowsSince: f.Since, Heard: f.Heard}
}

// replicaEdge is an edge that tells how old what it serves may be.
type replicaEdge struct {
	*proxy.Proxy
	replica func() ruche.ReplicaStatus
}

// Routes tells what is published now.
func (e replicaEdge) Routes() ruche.RouteList {
	list, r := e.Proxy.Routes(), e.replica()
	list.Replica = &r
	return list
}
