package acme_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/pebbletest"
)

// awaitError waits until the state of a certificate has an error with all parts.
func (w *world) awaitError(s ruche.CertificateSpec, parts ...string) {
	w.t.Helper()
	w.await("the error of "+s.Names[0], func() error {
		text := list(w, w.b.states)[w.id(s)].LastError
		for _, p := range parts {
			if !strings.Contains(text, p) {
				return fmt.Errorf("%q is not in %q", p, text)
			}
		}
		return nil
	})
}

// TestWorkloadsReachNothingByACA has a workload name a CA that only this node can reach.
func TestWorkloadsReachNothingByACA(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	var asked atomic.Int32
	inside := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(inside.Close)
	secret, plain := spec("a.shop.example"), spec("b.shop.example")
	secret.Directory, plain.Directory = inside.URL+"/directory", "http://ca.example/directory"
	w.want("service/a", secret, plain)
	w.run()
	w.awaitError(secret, inside.URL, "127.0.0.1", "issuers: in ruche.yaml")
	w.awaitError(plain, "http://ca.example/directory", "https://")
	if asked.Load() > 0 {
		t.Error("the server was asked")
	}
}

// TestAllReasonsAreTold has every type of challenge fail.
func TestAllReasonsAreTold(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1, AuthzReuse: -1})
	w.noALPN.Store(true)
	w.answers = bucketOf[vault.Challenge](newState(), "nowhere")
	s := spec("shop.example")
	w.want("service/a", s)
	w.run()
	w.awaitError(s, "tls-alpn-01 for shop.example", "http-01 for shop.example", "/.well-known/acme-challenge/")
}

// TestAJournalWithoutItsKey has the key of an order that is under way be lost, with the sealing key: after an hour the certificate is ordered anew.
func TestAJournalWithoutItsKey(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	s := spec("shop.example")
	w.ca.SetHook(func(c pebbletest.Call) bool {
		if c.Kind != pebbletest.NewOrder || c.Status != 0 || w.ca.Made(pebbletest.NewOrder) > 1 {
			return true
		}
		e, err := w.b.orders.Get(t.Context(), w.id(s))
		if err == nil {
			e.Value.Key = sealOf(t, "some other key of 32 bytes, lost").Close(vault.SealedFor(w.id(s)), []byte("key"))
			_, err = w.b.orders.CompareAndSet(t.Context(), w.id(s), e.Value, e.Revision)
		}
		if err != nil {
			t.Error(err)
		}
		return true
	})
	w.want("service/a", s)
	w.run()
	w.awaitError(s, "cannot open the key of the order", "--seal-key-file")
	if got := len(list(w, w.b.orders)); got != 1 {
		t.Errorf("%d orders are under way, want the one that waits for its key", got)
	}
	w.advance(2 * time.Hour)
	w.await("the next order", func() error {
		if _, _, err := w.record(w.id(s)); err != nil {
			w.advance(10 * time.Minute)
			return err
		}
		return nil
	})
	rec, _ := w.certificate(s)
	w.verify(rec, s.Names...)
}

// TestALostThread has a certificate disappear while the engine's watch is interrupted.
func TestALostThread(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	s := spec("shop.example")
	w.want("service/a", s)
	w.run()
	first, _ := w.certificate(s)
	w.await("the end of the order", func() error {
		if len(list(w, w.b.orders)) > 0 {
			return errors.New("it is under way")
		}
		return nil
	})
	w.state.lose(func() { delete(w.b.certificates.rows, w.id(s)) })
	w.awaitOther(s, first)
}
