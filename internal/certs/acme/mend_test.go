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
	"github.com/ruche-project/ruche/internal/certs/acme"
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
	w.awaitError(secret, inside.URL, "127.0.0.1", "not reached for workloads", "issuers: in ruche.yaml")
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

// lost is a sealing key that nobody has any more.
func lost(t *testing.T) seal { return sealOf(t, "some other key of 32 bytes, lost") }

// TestAJournalWithoutItsKey has the key of an order that is under way be lost, with the sealing key: after an hour the certificate is ordered anew.
func TestAJournalWithoutItsKey(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	s := spec("shop.example")
	w.atFirstOrder(s, func(o *vault.Order) error {
		o.Key = lost(t).Close(vault.SealedFor(w.id(s)), []byte("key"))
		return nil
	})
	w.want("service/a", s)
	w.run()
	w.awaitError(s, "cannot open the key of the order", "--seal-key-file")
	if got := len(list(w, w.b.orders)); got != 1 {
		t.Errorf("%d orders are under way, want the one that waits for its key", got)
	}
	w.advance(2 * time.Hour)
	w.certificateLater(s)
	if got := w.ca.Made(pebbletest.NewOrder); got != 2 {
		t.Errorf("there were %d orders, want the one without its key and another", got)
	}
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

// TestADeadCAKeepsNoRenewalWaiting has more certificates of a CA that is away be due than renewals begin at once, and one of a CA that answers.
func TestADeadCAKeepsNoRenewalWaiting(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	second := pebbletest.Start(t, pebbletest.Options{NonceReject: -1, AlwaysValid: true})
	w.cfg.Issuers = append(w.cfg.Issuers, ruche.Issuer{Name: "second", Directory: second.Directory(), Bundle: second.Bundle()})
	var dead []ruche.CertificateSpec
	for i := range 8 {
		s := spec(fmt.Sprintf("a%d.shop.example", i))
		s.Directory = second.Directory()
		dead = append(dead, s)
	}
	good := spec("z.shop.example")
	w.want("service/a", dead...)
	w.want("service/b", good)
	e, _ := w.run()
	for _, s := range dead {
		w.certificate(s)
	}
	first, _ := w.certificate(good)
	second.SetDown(true)
	w.ahead.Add(int64(time.Hour))
	for _, s := range dead {
		if err := e.Renew(t.Context(), w.id(s), w.now(), "a test"); err != nil {
			t.Fatal(err)
		}
	}
	w.await("the CA to be found away", func() error {
		if _, stands := w.warning(ruche.CodeIssuerUnreachable); !stands {
			w.advance(time.Minute)
			return errors.New("it is not")
		}
		return nil
	})
	if err := e.Renew(t.Context(), w.id(good), w.now(), "a test"); err != nil {
		t.Fatal(err)
	}
	w.awaitOther(good, first)
}

// TestACAThatIsAwayIsLeftAlone counts how often a CA is asked that cannot be reached, while all certificates are good.
func TestACAThatIsAwayIsLeftAlone(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	var specs []ruche.CertificateSpec
	for i := range 12 {
		specs = append(specs, spec(fmt.Sprintf("a%d.shop.example", i)))
	}
	w.want("service/a", specs...)
	_, stop := w.run()
	for _, s := range specs {
		w.certificate(s)
	}
	stop()
	w.ca.SetDown(true)
	w.ahead.Add(int64(12 * time.Hour))
	away := &counted{next: w.network()}
	w.tune = func(e *acme.Engine) { e.SetTransport(away) } // which knows no directory yet
	w.run()
	w.await("all to be asked for", func() error {
		if got := away.asked.Load(); got < int32(len(specs)) {
			return fmt.Errorf("the CA was asked %d times", got)
		}
		return nil
	})
	for range 5 { // passes, a second from one another at most
		w.touch()
		w.awaitPass()
	}
	if got := away.asked.Load(); got > int32(len(specs)) {
		t.Errorf("the CA was asked %d times for %d windows, although it is away", got, len(specs))
	}
}

// counted counts requests.
type counted struct {
	next  http.RoundTripper
	asked atomic.Int32
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.asked.Add(1)
	return c.next.RoundTrip(r)
}

// awaitPass waits until the engine has looked at what is wanted: at a wildcard that cannot be had, whose error tells its name.
func (w *world) awaitPass() {
	w.t.Helper()
	s := spec(fmt.Sprintf("*.p%d.nobody.example", w.passes))
	w.passes++
	w.want("service/pass", s)
	w.awaitError(s, s.Names[0])
}

// TestEachRevocationIsTried has a CA refuse to revoke one certificate of a name: the next one is revoked all the same.
func TestEachRevocationIsTried(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	s := spec("shop.example")
	w.want("service/a", s)
	e, _ := w.run()
	_, first := w.certificate(s)
	var refuses atomic.Bool
	refuses.Store(true)
	w.ca.SetAnswer(func(c pebbletest.Call) *pebbletest.Answer {
		if c.Kind != pebbletest.Revoke || !refuses.Load() {
			return nil
		}
		return &pebbletest.Answer{Status: http.StatusNotFound, Problem: "malformed", Detail: "Unable to find specified certificate"}
	})
	w.ahead.Add(int64(time.Minute))
	revoke := func() vault.Record {
		t.Helper()
		before, _, err := w.record(w.id(s))
		if err == nil {
			err = e.Revoke(t.Context(), w.id(s), w.now(), vault.ReasonKeyCompromise)
		}
		if err != nil {
			t.Fatal(err)
		}
		return w.awaitOther(s, before)
	}
	second := revoke()
	w.awaitWarning(ruche.CodeCertNotRevoked, first.Leaf.SerialNumber.Text(16), "Unable to find", "every five minutes")
	refuses.Store(false)
	w.ahead.Add(int64(time.Minute))
	revoke()
	leaf, err := second.Leaf()
	if err != nil {
		t.Fatal(err)
	}
	w.awaitRevoked(leaf, 1)
	w.awaitWarning(ruche.CodeCertNotRevoked, first.Leaf.SerialNumber.Text(16))
	w.await("the end of the first one", func() error {
		if left := list(w, w.b.states)[w.id(s)].Revoke; len(left) > 0 {
			w.advance(10 * time.Minute)
			return fmt.Errorf("%d are waited for: %s", len(left), left[0].LastError)
		}
		return nil
	})
	w.awaitRevoked(first.Leaf, 1)
}

// TestAnAccountWithoutItsKey has the key of the account be lost, with the sealing key: after an hour another one is registered.
func TestAnAccountWithoutItsKey(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	id := vault.AccountKey(w.ca.Directory(), "people@shop.example", "")
	put(t, w.b.accounts, id, vault.Account{Directory: w.ca.Directory(), URL: w.ca.Directory() + "/lost", Key: lost(t).Close(vault.AccountSealedFor(id), []byte("key")), Created: w.now()})
	s := spec("shop.example")
	w.want("service/a", s)
	w.run()
	w.awaitError(s, "cannot open the key of the account", "--seal-key-file", "in an hour")
	w.advance(2 * time.Hour)
	w.certificateLater(s)
}

// TestAMendedIssuerIsAskedAtOnce gives an issuer another external account after many failures.
func TestAMendedIssuerIsAskedAtOnce(t *testing.T) {
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	w := newWorld(t, pebbletest.Options{NonceReject: -1, EAB: map[string]string{"kid-1": key}})
	w.cfg.Issuers[0].EAB = &ruche.ExternalAccount{KeyID: "kid-1", Key: "d3Jvbmc"}
	s := spec("shop.example")
	w.want("service/a", s)
	e, _ := w.run()
	w.awaitError(s, "external account")
	mended := w.cfg.Issuers[0]
	mended.EAB = &ruche.ExternalAccount{KeyID: "kid-1", Key: key}
	e.SetIssuers([]ruche.Issuer{mended})
	rec, _ := w.certificate(s)
	w.verify(rec, s.Names...)
}

// TestHintsNameTheIssuersSettings has an issuer of ruche.yaml fail.
func TestHintsNameTheIssuersSettings(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	w.cfg.Issuers = append(w.cfg.Issuers, ruche.Issuer{Name: "corporate", Directory: "https://127.0.0.1:1/directory"})
	s := spec("shop.example")
	s.Issuer, s.Directory = "corporate", "https://127.0.0.1:1/directory"
	w.want("service/a", s)
	w.run()
	w.awaitError(s, "ca_bundle of issuer corporate in ruche.yaml")
}
