package acme_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/acme"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/pebbletest"
)

// TestMassRevocation has the CA move the windows of all certificates into the past, as before it revokes them.
func TestMassRevocation(t *testing.T) {
	t.Parallel()
	const count = 20
	w := newWorld(t, pebbletest.Options{NonceReject: -1, AuthzReuse: 100})
	var specs []ruche.CertificateSpec
	for i := range count {
		specs = append(specs, spec(fmt.Sprintf("n%d.shop.example", i)))
	}
	w.want("service/a", specs...)
	w.run()
	before := make(map[string]vault.Record)
	for _, s := range specs {
		before[w.id(s)], _ = w.certificate(s)
	}
	w.await("the first windows", func() error {
		for id, st := range list(w, w.b.states) {
			if st.WindowEnd.IsZero() {
				return fmt.Errorf("%s has none", id)
			}
		}
		return nil
	})
	w.advance(time.Hour)
	orders := w.ca.Made(pebbletest.NewOrder)
	if orders != count {
		t.Fatalf("there were %d orders before, want %d", orders, count)
	}
	for _, rec := range before {
		w.ca.SetWindow(t, rec.Chain[0], time.Now().Add(-2*day), time.Now().Add(-day), "https://ca.example/why")
	}
	w.advance(7 * time.Hour) // the CA said six hours
	w.await("all to be replaced", func() error {
		for _, s := range specs {
			rec, _, err := w.record(w.id(s))
			if err == nil && string(rec.Chain[0]) == string(before[w.id(s)].Chain[0]) {
				return fmt.Errorf("%s is the same", s.Names[0])
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	for _, s := range specs {
		rec, _ := w.certificate(s)
		w.verify(rec, s.Names...)
	}
	w.await("the end of all orders", func() error {
		for _, i := range list(w, w.b.issuances) {
			if i.Renewal && !i.Replaces {
				return fmt.Errorf("the renewal of %v did not say what it replaces", i.Names)
			}
		}
		if left := len(list(w, w.b.orders)); left > 0 {
			return fmt.Errorf("%d are under way", left)
		}
		return nil
	})
	w.advance(time.Hour)
	if got := w.ca.Made(pebbletest.NewOrder); got != 2*count {
		t.Errorf("there were %d orders in all, want %d", got, 2*count)
	}
}

// TestTheCAIsDown takes the CA away for longer than a third of the lifetime.
func TestTheCAIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	s := spec("shop.example")
	w.want("service/a", s)
	w.run()
	first, _ := w.certificate(s)
	w.await("the window", func() error {
		if list(w, w.b.states)[w.id(s)].WindowEnd.IsZero() {
			return errors.New("there is none")
		}
		return nil
	})
	w.ca.SetDown(true)
	w.advance(59 * day)
	stands := func(code ruche.Code) bool { _, ok := w.warning(code); return ok }
	for _, step := range []struct {
		after      time.Duration
		unanswered bool // whether the warnings stand then
		late       ruche.Severity
	}{
		{2 * day, false, ""}, {time.Hour, true, ""}, {7 * day, true, ""}, {7 * day, true, ruche.SeverityWarning}, {8 * day, true, ruche.SeverityError},
	} {
		before := len(w.ca.Calls(pebbletest.NewNonce))
		w.advance(step.after)
		w.await(fmt.Sprintf("the warnings at day %d", time.Duration(w.ahead.Load())/day), func() error {
			warning, late := w.warning(ruche.CodeCertNotRenewed)
			if late != (step.late != "") || warning.Severity != step.late {
				return fmt.Errorf("late: %v, want %q", warning, step.late)
			}
			if step.unanswered && !stands(ruche.CodeIssuerUnreachable) {
				return errors.New("nothing tells that the CA does not answer")
			}
			if list(w, w.b.states)[w.id(s)].Failures == 0 {
				return errors.New("nothing was tried")
			}
			return nil
		})
		if got := len(w.ca.Calls(pebbletest.NewNonce)); got != before {
			t.Errorf("the CA is down, and answered")
		}
		if rec, _, err := w.record(w.id(s)); err != nil || string(rec.Chain[0]) != string(first.Chain[0]) {
			t.Errorf("what was served is not any more: %v", err)
		}
	}
	if got := w.health.List(); len(got) != 2 {
		t.Errorf("%d warnings stand, want one of the CA and one of the certificate: %v", len(got), got)
	}
	w.ca.SetDown(false)
	w.advance(time.Hour)
	w.awaitOther(s, first)
	w.await("the end of the warnings", func() error {
		// What the CA issues now is almost at its end by the engine's clock, which is 83 days ahead.
		if stands(ruche.CodeIssuerUnreachable) || stands(ruche.CodeCertNotRenewed) {
			return fmt.Errorf("there are %v", w.health.List())
		}
		return nil
	})
}

// TestAYearOfShortLives lives through a year of 6-day and 47-day certificates, of a CA that is away for a day every two weeks.
func TestAYearOfShortLives(t *testing.T) {
	t.Parallel()
	ca := pebbletest.Start(t, pebbletest.Options{
		AlwaysValid: true, NonceReject: -1, Profiles: map[string]time.Duration{"shortlived": 160 * time.Hour, "tlsserver": 47 * day},
	})
	// The CA validates outside of the bubble, in the time of this world, while the clock in there runs as fast as it is asked. Questions for authorizations wait
	// for a tick from outside.
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, state: newState(), ca: ca, seal: newSeal(t)}
		w.b = newBuckets(w.state)
		w.cfg = acme.Config{
			Buckets: w.b.of(), Seal: w.seal, Logger: quiet(),
			Issuers: []ruche.Issuer{{Name: ruche.IssuerDefault, Directory: "https://ca.example/dir"}},
		}
		w.tune = func(e *acme.Engine) {
			e.SetTransport(ca.RoundTripper())
			e.SetPoll(time.Second)
			e.SetRest(2 * time.Hour)
		}
		ca.SetHook(func(c pebbletest.Call) bool {
			if c.Kind == pebbletest.Authorization && c.Status == 0 {
				<-ticker.C
			}
			return int(time.Now().Unix()/86400)%14 != 3
		})
		var specs []ruche.CertificateSpec
		for _, profile := range []string{"shortlived", "tlsserver"} {
			s := spec(profile + ".shop.example")
			s.Profile = profile
			specs = append(specs, s)
		}
		w.want("service/a", specs...)
		_, stop := w.run()
		<-time.After(2 * day) // of the bubble's time: the CA may be away at first
		for begin := time.Now(); time.Since(begin) < 365*day; <-time.After(7 * time.Hour) {
			for _, s := range specs {
				rec, pair, err := w.record(w.id(s))
				if err != nil || !time.Now().Before(pair.Leaf.NotAfter) {
					t.Fatalf("after %s: %v; %+v", time.Since(begin), err, list(w, w.b.states))
				}
				if !time.Now().Before(pair.Leaf.NotAfter) {
					t.Fatalf("after %s the certificate of %v is over since %s", time.Since(begin), rec.Names, pair.Leaf.NotAfter)
				}
			}
		}
		stop()
		if got := ca.Made(pebbletest.NewOrder); got < 100 || got > 150 {
			t.Errorf("there were %d orders, want some 110 for short lives and some 12 for longer ones", got)
		}
		if len(ca.Calls(pebbletest.RenewalInfo)) > 365*(12+4)*2 {
			t.Errorf("the CA was asked %d times for windows", len(ca.Calls(pebbletest.RenewalInfo)))
		}
	})
}

