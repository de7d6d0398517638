package acme_test

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	acmez "github.com/mholt/acmez/v3"
	protocol "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/acme"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/health"
	"github.com/ruche-project/ruche/internal/pebbletest"
)

// world is an installation with one edge and a CA.
type world struct {
	t      testing.TB
	state  *state
	b      buckets
	ca     *pebbletest.CA
	health *health.Registry
	seal   seal
	cfg    acme.Config
	ahead  atomic.Int64 // of the engine's clock
	tune   func(*acme.Engine)
	// answers is where the edge looks for the answers to challenges.
	answers acme.Bucket[vault.Challenge]
	noALPN  atomic.Bool // the edge does not answer tls-alpn-01
	passes  int         // that were awaited
}

// buckets are those of the engine with their own types.
type buckets struct {
	specs        *bucket[ruche.CertificateSpecs]
	declarations *bucket[ruche.Declaration]
	served       *bucket[vault.Served]
	certificates *bucket[vault.Record]
	states       *bucket[vault.State]
	orders       *bucket[vault.Order]
	accounts     *bucket[vault.Account]
	challenges   *bucket[vault.Challenge]
	issuances    *bucket[vault.Issuance]
}

func newBuckets(s *state) buckets {
	return buckets{
		bucketOf[ruche.CertificateSpecs](s, vault.BucketSpecs), bucketOf[ruche.Declaration](s, "declarations"), bucketOf[vault.Served](s, vault.BucketServed),
		bucketOf[vault.Record](s, vault.BucketCertificates), bucketOf[vault.State](s, vault.BucketStates), bucketOf[vault.Order](s, vault.BucketOrders),
		bucketOf[vault.Account](s, vault.BucketAccounts), bucketOf[vault.Challenge](s, vault.BucketChallenges), bucketOf[vault.Issuance](s, vault.BucketIssuances),
	}
}

func (b buckets) of() acme.Buckets {
	return acme.Buckets{
		Specs: b.specs, Declarations: b.declarations, Served: b.served, Certificates: b.certificates, States: b.states, Orders: b.orders,
		Accounts: b.accounts, Challenges: b.challenges, Issuances: b.issuances,
	}
}

func newWorld(t testing.TB, o pebbletest.Options) *world {
	t.Helper()
	w := &world{t: t, state: newState(), health: &health.Registry{}, seal: newSeal(t)}
	w.b = newBuckets(w.state)
	w.answers = w.b.challenges
	o.HTTPPort, o.TLSPort = w.edge()
	w.ca = pebbletest.Start(t, o)
	w.cfg = acme.Config{
		Buckets: w.b.of(), Seal: w.seal, Health: w.health, Logger: slog.New(slog.NewTextHandler(output{t}, nil)), Now: w.now,
		Issuers: []ruche.Issuer{{Name: ruche.IssuerDefault, Directory: w.ca.Directory(), Bundle: w.ca.Bundle(), Email: "people@shop.example"}},
		DNS:     zone{w.ca.DNS},
	}
	return w
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

type output struct{ testing.TB }

func (o output) Write(p []byte) (int, error) {
	if testing.Verbose() {
		_, _ = o.TB.Output().Write(p)
	}
	return len(p), nil
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// advance moves the engine's clock, and has it look.
func (w *world) advance(d time.Duration) {
	w.t.Helper()
	w.ahead.Add(int64(d))
	w.touch()
}

func (w *world) touch() {
	w.t.Helper()
	if _, err := w.b.served.Put(w.t.Context(), "clock", vault.Served{Node: "clock"}); err != nil {
		w.t.Fatal(err)
	}
}

// engine makes another engine on the same state, as on another node.
func (w *world) engine() *acme.Engine {
	e := acme.New(w.cfg)
	e.SetPoll(5 * time.Millisecond)
	if w.tune != nil {
		w.tune(e)
	}
	return e
}

// run runs an engine until the returned function is called, or the test ends.
func (w *world) run() (*acme.Engine, func()) {
	w.t.Helper()
	e := w.engine()
	ctx, lose := lead(w.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := e.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	stop := func() {
		lose()
		running.Wait()
	}
	w.t.Cleanup(stop)
	return e, stop
}

// want writes what a workload wants.
func (w *world) want(workload string, specs ...ruche.CertificateSpec) {
	w.t.Helper()
	row := ruche.CertificateSpecs{Workload: ruche.Workload{ID: workload}, Specs: specs}
	if _, err := w.b.specs.Put(w.t.Context(), workload, row); err != nil {
		w.t.Fatal(err)
	}
}

func spec(names ...string) ruche.CertificateSpec {
	return ruche.CertificateSpec{Names: names, Source: "test"}
}

func (w *world) id(s ruche.CertificateSpec) string {
	issuer := w.cfg.Issuers[0]
	return vault.ID(s.Names, cmp.Or(s.Directory, issuer.Directory), cmp.Or(s.KeyType, issuer.KeyType, ruche.KeyP256))
}

// patience is how long is waited for what does not come. Nothing that is right may take so long, on a machine however busy.
const patience = 2 * time.Minute

// await waits until check reports nil.
func (w *world) await(what string, check func() error) {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.t.Context(), patience)
	defer stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-time.After(25 * time.Millisecond):
		case <-ctx.Done():
			for id, e := range list(w, w.b.states) {
				w.t.Logf("state of %s: %+v", id, e)
			}
			w.t.Fatalf("%s: %v", what, err)
		}
	}
}

