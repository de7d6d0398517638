package table_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// service declares routes of a service created at second n of an epoch, without tasks.
func (w *world) service(n int, routes ...ruche.Route) *world {
	w.container(n, routes...)
	id, of := fmt.Sprintf("service/%04d", n), fmt.Sprintf("container/%04d", n)
	d := w.declarations[of]
	d.Workload.ID, d.Workload.Kind, d.Workload.Name = id, ruche.KindService, fmt.Sprintf("s%d", n)
	w.declarations[id] = d
	delete(w.declarations, of)
	delete(w.endpoints, of)
	return w
}

// task makes task k of service n live, or changes it.
func (w *world) task(n, k int, state ruche.EndpointState, change ...func(*ruche.Endpoint)) *world {
	e := ruche.Endpoint{Workload: fmt.Sprintf("service/%04d", n), Address: fmt.Sprintf("10.1.%d.%d", n, k), State: state, Since: time.Unix(int64(k), 0)}
	for _, f := range change {
		f(&e)
	}
	w.endpoints[fmt.Sprintf("task/%04d-%d", n, k)] = e
	return w
}

// endpoints are "URL state" of the route of a host.
func endpoints(compiled *table.Table, host string) []string {
	var list []string
	for _, e := range compiled.Lookup(host, "/").Route.Endpoints {
		list = append(list, e.URL+" "+string(e.State))
	}
	return list
}

func TestTasksOfAService(t *testing.T) {
	at := func(address string, ports map[uint16]uint16) func(*ruche.Endpoint) {
		return func(e *ruche.Endpoint) { e.Address, e.Ports = address, ports }
	}
	const ready, stopping, starting = ruche.EndpointReady, ruche.EndpointStopping, ruche.EndpointStarting
	for _, tc := range []struct {
		name  string
		world func(w *world)
		want  []string
	}{
		{"none", func(*world) {}, nil},
		{"several", func(w *world) { w.task(1, 1, ready).task(1, 2, stopping) }, []string{"http://10.1.1.1:80 ready", "http://10.1.1.2:80 stopping"}},
		{"of another service", func(w *world) { w.task(1, 1, ready).task(2, 2, ready) }, []string{"http://10.1.1.1:80 ready"}},
		{"beside a container of the same host", func(w *world) { w.container(3, np("shop.example", "")).task(1, 1, ready) },
			[]string{"http://10.1.1.1:80 ready", "http://10.0.0.4:80 ready"}},
		{"where a port is published", func(w *world) { w.task(1, 1, ready, at("10.9.0.1", map[uint16]uint16{80: 32768})) }, []string{"http://10.9.0.1:32768 ready"}},
		{"where another port is published", func(w *world) { w.task(1, 1, ready, at("10.9.0.1", map[uint16]uint16{81: 32768})) }, []string{" unreachable"}},
		{"the next where the one before ends", func(w *world) {
			w.task(1, 1, stopping, at("10.9.0.1", map[uint16]uint16{80: 8080})).task(1, 2, ready, at("10.9.0.1", map[uint16]uint16{80: 8080}))
		}, []string{"http://10.9.0.1:8080 ready"}},
		{"the one before where the next begins", func(w *world) {
			w.task(1, 1, ready, at("10.9.0.1", nil)).task(1, 2, starting, at("10.9.0.1", nil))
		}, []string{"http://10.9.0.1:80 ready"}},
		{"two without an address", func(w *world) { w.task(1, 1, starting, at("", nil)).task(1, 2, starting, at("", nil)) }, []string{" starting", " starting"}},
		{"its virtual address", func(w *world) {
			w.endpoints["service/0001"] = ruche.Endpoint{Workload: "service/0001", Address: "10.1.0.2", State: ready}
		}, []string{"http://10.1.0.2:80 ready"}},
	} {
		w := newWorld().service(1, np("shop.example", ""))
		tc.world(w)
		if got := endpoints(w.compile(), "shop.example"); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// What comes and goes one by one must lead to the same as all at once, which compile compares.
func TestTasksComeAndGo(t *testing.T) {
	w := newWorld().service(1, np("shop.example", "")).service(2, np("other.example", ""))
	w.task(2, 1, ruche.EndpointReady)
	kept := w.compile().Lookup("other.example", "/").Route
	for k := range 5 {
		w.task(1, k, ruche.EndpointReady).compile()
	}
	w.task(1, 2, ruche.EndpointStopping).compile()
	delete(w.endpoints, "task/0001-2")
	compiled := w.compile()
	if got := len(endpoints(compiled, "shop.example")); got != 4 {
		t.Errorf("%d endpoints, want 4", got)
	}
	if compiled.Lookup("other.example", "/").Route != kept {
		t.Error("the route of a service about which nothing changed was compiled anew")
	}
}

func TestServiceWithoutTasksMakesWay(t *testing.T) {
	w := newWorld().service(1, tr("shop", "Host(`shop.example`)")).container(2, np("shop.example", ""))
	if got := served(w.compile(), "shop.example", "/"); got != second {
		t.Errorf("scaled to nothing: %s, want the container that runs", got)
	}
	if got := served(w.task(1, 1, ruche.EndpointReady).compile(), "shop.example", "/"); got != "http://10.1.1.1:80" {
		t.Errorf("with a task: %s", got)
	}
}