// TestALostAnswer cuts the connection at each call of an order while the leader stays: the CA has done what it was asked for, or not, and nobody knows.
func TestALostAnswer(t *testing.T) {
	for _, kind := range []pebbletest.Kind{
		pebbletest.NewAccount, pebbletest.NewOrder, pebbletest.Order, pebbletest.Authorization, pebbletest.Challenge, pebbletest.Finalize, pebbletest.Certificate,
	} {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, done %v", kind, done), func(t *testing.T) {
				t.Parallel() // the client waits for its own retries most of the time
				newWorld(t, pebbletest.Options{NonceReject: -1}).loseAnswers(kind, done)
			})
		}
	}
}

func (w *world) loseAnswers(kind pebbletest.Kind, done bool) {
	w.cfg.Issuers[0].Challenges = []ruche.ChallengeType{ruche.ChallengeHTTP01}
	w.cfg.Logger = quiet()
	s := spec("shop.example")
	w.want("service/a", s)
	lost := make(chan struct{}, 100)
	w.ca.SetHook(func(c pebbletest.Call) bool {
		cut := c.Kind == kind && (c.Status == http.StatusOK || c.Status == http.StatusCreated || c.Status == 0) && (c.Status != 0) == done
		if cut {
			lost <- struct{}{}
		}
		return !cut
	})
	w.run()
	<-lost
	w.await("a failure, or the end in spite of it", func() error {
		if list(w, w.b.states)[w.id(s)].Failures > 0 {
			return nil
		}
		return w.complete([]ruche.CertificateSpec{s})
	})
	w.ca.SetHook(nil)
	w.advance(time.Hour)
	w.await("the certificate", func() error { return w.complete([]ruche.CertificateSpec{s}) })
	if got := w.ca.Made(pebbletest.NewOrder); got != 1 {
		w.t.Errorf("there were %d orders, want one", got)
	}
	if got := w.ca.Made(pebbletest.NewAccount); got != 1 {
		w.t.Errorf("there are %d accounts, want one", got)
	}
}
