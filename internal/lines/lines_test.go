package lines

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// sink is what lines are written to.
type sink struct {
	got    strings.Builder
	writes int
	stall  chan struct{} // when it is not nil, a write waits until it is closed
	err    error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.stall != nil {
		<-s.stall
	}
	s.writes++
	s.got.Write(p)
	return len(p), s.err
}

// told is what a Writer says after its writes.
type told struct {
	dropped int
	errs    []error
}

// run has f write lines in a bubble of its own time, and waits for the end.
func run(t *testing.T, s *sink, delay time.Duration, f func(w *Writer)) (said told) {
	synctest.Test(t, func(t *testing.T) {
		w := New(s, delay, func(dropped int, err error) {
			said.dropped += dropped
			said.errs = append(said.errs, err)
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.Run(ctx)
		}()
		f(w)
		stop()
		<-ended
	})
	return said
}

func TestLinesAreWrittenInOrder(t *testing.T) {
	s := &sink{}
	var want strings.Builder
	run(t, s, time.Second, func(w *Writer) {
		for i := range 100 {
			if i == 50 {
				<-time.After(2 * time.Second)
			}
			_, _ = fmt.Fprintf(w, "line %d\n", i)
			_, _ = fmt.Fprintf(&want, "line %d\n", i)
		}
	})
	if s.got.String() != want.String() || s.writes != 2 {
		t.Errorf("%d writes, want 2, of\n%s", s.writes, s.got.String())
	}
}

func TestNobodyWaitsForASlowSink(t *testing.T) {
	s := &sink{err: errors.New("disk full")}
	said := run(t, s, 0, func(w *Writer) {
		s.stall = make(chan struct{})
		line := []byte(strings.Repeat("x", 1<<20-1) + "\n")
		for range 10 {
			_, _ = w.Write(line)
			synctest.Wait() // the sink has the first one
		}
		if b, ok := w.Begin(); ok {
			t.Errorf("a line may be appended to %d bytes", len(b))
			w.End(b)
		}
		close(s.stall)
	})
	if lines := strings.Count(s.got.String(), "\n"); lines+said.dropped != 11 || lines < 5 || lines > 6 {
		t.Errorf("%d lines were written and %d dropped, want all of 11, and no more than 6 kept", lines, said.dropped)
	}
	for _, err := range said.errs {
		if !errors.Is(err, s.err) {
			t.Errorf("said %v, want %v", err, s.err)
		}
	}
}

func TestALineAllocatesNothing(t *testing.T) {
	w := New(&sink{}, 0, func(int, error) {})
	line := []byte("line\n")
	w.buffer = make([]byte, 0, 1<<20)
	if n := testing.AllocsPerRun(1000, func() { _, _ = w.Write(line) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}
