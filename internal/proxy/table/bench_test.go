package table_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/proxy/table"
)

// town is n workloads: nine of ten with VIRTUAL_HOST, the tenth with Traefik labels; every hundredth with a wildcard.
func town(n int) *world {
	w := newWorld()
	for i := range n {
		switch {
		case i%100 == 1:
			w.container(i, np(fmt.Sprintf("*.site-%d.example", i), "/"))
		case i%10 == 0:
			w.container(i, tr(fmt.Sprintf("site-%d", i), fmt.Sprintf("Host(`site-%d.example`) && PathPrefix(`/api`)", i)))
		default:
			w.container(i, np(fmt.Sprintf("site-%d.example", i), "/"))
		}
	}
	return w
}

func BenchmarkCompile1000(b *testing.B) {
	w := town(1000)
	w.declared, w.live = pointers(nil, w.declarations), pointers(nil, w.endpoints)
	compile := func() *table.Table { return table.Compile(nil, w.declared, w.live) }
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	compiled := compile()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportAllocs()
	for b.Loop() {
		compile()
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(compiled.Routes)), "bytes/route")
}

// BenchmarkChange10000 changes one of 10,000 workloads: a container, or a router of Traefik's.
func BenchmarkChange10000(b *testing.B) {
	for _, bb := range []struct{ name, id string }{{"host", "container/0777"}, {"rule", "container/0770"}} {
		b.Run(bb.name, func(b *testing.B) {
			w := town(10_000)
			compiled := w.compile()
			b.ReportAllocs()
			for b.Loop() {
				d := w.declarations[bb.id]
				w.declared[bb.id] = &d
				compiled = table.Compile(compiled, w.declared, w.live)
			}
		})
	}
}

// BenchmarkTask2000 changes one task of 500 services with four each.
func BenchmarkTask2000(b *testing.B) {
	w := newWorld()
	for i := range 500 {
		w.service(i, np(fmt.Sprintf("site-%d.example", i), "/"))
		for k := range 4 {
			id := fmt.Sprintf("task/%025d", 4*i+k) // as long as those of a Swarm are
			w.endpoints[id] = ruche.Endpoint{Workload: fmt.Sprintf("service/%04d", i), Address: fmt.Sprintf("10.1.%d.%d", i/62, i%62*4+k), State: ruche.EndpointReady}
		}
	}
	compiled := w.compile()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprintf("task/%025d", i%2000)
		e := *w.live[id]
		w.live[id] = &e
		compiled = table.Compile(compiled, w.declared, w.live)
	}
}

func BenchmarkLookup(b *testing.B) {
	compiled := town(1000).compile()
	for _, bb := range []struct{ name, host, path string }{
		{"exact", "site-777.example", "/index.html"},
		{"wildcard", "a.b.site-501.example", "/index.html"},
		{"miss", "nobody.test", "/index.html"},
		{"rule", "site-770.example", "/api/v1/things"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			var r table.Result
			for b.Loop() {
				r = compiled.Lookup(bb.host, bb.path)
			}
			if (r.Route == nil) != (bb.name == "miss") {
				b.Fatalf("lookup of %s%s found %v", bb.host, bb.path, r.Route)
			}
		})
	}
}
