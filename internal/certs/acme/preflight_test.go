package acme_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	protocol "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/pebbletest"
)

// resolve has the engine look at the DNS of the CA, or at another server.
func (w *world) resolve(server string) {
	w.t.Helper()
	r, err := dns.NewResolver(server)
	if err != nil {
		w.t.Fatal(err)
	}
	w.cfg.Records = r
}

// awaitNone waits until no warning of a code stands.
func (w *world) awaitNone(code ruche.Code) {
	w.t.Helper()
	w.await("the end of the warning "+string(code), func() error {
		if warning, stands := w.warning(code); stands {
			return fmt.Errorf("it stands: %+v", warning)
		}
		return nil
	})
}

// TestCAARecords warns of what the CA is going to refuse, before and after it did.
func TestCAARecords(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1, AlwaysValid: true, Blocked: []string{"shop.example"}})
	w.resolve(w.ca.DNS.Addr())
	w.ca.DNS.SetCAA("shop.example", "issue", "other.example")
	w.want("service/a", spec("www.shop.example"))
	w.run()
	warning := w.awaitWarning(ruche.CodeCAAForbids, "lets only other.example issue", `www.shop.example. IN CAA 0 issue "`+pebbletest.Domain+`"`)
	if warning.Severity != ruche.SeverityWarning {
		t.Errorf("the warning is %+v", warning)
	}
	w.awaitWarning(ruche.CodeCertNotIssued, "rejectedIdentifier") // it was ordered all the same
	w.ca.DNS.SetCAA("shop.example", "issue", pebbletest.Domain)
	w.advance(2 * time.Hour)
	w.awaitNone(ruche.CodeCAAForbids)
}

// TestCAARecordsKeepNothingBack orders what the DNS as it is seen from here forbids, or says nothing about.
func TestCAARecordsKeepNothingBack(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	w := newWorld(t, pebbletest.Options{NonceReject: -1, AlwaysValid: true})
	w.ca.DNS.SetCAA("shop.example", "issue", ";")
	for name, server := range map[string]string{"shop.example": w.ca.DNS.Addr(), "silent.example": closed.Addr().String()} {
		w.resolve(server)
		s := spec(name)
		w.want("service/a", s)
		_, stop := w.run()
		rec, _ := w.certificate(s)
		w.verify(rec, name)
		w.awaitNone(ruche.CodeCAAForbids)
		stop()
	}
}

// TestStandingRecordsThatEnd warns of a record that will be gone when the certificate is to be renewed.
func TestStandingRecordsThatEnd(t *testing.T) {
	w := newWorld(t, pebbletest.Options{AuthzReuse: -1, NonceReject: -1})
	w.resolve(w.ca.DNS.Addr())
	s := spec("shop.example")
	s.Challenge = ruche.ChallengeDNSPersist01
	w.want("service/a", s)
	w.run()
	account := w.account()
	const name = "_validation-persist.shop.example"
	value := pebbletest.Domain + "; accounturi=" + account.URL
	w.awaitWarning(ruche.CodeCertNotIssued, value)
	ends := value + "; persistUntil=" + strconv.FormatInt(time.Now().Add(80*day).Unix(), 10)
	w.ca.DNS.AddTXT(name, ends)
	w.advance(11 * time.Minute)
	w.certificate(s)
	w.advance(7 * time.Hour)
	w.awaitWarning(ruche.CodePersistRecord, "before its certificate does", name+". IN TXT", value)
	w.ca.DNS.RemoveTXT(name, ends)
	w.advance(7 * time.Hour)
	w.awaitWarning(ruche.CodePersistRecord, "there is no record for this CA")
	w.ca.DNS.AddTXT(name, value)
	w.advance(7 * time.Hour)
	w.awaitNone(ruche.CodePersistRecord)
}

// account waits for the account of the engine.
func (w *world) account() (account vault.Account) {
	w.t.Helper()
	w.await("the account", func() error {
		for _, a := range list(w, w.b.accounts) {
			if account = a; a.URL != "" {
				return nil
			}
		}
		return errors.New("there is none")
	})
	return account
}

// TestAccountsThatWereDeactivated tells of an account that the CA takes no more, once.
func TestAccountsThatWereDeactivated(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1, AlwaysValid: true})
	first := spec("shop.example")
	w.want("service/a", first)
	w.run()
	w.certificate(first)
	account := w.account()
	key, err := w.seal.Open(vault.AccountSealedFor(vault.AccountKey(account.Directory, "people@shop.example", "")), account.Key)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.ca.Bundle())
	client := &protocol.Client{Directory: w.ca.Directory(), HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}}
	_, err = client.UpdateAccount(context.Background(), protocol.Account{Location: account.URL, PrivateKey: signer.(crypto.Signer), Status: "deactivated"})
	if err != nil {
		t.Fatal(err)
	}
	w.want("service/b", spec("a.example"), spec("b.example"))
	w.awaitWarning(ruche.CodeAccountInvalid, account.URL, "another --acme-email")
	w.awaitWarning(ruche.CodeCertNotIssued, "does not take the account")
	var n int
	for _, warning := range w.health.List() {
		if warning.Code == ruche.CodeAccountInvalid {
			n++
		}
	}
	if n != 1 {
		t.Errorf("it is told %d times", n)
	}
}

// TestClocks compares the clock with the CA's.
func TestClocks(t *testing.T) {
	for name, tc := range map[string]struct {
		ahead time.Duration
		want  string
	}{"ahead": {5 * time.Minute, "ahead of the CA's"}, "behind": {-5 * time.Minute, "behind the CA's"}, "good": {20 * time.Second, ""}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, pebbletest.Options{NonceReject: -1, AlwaysValid: true})
			w.ahead.Store(int64(tc.ahead))
			s := spec("shop.example")
			w.want("service/a", s)
			w.run()
			w.certificate(s)
			if tc.want == "" {
				w.touch()
				w.awaitNone(ruche.CodeClockWrong)
				return
			}
			w.awaitWarning(ruche.CodeClockWrong, tc.want, "timedatectl")
			w.ahead.Store(0)
			w.want("service/b", spec("other.example"))
			w.certificate(spec("other.example"))
			w.touch()
			w.awaitNone(ruche.CodeClockWrong)
		})
	}
}
