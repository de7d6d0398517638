package acme_test

import (
	"context"
	"sync"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/acme"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/pebbletest"
)

// TestOnACluster runs the engine on the real state, under real leadership, which changes hands while an order is under way.
func TestOnACluster(t *testing.T) {
	c, err := cluster.Open(t.Context(), cluster.Config{Dir: t.TempDir(), Name: "n1", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	w := newWorld(t, pebbletest.Options{NonceReject: -1})
	specs, records := cluster.NewBucket[ruche.CertificateSpecs](c, vault.BucketSpecs), cluster.NewBucket[vault.Record](c, vault.BucketCertificates)
	orders, challenges := cluster.NewBucket[vault.Order](c, vault.BucketOrders), cluster.NewBucket[vault.Challenge](c, vault.BucketChallenges)
	w.answers = challenges
	w.cfg.Buckets = acme.Buckets{
		Specs: specs, Declarations: cluster.NewBucket[ruche.Declaration](c, "declarations"), Served: cluster.NewBucket[vault.Served](c, vault.BucketServed),
		Certificates: records, States: cluster.NewBucket[vault.State](c, vault.BucketStates), Orders: orders,
		Accounts: cluster.NewBucket[vault.Account](c, vault.BucketAccounts), Challenges: challenges, Issuances: cluster.NewBucket[vault.Issuance](c, vault.BucketIssuances),
	}
	s := spec("shop.example", "www.shop.example")
	if _, err := specs.Put(t.Context(), "service/a", ruche.CertificateSpecs{Workload: ruche.Workload{ID: "service/a"}, Specs: []ruche.CertificateSpec{s}}); err != nil {
		t.Fatal(err)
	}
	lead := func() (stop func()) {
		ctx, end := context.WithCancel(t.Context())
		var leading sync.WaitGroup
		leading.Go(func() {
			e := w.engine()
			if err := c.Lead(ctx, "certs", func(ctx context.Context, _ int64) error { return e.Run(ctx) }); err != nil {
				t.Error(err)
			}
		})
		return func() {
			end()
			leading.Wait()
		}
	}
	reached, pass := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.ca.SetHook(func(call pebbletest.Call) bool {
		if call.Kind != pebbletest.Finalize || call.Status == 0 {
			return true
		}
		once.Do(func() { close(reached) })
		<-pass
		return true
	})
	stop := lead()
	<-reached // the certificate is issued, and nobody here knows it
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		stop()
	}()
	close(pass)
	<-ended
	defer lead()()
	w.await("the certificate", func() error {
		e, err := records.Get(t.Context(), w.id(s))
		if err != nil {
			return err
		}
		key, err := w.seal.Open(vault.SealedFor(w.id(s)), e.Value.Key)
		if err != nil {
			return err
		}
		_, err = e.Value.Pair(key)
		return err
	})
	if got := w.ca.Made(pebbletest.NewOrder); got != 1 {
		t.Errorf("there were %d orders, want one", got)
	}
}
