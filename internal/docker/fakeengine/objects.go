package fakeengine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// object is a config or a secret of the Swarm.
type object struct {
	id, name string
	labels   map[string]string
	data     []byte
	version  int
	created  time.Time
}

// objectSpec is what a request says of one.
type objectSpec struct {
	Name   string
	Labels map[string]string
	Data   []byte
}

// objects are the configs or the secrets of the Swarm, by ID.
type objects struct {
	e    *Engine
	kind string // config, secret
	held map[string]*object
}

func newObjects(e *Engine, kind string) *objects {
	return &objects{e: e, kind: kind, held: map[string]*object{}}
}

// Config returns the data and labels of a config of the Swarm, and whether there is one of that name.
func (e *Engine) Config(name string) (data []byte, labels map[string]string, ok bool) {
	o := e.configs.find(name)
	return o.data, o.labels, o.id != ""
}

// Secret returns what is in a secret of the Swarm, which the real Engine tells nobody, and whether there is one of that name.
func (e *Engine) Secret(name string) (data []byte, ok bool) {
	o := e.secrets.find(name)
	return o.data, o.id != ""
}

// RemoveConfig removes a config of the Swarm.
func (e *Engine) RemoveConfig(name string) { e.configs.remove(e.configs.find(name).id) }

// RemoveSecret removes a secret of the Swarm.
func (e *Engine) RemoveSecret(name string) { e.secrets.remove(e.secrets.find(name).id) }

func (o *objects) remove(id string) {
	o.e.mu.Lock()
	defer o.e.mu.Unlock()
	delete(o.held, id)
}

func (o *objects) find(name string) object {
	o.e.mu.Lock()
	defer o.e.mu.Unlock()
	for _, one := range o.held {
		if one.name == name {
			return *one
		}
	}
	return object{}
}

// manager answers only where the Engine manages a Swarm.
func (e *Engine) manager(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		manager := e.swarm.manager
		e.mu.Unlock()
		if !manager {
			fail(w, http.StatusServiceUnavailable, "This node is not a swarm manager.")
			return
		}
		next(w, r)
	}
}

// list gives all of them, whatever the filter: a prefix of a name is no more than that.
func (o *objects) list(withData bool) func(map[string]map[string]bool) []map[string]any {
	return func(map[string]map[string]bool) []map[string]any {
		list := []map[string]any{}
		for _, one := range o.held {
			spec := map[string]any{"Name": one.name, "Labels": one.labels}
			if withData {
				spec["Data"] = one.data
			}
			list = append(list, map[string]any{
				"ID": one.id, "Version": map[string]any{"Index": one.version}, "CreatedAt": one.created.UTC().Format(time.RFC3339Nano), "Spec": spec,
			})
		}
		return list
	}
}

func (o *objects) create(w http.ResponseWriter, r *http.Request) {
	var spec objectSpec
	if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	o.e.mu.Lock()
	defer o.e.mu.Unlock()
	if slices.ContainsFunc(slices.Collect(maps.Values(o.held)), func(one *object) bool { return one.name == spec.Name }) {
		fail(w, http.StatusConflict, fmt.Sprintf("rpc error: code = AlreadyExists desc = %s %s already exists", o.kind, spec.Name))
		return
	}
	o.e.serial++
	made := &object{id: swarmID(o.e.serial), name: spec.Name, labels: spec.Labels, data: spec.Data, version: o.e.nextVersion(), created: time.Now()}
	o.held[made.id] = made
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"ID": made.id})
}

func (o *objects) update(w http.ResponseWriter, r *http.Request) {
	var spec objectSpec
	if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	o.e.mu.Lock()
	defer o.e.mu.Unlock()
	one := o.held[r.PathValue("id")]
	switch version, err := strconv.Atoi(r.URL.Query().Get("version")); {
	case one == nil:
		fail(w, http.StatusNotFound, o.kind+" "+r.PathValue("id")+" not found")
	case err != nil:
		fail(w, http.StatusBadRequest, "invalid "+o.kind+" version")
	case spec.Name != one.name || !bytes.Equal(spec.Data, one.data):
		fail(w, http.StatusBadRequest, "rpc error: code = InvalidArgument desc = only updates to Labels are allowed")
	case version != one.version:
		fail(w, http.StatusInternalServerError, "rpc error: code = Unknown desc = update out of sequence")
	default:
		one.labels, one.version = spec.Labels, o.e.nextVersion()
	}
}

// UseSecret makes the Engine refuse to remove a secret, as it does while a service has it.
func (e *Engine) UseSecret(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.swarm.secretsInUse[name] = true
}

func (e *Engine) deleteSecret(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	one := e.secrets.held[r.PathValue("id")]
	switch {
	case one == nil:
		fail(w, http.StatusNotFound, "secret "+r.PathValue("id")+" not found")
	case e.swarm.secretsInUse[one.name]:
		fail(w, http.StatusBadRequest, "rpc error: code = InvalidArgument desc = secret '"+one.name+"' is in use by the following service: ruche_edge")
	default:
		delete(e.secrets.held, one.id)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (e *Engine) createNetwork(w http.ResponseWriter, r *http.Request) {
	var wanted struct{ Name, Driver string }
	if err := json.NewDecoder(r.Body).Decode(&wanted); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	e.mu.Lock()
	_, taken := e.networks[wanted.Name]
	e.mu.Unlock()
	if taken {
		fail(w, http.StatusConflict, "network with name "+wanted.Name+" already exists")
		return
	}
	e.AddNetwork(Network{Name: wanted.Name, Driver: wanted.Driver})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"Id": "n"})
}
