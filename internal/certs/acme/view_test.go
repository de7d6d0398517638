package acme

import (
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
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
