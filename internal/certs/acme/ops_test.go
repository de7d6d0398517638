package acme_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/acme"
	"github.com/ruche-project/ruche/internal/certs/importer"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/pebbletest"
)

// TestImport serves names from certificates that came from elsewhere, until they are due.
func TestImport(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	chain, key := selfMade(t, time.Now(), 60*day, "shop.example", "www.shop.example")
	store := importer.Store{Certificates: w.b.certificates, Accounts: w.b.accounts, Seal: w.seal}
	result, err := store.Import(t.Context(), []ruche.ImportedCertificate{{
		Names: []string{"shop.example", "www.shop.example"}, Chain: chain, Key: key, Directory: w.ca.Directory(), Source: "a test",
	}})
	if err != nil || result.Certificates[0].Outcome != ruche.ImportDone {
		t.Fatalf("%+v, %v", result, err)
	}
	id := result.Certificates[0].ID
	s := spec("www.shop.example", "shop.example")
	s.KeyType = ruche.KeyRSA2048 // what is there serves although it has another key
	w.want("service/a", s)
	more := spec("more.example")
	w.want("service/b", more)
	put(t, w.b.declarations, "service/c", ruche.Declaration{Routes: []ruche.Route{{TLS: ruche.TLSACME, Match: ruche.Match{Host: "shop.example", Path: "/"}}}})
	w.run()
	w.certificate(more)
	if got := w.ca.Made(pebbletest.NewOrder); got != 1 {
		t.Errorf("there were %d orders, want one: the imported certificate serves", got)
	}
	w.advance(50 * day)
	w.certificate(s)
	w.await("the imported one to be retired", func() error {
		w.advance(13 * time.Hour)
		rec, _, err := w.record(id)
		if err == nil && rec.Retired.IsZero() {
			return errors.New("it is not")
		}
		return err
	})
}

// selfMade makes a certificate that no CA has signed.
func selfMade(t *testing.T, from time.Time, life time.Duration, names ...string) (chain [][]byte, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{sign(t, from, life, private.Public(), private, names...)}, pkcs8(t, private)
}

