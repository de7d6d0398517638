package cluster_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
)

func BenchmarkOpenEmpty(b *testing.B) {
	for b.Loop() {
		c := open(b, cluster.Config{Dir: b.TempDir()})
		b.StopTimer()
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkOpenAgain(b *testing.B) {
	dir := b.TempDir()
	if err := open(b, cluster.Config{Dir: dir}).Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c := open(b, cluster.Config{Dir: dir})
		b.StopTimer()
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkPut(b *testing.B) {
	notes := cluster.NewBucket[note](open(b, cluster.Config{Dir: b.TempDir()}), "notes")
	for b.Loop() {
		if _, err := notes.Put(b.Context(), "a", note{Text: "x"}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPutToWatch(b *testing.B) {
	notes := cluster.NewBucket[note](open(b, cluster.Config{Dir: b.TempDir()}), "notes")
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	updates := make(chan ruche.Update[note], 1)
	go func() {
		if err := notes.Watch(ctx, func(u ruche.Update[note]) { updates <- u }); err != nil {
			b.Error(err)
		}
	}()
	<-updates
	for b.Loop() {
		if _, err := notes.Put(ctx, "a", note{Text: "x"}); err != nil {
			b.Fatal(err)
		}
		<-updates
	}
}

func BenchmarkApply3000KeysInTransactionsOf100(b *testing.B) {
	c := open(b, cluster.Config{Dir: b.TempDir()})
	notes := cluster.NewBucket[note](c, "notes")
	for b.Loop() {
		for i := range 30 {
			ops := make([]cluster.Op, 100)
			for j := range ops {
				ops[j] = notes.PutOp(fmt.Sprint(i*100+j), note{N: j})
			}
			if err := c.Apply(b.Context(), ops...); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkList3000(b *testing.B) {
	c := open(b, cluster.Config{Dir: b.TempDir()})
	notes := cluster.NewBucket[note](c, "notes")
	for i := range 30 {
		ops := make([]cluster.Op, 100)
		for j := range ops {
			ops[j] = notes.PutOp(fmt.Sprint(i*100+j), note{N: j})
		}
		if err := c.Apply(b.Context(), ops...); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := notes.List(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkThreeMembersOverTLS writes on the leader and on another member; to a watcher means until the third has seen it.
func BenchmarkThreeMembersOverTLS(b *testing.B) {
	s := three(b)
	var leader, others = s.nodes[0], []*node(nil)
	for _, m := range must[[]cluster.Member](b)(s.nodes[0].c.Members(b.Context())) {
		for _, n := range s.nodes {
			switch {
			case n.name != m.Name:
			case m.Leader:
				leader = n
			default:
				others = append(others, n)
			}
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	updates := make(chan ruche.Update[note], 1)
	go func() {
		_ = cluster.NewBucket[note](others[1].c, "seen").Watch(ctx, func(u ruche.Update[note]) { updates <- u })
	}()
	<-updates
	for name, n := range map[string]*node{"leader": leader, "another": others[0]} {
		quiet, seen := cluster.NewBucket[note](n.c, "notes"), cluster.NewBucket[note](n.c, "seen")
		b.Run("put on "+name, func(b *testing.B) {
			for b.Loop() {
				if _, err := quiet.Put(ctx, "a", note{Text: "x"}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("put on "+name+" to a watcher on the third", func(b *testing.B) {
			for b.Loop() {
				if _, err := seen.Put(ctx, "a", note{Text: "x"}); err != nil {
					b.Fatal(err)
				}
				<-updates
			}
		})
	}
}
