package lab

import (
	"fmt"
	"testing"
	"time"
)

// Eventually waits until cond returns nil, and fails the test with its last error after the deadline. Between two looks it rests as long as the look took, 20 ms to a
// second: many a look starts a command, and other scenarios run beside this one.
func Eventually(t testing.TB, deadline time.Duration, cond func() error) {
	t.Helper()
	if err := poll(deadline, cond); err != nil {
		t.Fatal(err)
	}
}

// Never watches for the whole period that cond stays nil.
func Never(t testing.TB, period time.Duration, cond func() error) {
	t.Helper()
	end := time.Now().Add(period)
	for time.Now().Before(end) {
		if err := cond(); err != nil {
			t.Fatalf("happened although it must not: %v", err)
		}
		pause(20 * time.Millisecond)
	}
}

func poll(deadline time.Duration, cond func() error) error {
	for begin := time.Now(); ; {
		look := time.Now()
		err := cond()
		if err == nil {
			return nil
		}
		if time.Since(begin) > deadline {
			return fmt.Errorf("not within %v: %w", deadline, err)
		}
		pause(min(max(time.Since(look), 20*time.Millisecond), time.Second))
	}
}

// pause spaces the looks at a condition of another process, which offers nothing to wait on.
func pause(d time.Duration) { <-time.After(d) }
