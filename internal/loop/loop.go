// Package loop runs code that is written as if it blocked on epoll: one Loop per processor, and on each of them thousands of
// coroutines ("fibers") that wait for their connections. A fiber costs a stack only while it works: a connection on which nothing happens is
// a struct in a table.
//
// Everything here belongs to its loop: unless a comment says otherwise, functions and methods may be called from the loop's own fibers
// and callbacks only, which run one at a time; those that wait from fibers only. Code on a fiber must not block in any other way than through
// this package (no channels, no locks that are held while a fiber waits): it would stop the whole loop, for ever if what it waits for
// happens on the same loop. It must not end its goroutine either (runtime.Goexit, and so FailNow of tests).
package loop

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Group is the loops of a process.
type Group struct {
	loops []*Loop
	ended sync.WaitGroup
	// closing ends when Close is called.
	closing context.Context
	close   context.CancelFunc
}

// Config is what a group needs.
type Config struct {
	// Loops is how many there are; 0 means one per processor that the process may use.
	Loops int
	// Panicked is told what code on a fiber or in a callback panicked with, and where. That task or callback has ended; everything else
	// goes on. It is called from any loop, also from several at once.
	Panicked func(value any, stack []byte)
}

// New makes a group and starts its loops. The error says which system call failed.
func New(cfg Config) (*Group, error) {
	if cfg.Loops == 0 {
		cfg.Loops = runtime.GOMAXPROCS(0)
	}
	if cfg.Panicked == nil {
		cfg.Panicked = func(any, []byte) {}
	}
	g := &Group{}
	for i := range cfg.Loops {
		l, err := newLoop(g, i, cfg.Panicked)
		if err != nil {
			for _, made := range g.loops {
				made.release()
			}
			return nil, err
		}
		g.loops = append(g.loops, l)
	}
	g.closing, g.close = context.WithCancel(context.Background())
	for _, l := range g.loops {
		g.ended.Go(l.run)
	}
	return g, nil
}

// Loops returns the group's loops. It may be called from any goroutine, like all methods of a Group.
func (g *Group) Loops() []*Loop { return g.loops }

// Close closes all connections and listeners, wakes the fibers that wait for them with net.ErrClosed and those that sleep, cancels what
// runs in Offload, drops what After has in store, and returns when the loops have ended: when every fiber's task has. It must not be called on a loop.
func (g *Group) Close() {
	g.close()
	for _, l := range g.loops {
		l.post(func() { l.stopping = true })
	}
	g.ended.Wait()
}

// Loop waits for events and runs the fibers that they concern, one at a time.
type Loop struct {
	group    *Group
	index    int
	panicked func(any, []byte)

	epoll, wake int // file descriptors
	slots       []slot
	free        []int32 // slots to use again
	now         int64   // when this turn began, see clock
	turn        uint64  // counts calls of epoll_wait
	timers      timers
	packets     *packetRoom // nil until it is needed
	current     *fiber
	spent       int      // what the current fiber has read and written since it was resumed, see breathe
	idle        []*fiber // fibers without a task
	ready       []*fiber // fibers to resume in this turn
	busy        int      // fibers with a task
	stopping    bool     // Group.Close was called
	stopped     bool     // and everything is closed
	// attached counts the connections, those on their way from another loop too, and helps to spread new ones.
	attached atomic.Int64

	spare     []func() // what posted was before
	pipes     []*Pipe  // those that are not lent
	pipesMade int

	mu      sync.Mutex // guards what follows
	posted  []func()
	waiting bool // the loop sleeps or is about to: who posts must wake it
	ended   bool // nothing that is posted would be called
}

// slot is what an event's index leads to; the generation tells an event for a descriptor that was closed meanwhile.
type slot struct {
	source     source
	generation int32
}

// source is what epoll tells about.
type source interface{ event(events uint32) }

func newLoop(g *Group, index int, panicked func(any, []byte)) (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make an epoll instance: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("cannot make an eventfd: %w", err)
	}
	l := &Loop{group: g, index: index, panicked: panicked, epoll: epoll, wake: wake, now: clock()}
	if _, err := l.add(wake, &waker{l}, unix.EPOLLIN); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

func (l *Loop) release() {
	_ = unix.Close(l.epoll)
	_ = unix.Close(l.wake)
	for _, p := range l.pipes {
		p.close()
	}
}

// Index is the loop's place in Group.Loops. It may be called from any goroutine.
func (l *Loop) Index() int { return l.index }

