package acme_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/pebbletest"
)

// breaker ends a leader at the nth step: before or after a write, before a request or before its answer gets out.
type breaker struct {
	mu    sync.Mutex
	steps []string
	at    int // the step to end at; none when it is negative
	end   func()
}

// step counts a step, and reports whether whoever does it goes on.
func (b *breaker) step(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at >= 0 && len(b.steps) > b.at {
		return false // it is dead
	}
	b.steps = append(b.steps, name)
	if len(b.steps)-1 != b.at {
		return true
	}
	go b.end() // it waits for what calls this
	return false
}

// release lets the next leader do what it likes.
func (b *breaker) release() (died string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at >= 0 && b.at < len(b.steps) {
		died = b.steps[b.at]
	}
	b.at = -1
	return died
}

func (w *world) withBreaker(b *breaker) {
	w.state.setHook(func(bucket string, after bool) bool {
		switch bucket {
		case vault.BucketSpecs, vault.BucketServed, "declarations":
			return true
		}
		return b.step(fmt.Sprintf("write of %s, done %v", bucket, after))
	})
	w.ca.SetHook(func(c pebbletest.Call) bool {
		return b.step(fmt.Sprintf("%s at the CA, done %v", c.Kind, c.Status != 0))
	})
}

// killed lets a leader die at the nth step, and another one go on. It reports which step that was, and false when there was none.
func killed(t *testing.T, o pebbletest.Options, n int, specs ...ruche.CertificateSpec) (string, bool) {
	w := newWorld(t, o)
	w.cfg.Issuers[0].DNS = &ruche.DNSProvider{Name: "test"}
	w.want("service/a", specs...)
	b := &breaker{at: n}
	dead := make(chan struct{})
	w.withBreaker(b)
	e := w.engine()
	ctx, lose := lead(t.Context())
	b.end = lose
	go func() {
		defer close(dead)
		if err := e.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	done := func() error { return w.complete(specs) }
	w.await("the end of the first leader or of the orders", func() error {
		select {
		case <-dead:
			return nil
		default:
			return done()
		}
	})
	lose()
	<-dead
	died := b.release()
	w.run()
	w.await("all certificates after "+died, done)
	if orders := w.ca.Made(pebbletest.NewOrder); orders != len(specs) {
		t.Errorf("after the end at step %d (%s) there were %d orders, want %d", n, died, orders, len(specs))
	}
	if accounts := w.ca.Made(pebbletest.NewAccount); accounts != 1 {
		t.Errorf("after the end at step %d (%s) there are %d accounts, want one", n, died, accounts)
	}
	for _, s := range specs {
		rec, _ := w.certificate(s)
		w.verify(rec, s.Names...)
	}
	return died, died != ""
}

// complete says what is missing until all certificates are there and nothing is left behind.
func (w *world) complete(specs []ruche.CertificateSpec) error {
	for _, s := range specs {
		if _, _, err := w.record(w.id(s)); err != nil {
			return err
		}
	}
	if left := list(w, w.b.orders); len(left) > 0 {
		return fmt.Errorf("%d journals are left", len(left))
	}
	if left := list(w, w.b.challenges); len(left) > 0 {
		return fmt.Errorf("%d challenges are left", len(left))
	}
	for _, s := range specs {
		for _, n := range s.Names {
			if left := w.ca.DNS.TXT("_acme-challenge." + n); len(left) > 0 {
				return fmt.Errorf("%d DNS records are left", len(left))
			}
		}
	}
	if got := len(list(w, w.b.issuances)); got != len(specs) {
		return fmt.Errorf("the ledger has %d issuances, want %d", got, len(specs))
	}
	return nil
}

// TestTheLeaderDiesAtEveryStep ends the leader at each step of an order in turn, before and after each write and each call of the CA. Whoever comes next has to bring the same order to
// an end: none is made again, and no key is lost.
func TestTheLeaderDiesAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		challenge ruche.ChallengeType
		every     int
		rejected  int // of a hundred nonces: each one takes the client a quarter of a second
	}{{ruche.ChallengeHTTP01, 1, -1}, {ruche.ChallengeTLSALPN01, 7, 15}, {ruche.ChallengeDNS01, 4, -1}} {
		t.Run(string(tc.challenge), func(t *testing.T) {
			t.Parallel()
			s := spec("shop.example")
			s.Challenge = tc.challenge
			points := make(map[string]bool)
			for n, more := 0, true; more; n += tc.every {
				var died string
				if died, more = killed(t, pebbletest.Options{NonceReject: tc.rejected}, n, s); more {
					points[died] = true
				}
			}
			if tc.every == 1 && len(points) < 20 {
				t.Errorf("the leader died at %d different steps: %v", len(points), points)
			}
			t.Logf("the leader died at %d different steps: %v", len(points), points)
		})
	}
}
