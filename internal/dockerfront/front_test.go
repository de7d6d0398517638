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
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
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

	mu      sync.Mutex
	server  *tls.Certificate
	revoked map[string]bool
}

func newRig(t *testing.T) *rig {
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
		Logger: slog.New(slog.NewTextHandler(r.log, nil)), Health: r.health,
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- front.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
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
	mux.HandleFunc("POST /v1.47/exec/e1/start", serveExec)
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

// serveExec takes the connection over, as the Engine does, and gives what it gets, once that has ended.
func serveExec(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	in, _ := io.ReadAll(buf)
	frame := append([]byte{1, 0, 0, 0}, binary.BigEndian.AppendUint32(nil, uint32(len(in)))...)
	_, _ = conn.Write(append(frame, in...))
}

func TestWhoMayDoWhat(t *testing.T) {
	r := newRig(t)
	reader, owner := r.client(t, r.issue(t, 1, "ann", "docker-read")), r.client(t, r.issue(t, 2, "bob", "docker-full"))
	for _, tc := range []struct {
		method, path string
		read         bool
	}{
		{"GET", "/version", true},
		{"HEAD", "/_ping", true},
		{"GET", "/v1.47/containers/json?all=1", true},
		{"GET", "/v1.47/containers/web/logs?stdout=1", true},
		{"GET", "/v1.47/images/registry.example/team/app:1/json", true},
		{"GET", "/v1.47/services", true},
		{"GET", "/v1.47/secrets/x", true},
		{"POST", "/v1.47/containers/create", false},
		{"DELETE", "/v1.47/containers/web", false},
		{"GET", "/v1.47/containers/web/archive?path=/etc/shadow", false},
		{"HEAD", "/v1.47/containers/web/archive?path=/etc/shadow", false},
		{"GET", "/v1.47/containers/web/export", false},
		{"GET", "/v1.47/containers/web/attach/ws", false},
		{"GET", "/v1.47/images/app/get", false},
		{"GET", "/v1.47/images/get?names=app", false},
		{"GET", "/v1.47/swarm", false},
		{"GET", "/v1.47/swarm/unlockkey", false},
		{"GET", "/v1.47/configs/x", false},
		{"GET", "/v1.47/debug/pprof/heap", false},
		{"GET", "/v1.47/images/..%2fcontainers/web/archive/json", false},
		{"GET", "/v1.47//containers/web/archive", false},
		{"GET", "/v1.47/containers/web%2farchive", false},
		{"GET", "/", false},
		{"PUT", "/version", false},
	} {
		status, body := r.do(t, owner, tc.method, tc.path)
		if status != http.StatusOK && status != http.StatusMovedPermanently && status != http.StatusTemporaryRedirect && status != http.StatusMethodNotAllowed {
			t.Errorf("%s %s in full: %d %s", tc.method, tc.path, status, body)
		}
		status, body = r.do(t, reader, tc.method, tc.path)
		if (status != http.StatusForbidden) != tc.read {
			t.Errorf("%s %s looking: %d %s, want allowed %v", tc.method, tc.path, status, body, tc.read)
		}
		var said struct{ Message string }
		if !tc.read && tc.method != "HEAD" && (json.Unmarshal([]byte(body), &said) != nil || !strings.Contains(said.Message, "ann")) {
			t.Errorf("%s %s: the refusal is %q", tc.method, tc.path, body)
		}
	}
	for _, want := range []string{
		`client=ann serial=00000000000000000000000000000001 role=docker-read from=127.0.0.1 method=GET path=/v1.47/containers/web/archive status=403`,
		`client=bob serial=00000000000000000000000000000002 role=docker-full from=127.0.0.1 method=POST path=/v1.47/containers/create status=200`,
	} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log has no %q", want)
		}
	}
	if strings.Contains(r.log.String(), "shadow") {
		t.Error("the log has queries")
	}
}

func TestWhoIsLetIn(t *testing.T) {
	r := newRig(t)
	r.revoke(fmt.Sprintf("%032x", 3))
	for name, c := range map[string]*tls.Certificate{
		"nobody":      nil,
		"a stranger":  newAuthority(t).issue(t, 1, "eve", "docker-full"),
		"no role":     r.issue(t, 1, "eve"),
		"two roles":   r.issue(t, 1, "eve", "docker-read", "docker-full"),
		"a revoked":   r.issue(t, 3, "eve", "docker-full"),
		"a server":    r.issue(t, 4, "127.0.0.1", "docker-full"),
		"other units": r.issue(t, 5, "eve", "staff"),
	} {
		if status, body := r.do(t, r.client(t, c), "GET", "/version"); status != 0 {
			t.Errorf("%s is let in: %d %s", name, status, body)
		}
	}
	ann := r.client(t, r.issue(t, 6, "ann", "docker-full"))
	if status, body := r.do(t, ann, "GET", "/version"); status != http.StatusOK {
		t.Errorf("ann: %d %s", status, body)
	}
	r.revoke(fmt.Sprintf("%032x", 6))
	if status, body := r.do(t, ann, "GET", "/version"); status != http.StatusForbidden { // on the connection that was let in
		t.Errorf("ann, revoked meanwhile: %d %s", status, body)
	}
}

