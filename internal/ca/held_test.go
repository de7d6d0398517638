package ca_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

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

// TestHeldOutlivesTheProcess: what was served with before a start goes on, as long as it is good and what is wanted.
func TestHeldOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var kept *tls.Certificate
		start := func(r *rig, names ...string) (serial string) {
			t.Helper()
			held, err := r.Hold(ca.ProfileDockerServer, names, "test")
			if err != nil {
				t.Fatal(err)
			}
			held.Keep(kept, func(c *tls.Certificate) error { kept = c; return nil })
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- held.Run(ctx) }()
			synctest.Wait()
			c, err := held.Certificate()
			if err != nil {
				t.Fatal(err)
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			return fmt.Sprintf("%032x", c.Leaf.SerialNumber)
		}
		last := start(r, "node.corp.example", "10.0.0.1")
		for _, step := range []struct {
			name   string
			change func()
			names  []string
			same   bool
		}{
			{"at once", func() {}, []string{"10.0.0.1", "node.corp.example"}, true},
			{"before half its life", func() { r.clock.add(3 * 24 * time.Hour) }, []string{"node.corp.example", "10.0.0.1"}, true},
			{"after half its life", func() { r.clock.add(24 * time.Hour) }, []string{"node.corp.example", "10.0.0.1"}, false},
			{"with a name more", func() {}, []string{"node.corp.example", "10.0.0.1", "other.corp.example"}, false},
			{"with a name less", func() {}, []string{"node.corp.example", "10.0.0.1"}, false},
			{"when it was revoked", func() {
				if err := r.Revoke(t.Context(), last, 0, "test"); err != nil {
					t.Fatal(err)
				}
			}, []string{"node.corp.example", "10.0.0.1"}, false},
			{"after its end", func() { r.clock.add(30 * 24 * time.Hour) }, []string{"node.corp.example", "10.0.0.1"}, false},
		} {
			step.change()
			serial := start(r, step.names...)
			if (serial == last) != step.same {
				t.Errorf("%s: the serial is %s, before %s", step.name, serial, last)
			}
			last = serial
		}
		if serial := start(newRig(t), "node.corp.example", "10.0.0.1"); serial == last {
			t.Error("it goes on with the certificate of another installation")
		}
	})
}
