package fakeengine

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Service says how to create a service. Its tasks are made by AddTask: nothing is scheduled.
type Service struct {
	Name  string
	Image string   // defaults to site:1@sha256:0000
	Env   []string // "KEY=value"
	// Labels are the service's, ContainerLabels those of its containers.
	Labels          map[string]string
	ContainerLabels map[string]string
	// Networks are the names of its networks, which must exist.
	Networks   []string
	Ports      []Port
	RoundRobin bool // endpoint mode dnsrr
	Replicas   int  // 0 makes it global
	Job        bool
	// Binds are paths of the node, mounted at the same path; Constraints say where tasks may run.
	Binds, Constraints []string
	// Created defaults to now.
	Created time.Time
}

// Port is a published port; Host is for mode host.
type Port struct {
	Target, Published int
	Host              bool
}

type service struct {
	Service
	id      string
	version int
	update  update
	given   map[string]any // the specification of the last request that changed it; nil when none did
}

type task struct {
	id, service, node string
	image             string
	slot              int
	version           int
	desired, state    string
	changed           time.Time
	addresses         map[string]string // by network name
	ports             []Port
}

type node struct {
	id, name, address string
	state             string
	availability      string
	leads             bool
	follows           bool // as a manager
	unreachable       bool // for the other managers
}

// swarm is the Swarm that the Engine manages.
type swarm struct {
	manager  bool
	services map[string]*service
	tasks    map[string]*task
	nodes    map[string]*node
	version  int
	fails    map[string]int // of the next answers, by path
	asked    map[string]int
	stalled  map[string]chan struct{}
	// secretsInUse cannot be removed.
	secretsInUse map[string]bool
	digests      map[string]string // of images in the registry
}

func newSwarm() swarm {
	return swarm{
		services: map[string]*service{}, tasks: map[string]*task{}, nodes: map[string]*node{},
		fails: map[string]int{}, asked: map[string]int{}, stalled: map[string]chan struct{}{}, secretsInUse: map[string]bool{}, digests: map[string]string{},
	}
}

// SetManager makes the Engine a manager of a Swarm, or takes it out of one.
func (e *Engine) SetManager(manager bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.swarm.manager = manager
}

// AddNode adds a node to the Swarm and returns its ID. The first one leads.
func (e *Engine) AddNode(name, address string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serial++
	n := &node{id: swarmID(e.serial), name: name, address: address, state: "ready", availability: "active", leads: len(e.swarm.nodes) == 0}
	e.swarm.nodes[n.id] = n
	e.sendScoped("swarm", "node", "create", n.id, map[string]string{"name": name})
	return n.id
}

// SetNode says what state a node is in: ready, down, unknown or disconnected.
func (e *Engine) SetNode(id, state string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.swarm.nodes[id].state = state
	e.sendScoped("swarm", "node", "update", id, map[string]string{"state.new": state})
}

// CreateService creates a service without tasks and returns its ID.
func (e *Engine) CreateService(s Service) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serial++
	if s.Created.IsZero() {
		s.Created = time.Now()
	}
	if s.Image == "" {
		s.Image = "site:1@sha256:0000"
	}
	made := &service{Service: s, id: swarmID(e.serial), version: e.nextVersion()}
	e.swarm.services[made.id] = made
	e.sendScoped("swarm", "service", "create", made.id, map[string]string{"name": s.Name})
	return made.id
}

// UpdateService changes the specification of a service.
func (e *Engine) UpdateService(id string, change func(*Service)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.swarm.services[id]
	change(&s.Service)
	s.version = e.nextVersion()
	e.sendScoped("swarm", "service", "update", id, map[string]string{"name": s.Name})
}

// RemoveService removes a service and its tasks.
func (e *Engine) RemoveService(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.swarm.services, id)
	maps.DeleteFunc(e.swarm.tasks, func(_ string, t *task) bool { return t.service == id })
	e.sendScoped("swarm", "service", "remove", id, nil)
}

// AddTask makes a task of a service on a node, with an address in each of the service's networks, and returns its ID. Like the real
// one, the Engine tells nobody.
func (e *Engine) AddTask(service, node, desired, state string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serial++
	s := e.swarm.services[service]
	t := &task{
		id: swarmID(e.serial), service: service, image: s.Image, node: node, slot: len(e.swarm.tasks) + 1, version: e.nextVersion(),
		desired: desired, state: state, changed: time.Now(), addresses: map[string]string{},
	}
	for _, name := range s.Networks {
		t.addresses[name] = e.address(name).ipv4
	}
	for _, p := range s.Ports {
		if p.Host {
			if p.Published == 0 {
				p.Published = 32768 + e.serial%20000
			}
			t.ports = append(t.ports, p)
		}
	}
	e.swarm.tasks[t.id] = t
	return t.id
}

