package loop

import "golang.org/x/sys/unix"

// Post has f called on the loop, soon, as a callback: it must not wait. It may be called from any goroutine. What is posted when the loop has
// ended (see Group.Close) is never called.
func (l *Loop) Post(f func()) { l.post(f) }

// post reports whether f will be called.
func (l *Loop) post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.posted = append(l.posted, f)
	if l.waiting {
		l.waiting = false
		one := [8]byte{1}
		_, _ = unix.Write(l.wake, one[:]) // under the lock, so that the descriptor is still ours
	}
	return true
}

// mayWait reports whether nothing is posted, and has whoever posts something from now on wake the loop.
func (l *Loop) mayWait() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = len(l.posted) == 0
	return l.waiting
}

// maxSpare is how long a list of what was posted may be to be used again.
const maxSpare = 1024

// runPosted calls what was posted before it began.
func (l *Loop) runPosted() {
	l.mu.Lock()
	l.waiting = false
	posted := l.posted
	if len(posted) > 0 {
		l.posted, l.spare = l.spare, nil
	}
	l.mu.Unlock()
	if len(posted) == 0 {
		return
	}
	for _, f := range posted {
		l.guard(f)
	}
	clear(posted)
	if cap(posted) <= maxSpare {
		l.spare = posted[:0]
	}
}

// end closes the loop's descriptors and has nothing more posted, unless something was.
func (l *Loop) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.posted) > 0 {
		return false
	}
	l.ended = true
	l.release()
	return true
}

// waker empties the eventfd; the loop looks at what was posted in every turn.
type waker struct{ loop *Loop }

func (w *waker) event(uint32) {
	var count [8]byte
	_, _ = unix.Read(w.loop.wake, count[:])
}
