package discovery

import (
	"fmt"
	"slices"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// publish asks for what is known of a container to be written, and of those that share its network.
func (t *tracker) publish(id string, r *record) {
	if !r.known {
		return
	}
	if task, sighted := t.taskOf(r.container); sighted {
		t.sight(task, id, r)
		return
	}
	key := containerKey(id)
	wanted := t.rowOf(key, r)
	if t.store.set(key, wanted) {
		t.logPublished(r, wanted)
	}
	if wanted.declaration != nil {
		delete(t.graves.gone, key)
	}
	if r.succeeds() {
		t.graves.succeed(key, groupOf(r.container))
	}
	t.publishFollowers(id)
}

func (t *tracker) logPublished(r *record, wanted row) {
	if wanted.endpoint == nil {
		return
	}
	e := wanted.endpoint
	t.logger.Debug("container", "name", r.container.Name, "state", e.State, "reason", e.StateReason,
		"address", e.Address, "network", e.Network, "routes", len(r.routes))
}

func (t *tracker) publishFollowers(id string) {
	mode := "container:" + id
	for other, r := range t.records {
		if other != id && r.container.NetworkMode == mode {
			t.publish(other, r)
		}
	}
}

// rowOf says what is to stand in the buckets for a container: nothing when it declares nothing.
func (t *tracker) rowOf(key string, r *record) row {
	if r.nothing() {
		return row{}
	}
	c := r.container
	declaration := &ruche.Declaration{
		Workload: ruche.Workload{
			ID: key, Kind: ruche.KindContainer, Name: c.Name, Group: groupOf(c), Node: t.node, Image: c.Image, Created: c.Created,
		},
		Routes: r.routes, Diagnostics: slices.Clone(r.diagnostics),
	}
	if len(r.routes) == 0 {
		return row{declaration: declaration, certificates: wishes(declaration, r.certificates)}
	}
	chosen := surroundings{own: t.own, networks: t.networks, lookup: t.lookup}.choose(c)
	endpoint := &ruche.Endpoint{Workload: key, Node: t.node, Network: chosen.network, NetworkReason: chosen.reason}
	endpoint.State, endpoint.StateReason = t.stateOf(r)
	if endpoint.State != ruche.EndpointStopped {
		declaration.Diagnostics = append(declaration.Diagnostics, chosen.notes...)
		if chosen.reachable && chosen.address.IsValid() {
			endpoint.Address = chosen.address.String()
		} else {
			t.cutOff(declaration, endpoint, chosen)
		}
	}
	endpoint.Since = time.Now().UTC()
	if before := t.store.get(key).endpoint; before != nil && before.State == endpoint.State && before.StateReason == endpoint.StateReason {
		endpoint.Since = before.Since
	}
	return row{declaration: declaration, endpoint: endpoint, certificates: wishes(declaration, r.certificates)}
}

// alive reports whether a container in this state would take requests if only it were healthy and reachable.
func alive(s ruche.EndpointState) bool {
	return s == ruche.EndpointReady || s == ruche.EndpointStarting || s == ruche.EndpointUnhealthy
}

// stateOf says whether a container takes requests, and why. One that shares the network of another is cut off when that one
// ends, so it is stopping too when that one is.
func (t *tracker) stateOf(r *record) (ruche.EndpointState, string) {
	state, reason := stateOf(r.container, r.killed)
	if id, shared := sharesWith(r.container); shared && alive(state) {
		if owner := t.records[id]; owner != nil && owner.known {
			if of, why := stateOf(owner.container, owner.killed); of == ruche.EndpointStopping {
				return of, fmt.Sprintf("it shares the network of container %q, which is being stopped (%s)", owner.container.Name, why)
			}
		}
	}
	return state, reason
}

// cutOff says of a running container that Ruche cannot reach it, and what to do.
func (t *tracker) cutOff(d *ruche.Declaration, e *ruche.Endpoint, chosen choice) {
	d.Diagnostics = append(d.Diagnostics, ruche.Diagnostic{
		Code: ruche.CodeNetworkUnreachable, Severity: ruche.SeverityError, Workload: d.Workload.Name, Source: "networks",
		Host: d.Routes[0].Match.Host, Message: "Ruche cannot reach the container: " + chosen.reason, Hint: chosen.hint,
	})
	if alive(e.State) {
		e.State, e.StateReason = ruche.EndpointUnreachable, chosen.reason
	}
}

// lookup finds a container for network mode container:X.
func (t *tracker) lookup(id string) (docker.Container, bool) {
	if r := t.records[id]; r != nil && r.known {
		return r.container, true
	}
	return docker.Container{}, false
}
