package loop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"sync"
	"testing"
	"time"
)

// tlsConfigs are a server's and that of a client that trusts it.
func tlsConfigs(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"loop.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool, ServerName: "loop.test"}
}

// Many handshakes at once on one loop, and records larger and smaller than what a read returns.
func TestTLSServer(t *testing.T) {
	g := start(t, 1)
	server, clientConfig := tlsConfigs(t)
	ln := listen(t)
	open := serve(t, g, ln, Acceptor{Accepted: func(c *Conn) {
		c.SetTimeouts(20*time.Second, 20*time.Second)
		s := tls.Server(c, server)
		defer func() { _ = s.Close() }()
		if err := s.Handshake(); err != nil {
			t.Error(err)
			return
		}
		if _, err := io.Copy(s, struct{ io.Reader }{s}); err != nil {
			t.Error(err)
		}
	}})
	var clients sync.WaitGroup
	for i := range 32 {
		peer := tls.Client(dial(t, addr(ln)), clientConfig)
		clients.Go(func() {
			defer func() { _ = peer.Close() }()
			want := bytes.Repeat([]byte{byte(i)}, i*4001)
			var sent sync.WaitGroup
			sent.Go(func() {
				_, err := peer.Write(want)
				if err = errors.Join(err, peer.CloseWrite()); err != nil {
					t.Error(err)
				}
			})
			got, err := io.ReadAll(peer)
			if !bytes.Equal(got, want) || err != nil {
				t.Errorf("got %d bytes, want %d: %v", len(got), len(want), err)
			}
			sent.Wait()
		})
	}
	clients.Wait()
	l := g.Loops()[0]
	on(t, l, func() { until(l, func() bool { return open.Connected() == 0 }) })
}

func TestTLSHandshakesThatFail(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	server, _ := tlsConfigs(t)
	for _, tt := range []struct {
		name string
		say  string
		ends bool
	}{
		{"nothing", "", false},
		{"nothing, and closes", "", true},
		{"not TLS", "GET / HTTP/1.1\r\n\r\n", false},
		{"half of a hello, and closes", "\x16\x03\x01\x02\x00\x01", true},
	} {
		c, peer := connect(t, l)
		_, _ = io.WriteString(peer, tt.say)
		if tt.ends {
			_ = peer.CloseWrite()
		}
		on(t, l, func() {
			_ = c.SetDeadline(time.Now().Add(5 * time.Millisecond))
			s := tls.Server(c, server)
			if err := s.Handshake(); err == nil {
				t.Errorf("%s: the handshake succeeded", tt.name)
			}
			_ = s.Close()
			if l.attached.Load() != 0 {
				t.Errorf("%s: the connection is open", tt.name)
			}
		})
	}
}
