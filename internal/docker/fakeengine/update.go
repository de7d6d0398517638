package fakeengine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// update is how the last update of a service is.
type update struct{ state, message string }

// SetUpdating begins or ends an update of the service.
func (e *Engine) SetUpdating(id string, updating bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.swarm.services[id]
	s.update, s.version = update{state: map[bool]string{true: "updating", false: "completed"}[updating]}, e.nextVersion()
	e.sendScoped("swarm", "service", "update", id, map[string]string{"name": s.Name, "updatestate.new": s.update.state})
}

// SetUpdate says how the last update of a service is: updating, paused, completed, rollback_completed.
func (e *Engine) SetUpdate(id, state, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.swarm.services[id]
	s.update, s.version = update{state, message}, e.nextVersion()
}

// Given returns what the last request to change a service asked for; nil when there was none.
func (e *Engine) Given(id string) map[string]any {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.swarm.services[id].given
}

// SetAvailability says whether a node is active, pause or drain.
func (e *Engine) SetAvailability(id, availability string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.swarm.nodes[id].availability = availability
}

// SetUnreachable makes a node a manager that the others do not reach.
func (e *Engine) SetUnreachable(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.swarm.nodes[id].follows, e.swarm.nodes[id].unreachable = true, true
}

// SetDigest makes the registry know an image; others it does not have.
func (e *Engine) SetDigest(image, digest string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.swarm.digests[image] = digest
}

// VolumeDevice returns the directory that a volume is bound to, and whether there is such a volume.
func (e *Engine) VolumeDevice(name string) (device string, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	device, ok = e.volumes[name]
	return device, ok
}

// AddVolume makes a volume that is bound to a directory, or, with none, kept by the Engine.
func (e *Engine) AddVolume(name, device string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.volumes[name] = device
}

func (e *Engine) serveService(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.swarm.services[r.PathValue("id")]
	if s == nil {
		fail(w, http.StatusNotFound, "service "+r.PathValue("id")+" not found")
		return
	}
	answer(w, e.serviceJSON(s))
}

// updateService takes over the image, and the label in which "docker stack deploy" keeps it.
func (e *Engine) updateService(w http.ResponseWriter, r *http.Request) {
	var spec map[string]any
	if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.swarm.services[r.PathValue("id")]
	switch version, err := strconv.Atoi(r.URL.Query().Get("version")); {
	case s == nil:
		fail(w, http.StatusNotFound, "service "+r.PathValue("id")+" not found")
	case err != nil:
		fail(w, http.StatusBadRequest, "invalid service version")
	case version != s.version:
		fail(w, http.StatusInternalServerError, "rpc error: code = Unknown desc = update out of sequence")
	default:
		template, _ := spec["TaskTemplate"].(map[string]any)
		container, _ := template["ContainerSpec"].(map[string]any)
		s.Image, _ = container["Image"].(string)
		s.given, s.update, s.version = spec, update{}, e.nextVersion()
		e.sendScoped("swarm", "service", "update", s.id, map[string]string{"name": s.Name})
		answer(w, map[string]any{})
	}
}

func (e *Engine) serveDistribution(w http.ResponseWriter, r *http.Request) {
	image := strings.TrimSuffix(r.PathValue("rest"), "/json")
	e.mu.Lock()
	defer e.mu.Unlock()
	digest, ok := e.swarm.digests[image]
	if !ok {
		fail(w, http.StatusForbidden, "pull access denied for "+image)
		return
	}
	answer(w, map[string]any{"Descriptor": map[string]any{"digest": digest}})
}

func (e *Engine) createVolume(w http.ResponseWriter, r *http.Request) {
	var wanted struct {
		Name       string
		DriverOpts map[string]string
	}
	if err := json.NewDecoder(r.Body).Decode(&wanted); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	device, there := e.volumes[wanted.Name]
	if !there {
		device = wanted.DriverOpts["device"]
		e.volumes[wanted.Name] = device
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"Name": wanted.Name, "Driver": "local", "Options": map[string]string{"device": device}})
}

// RemoveVolume removes a volume.
func (e *Engine) RemoveVolume(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.volumes, name)
}

// AddManager adds a node that is a manager but does not lead, and returns its ID.
func (e *Engine) AddManager(name, address string) string {
	id := e.AddNode(name, address)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.swarm.nodes[id].follows = true
	return id
}

// SetAddress gives a node another address.
func (e *Engine) SetAddress(name, address string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.swarm.nodes {
		if n.name == name {
			n.address = address
		}
	}
}

// NodeID is the ID of the Engine's own node in the Swarm.
func (e *Engine) NodeID() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.nodeID()
}

// nodeID is the ID of the node that leads, "n0" without nodes. It is called with the lock held.
func (e *Engine) nodeID() string {
	for _, n := range e.swarm.nodes {
		if n.leads {
			return n.id
		}
	}
	return "n0"
}

// swarmID has the form of Swarm's: 25 digits to the base of 36.
func swarmID(n int) string { return fmt.Sprintf("%09d%016d", n, n) }
