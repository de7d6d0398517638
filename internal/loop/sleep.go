package loop

import (
	"context"
	"math"
	"runtime/debug"
	"time"
)

// Offload runs f, which may block, on a goroutine of its own and parks the fiber until it has ended; a panic in it goes on in the fiber. Its
// context ends with ctx and when the group is closed, which waits for f.
func (l *Loop) Offload(ctx context.Context, f func(ctx context.Context)) {
	fb := l.running()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.group.closing, cancel)()
	var panicked *carried
	ended := false
	go func() {
		defer func() {
			if v := recover(); v != nil {
				panicked = &carried{v, debug.Stack()}
			}
			l.Post(func() {
				ended = true
				fb.wake()
			})
		}()
		f(ctx)
	}()
	for !ended {
		fb.park()
	}
	if panicked != nil {
		panic(panicked)
	}
}

// carried is a panic on its way from a goroutine to the fiber that waits for it.
type carried struct {
	value any
	stack []byte
}

// Sleep parks the fiber for the time d, or until Wake is called with the handle that the fiber gave away before. It reports whether the time is
// over; when the group is being closed it is, at once. A handle is for one fiber at a time.
func (l *Loop) Sleep(s *Sleeper, d time.Duration) bool {
	fb := l.running()
	if s.fiber != nil {
		panic("loop: two fibers sleep with one Sleeper")
	}
	if l.stopping {
		l.yieldTurn()
		return true
	}
	s.fiber, s.woken = fb, false
	l.timers.set(&fb.timer, l.in(d))
	fb.park()
	s.fiber = nil
	return !s.woken
}

// Sleeper is by what others wake a fiber that sleeps.
type Sleeper struct {
	fiber *fiber
	woken bool
}

// Wake ends a Sleep. It does nothing when nobody sleeps, so the sleeper must look at what it waits for before it sleeps. Other loops and
// goroutines have to Post it.
func (s *Sleeper) Wake() {
	if s.fiber != nil && !s.woken {
		s.woken = true
		s.fiber.loop.timers.set(&s.fiber.timer, 0)
		s.fiber.wake()
	}
}

// expired is called when a Sleep's time is over.
func (f *fiber) expired(int64) { f.loop.resume(f) }

// After has f called on the loop after the time d, as a callback: it must not wait. It is never called when the group is closed before.
func (l *Loop) After(d time.Duration, f func()) {
	a := &alarm{loop: l, f: f}
	a.timer.owner = a
	l.timers.set(&a.timer, l.in(d))
}

type alarm struct {
	timer timer
	loop  *Loop
	f     func()
}

func (a *alarm) expired(int64) {
	if !a.loop.stopping {
		a.loop.guard(a.f)
	}
}

// in is the time after d, but never the present turn's: whoever sets one timer after another would keep the loop.
func (l *Loop) in(d time.Duration) int64 {
	return l.now + min(max(1, int64(d)), math.MaxInt64-l.now)
}
