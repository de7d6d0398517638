package fakeengine

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stream is one subscriber of the events.
type stream struct {
	events  chan []byte
	filters map[string]map[string]bool
}

func (e *Engine) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", e.servePing)
	mux.HandleFunc("GET /containers/json", e.serveList)
	mux.HandleFunc("GET /containers/{id}/json", e.serveInspect)
	mux.HandleFunc("GET /networks", e.serveNetworks)
	mux.HandleFunc("GET /events", e.serveEvents)
	mux.HandleFunc("GET /info", e.serveInfo)
	mux.HandleFunc("GET /services", e.serveSwarm(e.listServices))
	mux.HandleFunc("GET /tasks", e.serveSwarm(e.listTasks))
	mux.HandleFunc("GET /nodes", e.serveSwarm(e.listNodes))
	mux.HandleFunc("GET /configs", e.serveSwarm(e.configs.list(true)))
	mux.HandleFunc("POST /configs/create", e.manager(e.configs.create))
	mux.HandleFunc("POST /configs/{id}/update", e.manager(e.configs.update))
	mux.HandleFunc("GET /secrets", e.serveSwarm(e.secrets.list(false)))
	mux.HandleFunc("POST /secrets/create", e.manager(e.secrets.create))
	mux.HandleFunc("DELETE /secrets/{id}", e.manager(e.deleteSecret))
	mux.HandleFunc("POST /volumes/create", e.createVolume)
	mux.HandleFunc("GET /services/{id}", e.manager(e.serveService))
	mux.HandleFunc("POST /services/{id}/update", e.manager(e.updateService))
	mux.HandleFunc("GET /distribution/{rest...}", e.serveDistribution)
	mux.HandleFunc("POST /networks/create", e.manager(e.createNetwork))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if version, rest, ok := cutVersion(r.URL.Path); ok {
			if message := e.refuse(version); message != "" {
				fail(w, http.StatusBadRequest, message)
				return
			}
			r.URL.Path = rest
		}
		mux.ServeHTTP(w, r)
	})
}

// cutVersion splits "/v1.41/containers/json".
func cutVersion(path string) (minor int, rest string, ok bool) {
	after, found := strings.CutPrefix(path, "/v1.")
	if !found {
		return 0, "", false
	}
	version, rest, _ := strings.Cut(after, "/")
	minor, err := strconv.Atoi(version)
	return minor, "/" + rest, err == nil
}

func (e *Engine) refuse(minor int) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case minor < e.minAPI:
		return fmt.Sprintf("client version 1.%d is too old. Minimum supported API version is 1.%d", minor, e.minAPI)
	case minor > e.maxAPI:
		return fmt.Sprintf("client version 1.%d is too new. Maximum supported API version is 1.%d", minor, e.maxAPI)
	}
	return ""
}

func (e *Engine) servePing(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	version := fmt.Sprintf("1.%d", e.maxAPI)
	e.mu.Unlock()
	w.Header().Set("Api-Version", version)
	w.Header().Set("Ostype", "linux")
}

func (e *Engine) serveList(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.lists++
	if e.failLists > 0 {
		e.failLists--
		e.mu.Unlock()
		fail(w, http.StatusInternalServerError, "the fake engine was told to fail")
		return
	}
	all := r.URL.Query().Get("all") == "1"
	list := []map[string]any{}
	for _, c := range e.containers {
		if all || c.running() {
			list = append(list, c.summary(e.networks))
		}
	}
	e.mu.Unlock()
	answer(w, list)
}

func (e *Engine) serveInspect(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	e.mu.Lock()
	e.inspects++
	c := e.find(id)
	if c == nil {
		e.mu.Unlock()
		fail(w, http.StatusNotFound, "No such container: "+id)
		return
	}
	if e.failInspects[c.id] > 0 {
		e.failInspects[c.id]--
		e.mu.Unlock()
		fail(w, http.StatusInternalServerError, "the fake engine was told to fail")
		return
	}
	body := c.inspect(e.networks)
	e.mu.Unlock()
	answer(w, body)
}

func (e *Engine) find(id string) *container {
	if c := e.containers[id]; c != nil {
		return c
	}
	for _, c := range e.containers {
		if c.Name == id || strings.HasPrefix(c.id, id) {
			return c
		}
	}
	return nil
}

func (e *Engine) serveNetworks(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	if e.failNetworks > 0 {
		e.failNetworks--
		e.mu.Unlock()
		fail(w, http.StatusInternalServerError, "the fake engine was told to fail")
		return
	}
	list := []map[string]any{}
	for _, n := range e.networks {
		pools := []map[string]any{}
		for _, subnet := range n.Subnets {
			pools = append(pools, map[string]any{"Subnet": subnet})
		}
		list = append(list, map[string]any{
			"Id": n.id, "Name": n.Name, "Driver": n.Driver, "Internal": n.Internal, "Ingress": n.Ingress, "Attachable": n.Attachable, "IPAM": map[string]any{"Driver": "default", "Config": pools},
		})
	}
	e.mu.Unlock()
	slices.SortFunc(list, func(a, b map[string]any) int { return cmp.Compare(a["Id"].(string), b["Id"].(string)) })
	answer(w, list)
}

func (e *Engine) serveEvents(w http.ResponseWriter, r *http.Request) {
	s := &stream{events: make(chan []byte, 16384)}
	if text := r.URL.Query().Get("filters"); text != "" {
		if err := json.Unmarshal([]byte(text), &s.filters); err != nil {
			fail(w, http.StatusBadRequest, "invalid filter: "+err.Error())
			return
		}
	}
	e.mu.Lock()
	e.streams[s] = struct{}{}
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.streams, s)
		e.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	control := http.NewResponseController(w)
	_ = control.Flush()
	for {
		select {
		case line, open := <-s.events:
			if !open {
				return
			}
			if _, err := w.Write(line); err != nil {
				return
			}
			_ = control.Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// emit tells the subscribers what happened to a container; the caller holds the lock.
func (e *Engine) emit(c *container, action string, attributes map[string]string) {
	all := map[string]string{"name": c.Name, "image": c.Image}
	for key, value := range attributes {
		all[key] = value
	}
	e.send("container", action, c.id, all)
}

func (e *Engine) emitNetwork(c *container, name, action string) {
	attributes := map[string]string{"container": c.id, "name": name}
	id := ""
	if n := e.networks[name]; n != nil {
		id, attributes["type"] = n.id, n.Driver
	}
	e.send("network", action, id, attributes)
}

func (e *Engine) send(kind, action, id string, attributes map[string]string) {
	e.sendScoped("local", kind, action, id, attributes)
}

func (e *Engine) sendScoped(scope, kind, action, id string, attributes map[string]string) {
	now := time.Now()
	line, err := json.Marshal(map[string]any{
		"Type": kind, "Action": action, "scope": scope, "time": now.Unix(), "timeNano": now.UnixNano(),
		"Actor": map[string]any{"ID": id, "Attributes": attributes},
	})
	if err != nil {
		e.t.Errorf("cannot encode an event: %v", err)
		return
	}
	name, _, _ := strings.Cut(action, ":")
	for s := range e.streams {
		if types := s.filters["type"]; len(types) > 0 && !types[kind] {
			continue
		}
		if wanted := s.filters["event"]; len(wanted) > 0 && !wanted[name] && !wanted[action] {
			continue
		}
		if scopes := s.filters["scope"]; len(scopes) > 0 && !scopes[scope] {
			continue
		}
		select {
		case s.events <- append(line, '\n'):
		default:
			e.t.Errorf("the fake engine lost an event: its subscriber does not read")
		}
	}
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}
