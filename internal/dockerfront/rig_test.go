package dockerfront_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/dockerfront"
	"github.com/ruche-project/ruche/internal/health"
)

// authority signs what a test needs.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "docker root"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

// issue makes a certificate with a serial for somebody of a unit; a server has no unit.
func (a authority) issue(t *testing.T, serial int64, name string, units ...string) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name, OrganizationalUnit: units}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if name == "127.0.0.1" {
		template.ExtKeyUsage, template.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.ParseIP(name)}
	}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// log keeps what a front logs.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// rig is a front before the wire of an Engine.
type rig struct {
	authority
	addr   string
	log    *log
	health *health.Registry
	stop   func() // tells the front to end
	wait   func() // waits until it has

	mu      sync.Mutex
	server  *tls.Certificate
	revoked map[string]bool
}

func newRig(t *testing.T, drain time.Duration) *rig {
	t.Helper()
	a := newAuthority(t)
	r := &rig{authority: a, log: &log{}, health: &health.Registry{}, server: a.issue(t, 100, "127.0.0.1"), revoked: map[string]bool{}}
	socket := serveEngine(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	front := dockerfront.New(dockerfront.Config{
		Listener: l,
		Dial:     func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "unix", socket) },
		Certificate: func() (*tls.Certificate, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.server == nil {
				return nil, errors.New("there is none")
			}
			return r.server, nil
		},
		Roots: func() (*x509.CertPool, error) { return a.pool(), nil },
		Revoked: func(serial string) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.revoked[serial]
		},
		Drain: drain, Logger: slog.New(slog.NewTextHandler(r.log, nil)), Health: r.health,
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- front.Run(ctx) }()
	r.stop = stop
	r.wait = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.wait)
	return r
}

func (r *rig) revoke(serial string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revoked[serial] = true
}

func (r *rig) serve(c *tls.Certificate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.server = c
}

// client speaks to the front with a certificate.
func (r *rig) client(t *testing.T, c *tls.Certificate) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: r.pool()}
	if c != nil {
		config.Certificates = []tls.Certificate{*c}
	}
	transport := &http.Transport{TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func (r *rig) do(t *testing.T, c *http.Client, method, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+r.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// serveEngine is the other side of the wire: as much of an Engine as the docker command asks for in these tests.
func serveEngine(t *testing.T) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("API-Version", "1.47")
		_, _ = io.WriteString(w, "OK")
	})
	mux.HandleFunc("GET /v1.47/version", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Version":"27.9.9","ApiVersion":"1.47","MinAPIVersion":"1.24","Os":"linux","Arch":"amd64"}`)
	})
	mux.HandleFunc("GET /v1.47/containers/web/json", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Id":"web","State":{"Running":true},"Config":{}}`)
	})
	mux.HandleFunc("POST /v1.47/containers/web/exec", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"Id":"e1"}`)
	})
	mux.HandleFunc("GET /v1.47/exec/e1/json", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"ID":"e1","Running":false,"ExitCode":0}`)
	})
	mux.HandleFunc("POST /v1.47/exec/{id}/start", serveExec)
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) { // a stream that is not ended by the Engine
		_, _ = io.WriteString(w, "{\"status\":\"start\"}\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Method, " ", r.URL.RequestURI()) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return socket
}

// serveExec takes the connection over, as the Engine does, and gives what it gets, once that has ended; "echo" at once.
func serveExec(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	if r.PathValue("id") == "echo" {
		_, _ = io.Copy(conn, buf)
		return
	}
	in, _ := io.ReadAll(buf)
	frame := append([]byte{1, 0, 0, 0}, binary.BigEndian.AppendUint32(nil, uint32(len(in)))...)
	_, _ = conn.Write(append(frame, in...))
}
