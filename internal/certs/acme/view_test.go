package acme

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"testing"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/health"
	"github.com/ruche-project/ruche/internal/testpki"
)

// TestOutage tells what ends one: a word of the CA, and nothing that goes wrong here.
func TestOutage(t *testing.T) {
	now, terms := time.Now(), Terms{Issuer: ruche.Issuer{Name: "one", Directory: "https://ca.example"}}
	gone := &failure{text: "no answer", unreachable: true}
	for name, tc := range map[string]struct {
		f    *failure
		down bool
	}{
		"it does not answer again": {gone, true}, "it issues": {nil, false}, "it refuses": {explain(acmez.Problem{Type: "urn:ietf:params:acme:error:caa", Status: 403}, nil), false},
		"its answer is of no use": {&failure{text: "the CA leaves the order pending"}, false}, "the state cannot be written": {failureOf(ruche.ErrConflict), true},
	} {
		term := &term{down: make(map[string]*outage)}
		term.told(terms, gone, now)
		if ok, at := term.mayAsk(terms.Directory, now.Add(outagePause)); !ok {
			t.Fatalf("%s: it may be asked at %s", name, at)
		}
		term.told(terms, tc.f, now.Add(outagePause))
		if got := term.down[terms.Directory] != nil; got != tc.down {
			t.Errorf("%s: the outage stands: %t", name, got)
		}
		if ok, at := term.mayAsk(terms.Directory, now.Add(time.Hour)); !ok {
			t.Errorf("%s: it may not be asked an hour later, but at %s", name, at)
		}
	}
}

// BenchmarkLook is what one look costs with ten thousand certificates, of which half are still to be had.
func BenchmarkLook(b *testing.B) {
	const n = 5000
	now := time.Now()
	in := Input{
		Now: now, Specs: map[string]ruche.CertificateSpecs{}, Declarations: map[string]ruche.Declaration{},
		Issuers: []ruche.Issuer{{Name: ruche.IssuerDefault, Directory: "https://ca.example/directory", Email: "people@shop.example"}},
	}
	v := view{now: now, records: map[string]ruche.Entry[vault.Record]{}, leaves: map[string]leaf{}}
	for i := range n {
		id, name := fmt.Sprintf("w%d", i), fmt.Sprintf("w%d.shop.example", i)
		in.Specs[id] = ruche.CertificateSpecs{Workload: ruche.Workload{ID: id}, Specs: []ruche.CertificateSpec{{Names: []string{name}}}}
		in.Declarations[id] = ruche.Declaration{Workload: ruche.Workload{ID: id}, Routes: []ruche.Route{{Match: ruche.Match{Host: name}}}}
		v.records[id] = ruche.Entry[vault.Record]{Value: vault.Record{Names: []string{fmt.Sprintf("r%d.shop.example", i)}, Origin: vault.OriginACME}}
		v.leaves[id] = leaf{cert: &x509.Certificate{NotBefore: now, NotAfter: now.Add(time.Hour)}}
	}
	for b.Loop() {
		v.byName, v.own, v.instead, v.used = nil, map[string]*Want{}, map[string]string{}, map[string]bool{}
		wants := Wanted(in)
		if len(wants) != n {
			b.Fatalf("%d are wanted", len(wants))
		}
		for i := range wants {
			v.find(&wants[i])
		}
	}
}

// kept is a bucket that takes what is written.
type kept[T any] struct{ Bucket[T] }

func (kept[T]) CompareAndSet(context.Context, string, T, int64) (int64, error) { return 1, nil }

// BenchmarkPass is what a pass costs while all of a thousand certificates are served and none is due.
func BenchmarkPass(b *testing.B) {
	const n = 1000
	now := time.Now()
	e := New(Config{Buckets: Buckets{States: kept[vault.State]{}}, Health: &health.Registry{}, Logger: slog.New(slog.DiscardHandler)})
	t := &term{
		Engine: e, specs: newMirror[ruche.CertificateSpecs](), declarations: newMirror[ruche.Declaration](), served: newMirror[vault.Served](),
		busy: make(map[string]bool), pools: make(map[string]chan struct{}), names: make(map[string]bool), down: make(map[string]*outage), leaves: make(map[string]leaf),
		later: make(map[string]time.Time), tried: make(map[string]int), preflights: make(map[string]preflight), refused: make(map[string]string), swept: now,
	}
	t.states.bucket = e.cfg.Buckets.States
	t.states.rows, t.certificates.rows = make(map[string]ruche.Entry[vault.State]), make(map[string]ruche.Entry[vault.Record])
	t.specs.rows = make(map[string]ruche.CertificateSpecs)
	der := testpki.New(b, "a CA").Issue(testpki.Leaf{Hosts: []string{"shop.example"}, Server: true, Life: 90 * 24 * time.Hour}).Certificate[0]
	for i := range n {
		w := fmt.Sprintf("w%d", i)
		names := []string{w + ".shop.example"}
		id := vault.ID(names, ruche.IssuerInternal, ruche.KeyP256)
		t.specs.rows[w] = ruche.CertificateSpecs{Workload: ruche.Workload{ID: w}, Specs: []ruche.CertificateSpec{{Names: names, Issuer: ruche.IssuerInternal}}}
		t.certificates.rows[id] = ruche.Entry[vault.Record]{Key: id, Revision: 1, Value: vault.Record{Names: names, Origin: vault.OriginInternal, Chain: [][]byte{der}, Issued: now}}
	}
	for b.Loop() {
		if next := t.pass(b.Context()); next.Before(now) || len(t.list.wants) != n {
			b.Fatalf("%d are wanted, the next look is at %s", len(t.list.wants), next)
		}
	}
}
