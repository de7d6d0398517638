package guard_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/certs/guard"
)

func TestCheck(t *testing.T) {
	for address, want := range map[string]bool{
		"192.0.2.1:443": true, "10.1.2.3:9000": true, "[2001:db8::1]:443": true, "[fd00::1]:443": true,
		"127.0.0.1:443": false, "127.9.9.9:443": false, "[::1]:443": false, "[::ffff:127.0.0.1]:443": false, "169.254.169.254:80": false,
		"[fe80::1%eth0]:443": false, "0.0.0.0:443": false, "[::]:443": false, "224.0.0.1:443": false,
		"[fd00:ec2::254]:80": false, "168.63.129.16:80": false, "100.100.100.200:80": false, "[::ffff:100.100.100.200]:80": false, "nonsense": false,
	} {
		if err := guard.Check(address); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestDialer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost"} {
		conn, err := guard.Dialer(time.Minute).Dial("tcp", net.JoinHostPort(host, port))
		var refused *guard.Refused
		if err == nil {
			_ = conn.Close()
		}
		if !errors.As(err, &refused) || !refused.Address.IsLoopback() {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestMain names a proxy, which the standard library reads once.
func TestMain(m *testing.M) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go proxy(l)
	for name, value := range map[string]string{"HTTPS_PROXY": "http://" + l.Addr().String(), "HTTP_PROXY": "", "NO_PROXY": "direct.example"} {
		_ = os.Setenv(name, value)
	}
	os.Exit(m.Run())
}

// proxy refuses every CONNECT in words of its own.
func proxy(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil && r.Method == http.MethodConnect {
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 418 the proxy was asked for %s\r\n\r\n", r.Host)
		}
		_ = conn.Close()
	}
}

func TestTransport(t *testing.T) {
	inside := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(inside.Close)
	_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
	client := &http.Client{Transport: guard.Transport(&http.Transport{})}
	for _, tc := range []struct {
		url     string
		proxied bool
	}{
		{"https://ca.example/", true}, {inside.URL, false}, {"https://localhost:" + port + "/", false}, {"https://[::1]:" + port + "/", false}, {"http://169.254.169.254/latest", false},
	} {
		answer, err := client.Get(tc.url)
		var refused *guard.Refused
		switch {
		case err == nil:
			_ = answer.Body.Close()
			t.Errorf("%s answers %s", tc.url, answer.Status)
		case tc.proxied == errors.As(err, &refused):
			t.Errorf("%s: %v, want the proxy to be asked: %t", tc.url, err, tc.proxied)
		}
	}
}
