package proxy

import (
	"errors"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

func TestAnEndpointThatBecomesReadyTakesPartAtOnce(t *testing.T) {
	w := ruche.Workload{ID: "container/1", Kind: ruche.KindContainer, Name: "web"}
	route := nowhere("a.test")
	compile := func(state ruche.EndpointState) *table.Table {
		return table.Compile(map[string]ruche.Declaration{w.ID: {Workload: w, Routes: []ruche.Route{route}}},
			map[string]ruche.Endpoint{w.ID: {Workload: w.ID, Address: "10.0.0.1", State: state}})
	}
	s := newSnapshot(compile(ruche.EndpointReady), nil)
	e := s.routes[0].all[0]
	e.failed(errors.New("refused"), time.Now(), true)
	tests := []struct {
		state   ruche.EndpointState
		cooling bool
	}{
		{ruche.EndpointReady, true}, // something else has changed
		{ruche.EndpointUnhealthy, true},
		{ruche.EndpointReady, false},
	}
	for i, tt := range tests {
		s = newSnapshot(compile(tt.state), s)
		if s.routes[0].all[0] != e {
			t.Fatalf("%d: the state of the endpoint did not survive", i)
		}
		if got := e.cooling(time.Now()); got != tt.cooling || (e.failingSince.Load() != 0) != tt.cooling {
			t.Errorf("%d, %s: cooling down %v, failing since %d, want cooling down %v", i, tt.state, got, e.failingSince.Load(), tt.cooling)
		}
	}
	if text, _ := e.failure(); text != "refused" {
		t.Errorf("last error %q, want it kept", text)
	}
}
