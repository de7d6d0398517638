package inventory_test

import (
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/certs/inventory"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// TestMemory has the inventory of changing records made with and without what was found out before.
func TestMemory(t *testing.T) {
	later := now().Add(60 * day)
	c, other := newCA(t, now().Add(1000*day)), newCA(t, now().Add(30*day))
	good := c.record(later, "a.example")
	wrongChain, outlived, unfit, unreadable, revoked := good, other.record(later, "a.example"), good, good, good
	wrongChain.Chain = [][]byte{good.Chain[0], other.cert.Raw}
	unfit.Names = []string{"a.example", "b.example"}
	unreadable.Chain = [][]byte{[]byte("nonsense")}
	revoked.Revoked = now()
	in := inventory.Input{Now: now(), Memory: &inventory.Memory{}}
	for _, step := range []struct {
		name    string
		records map[string]vault.Record
	}{
		{"the first ones", map[string]vault.Record{"a": good, "b": c.record(later, "b.example")}},
		{"the same chain with another one's parent", map[string]vault.Record{"a": wrongChain}},
		{"a parent that ends before it", map[string]vault.Record{"a": outlived}},
		{"other names", map[string]vault.Record{"a": unfit}},
		{"unreadable", map[string]vault.Record{"a": unreadable}},
		{"as it was, and revoked", map[string]vault.Record{"a": revoked}},
		{"another one under its ID", map[string]vault.Record{"a": c.record(later, "a.example"), "c": good}},
		{"none", nil},
	} {
		in.Records = step.records
		for _, turn := range []string{"read for the first time", "remembered"} {
			with := inventory.List(in)
			without := in
			without.Memory, without.Records = nil, maps.Clone(in.Records)
			if want := inventory.List(without); !reflect.DeepEqual(with, want) {
				t.Errorf("%s, %s: %+v, want %+v", step.name, turn, with.Certificates, want.Certificates)
			}
		}
	}
}

// BenchmarkInventory is what an inventory of a thousand certificates costs, the first one and those after it.
func BenchmarkInventory(b *testing.B) {
	c := newCA(b, now().Add(1000*day))
	in := inventory.Input{Now: now(), Records: map[string]vault.Record{}}
	for i := range 1000 {
		id := fmt.Sprintf("w%d", i)
		in.Records[id] = c.record(now().Add(60*day), id+".shop.example")
	}
	for name, memory := range map[string]*inventory.Memory{"first": nil, "again": {}} {
		b.Run(name, func(b *testing.B) {
			in.Memory = memory
			for b.Loop() {
				inventory.List(in)
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(time.Millisecond), "ms/inventory")
		})
	}
}
