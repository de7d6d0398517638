package acme

import (
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

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
