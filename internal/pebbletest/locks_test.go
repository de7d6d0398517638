package pebbletest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/http"
	"path"
	"testing"
	"testing/synctest"
	"time"

	"github.com/letsencrypt/pebble/v2/acme"
	"github.com/letsencrypt/pebble/v2/core"
	client "golang.org/x/crypto/acme"
)

// TestAnOrderRests shows when an order may be shown: while Pebble works on it, it must not be.
func TestAnOrderRests(t *testing.T) {
	c := Start(t, Options{})
	authorization := func(status, challenge string) *core.Authorization {
		a := &core.Authorization{ExpiresDate: time.Now().Add(time.Hour), Challenges: []*core.Challenge{{Challenge: acme.Challenge{Status: challenge}}}}
		a.Status = status
		return a
	}
	pending, valid := authorization(acme.StatusPending, acme.StatusPending), authorization(acme.StatusValid, acme.StatusValid)
	certificate := func(serial int64) *core.Certificate {
		return &core.Certificate{ID: fmt.Sprintf("%x", serial), Cert: &x509.Certificate{SerialNumber: big.NewInt(serial)}}
	}
	for n, tc := range []struct {
		name           string
		authorizations []*core.Authorization
		change         func(*core.Order)
		want           bool
	}{
		{name: "new", authorizations: []*core.Authorization{pending}, want: true},
		{name: "one of two challenges is looked at", authorizations: []*core.Authorization{valid, authorization(acme.StatusPending, acme.StatusProcessing)}},
		{name: "a challenge has failed, which the order does not say yet", authorizations: []*core.Authorization{authorization(acme.StatusInvalid, acme.StatusInvalid)}},
		{
			name: "a challenge has failed", authorizations: []*core.Authorization{authorization(acme.StatusInvalid, acme.StatusInvalid)},
			change: func(o *core.Order) { o.Error = &acme.ProblemDetails{} }, want: true,
		},
		{
			name: "of two that fail, one is looked at", authorizations: []*core.Authorization{authorization(acme.StatusInvalid, acme.StatusInvalid), authorization(acme.StatusPending, acme.StatusProcessing)},
			change: func(o *core.Order) { o.Error = &acme.ProblemDetails{} },
		},
		{name: "ready", authorizations: []*core.Authorization{valid}, want: true},
		{name: "the certificate is made", authorizations: []*core.Authorization{valid}, change: func(o *core.Order) { o.BeganProcessing = true }},
		{
			name: "the certificate is there, but not found by its number", authorizations: []*core.Authorization{valid},
			change: func(o *core.Order) { o.BeganProcessing, o.CertificateObject = true, certificate(0x1234) },
		},
		{
			name: "the certificate is there", authorizations: []*core.Authorization{valid},
			change: func(o *core.Order) {
				o.BeganProcessing, o.CertificateObject = true, certificate(0x1235)
				must(t, c.store.AddOrderByIssuedSerial(o))
			},
			want: true,
		},
	} {
		order := &core.Order{ID: fmt.Sprint(n), AuthorizationObjects: tc.authorizations}
		order.Identifiers = make([]acme.Identifier, len(tc.authorizations))
		if tc.change != nil {
			tc.change(order)
		}
		_, err := c.store.AddOrder(order)
		must(t, err)
		if got := c.rests(order.ID); got != tc.want {
			t.Errorf("%s: the order rests: %v, want %v", tc.name, got, tc.want)
		}
	}
	if !c.rests("nothing") {
		t.Error("one that is not there keeps requests waiting")
	}
}

// TestAnOrderIsShownWhenItRests asks for an order while its certificate is being made.
func TestAnOrderIsShownWhenItRests(t *testing.T) {
	c := Start(t, Options{NonceReject: -1})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	synctest.Test(t, func(t *testing.T) {
		people := &client.Client{Key: key, DirectoryURL: c.Directory(), HTTPClient: &http.Client{Transport: c.RoundTripper()}}
		_, err := people.Register(t.Context(), &client.Account{}, client.AcceptTOS)
		must(t, err)
		made, err := people.AuthorizeOrder(t.Context(), client.DomainIDs("shop.example"))
		must(t, err)
		order := c.store.GetOrderByID(path.Base(made.URI))
		set := func(processing bool) {
			order.Lock()
			defer order.Unlock()
			order.BeganProcessing = processing
		}
		set(true)
		shown := make(chan error, 1)
		go func() {
			_, err := people.GetOrder(t.Context(), made.URI)
			shown <- err
		}()
		<-time.After(time.Second) // of the bubble's time
		select {
		case err := <-shown:
			t.Fatalf("an order was shown that the CA works on: %v", err)
		default:
		}
		set(false)
		must(t, <-shown)
	})
}

// TestANumberThatBeginsWithAZero finds what an order replaces by the number that is in the certificate.
func TestANumberThatBeginsWithAZero(t *testing.T) {
	c := Start(t, Options{})
	for id, whole := range map[string]string{"7f12": "7f12", "8f12": "008f12", "1ff": "1ff"} {
		serial, _ := new(big.Int).SetString(id, 16)
		order := &core.Order{ID: id, AccountID: "people", BeganProcessing: true, CertificateObject: &core.Certificate{ID: id, Cert: &x509.Certificate{SerialNumber: serial}}}
		order.Identifiers = []acme.Identifier{}
		_, err := c.store.AddOrder(order)
		must(t, err)
		must(t, c.store.AddOrderByIssuedSerial(order))
		if !c.rests(id) {
			t.Fatalf("%s: the order does not rest", id)
		}
		must(t, c.store.UpdateReplacedOrder(whole, true))
		if !c.rests(id) { // it is kept once
			t.Fatalf("%s: the order does not rest any more", id)
		}
		if found, err := c.store.GetOrderByIssuedSerial(whole); err != nil || found.AccountID != "people" || !found.IsReplaced {
			t.Errorf("%s: what is found by %s is %+v, %v", id, whole, found, err)
		}
	}
}
