// Package lines writes a log to what may be slow, so that nobody who logs ever waits for it.
package lines

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// maxBacklog is what may wait for a writer that stalls, in bytes; lines beyond it are dropped and counted.
const maxBacklog = 4 << 20

// Writer collects lines in memory; one goroutine writes them out. Its methods are safe for concurrent use and hold a lock for the time of a copy only.
type Writer struct {
	w     io.Writer
	delay time.Duration
	wrote func(dropped int, err error)
	wake  chan struct{}
	woken atomic.Bool // there is something in wake, or it is being written

	mu      sync.Mutex
	buffer  []byte
	spare   []byte
	dropped int
}

// New makes a Writer to w. A line waits for others for the time delay, so that many go in one write. wrote is called after each write with how many lines
// were dropped before it, and with the write's error.
func New(w io.Writer, delay time.Duration, wrote func(dropped int, err error)) *Writer {
	return &Writer{w: w, delay: delay, wrote: wrote, wake: make(chan struct{}, 1)}
}

// Run writes until ctx ends, and then what is left.
func (w *Writer) Run(ctx context.Context) {
	pause := time.NewTimer(w.delay)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			w.flush()
			return
		case <-w.wake:
		}
		pause.Reset(w.delay)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		w.woken.Store(false)
		w.flush()
	}
}

func (w *Writer) flush() {
	w.mu.Lock()
	lines, dropped := w.buffer, w.dropped
	w.buffer, w.spare, w.dropped = w.spare[:0], nil, 0
	w.mu.Unlock()
	if len(lines) > 0 || dropped > 0 {
		_, err := w.w.Write(lines)
		w.wrote(dropped, err)
	}
	w.mu.Lock()
	w.spare = lines
	w.mu.Unlock()
}

// Write takes a whole line. It implements io.Writer and returns no error.
func (w *Writer) Write(line []byte) (int, error) {
	if b, ok := w.Begin(); ok {
		w.End(append(b, line...))
	}
	return len(line), nil
}

// Begin lends the buffer to append a line to, until End, which must follow soon: others wait meanwhile. When ok is false the line is dropped, and
// End must not be called.
func (w *Writer) Begin() (b []byte, ok bool) {
	w.mu.Lock()
	if len(w.buffer) > maxBacklog {
		w.dropped++
		w.mu.Unlock()
		return nil, false
	}
	return w.buffer, true
}

// End takes the buffer back.
func (w *Writer) End(b []byte) {
	w.buffer = b
	w.mu.Unlock()
	if !w.woken.Swap(true) {
		w.wake <- struct{}{} // has room for one, which is this
	}
}