func list[T any](w *world, b *bucket[T]) map[string]T {
	w.t.Helper()
	rows, err := b.List(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	all := make(map[string]T)
	for key, e := range rows {
		all[key] = e.Value
	}
	return all
}

// record gives a record whose key fits, or why there is none.
func (w *world) record(id string) (vault.Record, *tls.Certificate, error) {
	e, err := w.b.certificates.Get(context.Background(), id)
	if err != nil {
		return vault.Record{}, nil, err
	}
	key, err := w.seal.Open(vault.SealedFor(id), e.Value.Key)
	if err != nil {
		return vault.Record{}, nil, err
	}
	pair, err := e.Value.Pair(key)
	return e.Value, pair, err
}

// certificate waits for the certificate of a spec.
func (w *world) certificate(s ruche.CertificateSpec) (vault.Record, *tls.Certificate) {
	w.t.Helper()
	var rec vault.Record
	var pair *tls.Certificate
	w.await("the certificate of "+s.Names[0], func() (err error) {
		rec, pair, err = w.record(w.id(s))
		return err
	})
	return rec, pair
}

// verify checks the chain against the CA's roots, and that all names are in the certificate.
func (w *world) verify(rec vault.Record, names ...string) {
	w.t.Helper()
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, r := range w.ca.Roots() {
		roots.AddCert(r)
	}
	leaf, err := rec.Leaf()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, der := range rec.Chain[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			w.t.Fatal(err)
		}
		between.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err != nil {
		w.t.Errorf("%v: the chain leads nowhere: %v", rec.Names, err)
	}
	for _, n := range names {
		if strings.HasPrefix(n, "*.") {
			n = "x" + n[1:]
		}
		if err := leaf.VerifyHostname(n); err != nil {
			w.t.Errorf("%v: %v", rec.Names, err)
		}
	}
}

// warning gives a standing warning.
func (w *world) warning(code ruche.Code) (ruche.Warning, bool) {
	for _, warning := range w.health.List() {
		if warning.Code == code {
			return warning, true
		}
	}
	return ruche.Warning{}, false
}

func (w *world) awaitWarning(code ruche.Code, parts ...string) ruche.Warning {
	w.t.Helper()
	var got ruche.Warning
	w.await("the warning "+string(code), func() error {
		warning, ok := w.warning(code)
		if !ok {
			return errors.New("it does not stand")
		}
		for _, p := range parts {
			if text := warning.Message + " " + warning.Hint; !strings.Contains(text, p) {
				return fmt.Errorf("%q is not in %q", p, text)
			}
		}
		got = warning
		return nil
	})
	return got
}

// limitOrders has the CA refuse all orders, and want to be left alone for five hours.
func (w *world) limitOrders() {
	w.ca.SetAnswer(func(c pebbletest.Call) *pebbletest.Answer {
		if c.Kind != pebbletest.NewOrder {
			return nil
		}
		return &pebbletest.Answer{Status: http.StatusTooManyRequests, Problem: "rateLimited", Detail: "too many certificates", RetryAfter: "18000"}
	})
}

// atFirstOrder changes the journal of an order that the CA is asked for, as somebody else does, before it hears of it; once.
func (w *world) atFirstOrder(s ruche.CertificateSpec, change func(*vault.Order) error) {
	var once sync.Once
	w.ca.SetHook(func(c pebbletest.Call) bool {
		if c.Kind != pebbletest.NewOrder || c.Status != 0 {
			return true
		}
		once.Do(func() {
			ctx := w.t.Context()
			e, err := w.b.orders.Get(ctx, w.id(s))
			if err == nil {
				err = change(&e.Value)
			}
			if err == nil {
				_, err = w.b.orders.CompareAndSet(ctx, w.id(s), e.Value, e.Revision)
			}
			if err != nil {
				w.t.Error(err)
			}
		})
		return true
	})
}

// certificateLater has time pass until the certificate of a spec is there, and verifies it.
func (w *world) certificateLater(s ruche.CertificateSpec) {
	w.t.Helper()
	w.await("the certificate of "+s.Names[0], func() error {
		_, _, err := w.record(w.id(s))
		if err != nil {
			w.advance(10 * time.Minute)
		}
		return err
	})
	rec, _ := w.certificate(s)
	w.verify(rec, s.Names...)
}

// edge answers challenges from the bucket, as edges do.
func (w *world) edge() (httpPort, tlsPort int) {
	quiet := log.New(io.Discard, "", 0)
	plain := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.URL.Path, "/.well-known/acme-challenge/")
		host, _, _ := net.SplitHostPort(r.Host)
		e, err := w.answers.Get(r.Context(), vault.ChallengeKey(ruche.ChallengeHTTP01, strings.Trim(host, "[]"), token))
		if err != nil {
			http.NotFound(rw, r)
			return
		}
		_, _ = io.WriteString(rw, e.Value.KeyAuthorization)
	}))
	plain.Config.ErrorLog = quiet
	plain.Start()
	w.t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = quiet
	secure.TLS = &tls.Config{NextProtos: []string{acmez.ACMETLS1Protocol}, GetCertificate: w.challengeCertificate}
	secure.StartTLS()
	w.t.Cleanup(secure.Close)
	return plain.Listener.Addr().(*net.TCPAddr).Port, secure.Listener.Addr().(*net.TCPAddr).Port
}

