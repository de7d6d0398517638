package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
	"github.com/ruche-project/ruche/internal/pebbletest"
)

// TestAMassRevocationIsNotNoticed has a CA say that it is going to revoke all certificates (RFC 9773), while clients come to both edges as fast as they can.
func TestAMassRevocationIsNotNoticed(t *testing.T) {
	ca := pebbletest.Start(t, pebbletest.Options{AlwaysValid: true})
	bundle := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(bundle, ca.Bundle(), 0o600); err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("n%d.shop.example", i))
	}
	engine := fakeengine.New(t)
	shop := site(t, "shop")
	shop.Env[0] = "VIRTUAL_HOST=" + strings.Join(names, ",")
	engine.Run(shop)
	s := newStageWith(t, engine, func(c *config.Config) {
		c.Issuers[0].Email, c.Issuers[0].Directory, c.Issuers[0].BundleFile = "ops@shop.example", ca.Directory(), bundle
		c.ECHPublicName = ""
	})
	clients := crowd{edges: s.edges, names: names, roots: x509.NewCertPool()}
	for _, root := range ca.Roots() {
		clients.roots.AddCert(root)
	}
	first := make(map[string][]byte)
	until(t, "all to be served", func() error {
		return clients.each(func(name string, leaf []byte) error { first[name] = leaf; return nil })
	})
	certificates, states := cluster.NewBucket[vault.Record](s.control.cluster, vault.BucketCertificates), cluster.NewBucket[vault.State](s.control.cluster, vault.BucketStates)
	ids := make(map[string]bool)
	until(t, "the first windows", func() error {
		rows, err := states.List(t.Context())
		for id, e := range rows {
			if ids[id] = true; err == nil && e.Value.WindowEnd.IsZero() {
				err = fmt.Errorf("%s has none", id)
			}
		}
		return err
	})

	ctx, stop := context.WithCancel(t.Context())
	var visits atomic.Int64
	var coming sync.WaitGroup
	for _, e := range s.edges {
		coming.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := clients.visit(ctx, e, names[n%len(names)]); err != nil && ctx.Err() == nil {
					t.Errorf("after %d visits: %v", visits.Load(), err)
					return
				}
				visits.Add(1)
			}
		})
	}
	for _, leaf := range first {
		ca.SetWindow(t, leaf, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour), "")
	}
	for id := range ids { // half a day passes: the CA is asked again
		change(t, certificates, id, func(r *vault.Record) { r.Issued = r.Issued.Add(-12 * time.Hour) })
		change(t, states, id, func(st *vault.State) { st.AskAgain = time.Now().Add(-time.Hour) })
	}
	until(t, "all to be replaced", func() error {
		return clients.each(func(name string, leaf []byte) error {
			if bytes.Equal(leaf, first[name]) {
				return errors.New("it is the first one")
			}
			return nil
		})
	})
	stop()
	coming.Wait()
	t.Logf("%d handshakes meanwhile", visits.Load())
	if got := ca.Made(pebbletest.NewOrder); got != 2*len(names) {
		t.Errorf("there were %d orders, want two for each name", got)
	}
	s.stop(t)
}

// change writes a row again and again until nobody has written it meanwhile.
func change[T any](t *testing.T, b *cluster.Bucket[T], key string, fn func(*T)) {
	t.Helper()
	until(t, "a row to be written", func() error {
		e, err := b.Get(t.Context(), key)
		if err == nil {
			fn(&e.Value)
			_, err = b.CompareAndSet(t.Context(), key, e.Value, e.Revision)
		}
		if err != nil && !errors.Is(err, ruche.ErrConflict) {
			t.Fatal(err)
		}
		return err
	})
}

// crowd are clients that trust one CA.
type crowd struct {
	edges []*node
	names []string
	roots *x509.CertPool
}

// visit does a handshake and gives the certificate.
func (c crowd) visit(ctx context.Context, e *node, name string) ([]byte, error) {
	d := tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: c.roots}}
	conn, err := d.DialContext(ctx, "tcp", e.proxy.HTTPSAddr().String())
	if err != nil {
		return nil, fmt.Errorf("%s at %s: %w", name, e.node, err)
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw, nil
}

// each calls fn with what each edge shows for each name, and gives the first error.
func (c crowd) each(fn func(name string, leaf []byte) error) error {
	for _, e := range c.edges {
		for _, name := range c.names {
			leaf, err := c.visit(context.Background(), e, name)
			if err == nil {
				err = fn(name, leaf)
			}
			if err != nil {
				return fmt.Errorf("%s at %s: %w", name, e.node, err)
			}
		}
	}
	return nil
}
