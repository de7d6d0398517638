package discovery

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// serviceID is the service of a Workload.ID, taskID the task of an endpoint's key.
func serviceID(key string) string { return strings.TrimPrefix(key, servicePrefix) }
func taskID(key string) string    { return strings.TrimPrefix(key, taskPrefix) }

// nodeDown is the state of a node that the Swarm has given up. One that is unknown or disconnected is only looking for another manager.
const nodeDown = "down"

// publish asks for what is known of a service and its tasks to be written.
func (l *lookout) publish(id string, r *serviceRecord) {
	if !r.known {
		return
	}
	key := servicePrefix + id
	var endpoints map[string]*ruche.Endpoint // by key
	var wanted row
	if !r.nothing() {
		wanted.declaration = &ruche.Declaration{
			Workload: ruche.Workload{ID: key, Kind: ruche.KindService, Name: r.service.Name, Group: r.service.Name, Image: r.service.Image, Created: r.service.Created},
			Routes:   r.routes, Diagnostics: slices.Clone(r.diagnostics),
		}
		wanted.certificates = wishes(wanted.declaration, r.certificates)
	}
	if len(r.routes) > 0 {
		var notes []ruche.Diagnostic
		if endpoints, notes = l.endpointsOf(key, r); wantsVIP(r.service) {
			virtual, more := l.virtual(key, r, endpoints)
			notes = append(notes, more...)
			if virtual != nil {
				endpoints, wanted.endpoint = nil, l.since(key, virtual)
			}
		}
		wanted.declaration.Diagnostics = append(wanted.declaration.Diagnostics, notes...)
	}
	l.store.set(key, wanted) // before its endpoints: they are of no use alone
	for task, t := range r.tasks {
		endpoint := endpoints[taskPrefix+task]
		if t.known && l.store.set(taskPrefix+task, row{endpoint: endpoint}) && endpoint != nil {
			l.logger.Debug("task", "service", r.service.Name, "task", task, "state", endpoint.State, "reason", endpoint.StateReason, "address", endpoint.Address)
		}
	}
	if len(r.routes) > 0 || len(r.certificates) > 0 || len(r.diagnostics) == 0 {
		l.graves.succeed(key, r.service.Name)
	}
}

// endpointsOf gives the endpoints of a service's tasks, and what there is to say about how they are reached.
func (l *lookout) endpointsOf(key string, r *serviceRecord) (map[string]*ruche.Endpoint, []ruche.Diagnostic) {
	endpoints := make(map[string]*ruche.Endpoint, len(r.tasks))
	reached := 0
	var cutOff *choice
	var example *docker.Task
	for _, id := range slices.Sorted(maps.Keys(r.tasks)) {
		t := r.tasks[id]
		if !t.known || t.task.Ended() {
			continue
		}
		chosen := l.reach.choose(t.task, r.service, l.nodes[t.task.Node])
		endpoint := l.endpointOf(key, t.task, chosen)
		endpoints[taskPrefix+id] = l.since(taskPrefix+id, endpoint)
		switch {
		case chosen.reachable:
			reached++
		case docker.TaskOrder(t.task.State) >= docker.TaskOrder("assigned"):
			cutOff = &chosen // those before have no place yet
		}
		if example == nil || t.task.Wanted() {
			example = &t.task
		}
	}
	notes := l.reach.notes(r.service, example)
	if reached == 0 && cutOff != nil {
		notes = append(notes, ruche.Diagnostic{
			Code: ruche.CodeNetworkUnreachable, Severity: ruche.SeverityError, Workload: r.service.Name, Source: "networks",
			Host: r.routes[0].Match.Host, Message: "the edges cannot reach the tasks of the service: " + cutOff.reason, Hint: cutOff.hint,
		})
	}
	return endpoints, notes
}

// endpointOf says where a task is, and whether it takes requests.
func (l *lookout) endpointOf(key string, t docker.Task, chosen choice) *ruche.Endpoint {
	node := l.nodes[t.Node]
	e := &ruche.Endpoint{Workload: key, Node: node.Name, Network: chosen.network, NetworkReason: chosen.reason}
	e.State, e.StateReason = stateOfTask(t, node, l.sightings[t.ID])
	if chosen.reachable && chosen.address.IsValid() {
		e.Address, e.Ports = chosen.address.String(), chosen.ports
		return e
	}
	switch {
	case !chosen.reachable && alive(e.State) && docker.TaskOrder(t.State) >= docker.TaskOrder("assigned"):
		e.State, e.StateReason = ruche.EndpointUnreachable, chosen.reason
	case e.State == ruche.EndpointReady:
		e.State, e.StateReason = ruche.EndpointStarting, "its address is not known yet"
	}
	return e
}

// since keeps the time since when an endpoint is what it is.
func (l *lookout) since(key string, e *ruche.Endpoint) *ruche.Endpoint {
	e.Since = time.Now().UTC()
	if before := l.store.get(key).endpoint; before != nil && before.State == e.State && before.StateReason == e.StateReason {
		e.Since = before.Since
	}
	return e
}

// stateOfTask says whether a task takes requests, and why. What the Swarm wants ended is in force whatever an agent sees, and what an agent sees
// of an ending before the Swarm knows. Before the Swarm tells that a task runs, an agent may.
func stateOfTask(t docker.Task, node docker.Node, s ruche.Sighting) (ruche.EndpointState, string) {
	switch {
	case node.State == nodeDown:
		return ruche.EndpointUnreachable, fmt.Sprintf("node %s is down", node.Name)
	case !t.Wanted():
		return ruche.EndpointStopping, "desired state " + t.Desired
	case s.State == ruche.EndpointStopping || s.State == ruche.EndpointStopped || s.State == ruche.EndpointPaused || s.State == ruche.EndpointUnhealthy:
		return s.State, s.StateReason
	case t.State == docker.TaskRunning:
		return ruche.EndpointReady, "task running"
	case s.State == ruche.EndpointReady:
		return s.State, s.StateReason
	}
	reason := "task " + t.State
	if t.Err != "" {
		reason += ": " + t.Err
	}
	return ruche.EndpointStarting, reason
}

// virtual gives the endpoint that stands for all tasks of a service that asks for the balancing of the Swarm.
func (l *lookout) virtual(key string, r *serviceRecord, endpoints map[string]*ruche.Endpoint) (*ruche.Endpoint, []ruche.Diagnostic) {
	chosen, problem := l.reach.chooseVIP(r.service)
	if problem != nil {
		return nil, []ruche.Diagnostic{*problem}
	}
	e := &ruche.Endpoint{
		Workload: key, Address: chosen.address.String(), Network: chosen.network, NetworkReason: chosen.reason,
		State: ruche.EndpointStopped, StateReason: "no task runs",
	}
	for _, of := range endpoints {
		switch of.State {
		case ruche.EndpointReady:
			e.State, e.StateReason = of.State, "a task runs"
		case ruche.EndpointStarting:
			if e.State == ruche.EndpointStopped {
				e.State, e.StateReason = of.State, "a task is starting"
			}
		}
	}
	return e, nil
}
