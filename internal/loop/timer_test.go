package loop

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// mark is a timer that notes when it fires.
type mark struct {
	timer timer
	at    int64
	fired *[]int64
}

func (m *mark) expired(int64) { *m.fired = append(*m.fired, m.at) }

// The heap against a plain list, with timers that are set, moved and removed at random.
func TestTimersFireInOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var fired, want []int64
		l := &Loop{}
		marks := make([]mark, 1+random.IntN(100))
		for range 10 * len(marks) {
			m := &marks[random.IntN(len(marks))]
			m.timer.owner, m.fired = m, &fired
			m.at = random.Int64N(50) // 0: none
			l.timers.set(&m.timer, m.at)
		}
		const now = 30
		for i := range marks {
			if at := marks[i].at; at != 0 && at <= now {
				want = append(want, at)
			}
		}
		slices.Sort(want)
		l.now = now
		l.fire()
		if !slices.Equal(fired, want) {
			t.Fatalf("round %d: fired %v, want %v", round, fired, want)
		}
		for i := range marks {
			m := &marks[i]
			if left := m.at > now; left != (m.timer.when != 0) || left && l.timers[m.timer.index] != &m.timer {
				t.Fatalf("round %d: the timer for %d is wrong after that", round, m.at)
			}
		}
		l.timers.wakeAll(l)
		if len(l.timers) != 0 {
			t.Fatalf("round %d: %d timers are left", round, len(l.timers))
		}
	}
}

func TestTimeout(t *testing.T) {
	for _, tt := range []struct {
		name string
		when []int64
		want int
	}{
		{"no timer", nil, -1},
		{"over", []int64{5}, 0},
		{"now", []int64{1000}, 0},
		{"soon is never too early", []int64{1001}, 1},
		{"the first", []int64{1000 + 9e6, 1000 + 3e6, 1000 + 5e6}, 4},
		{"far away", []int64{math.MaxInt64}, 3_600_000},
	} {
		var h timers
		for _, when := range tt.when {
			h.set(&timer{}, when)
		}
		if got := h.timeout(1000); got != tt.want {
			t.Errorf("%s: %d ms, want %d", tt.name, got, tt.want)
		}
	}
}

func TestIn(t *testing.T) {
	l := &Loop{now: 1000}
	for d, want := range map[time.Duration]int64{
		5: 1005, 0: 1001, -7: 1001, math.MaxInt64: math.MaxInt64, math.MaxInt64 - 1000: math.MaxInt64, math.MinInt64: 1001,
	} {
		if got := l.in(d); got != want {
			t.Errorf("in(%d) is %d, want %d", d, got, want)
		}
	}
}
