package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

const (
	benchNodes = 100
	benchKeys  = 2000
)

// BenchmarkBurst changes some of 2,000 endpoints at once, while 100 nodes follow, and measures for each node and key the time from the
// write to the watcher. All of them are in one process on one machine, with TLS; only the disk, of which each node has its own, is left out.
func BenchmarkBurst(b *testing.B) {
	h := newHouse(b)
	c := h.control("c1", func(s *Server) { s.timing = defaultTiming() })
	token := h.token(-1, RoleEdge)
	field := newField(h, func(i int) *Client { return h.benchNode(b, fmt.Sprintf("edge-%d", i), c, token) })
	field.write(benchKeys)
	field.await()
	for _, keys := range []int{1, 20, benchKeys} {
		b.Run(fmt.Sprintf("%d of %d", keys, benchKeys), func(b *testing.B) {
			var all []time.Duration
			for b.Loop() {
				field.write(keys)
				all = append(all, field.await()...)
			}
			slices.Sort(all)
			for name, at := range map[string]int{"ms-p50": len(all) / 2, "ms-p99": len(all) * 99 / 100, "ms-max": len(all) - 1} {
				b.ReportMetric(float64(all[at].Microseconds())/1000, name)
			}
		})
	}
}

// field is many nodes that follow.
type field struct {
	house   *house
	arrived chan []time.Duration // of one node

	mu      sync.Mutex
	round   string // what the addresses of this round begin with
	rounds  int
	keys    int
	written time.Time
}

func newField(h *house, node func(i int) *Client) *field {
	f := &field{house: h, arrived: make(chan []time.Duration, benchNodes)}
	for i := range benchNodes {
		n := node(i)
		h.run(n.Run)
		view := Follow[ruche.Endpoint](n, bucketEndpoints)
		h.run(func(ctx context.Context) error {
			var took []time.Duration
			return view.Watch(ctx, func(u ruche.Update[ruche.Endpoint]) { took = f.take(took, u) })
		})
	}
	return f
}

// take notes what a node has got.
func (f *field) take(took []time.Duration, u ruche.Update[ruche.Endpoint]) []time.Duration {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range u.Puts {
		if strings.HasPrefix(e.Address, f.round) {
			took = append(took, now.Sub(f.written))
		}
	}
	if f.keys == 0 || len(took) < f.keys {
		return took
	}
	f.arrived <- took
	return nil
}

// write changes so many keys in one transaction.
func (f *field) write(keys int) {
	value := ruche.Endpoint{
		Workload: "service/0123456789abcdefghijklmno", Node: "worker-17", Network: "shop_default", NetworkReason: "the only one that the edges have too",
		State: ruche.EndpointReady, StateReason: "running, as the Swarm tells", Since: time.Now(),
	}
	f.mu.Lock()
	f.rounds++
	f.round, f.keys, f.written = fmt.Sprintf("%d.", f.rounds), keys, time.Now()
	round := f.round
	f.mu.Unlock()
	puts := map[string]any{}
	for k := range keys {
		value.Address = fmt.Sprintf("%s%d", round, k)
		puts[fmt.Sprintf("task/%025d", k)] = value
	}
	f.house.endpoints().putAll(puts)
}

// await waits until all nodes have all.
func (f *field) await() []time.Duration {
	var all []time.Duration
	for range benchNodes {
		all = append(all, <-f.arrived...)
	}
	return all
}

// benchNode makes a node that waits as nodes do.
func (h *house) benchNode(b *testing.B, name string, at *control, token string) *Client {
	b.Helper()
	node, err := NewClient(ClientConfig{
		Dir: filepath.Join(h.dir, name), Name: name, Roles: []Role{RoleEdge}, Control: []string{at.addr}, Token: token, Follow: []string{bucketEndpoints},
		Status: func() ruche.NodeStatus { return ruche.NodeStatus{} }, Logger: slog.New(slog.DiscardHandler), Health: &health.Registry{},
	})
	if err != nil {
		b.Fatal(err)
	}
	node.timing.save = time.Hour
	return node
}
