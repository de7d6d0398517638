package acme_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/pebbletest"
)

const day = 24 * time.Hour

// TestWhatIsIssued orders certificates of all kinds.
func TestWhatIsIssued(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebbletest.Options{NonceReject: 5, Profiles: map[string]time.Duration{"classic": 90 * day, "shortlived": 160 * time.Hour}, AlternateRoots: 1})
	issuer := &w.cfg.Issuers[0]
	issuer.Profile, issuer.DNS = "classic", &ruche.DNSProvider{Name: "test"}
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf("host%d.shop.example", i))
	}
	with := func(s ruche.CertificateSpec, change func(*ruche.CertificateSpec)) ruche.CertificateSpec {
		change(&s)
		return s
	}
	alternate := w.ca.Roots()[1].Subject.CommonName
	cases := []struct {
		name  string
		spec  ruche.CertificateSpec
		check func(vault.Record) error
	}{
		{name: "a bundle", spec: spec("shop.example", "www.shop.example", "api.shop.example")},
		{name: "thirty names", spec: spec(many...)},
		{name: "a wildcard with its parent", spec: spec("*.apps.example", "apps.example")},
		{name: "an address", spec: spec("127.0.0.1")},
		{name: "an address by http-01", spec: with(spec("127.0.0.1", "address.example"), func(s *ruche.CertificateSpec) { s.Challenge = ruche.ChallengeHTTP01 })},
		{name: "another profile", spec: with(spec("short.example"), func(s *ruche.CertificateSpec) { s.Profile = "shortlived" }), check: func(r vault.Record) error {
			if leaf, err := r.Leaf(); err != nil || leaf.NotAfter.Sub(leaf.NotBefore) > 161*time.Hour || r.Profile != "shortlived" {
				return fmt.Errorf("the profile is %s, and the certificate lives from %s to %s", r.Profile, leaf.NotBefore, leaf.NotAfter)
			}
			return nil
		}},
		{name: "the second chain", spec: with(spec("chain.example"), func(s *ruche.CertificateSpec) { s.PreferredChain = alternate }), check: func(r vault.Record) error {
			if got := issuerOfLast(r); got != alternate {
				return fmt.Errorf("the chain ends at %s, want %s", got, alternate)
			}
			return nil
		}},
		{name: "a chain that does not exist", spec: with(spec("first.example"), func(s *ruche.CertificateSpec) { s.PreferredChain = "Nobody" })},
	}
	for _, k := range []ruche.KeyType{ruche.KeyP256, ruche.KeyP384, ruche.KeyRSA2048, ruche.KeyRSA3072} {
		cases = append(cases, struct {
			name  string
			spec  ruche.CertificateSpec
			check func(vault.Record) error
		}{"a key " + string(k), with(spec("key-"+string(k)+".example"), func(s *ruche.CertificateSpec) { s.KeyType = k }), func(r vault.Record) error {
			if got := typeOfKey(r); got != k {
				return fmt.Errorf("the key is %s", got)
			}
			return nil
		}})
	}
	for _, tc := range cases {
		w.want("service/"+tc.name, tc.spec)
	}
	w.run()
	for _, tc := range cases {
		rec, _ := w.certificate(tc.spec)
		w.verify(rec, tc.spec.Names...)
		if tc.check == nil {
			continue
		}
		if err := tc.check(rec); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if got := w.ca.Made(pebbletest.NewOrder); got != len(cases) {
		t.Errorf("there were %d orders for %d certificates", got, len(cases))
	}
	if got := w.ca.Made(pebbletest.NewAccount); got != 1 {
		t.Errorf("there are %d accounts, want one", got)
	}
}

func issuerOfLast(r vault.Record) string {
	r.Chain = r.Chain[len(r.Chain)-1:]
	last, err := r.Leaf()
	if err != nil {
		return err.Error()
	}
	return last.Issuer.CommonName
}

func typeOfKey(r vault.Record) ruche.KeyType {
	leaf, err := r.Leaf()
	if err != nil {
		return ruche.KeyType(err.Error())
	}
	switch k := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return ruche.KeyType(fmt.Sprintf("p%d", k.Curve.Params().BitSize))
	case *rsa.PublicKey:
		return ruche.KeyType(fmt.Sprintf("rsa%d", k.N.BitLen()))
	}
	return ""
}

