package loop

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestPanics(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(l *Loop, c *Conn)
	}{
		{"fiber", func(l *Loop, _ *Conn) { l.Go(boom) }},
		{"fiber that has waited", func(l *Loop, _ *Conn) { l.Go(func() { l.Sleep(&Sleeper{}, 1); boom() }) }},
		{"Post", func(l *Loop, _ *Conn) { l.Post(boom) }},
		{"After", func(l *Loop, _ *Conn) { l.After(1, boom) }},
		{"Offload", func(l *Loop, _ *Conn) {
			l.Go(func() { l.Offload(context.Background(), func(context.Context) { boom() }) })
		}},
		{"Ready", func(l *Loop, c *Conn) {
			c.gone, c.readable = true, true
			c.Idle(time.Hour, &idler{onReady: boom})
		}},
		{"Expired", func(l *Loop, c *Conn) { c.Idle(0, (*boomer)(c)) }},
		{"WatchGone", func(l *Loop, c *Conn) {
			c.WatchGone(boom)
			c.event(edges)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r reports
			told := make(chan struct{})
			g := startWith(t, Config{Loops: 1, Panicked: func(v any, stack []byte) { r.panicked(v, stack); close(told) }})
			l := g.Loops()[0]
			c, _ := connect(t, l)
			call(t, l, func() { tt.do(l, c) })
			await(t, "the panic", told)
			r.want(t, l, "boom", "loop.boom")
			on(t, l, func() {
				if want := 1; l.busy != want {
					t.Errorf("%d fibers are busy, want %d", l.busy, want)
				}
			})
			if tt.name == "Ready" && !c.closed {
				t.Error("the connection is open, and nobody has it")
			}
		})
	}
}

func boom() { panic("boom") }

type boomer Conn

func (b *boomer) Ready()   {}
func (b *boomer) Expired() { boom() }

func TestFibersAreUsedAgain(t *testing.T) {
	l := start(t, 1).Loops()[0]
	before := runtime.NumGoroutine()
	const many = 3 * maxIdleFibers
	ran := 0
	on(t, l, func() {
		for range many {
			l.Go(func() {
				l.yieldTurn()
				ran++
			})
		}
		until(l, func() bool { return l.busy == 1 })
		if ran != many || len(l.idle) != maxIdleFibers {
			t.Errorf("%d of %d tasks ran, %d fibers are kept, want %d", ran, many, len(l.idle), maxIdleFibers)
		}
		l.Go(func() {})
		if len(l.idle) != maxIdleFibers-1 {
			t.Error("a new fiber was made, though there are idle ones")
		}
	})
	if n := runtime.NumGoroutine() - before; n > maxIdleFibers+2 {
		t.Errorf("%d goroutines more than before", n)
	}
}

func TestGoRunsInOrderAndLeavesTurnsToEvents(t *testing.T) {
	l := start(t, 1).Loops()[0]
	on(t, l, func() {
		var order strings.Builder
		turn := l.turn
		l.Go(func() {
			order.WriteString("a")
			l.Go(func() {
				order.WriteString("d")
				if l.turn == turn {
					t.Error("who is made ready by the ready runs in the same turn: epoll could wait for ever")
				}
			})
		})
		l.Go(func() { order.WriteString("b") })
		l.Go(func() { order.WriteString("c") })
		until(l, func() bool { return l.busy == 1 })
		if order.String() != "abcd" {
			t.Errorf("the order is %s", order.String())
		}
	})
}

func TestSleep(t *testing.T) {
	for _, tt := range []struct {
		name string
		d    time.Duration
		do   func(l *Loop, s *Sleeper)
		over bool
	}{
		{"until its time is over", 1, func(*Loop, *Sleeper) {}, true},
		{"for no time", 0, func(*Loop, *Sleeper) {}, true},
		{"for less than no time", -1, func(*Loop, *Sleeper) {}, true},
		{"until it is woken", time.Hour, func(_ *Loop, s *Sleeper) { s.Wake() }, false},
		{"until it is woken twice", time.Hour, func(_ *Loop, s *Sleeper) { s.Wake(); s.Wake() }, false},
		{"until it is woken in the turn in which its time is over", 1, func(l *Loop, s *Sleeper) {
			l.now += int64(time.Second) // fire comes after this callback
			s.Wake()
		}, false},
		{"until it is woken by one alarm of two", time.Hour, func(l *Loop, s *Sleeper) {
			l.After(1, s.Wake)
			l.After(1, s.Wake)
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := start(t, 1).Loops()[0]
			var s Sleeper
			s.Wake() // nobody sleeps
			runs := 0
			slept := make(chan struct{})
			call(t, l, func() {
				l.Go(func() {
					if over := l.Sleep(&s, tt.d); over != tt.over {
						t.Errorf("Sleep says %v, want %v", over, tt.over)
					}
					runs++
					s.Wake()
					l.yieldTurn()
					runs++
					close(slept)
				})
				l.Go(func() { tt.do(l, &s) })
			})
			await(t, "Sleep", slept)
			on(t, l, func() {
				if runs != 2 || l.busy != 1 || len(l.timers) != 0 {
					t.Errorf("%d steps instead of 2, %d fibers busy, %d timers left", runs, l.busy, len(l.timers))
				}
			})
		})
	}
}

func TestOneSleeperForTwo(t *testing.T) {
	var r reports
	l := startWith(t, Config{Loops: 1, Panicked: r.panicked}).Loops()[0]
	var s Sleeper
	first := spawn(l, func() { l.Sleep(&s, time.Hour) })
	on(t, l, func() { l.Sleep(&s, time.Hour) })
	r.want(t, l, "one Sleeper")
	call(t, l, s.Wake)
	await(t, "the first", first)
}

func TestOffload(t *testing.T) {
	l := start(t, 1).Loops()[0]
	began, end := make(chan struct{}), make(chan struct{})
	work := spawn(l, func() {
		l.Offload(context.Background(), func(context.Context) {
			close(began)
			<-end
		})
	})
	await(t, "the work", began)
	call(t, l, func() {}) // the loop turns
	close(end)
	await(t, "Offload", work)

	on(t, l, func() {
		ctx, cancel := context.WithCancel(context.Background())
		l.After(1, cancel)
		l.Offload(ctx, func(ctx context.Context) { <-ctx.Done() })
	})
	on(t, l, func() { // Goexit ends the goroutine, not the fiber
		l.Offload(context.Background(), func(context.Context) { runtime.Goexit() })
	})
}
