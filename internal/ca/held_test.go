package ca_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
)

// TestHeldIsReplacedWhenItIsRevoked: what Ruche serves with is another one as soon as it is revoked, and not because others are.
func TestHeldIsReplacedWhenItIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		held, err := r.Hold(ca.ProfileDockerServer, []string{"node.corp.example"}, "test")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- held.Run(ctx) }()
		serial := func() string {
			synctest.Wait()
			c, err := held.Certificate()
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%032x", parse(t, c.Certificate[0]).SerialNumber)
		}
		first, other := serial(), r.issue(t, "docker-full").Serial
		if err := r.Revoke(t.Context(), other, 0, "test"); err != nil {
			t.Fatal(err)
		}
		if got := serial(); got != first {
			t.Errorf("it serves %s instead of %s after another was revoked", got, first)
		}
		if err := r.Revoke(t.Context(), first, 0, "test"); err != nil {
			t.Fatal(err)
		}
		if got := serial(); got == first {
			t.Error("it serves what was revoked")
		}
		second := serial()
		if _, err := r.Replace(t.Context(), ruche.ReplacementRequest{What: second, Spread: 0}); err != nil {
			t.Fatal(err)
		}
		if got := serial(); got == second {
			t.Error("it serves what is to be replaced")
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