// TestTwoHundredNames publishes many names at once, some of which have a certificate already.
func TestTwoHundredNames(t *testing.T) {
	t.Parallel()
	const names, there = 200, 20
	w := newWorld(t, pebbletest.Options{NonceReject: 5})
	w.cfg.Issuers[0].Challenges = []ruche.ChallengeType{ruche.ChallengeHTTP01}
	var first []ruche.CertificateSpec
	for i := range there {
		first = append(first, spec(fmt.Sprintf("n%d.shop.example", i)))
	}
	w.want("service/first", first...)
	_, stop := w.run()
	w.await("the first certificates", func() error { return w.complete(first) })
	stop()
	served := vault.Served{Node: "edge", Names: map[string]vault.Serving{}}
	d := ruche.Declaration{Workload: ruche.Workload{ID: "service/all"}}
	for i := range names {
		name := fmt.Sprintf("n%d.shop.example", i)
		d.Routes = append(d.Routes, ruche.Route{Name: name, Match: ruche.Match{Host: name, Path: "/"}})
		served.Names[name] = vault.Serving{Kind: ruche.CertificateSelfSigned}
	}
	w.want("service/first") // what was asked for explicitly is now wanted by the routes
	put(t, w.b.declarations, "service/all", d)
	put(t, w.b.served, "edge", served)
	w.run()
	w.await("all certificates", func() error {
		if got := w.b.certificates.count(); got != names {
			return fmt.Errorf("there are %d certificates", got)
		}
		if left := w.b.orders.count(); left > 0 {
			return fmt.Errorf("%d orders are under way", left)
		}
		return nil
	})
	for id := range list(w, w.b.certificates) {
		if _, _, err := w.record(id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	if got := w.ca.Made(pebbletest.NewOrder); got != names {
		t.Errorf("there were %d orders for %d names, %d of which had a certificate already", got, names, there)
	}
}

func put[T any](t *testing.T, b *bucket[T], key string, v T) {
	t.Helper()
	if _, err := b.Put(t.Context(), key, v); err != nil {
		t.Fatal(err)
	}
}

func TestExternalAccount(t *testing.T) {
	const mac = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	for _, tc := range []struct {
		name string
		eab  *ruche.ExternalAccount
		want string // in the warning; none when there is to be a certificate
	}{
		{"the right one", &ruche.ExternalAccount{KeyID: "kid-1", Key: mac}, ""},
		{"none", nil, "--acme-eab-kid"},
		{"a key that is no base64", &ruche.ExternalAccount{KeyID: "kid-1", Key: "not base64!"}, "--acme-eab-key"},
		{"an unknown one", &ruche.ExternalAccount{KeyID: "kid-2", Key: mac}, "the key ID"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, pebbletest.Options{EAB: map[string]string{"kid-1": mac}, NonceReject: -1})
			w.cfg.Issuers[0].EAB = tc.eab
			s := spec("shop.example")
			w.want("service/a", s)
			w.run()
			if tc.want == "" {
				w.certificate(s)
				return
			}
			warning := w.awaitWarning(ruche.CodeCertNotIssued, tc.want)
			if strings.Contains(warning.Message+warning.Hint, mac) {
				t.Errorf("the warning holds a secret: %+v", warning)
			}
		})
	}
}

// TestStandingRecords orders by dns-persist-01: what is to be in the DNS is told whole, and stands for all that follows.
func TestStandingRecords(t *testing.T) {
	w := newWorld(t, pebbletest.Options{AuthzReuse: -1, NonceReject: -1})
	s := spec("shop.example", "*.shop.example")
	s.Challenge = ruche.ChallengeDNSPersist01
	w.want("service/a", s)
	e, _ := w.run()
	var account vault.Account
	w.await("the account", func() error {
		for _, a := range list(w, w.b.accounts) {
			if account = a; a.URL != "" {
				return nil
			}
		}
		return errors.New("there is none")
	})
	value := pebbletest.Domain + "; accounturi=" + account.URL
	// Either name may be the one that the CA looked at first.
	warning := w.awaitWarning(ruche.CodeCertNotIssued, "_validation-persist.shop.example IN TXT", value)
	w.ca.DNS.AddTXT("_validation-persist.shop.example", value+"; policy=wildcard")
	w.advance(11 * time.Minute)
	first, _ := w.certificate(s)
	w.verify(first, s.Names...)
	w.await("the end of the warning", func() error {
		if _, stands := w.warning(ruche.CodeCertNotIssued); stands {
			return fmt.Errorf("it stands: %+v", warning)
		}
		return nil
	})
	w.ahead.Add(int64(time.Minute))
	if err := e.Renew(t.Context(), w.id(s), w.now(), "a test"); err != nil {
		t.Fatal(err)
	}
	w.awaitOther(s, first)
	if got := w.ca.Made(pebbletest.NewAccount); got != 1 {
		t.Errorf("there are %d accounts, want one", got)
	}
}

// awaitOther waits until a certificate is replaced.
func (w *world) awaitOther(s ruche.CertificateSpec, before vault.Record) vault.Record {
	w.t.Helper()
	var now vault.Record
	w.await("another certificate for "+s.Names[0], func() (err error) {
		now, _, err = w.record(w.id(s))
		if err == nil && string(now.Chain[0]) == string(before.Chain[0]) {
			return errors.New("it is the same")
		}
		return err
	})
	return now
}

// TestTheNextChallengeType shows that a challenge type that fails is followed by the next one, and that the one that worked is the first the next time.
func TestTheNextChallengeType(t *testing.T) {
	w := newWorld(t, pebbletest.Options{AuthzReuse: -1, NonceReject: -1})
	w.noALPN.Store(true)
	s := spec("shop.example")
	w.want("service/a", s)
	e, _ := w.run()
	first, _ := w.certificate(s)
	w.await("the state", func() error {
		if st := list(w, w.b.states)[w.id(s)]; st.Proved != ruche.ChallengeHTTP01 {
			return fmt.Errorf("the challenge that worked is %q", st.Proved)
		}
		return nil
	})
	if got := w.ca.Made(pebbletest.NewOrder); got != 2 {
		t.Errorf("there were %d orders, want one for each challenge type", got)
	}
	w.ahead.Add(int64(time.Minute))
	if err := e.Renew(t.Context(), w.id(s), w.now(), "a test"); err != nil {
		t.Fatal(err)
	}
	w.awaitOther(s, first)
	if got := w.ca.Made(pebbletest.NewOrder); got != 3 {
		t.Errorf("there were %d orders, want no more than one for the renewal", got)
	}
}