// SetTask changes a task's desired and actual state; empty ones stay.
func (e *Engine) SetTask(id, desired, state string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.swarm.tasks[id]
	if desired != "" {
		t.desired = desired
	}
	if state != "" {
		t.state, t.changed = state, time.Now()
	}
	t.version = e.nextVersion()
}

// SetTaskPorts says which ports of a task are published on its node.
func (e *Engine) SetTaskPorts(id string, ports []Port) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.swarm.tasks[id]
	t.ports, t.version = ports, e.nextVersion()
}

// RemoveTask takes a task out of the Swarm's history.
func (e *Engine) RemoveTask(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.swarm.tasks, id)
}

// TaskAddress returns a task's address in a network.
func (e *Engine) TaskAddress(id, network string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.swarm.tasks[id].addresses[network]
}

// FailSwarm makes the next n answers to a path ("/tasks") fail with status 500.
func (e *Engine) FailSwarm(path string, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.swarm.fails[path] = n
}

// StallSwarm holds the answers to a path back, as they are now, until the function that it returns is called.
func (e *Engine) StallSwarm(path string) (release func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	gate := make(chan struct{})
	e.swarm.stalled[path] = gate
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.swarm.stalled, path)
		close(gate)
	}
}

// Asked counts the questions to a path.
func (e *Engine) Asked(path string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.swarm.asked[path]
}

func (e *Engine) nextVersion() int {
	e.swarm.version++
	return e.swarm.version
}

func (e *Engine) serveInfo(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	info := map[string]any{"LocalNodeState": "inactive"}
	if e.swarm.manager {
		id := e.nodeID()
		info = map[string]any{"LocalNodeState": "active", "ControlAvailable": true, "NodeID": id, "RemoteManagers": []map[string]any{{"NodeID": id, "Addr": "10.9.0.1:2377"}}}
	}
	all := map[string]any{"ServerVersion": "20.10.24", "Warnings": e.warnings, "Swarm": info}
	e.mu.Unlock()
	answer(w, all)
}

// serveSwarm answers one of the lists, which only a manager does.
func (e *Engine) serveSwarm(list func(filters map[string]map[string]bool) []map[string]any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		filters := map[string]map[string]bool{}
		if text := r.URL.Query().Get("filters"); text != "" {
			if err := json.Unmarshal([]byte(text), &filters); err != nil {
				fail(w, http.StatusBadRequest, "invalid filter: "+err.Error())
				return
			}
		}
		path := r.URL.Path
		e.mu.Lock()
		e.swarm.asked[path]++
		failing, manager, gate := e.swarm.fails[path] > 0, e.swarm.manager, e.swarm.stalled[path]
		if failing {
			e.swarm.fails[path]--
		}
		answered := list(filters)
		missing := ""
		for id := range filters["service"] {
			if e.swarm.services[id] == nil {
				missing = id
			}
		}
		e.mu.Unlock()
		if gate != nil {
			select {
			case <-gate:
			case <-r.Context().Done():
				return
			}
		}
		switch {
		case !manager:
			fail(w, http.StatusServiceUnavailable, "This node is not a swarm manager.")
		case failing:
			fail(w, http.StatusInternalServerError, "the fake engine was told to fail")
		case missing != "": // of several, too
			fail(w, http.StatusNotFound, "service "+missing+" not found")
		default:
			answer(w, answered)
		}
	}
}

// listServices and the other lists are called with the lock held.
func (e *Engine) listServices(filters map[string]map[string]bool) []map[string]any {
	list := []map[string]any{}
	for _, s := range e.swarm.services {
		if begins(s.id, filters["id"]) && begins(s.Name, filters["name"]) {
			list = append(list, e.serviceJSON(s))
		}
	}
	return list
}

// begins reports whether text begins with one of the prefixes, or there are none.
func begins(text string, prefixes map[string]bool) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(slices.Collect(maps.Keys(prefixes)), func(p string) bool { return strings.HasPrefix(text, p) })
}

