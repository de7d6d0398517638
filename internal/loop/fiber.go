package loop

import "iter"

// fiber is a coroutine that runs one task after another. It gives the processor back to the loop when it waits. A fiber that waits is known
// to exactly one party that will resume it: a connection (reader or writer), a timer and its Sleeper, what Offload posts, or the list of those that are ready.
type fiber struct {
	loop *Loop
	next func() (struct{}, bool)
	// yield returns when the loop resumes the fiber.
	yield func(struct{}) bool
	stop  func()
	timer timer // of Sleep

	// The task is a function, or a connection that was accepted (turn is 0) or has ended its turn-th Idle.
	task func()
	conn *Conn
	turn uint64
}

const (
	// maxIdleFibers is how many are kept for the next tasks, with their stacks.
	maxIdleFibers = 128
	// maxSpent is how many bytes a fiber may read and write before others have their turn, and callCost what the system call
	// itself counts: some 200 us of work.
	maxSpent = 512 << 10
	callCost = 4 << 10
)

// Go runs f on a fiber of the loop, in this turn or the next.
func (l *Loop) Go(f func()) {
	fb := l.fiber()
	fb.task = f
	l.ready = append(l.ready, fb)
}

// fiber returns one that the caller gives a task and resumes.
func (l *Loop) fiber() *fiber {
	l.busy++
	if n := len(l.idle); n > 0 {
		fb := l.idle[n-1]
		l.idle[n-1] = nil
		l.idle = l.idle[:n-1]
		return fb
	}
	fb := &fiber{loop: l}
	fb.timer.owner = fb
	fb.next, fb.stop = iter.Pull(fb.run)
	return fb
}

func (f *fiber) run(yield func(struct{}) bool) {
	f.yield = yield
	for {
		f.work()
		f.task, f.conn = nil, nil
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

// work runs the task. A connection whose code has panicked is in an unknown state, and nobody else would close it.
func (f *fiber) work() {
	defer func() {
		if v := recover(); v != nil {
			f.loop.report(v)
			if f.conn != nil && !f.conn.closed {
				_ = f.conn.Close()
			}
		}
	}()
	if f.conn != nil {
		f.conn.serve(f.turn)
		return
	}
	f.task()
}

// resume lets a fiber go on until it waits again or its task ends. It is called by the loop only, never by a fiber.
func (l *Loop) resume(f *fiber) {
	l.current, l.spent = f, 0
	_, _ = f.next()
	l.current = nil
}

// running is the fiber that calls. The panic meets code that waits in a callback.
func (l *Loop) running() *fiber {
	if l.current == nil {
		panic("loop: only a fiber may wait, not a callback")
	}
	return l.current
}

// park waits until somebody makes the fiber ready or resumes it.
func (f *fiber) park() { f.yield(struct{}{}) }

func (f *fiber) wake() { f.loop.ready = append(f.loop.ready, f) }

// breathe lets others have their turn when the fiber has had its share of this one, and reports whether it did: connections may have been closed
// meanwhile. Without it two fast peers could keep a fiber busy, and the loop, without ever making it wait.
func (l *Loop) breathe() bool {
	if l.spent < maxSpent || l.current == nil {
		return false
	}
	l.yieldTurn()
	return true
}

func (l *Loop) yieldTurn() {
	f := l.current
	f.wake()
	f.park()
}