// Stopping reports whether the group is being closed: Sleep and Dial return at once then, so whoever tries again and again must end.
func (l *Loop) Stopping() bool { return l.stopping }

// breath is how long a loop without a pause runs before it lets other goroutines have its processor.
const breath = int64(time.Millisecond)

// run turns until the loop is to stop and nothing is left on it.
func (l *Loop) run() {
	ended := false
	defer func() {
		if !ended {
			panic("loop: it was ended by a panic, or by runtime.Goexit on a fiber")
		}
	}()
	events := make([]unix.EpollEvent, 256)
	breathed := clock()
	for {
		for _, e := range events[:l.wait(events)] {
			if s := &l.slots[e.Fd]; s.generation == e.Pad && s.source != nil {
				s.source.event(e.Events)
			}
		}
		l.runPosted()
		l.fire()
		l.resumeReady()
		if l.stopping && l.stop() {
			ended = true
			return
		}
		if l.now-breathed > breath {
			breathed = l.now
			runtime.Gosched()
		}
	}
}

// wait returns how many events there are. It sleeps when there is nothing else to do.
func (l *Loop) wait(events []unix.EpollEvent) int {
	timeout := 0
	if len(l.ready) == 0 {
		timeout = l.timers.timeout(clock())
		if timeout != 0 && !l.mayWait() {
			timeout = 0
		}
	}
	n := epollWait(l.epoll, events, timeout)
	l.now = clock()
	l.turn++
	return n
}

// resumeReady runs those that were made ready before it began; who is made ready meanwhile has to wait for the next turn, so that
// events are looked at in between.
func (l *Loop) resumeReady() {
	n := len(l.ready)
	for i := range n {
		l.resume(l.ready[i])
	}
	rest := copy(l.ready, l.ready[n:])
	clear(l.ready[rest:])
	l.ready = l.ready[:rest]
}

// stop closes what is open, once, and reports whether the loop has ended; fibers may need some turns to notice.
func (l *Loop) stop() bool {
	if !l.stopped {
		l.stopped = true
		for i := range l.slots {
			switch s := l.slots[i].source.(type) {
			case *Conn:
				s.stop()
			case *Listener:
				s.close()
			case *PacketConn:
				s.stop()
			}
		}
		l.timers.wakeAll(l)
	}
	if l.busy > 0 || !l.end() {
		return false
	}
	for _, f := range l.idle {
		f.stop()
	}
	return true
}

// add has epoll tell the source about a descriptor.
func (l *Loop) add(fd int, s source, events uint32) (int32, error) {
	var i int32
	if n := len(l.free); n > 0 {
		i = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		i = int32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	l.slots[i].source = s
	event := unix.EpollEvent{Events: events, Fd: i, Pad: l.slots[i].generation}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		l.drop(i)
		return 0, fmt.Errorf("cannot watch a socket: %w", err)
	}
	return i, nil
}

// drop forgets a slot. Closing its descriptor takes it out of epoll, if no other descriptor shares the socket; see forget.
func (l *Loop) drop(i int32) {
	l.slots[i].source = nil
	l.slots[i].generation++
	l.free = append(l.free, i)
}

// forget is drop for a socket that goes on under another descriptor: epoll would tell of it as long as it is open.
func (l *Loop) forget(fd int, i int32) {
	_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	l.drop(i)
}

// guard calls f and reports a panic instead of passing it on.
func (l *Loop) guard(f func()) {
	defer func() {
		if v := recover(); v != nil {
			l.report(v)
		}
	}()
	f()
}

func (l *Loop) report(v any) {
	if c, ok := v.(*carried); ok {
		l.panicked(c.value, c.stack)
		return
	}
	l.panicked(v, debug.Stack())
}

// Now is the time at which the loop's turn began: cheaper than time.Now, and some microseconds old.
func (l *Loop) Now() time.Time { return started.Add(time.Duration(l.now)) }

// clock is the monotonic time in nanoseconds since the process started.
func clock() int64 { return int64(time.Since(started)) }

var started = time.Now() //nolint:gochecknoglobals // the origin of all clocks here; never changed

// epollWait sleeps in a system call that the Go scheduler knows of, so that its processor is free for others meanwhile.
func epollWait(epoll int, events []unix.EpollEvent, timeout int) int {
	n, err := unix.EpollWait(epoll, events, timeout)
	if err != nil {
		if err == syscall.EINTR { //nolint:errorlint // errno values come unwrapped
			return 0
		}
		panic(fmt.Sprintf("epoll_wait: %v", err)) // the descriptor is ours and open
	}
	return n
}