func (w *world) challengeCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	rows, err := w.answers.List(hello.Context())
	if err != nil || w.noALPN.Load() {
		return nil, errors.New("no answer")
	}
	for _, e := range rows {
		c := e.Value
		kind := "dns"
		if net.ParseIP(c.Name) != nil {
			kind = "ip"
		}
		if c.Type == ruche.ChallengeTLSALPN01 && (c.Name == hello.ServerName || kind == "ip" && strings.HasSuffix(hello.ServerName, ".arpa")) {
			return acmez.TLSALPN01ChallengeCert(protocol.Challenge{Identifier: protocol.Identifier{Type: kind, Value: c.Name}, KeyAuthorization: c.KeyAuthorization})
		}
	}
	return nil, errors.New("no challenge")
}

// zone writes the records of dns-01.
type zone struct{ dns *pebbletest.DNS }

func (z zone) Present(_ context.Context, provider ruche.DNSProvider, name, value string) error {
	if provider.Name != "test" {
		return errors.New("no such provider")
	}
	z.dns.RemoveTXT(name, value)
	z.dns.AddTXT(name, value)
	return nil
}

func (z zone) CleanUp(_ context.Context, _ ruche.DNSProvider, name, value string) error {
	z.dns.RemoveTXT(name, value)
	return nil
}

// seal is a sealer as package mesh has it.
type seal struct{ aead cipher.AEAD }

func newSeal(t testing.TB) seal {
	t.Helper()
	return sealOf(t, "a key of thirty-two bytes for us")
}

func sealOf(t testing.TB, key string) seal {
	t.Helper()
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	return seal{aead}
}

func (s seal) Close(what string, data []byte) []byte {
	return s.aead.Seal(nil, nil, data, []byte(what))
}

func (s seal) Open(what string, sealed []byte) ([]byte, error) {
	return s.aead.Open(nil, nil, sealed, []byte(what))
}
