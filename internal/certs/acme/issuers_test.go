package acme_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/pebbletest"
)

// TestAnIssuerOutOfService takes an issuer out of service: what it has issued is served as it is, nothing is ordered in its name from another one, not even by way of a fallback, and all
// is made up for when it is back.
func TestAnIssuerOutOfService(t *testing.T) {
	w := newWorld(t, pebbletest.Options{NonceReject: -1, AlwaysValid: true})
	ca := pebbletest.Start(t, pebbletest.Options{NonceReject: -1, AlwaysValid: true})
	usual := w.cfg.Issuers[0]
	usual.Fallback = "corporate"
	good := ruche.Issuer{Name: "corporate", Directory: ca.Directory(), Bundle: ca.Bundle()}
	out := good
	out.Bundle, out.Problem, out.Hint = nil, "roots.pem is not there", "put it there"
	of := func(name string) ruche.CertificateSpec {
		s := spec(name)
		s.Issuer = good.Name
		return s
	}
	id := func(s ruche.CertificateSpec) string { return vault.ID(s.Names, good.Directory, ruche.KeyP256) }
	w.cfg.Issuers = []ruche.Issuer{usual, good}
	old, later, other := of("old.example"), of("later.example"), spec("other.example")
	w.want("service/a", old)
	e, _ := w.run()
	var first vault.Record
	w.await("the first certificate", func() (err error) {
		first, _, err = w.record(id(old))
		return err
	})

	e.SetIssuers([]ruche.Issuer{usual, out})
	w.want("service/b", later)
	w.want("service/c", other)
	w.certificate(other)
	w.awaitWarning(ruche.CodeCertNotIssued, "later.example", "issuer corporate is out of service: roots.pem is not there (put it there)")
	w.advance(85 * day)
	w.awaitWarning(ruche.CodeCertNotRenewed, "issuer corporate is out of service")
	w.ca.SetDown(true) // whose fallback is out of service
	w.want("service/d", spec("down.example"))
	w.await("a failure of the other CA", func() error {
		if list(w, w.b.states)[w.id(spec("down.example"))].Failures == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	w.advance(day)
	w.settle()
	w.ca.SetDown(false)
	for key, r := range list(w, w.b.certificates) {
		if strings.HasPrefix(key, "later") || strings.HasPrefix(key, "down") || strings.HasPrefix(key, "old") && !r.Issued.Equal(first.Issued) {
			t.Errorf("%s was ordered from %s", key, r.Issuer)
		}
	}
	if st := list(w, w.b.states)[id(old)]; st.LastError != "" {
		t.Errorf("what is served says %q, although nothing has failed", st.LastError)
	}

	e.SetIssuers([]ruche.Issuer{usual, good})
	w.await("all is made up for", func() error {
		renewed, _, err := w.record(id(old))
		if err == nil && renewed.Issued.Equal(first.Issued) {
			err = errors.New("it is not renewed")
		}
		_, _, missing := w.record(id(later))
		return errors.Join(err, missing)
	})
}
