package acme_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/pebbletest"
)

func TestRevocation(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	kept, gone := spec("kept.example"), spec("gone.example")
	kept.ReuseKey = true
	w.want("service/a", kept)
	w.want("service/b", gone)
	w.run()
	first, pair := w.certificate(kept)
	last, lastPair := w.certificate(gone)
	other := w.engine() // on another node, which does not lead
	w.ahead.Add(int64(time.Minute))
	if err := other.Renew(t.Context(), w.id(kept), w.now(), "a test"); err != nil {
		t.Fatal(err)
	}
	second := w.awaitOther(kept, first)
	if leaf, err := second.Leaf(); err != nil || !pair.Leaf.PublicKey.(*ecdsa.PublicKey).Equal(leaf.PublicKey) {
		t.Errorf("the key was to be kept: %v", err)
	}
	leaf, err := second.Leaf()
	if err != nil {
		t.Fatal(err)
	}
	for reason, want := range map[string]string{"ca-compromise": "no reason", "": "no reason"} {
		if err := other.Revoke(t.Context(), w.id(kept), w.now(), reason); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("revoking for %q: %v, want %q", reason, err, want)
		}
	}
	serves := func(cert []byte) {
		row := vault.Served{Node: "e1", Names: map[string]vault.Serving{"kept.example": {Kind: ruche.CertificateACME, Fingerprint: vault.Fingerprint(cert)}}}
		if _, err := w.b.served.Put(t.Context(), "e1", row); err != nil {
			t.Fatal(err)
		}
	}
	serves(leaf.Raw)
	w.ahead.Add(int64(time.Minute))
	if err := other.Revoke(t.Context(), w.id(kept), w.now(), vault.ReasonKeyCompromise); err != nil {
		t.Fatal(err)
	}
	third := w.awaitOther(kept, second)
	w.await("the end of the order", func() error {
		if len(list(w, w.b.orders)) > 0 {
			return errors.New("it is under way")
		}
		return nil
	})
	if revoked, _ := w.ca.Revoked(t, leaf); revoked {
		t.Error("it was revoked while an edge serves it")
	}
	serves(third.Chain[0])
	if leaf, err := third.Leaf(); err != nil || pair.Leaf.PublicKey.(*ecdsa.PublicKey).Equal(leaf.PublicKey) {
		t.Errorf("a key that is not secret any more was used again: %v", err)
	}
	w.awaitRevoked(leaf, 1)
	// One that nobody wants any more is revoked at once, and not replaced.
	w.want("service/b")
	w.await("it to be noted that nobody wants it", func() error {
		if list(w, w.b.states)[w.id(gone)].Unwanted.IsZero() {
			return errors.New("it is wanted")
		}
		return nil
	})
	w.ahead.Add(int64(time.Minute))
	if err := other.Revoke(t.Context(), w.id(gone), w.now(), "cessation-of-operation"); err != nil {
		t.Fatal(err)
	}
	w.awaitRevoked(lastPair.Leaf, 5)
	w.await("the record to say so", func() error {
		rec, _, err := w.record(w.id(gone))
		if err == nil && (rec.Revoked.IsZero() || rec.Retired.IsZero() || !bytes.Equal(rec.Chain[0], last.Chain[0])) {
			return errors.New("it does not")
		}
		return err
	})
	if err := other.Revoke(t.Context(), w.id(gone), w.now(), "superseded"); err == nil {
		t.Error("it could be revoked again")
	}
}

func (w *world) awaitRevoked(cert *x509.Certificate, reason int) {
	w.t.Helper()
	w.await("the revocation", func() error {
		if revoked, why := w.ca.Revoked(w.t, cert); !revoked || why != reason {
			return fmt.Errorf("revoked: %v, for reason %d", revoked, why)
		}
		return nil
	})
}

func TestRenewalsAreSpread(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1, AuthzReuse: 100})
	specs := []ruche.CertificateSpec{spec("a.example"), spec("b.example"), spec("c.example")}
	w.want("service/a", specs...)
	e, _ := w.run()
	before := make(map[string]vault.Record)
	for _, s := range specs {
		before[w.id(s)], _ = w.certificate(s)
	}
	w.ahead.Add(int64(time.Minute))
	for i, s := range specs {
		if err := e.Renew(t.Context(), w.id(s), w.now().Add(time.Duration(i)*time.Hour), "a test"); err != nil {
			t.Fatal(err)
		}
	}
	w.advance(2 * time.Hour)
	for _, s := range specs {
		w.awaitOther(s, before[w.id(s)])
	}
	if err := e.Renew(t.Context(), "nothing", w.now(), "a test"); !errors.Is(err, ruche.ErrNotFound) {
		t.Errorf("renewing what is not there: %v", err)
	}
}