func TestCertificateChangesWithoutARestart(t *testing.T) {
	r := newRig(t)
	serial := func() int64 {
		conn, err := tls.Dial("tcp", r.addr, &tls.Config{RootCAs: r.pool(), Certificates: []tls.Certificate{*r.issue(t, 1, "ann", "docker-read")}})
		if err != nil {
			return 0
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 100 {
		t.Fatalf("serial %d, want 100", got)
	}
	r.serve(r.issue(t, 101, "127.0.0.1"))
	if got := serial(); got != 101 {
		t.Errorf("serial %d after the change, want 101", got)
	}
	r.serve(nil)
	if got := serial(); got != 0 {
		t.Errorf("serial %d without a certificate", got)
	}
	if w := r.health.List(); len(w) != 1 || w[0].Code != ruche.CodeDockerFrontDown {
		t.Errorf("the warnings are %v", w)
	}
	r.serve(r.issue(t, 102, "127.0.0.1"))
	if got := serial(); got != 102 || len(r.health.List()) != 0 {
		t.Errorf("serial %d, warnings %v, after it is there again", got, r.health.List())
	}
}

// TestStreamsFlow reads an event while the stream goes on; the front's end cuts it off.
func TestStreamsFlow(t *testing.T) {
	r := newRig(t)
	req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+r.addr+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.client(t, r.issue(t, 1, "ann", "docker-read")).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	first := make([]byte, len("{\"status\":\"start\"}\n"))
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Error(err)
	}
}

// TestDockerCommand has the real docker command speak through the front.
func TestDockerCommand(t *testing.T) {
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("there is no docker command")
	}
	r := newRig(t)
	docker := func(c *tls.Certificate, stdin string, args ...string) (string, error) {
		dir := t.TempDir()
		key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		for name, block := range map[string]*pem.Block{"ca.pem": {Type: "CERTIFICATE", Bytes: r.cert.Raw}, "cert.pem": {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}} {
			if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "docker", args...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST=tcp://"+r.addr, "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH="+dir, "DOCKER_CONFIG="+dir, "DOCKER_CONTEXT=")
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	ann, bob := r.issue(t, 1, "ann", "docker-read"), r.issue(t, 2, "bob", "docker-full")
	if out, err := docker(ann, "", "version", "--format", "{{.Server.Version}}"); err != nil || strings.TrimSpace(out) != "27.9.9" {
		t.Errorf("version: %q, %v", out, err)
	}
	text := strings.Repeat("all of what goes in comes out again\n", 20_000)
	if out, err := docker(bob, text, "exec", "-i", "web", "cat"); err != nil || out != text {
		t.Errorf("exec: %d bytes of %d, %v: %.200s", len(out), len(text), err, out)
	}
	if out, err := docker(ann, "", "exec", "-i", "web", "cat"); err == nil || !strings.Contains(out, "good for looking alone") {
		t.Errorf("exec of who only looks: %q, %v", out, err)
	}
	if !strings.Contains(r.log.String(), "path=/v1.47/exec/e1/start status=101") {
		t.Errorf("the log has no line of the exec:\n%s", r.log)
	}
}

func FuzzRole(f *testing.F) {
	for _, p := range []string{"/version", "/v1.47/containers/web/json", "/images/a/b/json", "/v1.47/swarm", "//", "/containers/../swarm"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r := &http.Request{Method: "GET", Header: http.Header{}}
		var err error
		if r.URL, err = r.URL.Parse("http://docker" + path); err != nil {
			return
		}
		r.URL.Host = ""
		if !dockerfront.MayRead(r) {
			return
		}
		parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if strings.HasPrefix(parts[0], "v") && strings.ContainsAny(parts[0], "0123456789") {
			parts = parts[1:]
		}
		if slices.Contains(parts, "..") || slices.Contains(parts, "") || r.URL.RawPath != "" || len(parts) == 0 || slices.Contains([]string{"swarm", "configs", "build", "session", "debug"}, parts[0]) {
			t.Errorf("%q is let through", path)
		}
		if last := parts[len(parts)-1]; parts[0] == "containers" && !slices.Contains([]string{"json", "logs", "top", "stats", "changes"}, last) {
			t.Errorf("%q is let through", path)
		}
	})
}