func sign(t *testing.T, from time.Time, life time.Duration, public crypto.PublicKey, by crypto.Signer, names ...string) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(from.UnixNano()), NotBefore: from, NotAfter: from.Add(life), DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func pkcs8(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestInternal takes certificates of a day from an authority of our own.
func TestInternal(t *testing.T) {
	w := newWorld(t, pebbletest.Options{})
	w.cfg.Issuers = nil
	s := spec("shop.internal")
	s.Issuer = ruche.IssuerInternal
	w.want("service/a", s)
	_, stop := w.run()
	w.awaitWarning(ruche.CodeCertNotIssued, "no internal authority", "ruche ca init")
	stop()
	if len(w.health.List()) > 0 {
		t.Errorf("who leads no more has no warnings: %v", w.health.List())
	}
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.cfg.Internal = func(_ context.Context, spec ruche.CertificateSpec, csr *x509.CertificateRequest) ([][]byte, error) {
		if err := csr.CheckSignature(); err != nil {
			return nil, err
		}
		return [][]byte{sign(t, w.now(), day, csr.PublicKey, root, spec.Names...)}, nil
	}
	revoked := make(chan []byte, 1)
	w.cfg.RevokeInternal = func(_ context.Context, cert *x509.Certificate, reason int) error {
		if reason != 4 {
			return fmt.Errorf("the reason is %d", reason)
		}
		revoked <- cert.Raw
		return nil
	}
	w.ahead.Add(int64(time.Hour))
	w.run()
	id := vault.ID(s.Names, ruche.IssuerInternal, ruche.KeyP256)
	var before vault.Record
	for range 4 {
		w.await("a certificate of our own", func() error {
			rec, _, err := w.record(id)
			switch {
			case err != nil:
				return err
			case before.Chain != nil && bytes.Equal(rec.Chain[0], before.Chain[0]):
				return errors.New("it is the same")
			case rec.Origin != vault.OriginInternal:
				return errors.New(string(rec.Origin))
			}
			before = rec
			return nil
		})
		w.advance(12 * time.Hour)
	}
	// It is replaced first, and then revoked.
	w.ahead.Add(int64(time.Minute))
	before, _, err = w.record(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.engine().Revoke(t.Context(), id, w.now(), "superseded"); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-revoked:
		rec, _, err := w.record(id)
		if err != nil || !bytes.Equal(got, before.Chain[0]) || bytes.Equal(got, rec.Chain[0]) || !rec.Revoked.IsZero() {
			t.Errorf("another one was revoked than the one before, or that was not replaced: %v", err)
		}
	case <-time.After(patience):
		t.Error("it was not revoked")
	}
}

// TestTheAuthorityIsMade has what could not be had of our own authority tried as soon as it is there, without a wait.
func TestTheAuthorityIsMade(t *testing.T) {
	w := newWorld(t, pebbletest.Options{})
	w.cfg.Issuers = nil
	s := spec("hop.internal")
	s.Issuer = ruche.IssuerInternal
	w.want("service/a", s)
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var made atomic.Bool
	w.cfg.Internal = func(_ context.Context, spec ruche.CertificateSpec, csr *x509.CertificateRequest) ([][]byte, error) {
		if !made.Load() {
			return nil, errors.New("there is no authority")
		}
		return [][]byte{sign(t, w.now(), day, csr.PublicKey, root, spec.Names...)}, nil
	}
	e, _ := w.run()
	w.awaitWarning(ruche.CodeCertNotIssued, "there is no authority")
	e.AuthorityChanged() // it has changed, but does not issue yet
	failures := func(n int) func() error {
		return func() error {
			st, err := w.b.states.Get(t.Context(), vault.ID(s.Names, ruche.IssuerInternal, ruche.KeyP256))
			if err == nil && st.Value.Failures < n {
				err = fmt.Errorf("it has failed %d times", st.Value.Failures)
			}
			return err
		}
	}
	w.await("another try", failures(2))
	made.Store(true)
	e.AuthorityChanged()
	w.await("the certificate", func() error {
		_, _, err := w.record(vault.ID(s.Names, ruche.IssuerInternal, ruche.KeyP256))
		return err
	})
}

// TestTheFallback asks another CA when the first one refuses or fails, and tries the first one again at the renewal.
func TestTheFallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebbletest.Options{NonceReject: -1, Blocked: []string{"blocked.example"}})
	second := pebbletest.Start(t, pebbletest.Options{NonceReject: -1, AlwaysValid: true})
	w.cfg.Issuers[0].Fallback = "second"
	w.cfg.Issuers = append(w.cfg.Issuers, ruche.Issuer{Name: "second", Directory: second.Directory(), Bundle: second.Bundle()})
	refused, down := spec("shop.blocked.example"), spec("shop.example")
	w.want("service/a", refused)
	w.run()
	w.awaitWarning(ruche.CodeCertNotIssued, "rejectedIdentifier")
	w.advance(3 * time.Hour)
	rec, _ := w.certificate(refused)
	if rec.Issuer != "second" || rec.Directory != second.Directory() {
		t.Errorf("the issuer is %s", rec.Issuer)
	}
	w.ca.SetDown(true)
	w.want("service/b", down)
	w.await("the certificate while the first CA is away", func() error {
		w.advance(time.Minute)
		rec, _, err := w.record(w.id(down))
		if err == nil && rec.Issuer != "second" {
			return errors.New("the issuer is " + rec.Issuer)
		}
		return err
	})
	first, _ := w.certificate(down)
	w.ca.SetDown(false)
	w.advance(61 * day)
	if rec := w.awaitOther(down, first); rec.Issuer != ruche.IssuerDefault {
		t.Errorf("after the renewal the issuer is %s, want the first one again", rec.Issuer)
	}
}

// TestTheCAForgets lets the CA forget the account: it is registered again with the same key, but never where standing records name it.
func TestTheCAForgets(t *testing.T) {
	for _, challenge := range []ruche.ChallengeType{ruche.ChallengeHTTP01, ruche.ChallengeDNSPersist01} {
		t.Run(string(challenge), func(t *testing.T) {
			w := newWorld(t, pebbletest.Options{NonceReject: -1, AlwaysValid: true})
			s := spec("shop.example")
			s.Challenge = challenge
			w.want("service/a", s)
			_, stop := w.run()
			w.certificate(s)
			stop()
			w.await("the end", func() error { return nil })
			for key, a := range list(w, w.b.accounts) {
				a.URL += "0" // the CA knows no such account
				put(t, w.b.accounts, key, a)
			}
			other := spec("other.example")
			other.Challenge = challenge
			w.want("service/b", other)
			w.run()
			if challenge == ruche.ChallengeDNSPersist01 {
				w.awaitWarning(ruche.CodeCertNotIssued, "does not know the account", "accounturi")
				return
			}
			w.certificate(other)
			if st := list(w, w.b.states)[w.id(other)]; st.Failures > 0 {
				t.Errorf("it counts as a failure: %+v", st)
			}
			if got := w.ca.Made(pebbletest.NewAccount); got != 1 {
				t.Errorf("there are %d accounts, want the same one", got)
			}
		})
	}
}