func (e *Engine) serviceJSON(s *service) map[string]any {
	networks, vips, mounts := []map[string]any{}, []map[string]any{}, []map[string]any{}
	for _, path := range s.Binds {
		mounts = append(mounts, map[string]any{"Type": "bind", "Source": path, "Target": path})
	}
	for i, name := range s.Networks {
		n := e.networks[name]
		networks = append(networks, map[string]any{"Target": n.id})
		if !s.RoundRobin {
			vips = append(vips, map[string]any{"NetworkID": n.id, "Addr": fmt.Sprintf("10.%d.255.%d/16", n.index, i+1)})
		}
	}
	mode, replicas := "Global", map[string]any{}
	switch {
	case s.Job:
		mode = "ReplicatedJob"
	case s.Replicas > 0:
		mode, replicas = "Replicated", map[string]any{"Replicas": s.Replicas}
	}
	resolution := map[bool]string{true: "dnsrr", false: "vip"}[s.RoundRobin]
	made := map[string]any{
		"ID": s.id, "Version": map[string]any{"Index": s.version}, "CreatedAt": s.Created.UTC().Format(time.RFC3339Nano),
		"Spec": map[string]any{
			"Name": s.Name, "Labels": s.Labels, "Mode": map[string]any{mode: replicas},
			"TaskTemplate": map[string]any{
				"ContainerSpec": map[string]any{"Image": s.Image, "Env": s.Env, "Labels": s.ContainerLabels, "Mounts": mounts}, "Networks": networks,
				"Placement": map[string]any{"Constraints": s.Constraints},
			},
		},
		"Endpoint": map[string]any{"Spec": map[string]any{"Mode": resolution}, "Ports": portsJSON(s.Ports), "VirtualIPs": vips},
	}
	if s.update.state != "" {
		made["UpdateStatus"] = map[string]any{"State": s.update.state, "Message": s.update.message}
	}
	return made
}

func portsJSON(ports []Port) []map[string]any {
	list := []map[string]any{}
	for _, p := range ports {
		list = append(list, map[string]any{
			"Protocol": "tcp", "TargetPort": p.Target, "PublishedPort": p.Published, "PublishMode": map[bool]string{true: "host", false: "ingress"}[p.Host],
		})
	}
	return list
}

func (e *Engine) listTasks(filters map[string]map[string]bool) []map[string]any {
	list := []map[string]any{}
	for _, t := range e.swarm.tasks {
		if wanted := filters["service"]; len(wanted) > 0 && !wanted[t.service] {
			continue
		}
		if wanted := filters["desired-state"]; len(wanted) > 0 && !wanted[t.desired] {
			continue
		}
		networks := []map[string]any{}
		for name, address := range t.addresses {
			n := e.networks[name]
			attachment := map[string]any{"Network": map[string]any{"ID": n.id, "Spec": map[string]any{"Name": name}}}
			if address != "" { // the network of the node gives none
				attachment["Addresses"] = []string{address + "/16"}
			}
			networks = append(networks, attachment)
		}
		list = append(list, map[string]any{
			"ID": t.id, "Version": map[string]any{"Index": t.version}, "ServiceID": t.service, "NodeID": t.node, "Slot": t.slot,
			"DesiredState": t.desired, "NetworksAttachments": networks, "Spec": map[string]any{"ContainerSpec": map[string]any{"Image": t.image}},
			"Status": map[string]any{
				"State": t.state, "Message": t.state, "Timestamp": t.changed.UTC().Format(time.RFC3339Nano),
				"PortStatus": map[string]any{"Ports": portsJSON(t.ports)},
			},
		})
	}
	return list
}

func (e *Engine) listNodes(map[string]map[string]bool) []map[string]any {
	list := []map[string]any{}
	for _, n := range e.swarm.nodes {
		made := map[string]any{
			"ID": n.id, "Description": map[string]any{"Hostname": n.name, "Engine": map[string]any{"EngineVersion": "20.10.24"}},
			"Status": map[string]any{"State": n.state, "Addr": n.address}, "Spec": map[string]any{"Availability": n.availability},
		}
		if n.leads { // it sees itself so
			made["Status"] = map[string]any{"State": n.state, "Addr": "0.0.0.0"}
			made["ManagerStatus"] = map[string]any{"Leader": true, "Reachability": "reachable", "Addr": n.address + ":2377"}
		}
		if n.follows {
			reachability := map[bool]string{true: "unreachable", false: "reachable"}[n.unreachable]
			made["ManagerStatus"] = map[string]any{"Reachability": reachability, "Addr": n.address + ":2377"}
		}
		list = append(list, made)
	}
	return list
}
