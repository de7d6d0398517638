package cluster

import (
	"context"
	"errors"
	"testing"
)

// What is called when the loss is known must not depend on which goroutine runs first: whoever tries on until it is told would do so for ever.
func TestCallsAfterALossAreEndedFromTheStart(t *testing.T) {
	q := newQuorum()
	before, done := q.join(t.Context())
	defer done()
	q.set(false)
	for range 1000 {
		ctx, done := q.join(t.Context())
		err := because(ctx, errors.New("refused for another reason"))
		done()
		if !errors.Is(err, ErrNoQuorum) {
			t.Fatalf("a call after the loss failed with %v, want ErrNoQuorum", err)
		}
	}
	<-before.Done()
	if !errors.Is(context.Cause(before), ErrNoQuorum) {
		t.Errorf("a call under way ended with %v, want ErrNoQuorum", context.Cause(before))
	}
	q.set(true)
	after, done := q.join(t.Context())
	if after.Err() != nil {
		t.Errorf("a call when all is well again began with %v", after.Err())
	}
	done()
	<-after.Done()
	if err := errors.New("its own"); !errors.Is(because(after, err), err) {
		t.Errorf("a call that failed for a reason of its own says %v", because(after, err))
	}
}