// TestRetirement takes names away, brings one back, and waits until the other is forgotten.
func TestRetirement(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	back, away := spec("back.example"), spec("away.example")
	w.want("service/a", back)
	w.want("service/b", away)
	w.run()
	w.certificate(back)
	w.certificate(away)
	w.await("the end of the orders", func() error { return w.complete([]ruche.CertificateSpec{back, away}) })
	retired := func(s ruche.CertificateSpec, want bool) {
		t.Helper()
		w.await(fmt.Sprintf("%s to be retired: %v", s.Names[0], want), func() error {
			rec, _, err := w.record(w.id(s))
			if err == nil && rec.Retired.IsZero() == want {
				return fmt.Errorf("retired at %s", rec.Retired)
			}
			return err
		})
	}
	w.want("service/a")
	w.want("service/b")
	w.await("it to be noted", func() error {
		for id, st := range list(w, w.b.states) {
			if st.Unwanted.IsZero() {
				return fmt.Errorf("%s is wanted", id)
			}
		}
		return nil
	})
	w.advance(23 * time.Hour)
	retired(back, false)
	w.advance(2 * time.Hour)
	retired(back, true)
	retired(away, true)
	w.want("service/a", back)
	retired(back, false)
	w.advance(70 * day) // one is renewed, the other is not
	w.await("the renewal", func() error {
		if got := w.ca.Made(pebbletest.NewOrder); got != 3 {
			return fmt.Errorf("there were %d orders", got)
		}
		return nil
	})
	w.advance(55 * day)
	w.await("what nobody wants to be forgotten", func() error {
		if _, _, err := w.record(w.id(away)); !errors.Is(err, ruche.ErrNotFound) {
			return errors.New("it is there")
		}
		if _, there := list(w, w.b.states)[w.id(away)]; there {
			return errors.New("its state is there")
		}
		return nil
	})
}

// TestRenewTriesAtOnce asks for a certificate out of turn that was refused, and has none yet.
func TestRenewTriesAtOnce(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	w.limitOrders()
	s := spec("shop.example")
	w.want("service/a", s)
	e, _ := w.run()
	w.awaitWarning(ruche.CodeCertNotIssued, "ruche certs renew tries at once")
	if err := e.Revoke(t.Context(), w.id(s), w.now(), "superseded"); !errors.Is(err, ruche.ErrNotFound) || !strings.Contains(err.Error(), "there is none yet") {
		t.Errorf("revoking what is not there yet: %v", err)
	}
	w.ca.SetAnswer(nil)
	w.ahead.Add(int64(time.Minute))
	if err := e.Renew(t.Context(), w.id(s), w.now(), "a test"); err != nil {
		t.Fatal(err)
	}
	w.touch()
	w.certificate(s)
}

// TestRevokedByItsCA replaces what a CA has revoked by itself, once. The engine looks at the new certificate before its order is noted as done.
func TestRevokedByItsCA(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1, AlwaysValid: true})
	s := spec("shop.example")
	w.want("service/a", s)
	e, _ := w.run()
	first, _ := w.certificate(s)
	looked := make(chan struct{})
	end := sync.OnceFunc(func() { close(looked) })
	t.Cleanup(end)
	w.state.setHook(func(bucket string, after bool) bool {
		if bucket == vault.BucketCertificates && after {
			<-looked
		}
		return true
	})
	withdrawn := vault.Withdrawal{Of: vault.Fingerprint(first.Chain[0]), At: w.now()}
	w.ahead.Add(int64(time.Minute))
	if err := e.Withdrawn(t.Context(), w.id(s), withdrawn); err != nil {
		t.Fatal(err)
	}
	second := w.awaitOther(s, first)
	w.await("a look at the new certificate", func() error {
		if got := list(w, w.b.states)[w.id(s)].Of; got != vault.Fingerprint(second.Chain[0]) {
			return errors.New("the state is that of the old one")
		}
		return nil
	})
	end()
	w.await("the end of it", func() error {
		if st := list(w, w.b.states)[w.id(s)]; st.Withdrawn != nil || st.Of != vault.Fingerprint(second.Chain[0]) {
			return fmt.Errorf("the state is %+v", st)
		}
		return nil
	})
	if got := w.ca.Made(pebbletest.NewOrder); got != 2 {
		t.Errorf("there were %d orders, want 2", got)
	}
}
