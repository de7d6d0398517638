package fastcgi_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/cgi"
	"github.com/ruche-project/ruche/internal/fastcgi"
)

// listen opens a socket that only this test knows.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// dial connects to a program. No exchange of these tests takes a minute.
func dial(t *testing.T, address net.Addr) *fastcgi.Conn {
	t.Helper()
	conn, err := net.Dial(address.Network(), address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return fastcgi.NewConn(conn)
}

// ask is a request with the path and body of a test.
func ask(method, uri, body string, headers ...string) *cgi.Request {
	path, _, _ := strings.Cut(uri, "?")
	r := &cgi.Request{
		Method: method, URI: uri, Path: path, Proto: "HTTP/1.1", Host: "a.example:8080", ServerName: "a.example", ContentLength: -1,
		Client: netip.MustParseAddrPort("192.0.2.1:1234"), Server: netip.MustParseAddrPort("192.0.2.2:80"), Headers: vars(headers...),
	}
	if body != "" {
		r.ContentLength = int64(len(body))
	}
	return r
}

// exchange sends a request and reads its answer meanwhile, as the proxy does.
func exchange(t *testing.T, c *fastcgi.Conn, r *cgi.Request, root, body string) (*cgi.Head, string) {
	t.Helper()
	var v cgi.Vars
	if err := v.FastCGI(r, root); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteBegin(v.All()); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() { sent <- errors.Join(c.WriteBody([]byte(body)), c.CloseBody()) }()
	var a cgi.Answer
	a.Reset(c)
	h, err := a.ReadHead(r.Method == "HEAD")
	if err != nil {
		t.Fatalf("%v; messages: %s", err, c.Stderr())
	}
	answer, err := io.ReadAll(&a)
	if err != nil {
		t.Fatalf("%v; messages: %s", err, c.Stderr())
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	return h, string(answer)
}

// field returns the value of a header field.
func field(h *cgi.Head, name string) string {
	for _, f := range h.Fields {
		if strings.EqualFold(string(f.Name), name) {
			return string(f.Value)
		}
	}
	return ""
}

// TestGoResponder talks to the standard library's side of the protocol.
func TestGoResponder(t *testing.T) {
	l := listen(t)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = fcgi.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/echo": // while it is still being sent
				w.Header().Set("Content-Type", "application/octet-stream")
				_, _ = io.Copy(w, r.Body)
			case "/teapot":
				w.Header().Set("X-Query", r.URL.RawQuery)
				http.Error(w, "short and stout", http.StatusTeapot)
			case "/deaf": // reads nothing
			default:
				fmt.Fprintf(w, "%s %s %s tls=%v %s %s %q %s",
					r.Method, r.Host, r.URL, r.TLS != nil, r.RemoteAddr, r.Header.Get("X-A"), r.Header["Proxy"], fcgi.ProcessEnv(r)["SCRIPT_FILENAME"])
			}
		}))
	}()
	t.Run("variables", func(t *testing.T) {
		_, body := exchange(t, dial(t, l.Addr()), ask("GET", "/a/?q=1", "", "X-A", "1", "Proxy", "evil", "X-A", "2"), "/srv", "")
		want := `GET a.example:8080 http://a.example:8080/a/?q=1 tls=false 192.0.2.1:1234 1, 2 [] /srv/a/index.php`
		if body != want {
			t.Errorf("got  %s\nwant %s", body, want)
		}
	})
	t.Run("status", func(t *testing.T) {
		h, body := exchange(t, dial(t, l.Addr()), ask("GET", "/teapot?a=b", ""), "/srv", "")
		if h.Status != 418 || string(h.Reason) != "I'm a teapot" || field(h, "X-Query") != "a=b" || body != "short and stout\n" {
			t.Errorf("%d %s %q %q", h.Status, h.Reason, field(h, "X-Query"), body)
		}
	})
	t.Run("body", func(t *testing.T) {
		large := string(bytes.Repeat([]byte("0123456789abcdef"), 128<<10)) // 2 MiB: more than sockets hold
		_, body := exchange(t, dial(t, l.Addr()), ask("POST", "/echo", large), "/srv", large)
		if sha256.Sum256([]byte(body)) != sha256.Sum256([]byte(large)) {
			t.Errorf("%d bytes came back of %d, or others", len(body), len(large))
		}
	})
	t.Run("body that nobody reads", func(t *testing.T) {
		exchange(t, dial(t, l.Addr()), ask("POST", "/deaf", "hello"), "/srv", "hello")
	})
	l.Close()
	<-stopped
}
