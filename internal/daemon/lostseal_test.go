package daemon

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) has(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), what)
}

// A host whose sealing key is gone starts, says so until the key is back, and comes by new certificates.
func TestSealingKeyIsLost(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "seal.key")
	log := &lines{}
	begin := func() *node {
		t.Helper()
		d, err := New(t.Context(), config.All, testConfig(t, dir, engine.Host()), "test", slog.New(slog.NewTextHandler(log, nil)), nil)
		if err != nil {
			t.Fatal(err)
		}
		return serve(t, d)
	}
	warned := func(n *node) bool {
		return slices.ContainsFunc(n.health.List(), func(w ruche.Warning) bool { return w.Code == ruche.CodeSealKeyMissing })
	}
	c := site(t, "shop")
	c.Labels = map[string]string{"ruche.tls.mode": "internal"}
	engine.Run(c)

	n := begin()
	services := ruche.AuthorityRequest{Names: []string{"services"}, Permit: []string{"example"}}
	if _, err := api.NewClient(n.AdminAddr()).BeginAuthorities(t.Context(), services); err != nil {
		t.Fatal(err)
	}
	awaitTrusted(t, n)
	if log.has("a new one was made") || warned(n) {
		t.Error("a host that begins is told that its sealing key is lost")
	}
	first := n.seal.Keys()[0]
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n.stop(t)

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	n = begin()
	if !log.has("a new one was made") {
		t.Error("nothing in the log says that the key was lost")
	}
	until(t, "the warning", func() error {
		for _, w := range n.health.List() {
			if w.Code == ruche.CodeSealKeyMissing && w.Subject == first && strings.Contains(w.Message, "certificates 1") && strings.Contains(w.Message, n.seal.Keys()[0]) {
				return nil
			}
		}
		return fmt.Errorf("the warnings are %+v", n.health.List())
	})
	n.stop(t)

	fresh, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, slices.Concat(fresh, old), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	n = begin()
	awaitTrusted(t, n)
	if warned(n) {
		t.Errorf("with both keys the warnings are %+v", n.health.List())
	}
	n.stop(t)

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	n = begin()
	defer n.stop(t)
	services.Again = true
	if _, err := api.NewClient(n.AdminAddr()).BeginAuthorities(t.Context(), services); err != nil {
		t.Fatal(err)
	}
	awaitTrusted(t, n)
}

// awaitTrusted waits until a node serves shop.example with what the authority's root leads to.
func awaitTrusted(t *testing.T, n *node) {
	t.Helper()
	roots, err := n.ca.Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	for _, root := range roots {
		trusted.AddCert(root)
	}
	until(t, "a certificate that the root leads to", func() error {
		conn, err := tls.Dial("tcp", n.proxy.HTTPSAddr().String(), &tls.Config{ServerName: "shop.example", RootCAs: trusted})
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// What nobody wants any more is missed by nobody: it would have the warning stand for months.
func TestRetiredIsNotMissed(t *testing.T) {
	c := sealedState(t, sealWith(t, sealLine(1)))
	r := newResealer(c, sealWith(t, sealLine(2)))
	certificates := cluster.NewBucket[vault.Record](c, vault.BucketCertificates)
	all, err := certificates.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"shop-07", "shop-08"} {
		rec := all[id].Value
		rec.Retired = time.Now()
		if _, err := certificates.Put(t.Context(), id, rec); err != nil {
			t.Fatal(err)
		}
	}
	s, err := r.lost(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(s.Values, func(c ruche.SealCount) bool { return c.Bucket == vault.BucketCertificates })
	if i < 0 || s.Values[i].Count != 28 {
		t.Errorf("lost are %+v, want 28 certificates", s.Values)
	}
}

// Each key that is missing has a warning, which says what is sealed with it.
func TestLostSeals(t *testing.T) {
	s := ruche.SealStatus{Keys: []string{"aaaaaaaa", "bbbbbbbb"}, Values: []ruche.SealCount{
		{Bucket: "accounts", Key: "aaaaaaaa", Opens: true, Count: 3}, {Bucket: "accounts", Key: "cccccccc", Count: 2}, {Bucket: "certificates", Key: "cccccccc", Count: 5},
		{Bucket: "orders", Key: "", Count: 1}, {Bucket: "tickets", Key: "bbbbbbbb", Count: 1},
	}}
	want := []string{
		"1 value of the state is sealed with a key that does not say which it is, and is not here: this node seals with aaaaaaaa (orders 1)",
		"1 value of the state is sealed with the key bbbbbbbb, and damaged (tickets 1)",
		"7 values of the state are sealed with the key cccccccc, which is not here: this node seals with aaaaaaaa (accounts 2, certificates 5)",
	}
	var got []string
	for _, w := range lostSeals(s) {
		got = append(got, w.Message)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the warnings are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
