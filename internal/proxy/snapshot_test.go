package proxy

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

func TestAnEndpointThatBecomesReadyTakesPartAtOnce(t *testing.T) {
	w := ruche.Workload{ID: "container/1", Kind: ruche.KindContainer, Name: "web"}
	route := nowhere("a.test")
	compile := func(state ruche.EndpointState) *table.Table {
		return table.Compile(nil, map[string]*ruche.Declaration{w.ID: {Workload: w, Routes: []ruche.Route{route}}},
			map[string]*ruche.Endpoint{w.ID: {Workload: w.ID, Address: "10.0.0.1", State: state}})
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

// Whatever changes, a snapshot has the endpoints and checks of its table and no others, and what is known of them and of their routes survives.
func TestSnapshotsFollowTheirTables(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	declarations := map[string]*ruche.Declaration{}
	var s *snapshot
	var compiled *table.Table
	for n := range 500 {
		id := fmt.Sprintf("file/%d", random.IntN(5))
		if random.IntN(4) == 0 {
			delete(declarations, id)
		} else {
			declarations[id] = &ruche.Declaration{Workload: ruche.Workload{ID: id, Kind: ruche.KindFile, Name: id}, Routes: []ruche.Route{
				anySite(random), anySite(random), // the same one at times
			}}
		}
		before := s
		compiled = table.Compile(compiled, declarations, nil)
		known := map[string]*endpointState{}
		if before != nil {
			known = maps.Clone(before.endpoints)
		}
		s = newSnapshot(compiled, before)
		uses, checks := map[string]int{}, map[string]bool{}
		for _, r := range compiled.Routes {
			rs := s.of(r)
			if rs.route != r || len(rs.all) != len(r.Endpoints) {
				t.Fatalf("%d: %s has the state of %s", n, r.ID, rs.route.ID)
			}
			for i, e := range rs.all {
				key := r.Endpoints[i].Key()
				if uses[key]++; e.key != key || s.endpoints[key] != e || known[key] != nil && known[key] != e {
					t.Errorf("%d: %s has another state for %s", n, r.ID, key)
				}
				if r.Check != nil {
					checks[rs.checks[i].key] = s.checks[rs.checks[i].key] == rs.checks[i]
				}
			}
			if before != nil {
				if old := before.of(before.table.Route(r.ID)); old != nil && (old.life != rs.life || old.route == r && old != rs) {
					t.Errorf("%d: %s is counted anew", n, r.ID)
				}
			}
		}
		for key, e := range s.endpoints {
			if e.uses != uses[key] {
				t.Errorf("%d: %s is used %d times, counted %d times", n, key, uses[key], e.uses)
			}
		}
		if len(checks) != len(s.checks) || slices.Contains(slices.Collect(maps.Values(checks)), false) {
			t.Errorf("%d: checks %v, want %v", n, s.checks, checks)
		}
	}
}

func anySite(random *rand.Rand) ruche.Route {
	r := site(fmt.Sprintf("h%d.test", random.IntN(4)), fmt.Sprintf("http://10.0.0.%d:80", random.IntN(3)), fmt.Sprintf("http://10.0.1.%d:80", random.IntN(3)))
	r.Match.Path = []string{"/", "/x"}[random.IntN(2)]
	if random.IntN(3) == 0 {
		r.Check = &ruche.Check{Path: "/up"}
	}
	return r
}