// TestAnotherDirectory changes the CA of a name: the old certificate serves until the new one is there.
func TestAnotherDirectory(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	second := pebbletest.Start(t, pebbletest.Options{NonceReject: -1, AlwaysValid: true})
	w.cfg.Issuers = append(w.cfg.Issuers, ruche.Issuer{Name: "second", Directory: second.Directory(), Bundle: second.Bundle()})
	before := spec("shop.example")
	w.want("service/a", before)
	w.run()
	old, _ := w.certificate(before)
	after := before
	after.Directory = second.Directory()
	second.SetDown(true)
	w.want("service/a", after)
	w.advance(30 * time.Hour)
	w.await("the failure", func() error {
		if list(w, w.b.states)[w.id(after)].Failures == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	if rec, _, err := w.record(w.id(before)); err != nil || !rec.Retired.IsZero() {
		t.Errorf("the old certificate is to serve: %v, %v", rec.Retired, err)
	}
	second.SetDown(false)
	w.advance(time.Hour)
	w.certificate(after)
	w.await("the old one to be retired", func() error {
		w.advance(13 * time.Hour)
		rec, _, err := w.record(w.id(before))
		if err == nil && (rec.Retired.IsZero() || !bytes.Equal(rec.Chain[0], old.Chain[0])) {
			return errors.New("it is not")
		}
		return err
	})
}

func TestSnapshot(t *testing.T) {
	const mac = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	w := newWorld(t, pebbletest.Options{NonceReject: -1, EAB: map[string]string{"k": mac}})
	s := spec("shop.example")
	s.EAB = &ruche.ExternalAccount{KeyID: "k", Key: mac}
	s.DNS = &ruche.DNSProvider{Name: "test", Settings: map[string]string{"token": "secret"}}
	w.want("service/a", s)
	e, _ := w.run()
	w.certificate(s)
	snapshot, err := e.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rec, ok := snapshot.Records[w.id(s)]
	if !ok || rec.Key != nil || len(snapshot.Wants) != 1 || snapshot.Wants[0].ID != w.id(s) {
		t.Errorf("%+v", snapshot)
	}
	if text := fmt.Sprintf("%+v %+v", snapshot.Wants, snapshot.Wants[0].Terms); strings.Contains(text, "secret") || strings.Contains(text, mac) {
		t.Errorf("there are secrets in it: %s", text)
	}
}

// TestTheCAWantsPeace honours the time for which a CA wants to be left alone.
func TestTheCAWantsPeace(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	w.limitOrders()
	s := spec("shop.example")
	w.want("service/a", s)
	w.run()
	w.awaitWarning(ruche.CodeCertNotIssued, "rateLimited", "too many certificates", "used up")
	if wait := time.Until(list(w, w.b.states)[w.id(s)].NextTry); wait < 4*time.Hour || wait > 5*time.Hour {
		t.Errorf("the next try is in %s, want five hours", wait)
	}
	w.ca.SetAnswer(nil)
	w.advance(5 * time.Hour)
	w.certificate(s)
}

// TestTheBudget keeps an order back for which Let's Encrypt has no room, and lets renewals through. Its place is taken by Pebble.
func TestTheBudget(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1, AlwaysValid: true})
	w.tune = func(e *acme.Engine) { e.SetTransport(w.ca.RoundTripper()) }
	w.cfg.Issuers = []ruche.Issuer{{Name: ruche.IssuerDefault, Directory: "https://acme-v02.api.letsencrypt.org/dir"}}
	for i := range 50 {
		name := fmt.Sprintf("n%d.example.com", i)
		put(t, w.b.issuances, name, vault.Issuance{At: time.Now(), Directory: w.cfg.Issuers[0].Directory, Names: []string{name}})
	}
	one, other := spec("new.example.com"), spec("new.example.org")
	w.want("service/a", one, other)
	w.run()
	w.certificate(other)
	w.awaitWarning(ruche.CodeCertNotIssued, "50 new certificates a week for example.com")
	if got := w.ca.Made(pebbletest.NewOrder); got != 1 {
		t.Errorf("there were %d orders, want one", got)
	}
	w.advance(4 * time.Hour)
	w.certificate(one)
}

// TestAnUnknownIssuer has names ordered from the default issuer, and tells of it.
func TestAnUnknownIssuer(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	a, b, near := spec("a.example"), spec("b.example"), spec("c.example")
	a.Issuer, b.Issuer, near.Issuer = "lestencrypt", "lestencrypt", "intrenal"
	w.want("service/a", a, b, near)
	w.run()
	w.certificate(a)
	if told := w.awaitWarning(ruche.CodeIssuerUnknown, `"lestencrypt"`, "and 1 more"); told.Severity != ruche.SeverityInfo {
		t.Errorf("the severity is %s", told.Severity)
	}
	w.awaitError(near, `"intrenal"`, `did you mean "internal"?`)
	if got := w.ca.Made(pebbletest.NewOrder); got > 2 {
		t.Errorf("there were %d orders: a name that was meant for an issuer of the house was brought to another one", got)
	}
	a.Issuer, b.Issuer = "", ""
	w.want("service/a", a, b)
	w.await("the warning's end", func() error {
		if told, stands := w.warning(ruche.CodeIssuerUnknown); stands {
			return errors.New(told.Message)
		}
		return nil
	})
}
