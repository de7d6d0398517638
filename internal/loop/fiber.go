package loop

import (
	"context"
	"iter"
	"time"
)

// fiber is a coroutine that runs one task after another. It gives the processor back to the loop when it waits.
type fiber struct {
	loop *Loop
	next func() (struct{}, bool)
	// yield returns when the loop resumes the fiber.
	yield func(struct{}) bool
	stop  func()
	task  func()
	timer timer // of Sleep
}

// maxIdleFibers is how many are kept for the next tasks, with their stacks.
const maxIdleFibers = 128

// Go runs f on a fiber of the loop, in this turn or the next.
func (l *Loop) Go(f func()) {
	var fb *fiber
	if n := len(l.idle); n > 0 {
		fb = l.idle[n-1]
		l.idle = l.idle[:n-1]
	} else {
		fb = &fiber{loop: l}
		fb.timer.owner = fb
		fb.next, fb.stop = iter.Pull(fb.run)
	}
	fb.task = f
	l.busy++
	l.ready = append(l.ready, fb)
}

// start runs f on a fiber at once. It may be called by the loop only, not by a fiber.
func (l *Loop) start(f func()) {
	l.Go(f)
	last := len(l.ready) - 1
	fb := l.ready[last]
	l.ready = l.ready[:last]
	l.resume(fb)
}

func (f *fiber) run(yield func(struct{}) bool) {
	f.yield = yield
	for {
		task := f.task
		f.task = nil
		f.loop.guard(task)
		f.loop.busy--
		if len(f.loop.idle) >= maxIdleFibers {
			return
		}
		f.loop.idle = append(f.loop.idle, f)
		if !yield(struct{}{}) {
			return
		}
	}
}

// end ends a fiber that has no task.
func (f *fiber) end() { f.stop() }

// resume lets a fiber go on until it waits again or its task ends.
func (l *Loop) resume(f *fiber) {
	l.current = f
	_, _ = f.next()
	l.current = nil
}

// park waits until somebody makes the fiber ready or resumes it.
func (f *fiber) park() { f.yield(struct{}{}) }

func (f *fiber) wake() { f.loop.ready = append(f.loop.ready, f) }

// Offload runs f, which may block, on a goroutine of its own and parks the fiber until it has ended. Cancel the context to have f end.
func (l *Loop) Offload(ctx context.Context, f func(ctx context.Context)) {
	fb := l.current
	ended := false
	go func() {
		f(ctx)
		l.Post(func() {
			ended = true
			fb.wake()
		})
	}()
	for !ended {
		fb.park()
	}
}

// Sleep parks the fiber for the time d, or until Wake is called with the handle that the fiber gave away before. It reports whether the time is over.
func (l *Loop) Sleep(s *Sleeper, d time.Duration) bool {
	fb := l.current
	s.fiber, s.woken = fb, false
	l.timers.set(&fb.timer, l.now+max(1, int64(d)))
	fb.park()
	s.fiber = nil
	l.timers.drop(&fb.timer)
	return !s.woken
}

// Sleeper is by what others wake a fiber that sleeps.
type Sleeper struct {
	fiber *fiber
	woken bool
}

// Wake ends a Sleep. It does nothing when nobody sleeps.
func (s *Sleeper) Wake() {
	if s.fiber != nil && !s.woken {
		s.woken = true
		s.fiber.loop.timers.drop(&s.fiber.timer)
		s.fiber.wake()
	}
}

// expired is called when a Sleep's time is over.
func (f *fiber) expired(int64) { f.loop.resume(f) }

// After has f called on the loop after the time d.
func (l *Loop) After(d time.Duration, f func()) {
	a := &alarm{f: f}
	a.timer.owner = a
	l.timers.set(&a.timer, l.now+max(1, int64(d)))
}

type alarm struct {
	timer timer
	f     func()
}

func (a *alarm) expired(int64) { a.f() }
