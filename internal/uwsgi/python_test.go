package uwsgi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/cgi"
	"github.com/ruche-project/ruche/internal/uwsgi"
)

// application answers with what it was asked.
const application = `
def application(env, start_response):
    path = env['PATH_INFO']
    if path == '/redirect':
        start_response('302 Found', [('Location', '/x'), ('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2')])
        return []
    if path == '/length':
        start_response('200 OK', [('Content-Length', '5')])
        return [b'hel', b'lo']
    if path == '/broken':
        raise Exception('oh dear')
    body = env['wsgi.input'].read()
    start_response('404 Not Found', [('Content-Type', 'text/plain')])
    keys = ['REQUEST_METHOD', 'REQUEST_URI', 'PATH_INFO', 'SCRIPT_NAME', 'QUERY_STRING', 'CONTENT_TYPE', 'CONTENT_LENGTH',
            'HTTP_HOST', 'SERVER_NAME', 'SERVER_PORT', 'REMOTE_ADDR', 'HTTP_X_A', 'HTTP_PROXY', 'wsgi.url_scheme']
    return [' '.join(k + '=' + str(env.get(k)) for k in keys).encode(), b' body=%d' % len(body)]
`

// uWSGI starts one with the application, on a socket that it inherits as its standard input, so that nobody has to wait for it.
func uWSGI(t *testing.T) net.Addr {
	t.Helper()
	program, err := exec.LookPath("uwsgi_python3")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("uwsgi_python3 is not installed: run scripts/setup")
		}
		t.Skip("uwsgi_python3 is not installed: scripts/setup does that")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "app.py")
	if err := os.WriteFile(file, []byte(application), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	socket, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--wsgi-file", file, "--need-app")
	cmd.Stdin = socket
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := cmd.Wait(); t.Failed() {
			t.Logf("uwsgi: %v\n%s", err, log.String())
		}
	})
	return l.Addr()
}

// exchange sends a request and reads its answer meanwhile, as the proxy does.
func exchange(t *testing.T, address net.Addr, r *cgi.Request, body string) (*cgi.Head, string, error) {
	t.Helper()
	conn, err := net.Dial(address.Network(), address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var v cgi.Vars
	if err := v.UWSGI(r); err != nil {
		t.Fatal(err)
	}
	packet, err := uwsgi.AppendPacket(nil, v.All())
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(append(packet, body...))
		sent <- err
	}()
	var a cgi.Answer
	a.Reset(conn)
	h, err := a.ReadHead(r.Method == "HEAD")
	if err != nil {
		return nil, "", err
	}
	answer, err := io.ReadAll(&a)
	if err == nil {
		err = <-sent
	}
	return h, string(answer), err
}

func ask(method, uri, body string, headers ...string) *cgi.Request {
	path, _, _ := strings.Cut(uri, "?")
	r := &cgi.Request{
		Method: method, URI: uri, Path: path, Proto: "HTTP/1.1", HTTPS: true, Host: "a.example:8443", ServerName: "a.example", ContentLength: -1,
		Client: netip.MustParseAddrPort("192.0.2.1:1234"), Server: netip.MustParseAddrPort("192.0.2.2:443"), Headers: vars(headers...),
	}
	if body != "" {
		r.ContentLength = int64(len(body))
	}
	return r
}

func TestPython(t *testing.T) {
	address := uWSGI(t)
	large := strings.Repeat("0123456789", 300_000)
	const common = "HTTP_HOST=a.example:8443 SERVER_NAME=a.example SERVER_PORT=443 REMOTE_ADDR=192.0.2.1 "
	for _, tt := range []struct {
		name   string
		r      *cgi.Request
		body   string
		status int
		want   string
	}{
		{"variables", ask("GET", "/a/b?c=d", "", "X-A", "1", "X-A", "2", "Proxy", "evil"), "", 404,
			"REQUEST_METHOD=GET REQUEST_URI=/a/b?c=d PATH_INFO=/a/b SCRIPT_NAME=None QUERY_STRING=c=d CONTENT_TYPE= CONTENT_LENGTH= " + common +
				"HTTP_X_A=1, 2 HTTP_PROXY=None wsgi.url_scheme=https body=0"},
		{"body", ask("POST", "/", large, "Content-Type", "text/plain"), large, 404,
			"REQUEST_METHOD=POST REQUEST_URI=/ PATH_INFO=/ SCRIPT_NAME=None QUERY_STRING= CONTENT_TYPE=text/plain CONTENT_LENGTH=3000000 " + common +
				"HTTP_X_A=None HTTP_PROXY=None wsgi.url_scheme=https body=3000000"},
		{"redirect", ask("GET", "/redirect", ""), "", 302, ""},
		{"length", ask("GET", "/length", ""), "", 200, "hello"},
		{"HEAD", ask("HEAD", "/length", ""), "", 200, ""}, // uWSGI sends the body all the same
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, body, err := exchange(t, address, tt.r, tt.body)
			if err != nil {
				t.Fatal(err)
			}
			if h.Status != tt.status || body != tt.want {
				t.Errorf("%d\n%q, want %d\n%q", h.Status, body, tt.status, tt.want)
			}
		})
	}
	t.Run("request that the program does not take", func(t *testing.T) {
		// uWSGI takes 4 KiB of variables unless it is told otherwise, and says so in its own log only.
		_, _, err := exchange(t, address, ask("GET", "/", "", "X-A", strings.Repeat("x", 5000)), "")
		if !errors.Is(err, cgi.ErrEmpty) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("program that fails", func(t *testing.T) {
		if _, _, err := exchange(t, address, ask("GET", "/broken", ""), ""); !errors.Is(err, cgi.ErrEmpty) {
			t.Errorf("got %v", err)
		}
	})
}
