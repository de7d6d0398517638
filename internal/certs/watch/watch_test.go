package watch_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/certs/watch"
)

// authority is a CA with a CRL server.
type authority struct {
	t       *testing.T
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	lists   *httptest.Server
	fetched atomic.Int64
	crl     atomic.Pointer[[]byte]
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "Their CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign})
	a.lists = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a.fetched.Add(1)
		_, _ = w.Write(*a.crl.Load())
	}))
	t.Cleanup(a.lists.Close)
	a.revoke()
	return a
}

func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(90*24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return made, key
}

// issue makes a certificate that names the CRL.
func (a *authority) issue(name string) tls.Certificate {
	leaf, key := a.sign(&x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, CRLDistributionPoints: []string{a.lists.URL + "/crl"}})
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) revoke(all ...tls.Certificate) {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(1000 * time.Hour)}
	for _, c := range all {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.crl.Store(&der)
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// endpoint shows a certificate, to who begins with preface, and counts the handshakes.
func endpoint(t *testing.T, c tls.Certificate, preface string) (address string, asked *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			got := make([]byte, len(preface))
			_, _ = raw.Read(got)
			if string(got) == preface {
				asked.Add(1)
				_ = tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{c}}).Handshake()
			}
			_ = raw.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String(), asked
}

// clock is one that is moved.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

func newWatcher(a *authority) (*watch.Watcher, *clock) {
	c := &clock{}
	return watch.New(watch.Config{Roots: a.pool, Now: c.now, Logger: slog.New(slog.DiscardHandler)}), c
}

func TestLook(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	good, other := a.issue("db.example"), stranger.issue("db.example")
	const preface = "PROXY UNKNOWN\r\n"
	where := map[string]string{}
	where["good"], _ = endpoint(t, good, preface)
	where["another name"], _ = endpoint(t, a.issue("x.example"), "")
	where["another CA"], _ = endpoint(t, other, "")
	where["nobody"] = "127.0.0.1:1"
	w, _ := newWatcher(a)
	var targets []watch.Target
	for name, address := range where {
		target := watch.Target{Name: name, Check: ruche.CheckTarget{Host: "db.example", Address: address}}
		if name == "good" {
			target.Preface = []byte(preface)
		}
		targets = append(targets, target)
	}
	seen := w.Look(t.Context(), targets, nil)
	for name, problem := range map[string]string{"good": "", "another name": "not good for db.example, but for x.example", "another CA": "the root \"Their CA\" is not trusted", "nobody": "no connection"} {
		s := seen[name]
		if (problem == "") != (s.Problem == "") || !strings.Contains(s.Problem, problem) || s.Seen.IsZero() || (s.Fingerprint == "") != (name == "nobody") {
			t.Errorf("%s: %+v, want the problem %q", name, s, problem)
		}
	}
	if s := seen["good"]; s.Fingerprint != vault.Fingerprint(good.Leaf.Raw) || s.Issuer != "Their CA" || !s.NotAfter.Equal(good.Leaf.NotAfter) || !s.Revoked.IsZero() {
		t.Errorf("of the good one is known %+v", s)
	}
	if stranger.fetched.Load() != 0 {
		t.Error("the list of a CA that nobody knows was fetched")
	}
}

func TestLooksAreAnHourApart(t *testing.T) {
	a := newAuthority(t)
	c := a.issue("db.example")
	address, asked := endpoint(t, c, "")
	w, clock := newWatcher(a)
	targets := []watch.Target{
		{Name: "db.example", Check: ruche.CheckTarget{Host: "db.example", Address: address}}, {Name: "away", Check: ruche.CheckTarget{Host: "away", Address: "127.0.0.1:1"}},
	}
	var seen map[string]vault.Sight
	for _, step := range []struct {
		after     time.Duration
		asked     int64
		awayAgain bool
	}{{0, 1, true}, {4 * time.Minute, 1, false}, {2 * time.Minute, 1, true}, {50 * time.Minute, 1, true}, {5 * time.Minute, 2, true}} {
		clock.advance(step.after)
		before := seen["away"].Seen
		seen = w.Look(t.Context(), targets, seen)
		if asked.Load() != step.asked || seen["away"].Seen.Equal(before) == step.awayAgain {
			t.Errorf("after %v more: %d handshakes, want %d; away %v", step.after, asked.Load(), step.asked, seen["away"].Seen.Sub(before))
		}
	}
	a.revoke(c)
	clock.advance(2 * time.Hour)
	if seen = w.Look(t.Context(), targets, seen); !seen["db.example"].Revoked.IsZero() || a.fetched.Load() != 1 {
		t.Errorf("the list was fetched %d times within a day", a.fetched.Load())
	}
	clock.advance(24 * time.Hour)
	if seen = w.Look(t.Context(), targets, seen); seen["db.example"].Revoked.IsZero() {
		t.Errorf("it is not seen that it was revoked: %+v", seen)
	}
	if seen = w.Look(t.Context(), targets[1:], seen); len(seen) != 1 {
		t.Errorf("what is not looked at any more is still known: %+v", seen)
	}
}

func TestRevokedCertificatesOfTheStore(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	revoked, good, foreign := a.issue("a.example"), a.issue("b.example"), stranger.issue("c.example")
	a.revoke(revoked)
	stranger.crl.Store(a.crl.Load()) // signed by another
	record := func(c tls.Certificate, change func(*vault.Record)) vault.Record {
		r := vault.Record{Chain: c.Certificate, Origin: vault.OriginACME}
		change(&r)
		return r
	}
	records := map[string]vault.Record{
		"revoked": record(revoked, func(*vault.Record) {}), "good": record(good, func(*vault.Record) {}), "its list is another's": record(foreign, func(*vault.Record) {}),
		"retired":  record(revoked, func(r *vault.Record) { r.Retired = time.Now() }),
		"internal": record(revoked, func(r *vault.Record) { r.Origin = vault.OriginInternal }),
		"known":    record(revoked, func(r *vault.Record) { r.Revoked = time.Now() }),
		"nothing":  {}, "broken": {Chain: [][]byte{[]byte("no")}},
	}
	w, clock := newWatcher(a)
	found := w.Revoked(t.Context(), records)
	if len(found) != 1 || found["revoked"].Of != vault.Fingerprint(revoked.Leaf.Raw) || found["revoked"].At.IsZero() {
		t.Errorf("found %+v", found)
	}
	if a.fetched.Load() != 1 {
		t.Errorf("one list was fetched %d times for two certificates", a.fetched.Load())
	}
	if again := w.Revoked(t.Context(), records); len(again) != 0 || a.fetched.Load() != 1 {
		t.Errorf("within the day it is looked again: %+v", again)
	}
	clock.advance(25 * time.Hour)
	if again := w.Revoked(t.Context(), records); len(again) != 1 {
		t.Errorf("after a day found %+v", again)
	}
}
