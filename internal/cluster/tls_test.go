package cluster_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/fsx"
)

const memberCN = "ruche-control"

// authority gives certificates, in files.
type authority struct {
	tb   testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	a := &authority{tb: tb, dir: tb.TempDir(), key: newKey(tb)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		tb.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	a.write("ca.crt", "CERTIFICATE", der)
	return a
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func (a *authority) write(name, kind string, der []byte) string {
	a.tb.Helper()
	path := filepath.Join(a.dir, name)
	if err := fsx.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.tb.Fatal(err)
	}
	return path
}

// issue writes a certificate for the address, and its key.
func (a *authority) issue(file, cn, peer string, serial int64, until time.Time) *cluster.PeerTLS {
	a.tb.Helper()
	key := newKey(a.tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.ParseIP(host(peer))}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.tb.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.tb.Fatal(err)
	}
	return &cluster.PeerTLS{
		CertFile: a.write(file+".crt", "CERTIFICATE", der), KeyFile: a.write(file+".key", "EC PRIVATE KEY", keyDER),
		CAFile: filepath.Join(a.dir, "ca.crt"), AllowedCN: memberCN,
	}
}

// member gives the certificate of a member.
func (a *authority) member(name, peer string) *cluster.PeerTLS {
	return a.issue(name, memberCN, peer, 10, time.Now().Add(time.Hour))
}

// client presents the certificate of t and believes the authority.
func (a *authority) client(t *cluster.PeerTLS) *tls.Config {
	a.tb.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	config := &tls.Config{RootCAs: pool}
	if t != nil {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			a.tb.Fatal(err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config
}

var addresses atomic.Int32

// peerAddress gives a peer URL that nobody else has: all of 127.0.0.0/8 is this host.
func peerAddress() string {
	pid := os.Getpid()
	return fmt.Sprintf("https://127.%d.%d.%d:8902", 1+pid/250%250, 1+pid%250, addresses.Add(1))
}

func host(peer string) string {
	h, _, _ := net.SplitHostPort(peer[len("https://"):])
	return h
}

// log is a log that can be read while it is written.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) contains(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.buf.Bytes(), []byte(text))
}

func TestStrangersAreRefusedAtThePeerAddress(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	peer := peerAddress()
	logged := &log{}
	c := open(t, cluster.Config{Dir: t.TempDir(), Peer: peer, PeerTLS: ours.member("node-1", peer), Logger: slog.New(slog.NewTextHandler(logged, nil))})
	hour := time.Now().Add(time.Hour)
	old := ours.client(ours.member("old", peer))
	old.MaxVersion = tls.VersionTLS12

	for _, tc := range []struct {
		name, reason string
		config       *tls.Config // nil for plain text
	}{
		{"an edge's certificate", "not-a-member", ours.client(ours.issue("edge", "ruche-edge", peer, 11, hour))},
		{"another authority", "forged", func() *tls.Config {
			config := ours.client(nil)
			config.Certificates = other.client(other.member("node-2", peer)).Certificates
			return config
		}()},
		{"an expired certificate", "expired", ours.client(ours.issue("expired", memberCN, peer, 12, time.Now().Add(-time.Minute)))},
		{"no certificate", "no-certificate", ours.client(nil)},
		{"TLS 1.2", "tls-version", old},
		{"plain text", "plain-text", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := c.Refused()[tc.reason]
			if answer, err := ask(t, peer, tc.config); err == nil {
				t.Errorf("it got the answer %q", answer)
			}
			until(t, "the refusal is counted", func(context.Context) bool { return c.Refused()[tc.reason] == before+1 })
			if want := "reason=" + tc.reason; !logged.contains(want) {
				t.Errorf("the log lacks %q:\n%s", want, &logged.buf)
			}
		})
	}
	if answer, err := ask(t, peer, ours.client(ours.member("node-2", peer))); err != nil {
		t.Errorf("a member got %q, %v", answer, err)
	}
}

// ask sends a request to the peer address and reads the answer, as far as it comes.
func ask(t *testing.T, peer string, config *tls.Config) (string, error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", peer[len("https://"):], deadline)
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		config.ServerName = host(peer)
		conn = tls.Client(conn, config)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(deadline))
	if _, err := io.WriteString(conn, "GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && !bytes.Contains(answer, []byte("200 OK")) {
		err = fmt.Errorf("no answer of a member")
	}
	return string(answer), err
}

func TestARenewedCertificateNeedsNoRestart(t *testing.T) {
	a := newAuthority(t)
	peer := peerAddress()
	own := a.member("node-1", peer)
	open(t, cluster.Config{Dir: t.TempDir(), Peer: peer, PeerTLS: own})
	client := a.client(own)
	for _, serial := range []int64{10, 20} {
		a.issue("node-1", memberCN, peer, serial, time.Now().Add(time.Hour))
		conn, err := tls.Dial("tcp", peer[len("https://"):], client)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != serial {
			t.Errorf("the member presents the certificate %d, want %d", got, serial)
		}
		_ = conn.Close()
	}
}

// An edge that listens at a member's address is none.
func TestAMemberIsAskedForItsCertificate(t *testing.T) {
	a := newAuthority(t)
	peer, address := peerAddress(), peerAddress()
	c := open(t, cluster.Config{Dir: t.TempDir(), Peer: peer, PeerTLS: a.member("node-1", peer)})
	impostor := a.client(a.issue("edge", "ruche-edge", address, 11, time.Now().Add(time.Hour)))
	l, err := tls.Listen("tcp", address[len("https://"):], impostor)
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			refused <- err
			return
		}
		_, err = io.ReadAll(conn)
		refused <- err
		_ = conn.Close()
	}()
	defer func() { _ = l.Close() }()
	if _, err := c.Invite(t.Context(), "node-2", address); err != nil {
		t.Fatal(err)
	}
	if err := <-refused; err == nil {
		t.Error("the impostor was spoken to")
	}
	for _, m := range must[[]cluster.Member](t)(c.Members(t.Context())) {
		if m.Peer == address && m.Healthy {
			t.Errorf("the impostor counts as healthy: %+v", m)
		}
	}
}
