package dockerfront_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/dockerfront"
)

func TestWhoMayDoWhat(t *testing.T) {
	r := newRig(t, time.Second)
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
	r := newRig(t, time.Second)
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
	r := newRig(t, time.Second)
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

// shell begins an exec, whose stream gives back what it gets, and no more than it is asked for.
func (r *rig) shell(t *testing.T, c *tls.Certificate) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", r.addr, &tls.Config{RootCAs: r.pool(), Certificates: []tls.Certificate{*c}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, "POST /v1.47/exec/echo/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	var answer []byte
	for one := make([]byte, 1); !strings.HasSuffix(string(answer), "\r\n\r\n"); answer = append(answer, one...) {
		if _, err := io.ReadFull(conn, one); err != nil {
			t.Fatalf("the exec is answered with %q, %v", answer, err)
		}
	}
	if !strings.HasPrefix(string(answer), "HTTP/1.1 101 ") {
		t.Fatalf("the exec is answered with %q", answer)
	}
	return conn
}

func echoes(conn net.Conn) bool {
	if _, err := io.WriteString(conn, "hello"); err != nil {
		return false
	}
	got := make([]byte, len("hello"))
	_, err := io.ReadFull(conn, got)
	return err == nil && string(got) == "hello"
}

// events begins to listen, and waits for the first event.
func (r *rig) events(t *testing.T, c *tls.Certificate) io.Reader {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+r.addr+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.client(t, c).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	first := make([]byte, len("{\"status\":\"start\"}\n"))
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	return resp.Body
}

// TestWhoIsRevokedIsCutOff: streams of one client end when its certificate is revoked, also while it takes nothing; those of another go on.
func TestWhoIsRevokedIsCutOff(t *testing.T) {
	r := newRig(t, time.Second)
	ann, bob := r.issue(t, 1, "ann", "docker-full"), r.issue(t, 2, "bob", "docker-full")
	annShell, bobShell, annEvents := r.shell(t, ann), r.shell(t, bob), r.events(t, ann)
	stalled := r.shell(t, ann)
	for range 1000 { // what comes back is not read, until nothing goes in any more
		_ = stalled.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := stalled.Write(make([]byte, 1<<20)); err != nil {
			break
		}
	}
	r.revoke(fmt.Sprintf("%032x", 1))
	if _, err := annShell.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the shell of who is revoked: %v", err)
	}
	if _, err := annEvents.Read(make([]byte, 1)); err == nil {
		t.Error("the events of who is revoked go on")
	}
	if _, err := io.Copy(io.Discard, stalled); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the shell of who is revoked and takes nothing: %v", err)
	}
	if !echoes(bobShell) {
		t.Error("the shell of somebody else is cut off")
	}
	if n := strings.Count(r.log.String(), "ended a stream"); n != 3 {
		t.Errorf("the log tells of %d streams, want 3:\n%s", n, r.log)
	}
}

// TestStreamsAtTheEnd: what only looks is ended soon; a shell goes on while it lasts, and so long waits the front; no new client is let in.
func TestStreamsAtTheEnd(t *testing.T) {
	r := newRig(t, time.Hour)
	bob := r.issue(t, 2, "bob", "docker-full")
	shell, events := r.shell(t, bob), r.events(t, bob)
	r.stop()
	if _, err := events.Read(make([]byte, 1)); err == nil {
		t.Error("the events go on")
	}
	if !echoes(shell) {
		t.Error("the shell is cut off")
	}
	if conn, err := net.Dial("tcp", r.addr); err == nil {
		_ = conn.Close()
		t.Error("somebody is let in")
	}
	_ = shell.CloseWrite()
	r.wait()
}

// TestStreamsAtTheEndHaveABound has a shell that does not end.
func TestStreamsAtTheEndHaveABound(t *testing.T) {
	r := newRig(t, 10*time.Millisecond)
	shell := r.shell(t, r.issue(t, 2, "bob", "docker-full"))
	r.wait()
	if echoes(shell) {
		t.Error("the shell goes on")
	}
}

// TestDockerCommand has the real docker command speak through the front.
func TestDockerCommand(t *testing.T) {
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("there is no docker command")
	}
	r := newRig(t, time.Second)
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
