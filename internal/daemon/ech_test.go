package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/certs/ech"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// publicName is what clients of the tests ask for openly.
const publicName = "ech.example"

// echRow gives the row of keys.
func (n *node) echRow(t *testing.T) (row vault.ECH) {
	t.Helper()
	until(t, "keys of Encrypted Client Hello", func() error {
		e, err := cluster.NewBucket[vault.ECH](n.cluster, vault.BucketECH).Get(t.Context(), "keys")
		row = e.Value
		return err
	})
	return row
}

// tap keeps what a client sends.
type tap struct {
	net.Conn
	mu   sync.Mutex
	sent bytes.Buffer
}

func (t *tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent.Write(p)
	return t.Conn.Write(p)
}

// hidden asks an edge for a site, by TLS whose ECHConfigList is list, and gives the answer with what the client sent.
func (n *node) hidden(t *testing.T, host string, list []byte, roots *x509.CertPool) (body string, state tls.ConnectionState, sent []byte, err error) {
	t.Helper()
	raw, err := net.DialTimeout("tcp", n.proxy.HTTPSAddr().String(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	wire := &tap{Conn: raw}
	c := tls.Client(wire, &tls.Config{ServerName: host, RootCAs: roots, EncryptedClientHelloConfigList: list})
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if err := c.Handshake(); err != nil {
		return "", c.ConnectionState(), wire.sent.Bytes(), err
	}
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
	answer, err := io.ReadAll(c)
	return string(answer), c.ConnectionState(), wire.sent.Bytes(), err
}

// rootsOf trusts certificates as they are.
func rootsOf(t *testing.T, records ...vault.Record) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	for _, r := range records {
		leaf, err := r.Leaf()
		if err != nil {
			t.Fatal(err)
		}
		pool.AddCert(leaf)
	}
	return pool
}

// awaitHidden waits until a node takes a config.
func (n *node) awaitHidden(t *testing.T, list []byte, roots *x509.CertPool) {
	t.Helper()
	until(t, n.node+" takes the key", func() error {
		_, state, _, err := n.hidden(t, "shop.example", list, roots)
		if err == nil && !state.ECHAccepted {
			err = errors.New("it was not accepted")
		}
		return err
	})
}

func TestTheNameOfASiteIsHidden(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	engine.Run(site(t, "shop"))
	s := newStage(t, engine)
	site, _ := certificate(t, s.control, "shop", "shop.example")
	public, _ := certificate(t, s.control, "public", publicName)
	roots := rootsOf(t, site, public)
	first := ech.List(s.control.echRow(t).Configs[0])
	for _, e := range s.edges {
		e.eventually(t, "https", "shop.example", 200, "I am shop")
		e.awaitCertificate(t, "shop.example", site.Chain[0], time.Now())
		e.awaitCertificate(t, publicName, public.Chain[0], time.Now())
		e.awaitHidden(t, first, roots)
	}
	t.Run("the site answers, and nobody on the way sees which", func(t *testing.T) {
		body, state, sent, err := s.edges[0].hidden(t, "shop.example", first, roots)
		if err != nil || !state.ECHAccepted || !strings.Contains(body, "I am shop") {
			t.Errorf("accepted %v, %q, %v", state.ECHAccepted, body, err)
		}
		if bytes.Contains(sent, []byte("shop")) || !bytes.Contains(sent, []byte(publicName)) {
			t.Error("the client has sent the name of the site, or not the public one")
		}
		if !bytes.Equal(state.PeerCertificates[0].Raw, site.Chain[0]) {
			t.Error("it is another certificate")
		}
	})
	t.Run("who does not hide is served as ever", func(t *testing.T) {
		body, state, sent, err := s.edges[0].hidden(t, "shop.example", nil, roots)
		if err != nil || state.ECHAccepted || !strings.Contains(body, "I am shop") || !bytes.Contains(sent, []byte("shop.example")) {
			t.Errorf("accepted %v, %q, %v", state.ECHAccepted, body, err)
		}
	})
	t.Run("a key of somebody else is replaced in the handshake", func(t *testing.T) { staleKeysAreReplaced(t, s, roots) })
	t.Run("keys rotate", func(t *testing.T) { echKeysRotate(t, s, first, roots) })
	t.Run("edges tell what the public name is served with", func(t *testing.T) {
		until(t, "the report", func() error {
			row, err := cluster.NewBucket[vault.Served](s.control.cluster, vault.BucketServed).Get(t.Context(), "e1")
			if err == nil && row.Value.Names[publicName].Fingerprint != vault.Fingerprint(public.Chain[0]) {
				err = fmt.Errorf("it says %+v", row.Value.Names)
			}
			return err
		})
	})
	t.Run("it is listed what to publish", func(t *testing.T) {
		names, err := s.control.certificates.echNames(t.Context())
		if err != nil || len(names) != 1 || names[0] != "shop.example" {
			t.Errorf("names %v, %v", names, err)
		}
	})
	t.Run("an edge alone starts with what it knew", func(t *testing.T) {
		newest := ech.List(s.control.echRow(t).Configs[0])
		s.control.stop(t)
		s.edges[1].stop(t)
		s.edges[1] = s.startEdge("e2")
		s.edges[1].awaitHidden(t, newest, roots)
	})
	s.edges[0].stop(t)
	s.edges[1].stop(t)
	s.agent.stop(t)
}

func staleKeysAreReplaced(t *testing.T, s *stage, roots *x509.CertPool) {
	foreign := &echMemory{}
	if _, err := ech.Renew(t.Context(), foreign, s.control.Daemon.seal, publicName, time.Now()); err != nil {
		t.Fatal(err)
	}
	_, _, sent, err := s.edges[0].hidden(t, "shop.example", ech.List(foreign.row.Configs[0]), roots)
	var rejected *tls.ECHRejectionError
	if !errors.As(err, &rejected) {
		t.Fatalf("the handshake ended with %v", err)
	}
	if bytes.Contains(sent, []byte("shop")) {
		t.Error("the client has sent the name of the site")
	}
	body, state, _, err := s.edges[0].hidden(t, "shop.example", rejected.RetryConfigList, roots)
	if err != nil || !state.ECHAccepted || !strings.Contains(body, "I am shop") {
		t.Errorf("with the key that it got: accepted %v, %q, %v", state.ECHAccepted, body, err)
	}
}

// echMemory is a bucket in memory, for a key that no edge knows.
type echMemory struct{ row vault.ECH }

func (m *echMemory) Get(context.Context, string) (ruche.Entry[vault.ECH], error) {
	return ruche.Entry[vault.ECH]{}, ruche.ErrNotFound
}

func (m *echMemory) CompareAndSet(_ context.Context, _ string, v vault.ECH, _ int64) (int64, error) {
	m.row = v
	return 1, nil
}

func (m *echMemory) Delete(context.Context, string) error { return nil }

// echKeysRotate makes new keys as after a month each: the first one is taken until there are three newer ones.
func echKeysRotate(t *testing.T, s *stage, first []byte, roots *x509.CertPool) {
	bucket := cluster.NewBucket[vault.ECH](s.control.cluster, vault.BucketECH)
	for turn := 1; turn <= 3; turn++ {
		if _, err := ech.Renew(t.Context(), bucket, s.control.Daemon.seal, publicName, time.Now().Add(time.Duration(turn)*ech.Life)); err != nil {
			t.Fatal(err)
		}
		row := s.control.echRow(t)
		if want := min(turn+1, 3); len(row.Configs) != want {
			t.Fatalf("after %d turns there are %d keys", turn, len(row.Configs))
		}
		for _, e := range s.edges {
			e.awaitHidden(t, ech.List(row.Configs[0]), roots)
			_, state, _, err := e.hidden(t, "shop.example", first, roots)
			if turn < 3 && (err != nil || !state.ECHAccepted) || turn == 3 && err == nil {
				t.Errorf("%s, after %d turns, the first key: accepted %v, %v", e.node, turn, state.ECHAccepted, err)
			}
		}
	}
}

// On one host all of it is in one process. It ends when the setting goes.
func TestTheNameIsHiddenOnOneHost(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	engine.Run(site(t, "shop"))
	cfg := testConfig(t, t.TempDir(), engine.Host())
	cfg.ECHPublicName = publicName
	up := func() *node {
		d, err := New(t.Context(), config.All, cfg, "test", slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		return serve(t, d)
	}
	n := up()
	record, _ := certificate(t, n, "shop", "shop.example", publicName)
	n.awaitCertificate(t, "shop.example", record.Chain[0], time.Now())
	roots, list := rootsOf(t, record), ech.List(n.echRow(t).Configs[0])
	n.awaitHidden(t, list, roots)
	n.stop(t)

	n = up()
	if row := n.echRow(t); len(row.Configs) != 1 {
		t.Errorf("a restart made another key: there are %d", len(row.Configs))
	}
	n.stop(t)
	cfg.ECHPublicName = ""
	n = up()
	until(t, "the end of it", func() error {
		_, state, _, err := n.hidden(t, "shop.example", list, roots)
		if err != nil {
			return nil
		}
		return fmt.Errorf("there is an answer, accepted %v", state.ECHAccepted)
	})
	if s, err := api.NewClient(n.AdminAddr()).ECH(t.Context()); err != nil || s.PublicName != "" || s.Records == nil {
		t.Errorf("without it: %+v, %v", s, err)
	}
	if body, _, _, err := n.hidden(t, "shop.example", nil, roots); err != nil || !strings.Contains(body, "I am shop") {
		t.Errorf("without it: %q, %v", body, err)
	}
	n.stop(t)
}
