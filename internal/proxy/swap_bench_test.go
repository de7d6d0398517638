package proxy

import (
	"fmt"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// BenchmarkSnapshot10000 is what a swap costs on top of the compilation, with 10,000 routes of one endpoint each.
func BenchmarkSnapshot10000(b *testing.B) {
	declarations, endpoints := map[string]ruche.Declaration{}, map[string]ruche.Endpoint{}
	for i := range 10_000 {
		w := ruche.Workload{ID: fmt.Sprintf("container/%d", i), Kind: ruche.KindContainer, Name: fmt.Sprint(i)}
		route := nowhere(fmt.Sprintf("h%d.test", i))
		declarations[w.ID] = ruche.Declaration{Workload: w, Routes: []ruche.Route{route}}
		endpoints[w.ID] = ruche.Endpoint{Workload: w.ID, Address: fmt.Sprintf("10.0.%d.%d", i/250, i%250+1), State: ruche.EndpointReady}
	}
	compiled := table.Compile(declarations, endpoints)
	s := newSnapshot(compiled, nil)
	b.ReportAllocs()
	for b.Loop() {
		s = newSnapshot(compiled, s)
	}
}
