package acme_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/acme"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/pebbletest"
)

// settle waits until the engine has begun, and looked once.
func (w *world) settle() {
	w.t.Helper()
	wild := spec("*.nobody.example")
	w.want("service/settle", wild)
	w.await("the engine to look", func() error {
		if list(w, w.b.states)[w.id(wild)].LastError == "" {
			return errors.New("it has not yet")
		}
		return nil
	})
}

// TestTheSealingKeyIsRotated has the journal sealed anew by somebody else while its order is under way.
func TestTheSealingKeyIsRotated(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	s := spec("shop.example")
	w.atFirstOrder(s, func(o *vault.Order) error {
		key, err := w.seal.Open(vault.SealedFor(w.id(s)), o.Key)
		o.Key = w.seal.Close(vault.SealedFor(w.id(s)), key)
		return err
	})
	w.want("service/a", s)
	w.run()
	rec, _ := w.certificate(s)
	w.verify(rec, s.Names...)
	if got := w.ca.Made(pebbletest.NewOrder); got != 1 {
		t.Errorf("there were %d orders, want one", got)
	}
}

// TestAnAccountIsImportedMeanwhile imports the account by which certificates will be ordered, after the engine has begun.
func TestAnAccountIsImportedMeanwhile(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	w.run()
	w.settle()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	id := vault.AccountKey(w.ca.Directory(), "people@shop.example", "")
	row := vault.Account{Directory: w.ca.Directory(), Contact: []string{"mailto:people@shop.example"}, Key: w.seal.Close(vault.AccountSealedFor(id), der)}
	if _, err := w.b.accounts.Create(t.Context(), id, row); err != nil {
		t.Fatal(err)
	}
	s := spec("shop.example")
	w.want("service/a", s)
	rec, _ := w.certificate(s)
	w.verify(rec, s.Names...)
}

// TestTheClockWasAhead has a certificate ordered while the clock is almost three months ahead, and then set right: it is renewed in time.
func TestTheClockWasAhead(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	s := spec("shop.example")
	w.want("service/a", s)
	w.ahead.Store(int64(89 * day))
	_, stop := w.run()
	w.certificate(s)
	w.await("the end of the order", func() error {
		if len(list(w, w.b.orders)) > 0 || list(w, w.b.states)[w.id(s)].WindowEnd.IsZero() {
			return errors.New("it is under way, or the CA has not said when to renew")
		}
		return nil
	})
	stop()
	w.ahead.Store(int64(70 * day))
	w.run()
	w.await("the renewal", func() error {
		if got := w.ca.Made(pebbletest.NewOrder); got != 2 {
			return fmt.Errorf("there were %d orders, want 2", got)
		}
		return nil
	})
}

// TestATryOfAClockThatWasAhead sets the clock right after an order has failed.
func TestATryOfAClockThatWasAhead(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1, Blocked: []string{"shop.example"}})
	s := spec("shop.example")
	w.want("service/a", s)
	w.ahead.Store(int64(20 * day))
	w.run()
	failures := func(n int) {
		t.Helper()
		w.await("the failure", func() error {
			if got := list(w, w.b.states)[w.id(s)].Failures; got != n {
				return fmt.Errorf("%d tries have failed, want %d", got, n)
			}
			return nil
		})
	}
	failures(1)
	w.advance(-20 * day)
	failures(2)
}

// TestACertificateThatHasEnded is about a clock that is ahead by more than a certificate's life: it must not make one order after the other.
func TestACertificateThatHasEnded(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	s := spec("shop.example")
	w.want("service/a", s)
	w.ahead.Store(int64(100 * day))
	w.run()
	w.await("the reason", func() error {
		if st := list(w, w.b.states)[w.id(s)]; st.Failures != 1 || !strings.Contains(st.LastError, "look at the clock") {
			return fmt.Errorf("it is %q after %d failures, and %d orders", st.LastError, st.Failures, w.ca.Made(pebbletest.NewOrder))
		}
		return nil
	})
	w.touch()
	if got := w.ca.Made(pebbletest.NewOrder); got != 1 {
		t.Errorf("there were %d orders, want one", got)
	}
}

// network is how the test's CA is reached.
func (w *world) network() *http.Transport {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.ca.Bundle())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	w.t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// silent is a CA that takes connections and says nothing, beside one that answers.
type silent struct{ next http.RoundTripper }

func (s silent) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == "silent.example" {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return s.next.RoundTrip(r)
}

// TestOneCAKeepsNoOtherWaiting has more certificates wanted of a CA that says nothing than are ordered at a time, and one of another.
func TestOneCAKeepsNoOtherWaiting(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	transport := w.network()
	w.tune = func(e *acme.Engine) { e.SetTransport(silent{transport}) }
	var specs []ruche.CertificateSpec
	for i := range 25 {
		s := spec(fmt.Sprintf("a%d.shop.example", i))
		s.Directory = "https://silent.example/directory"
		specs = append(specs, s)
	}
	w.want("service/a", specs...)
	w.run()
	w.await("the orders to begin", func() error {
		if got := len(list(w, w.b.orders)); got != 20 {
			return fmt.Errorf("%d have begun", got)
		}
		return nil
	})
	s := spec("z.shop.example")
	w.want("service/b", s)
	rec, _ := w.certificate(s)
	w.verify(rec, s.Names...)
}

// mute is a CA that answers all questions but those for renewal windows.
type mute struct{ next http.RoundTripper }

func (m mute) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(strings.ToLower(r.URL.Path), "renewal") {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return m.next.RoundTrip(r)
}

// TestQuestionsKeepNoRevocationWaiting revokes a certificate while more questions for windows than are asked at a time wait for an answer.
func TestQuestionsKeepNoRevocationWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	transport := w.network()
	w.tune = func(e *acme.Engine) { e.SetTransport(mute{transport}) }
	var specs []ruche.CertificateSpec
	for i := range 10 {
		specs = append(specs, spec(fmt.Sprintf("n%d.shop.example", i)))
	}
	w.want("service/a", specs...)
	e, _ := w.run()
	for _, s := range specs {
		w.certificate(s)
	}
	_, pair := w.certificate(specs[0])
	if err := e.Revoke(t.Context(), w.id(specs[0]), w.now(), "superseded"); err != nil {
		t.Fatal(err)
	}
	w.awaitRevoked(pair.Leaf, 4)
}

// TestOneNameInTwoOrders has two certificates for the same name ordered, which can be proved by handshake alone: there is one answer for a name at a time.
func TestOneNameInTwoOrders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebbletest.Options{NonceReject: -1, AuthzReuse: -1})
	w.cfg.Issuers[0].Challenges = []ruche.ChallengeType{ruche.ChallengeTLSALPN01}
	var specs []ruche.CertificateSpec
	for i := range 4 {
		s := spec(fmt.Sprintf("n%d.shop.example", i))
		specs = append(specs, s)
		s.KeyType = ruche.KeyP384
		specs = append(specs, s)
	}
	w.want("service/a", specs...)
	w.run()
	for _, s := range specs {
		rec, _ := w.certificate(s)
		w.verify(rec, s.Names...)
	}
	for _, i := range list(w, w.b.issuances) {
		if i.Failed {
			t.Errorf("%s was not proved", i.FailedName)
		}
	}
	if got := w.ca.Made(pebbletest.NewOrder); got != len(specs) {
		t.Errorf("there were %d orders, want %d", got, len(specs))
	}
}
