package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// listenOn listens on a loopback address until the test ends.
func listenOn(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// responder is a FastCGI endpoint on the standard library's server.
func responder(t testing.TB, h http.HandlerFunc) string {
	l := listenOn(t, "127.0.0.1:0")
	var serving sync.WaitGroup
	serving.Go(func() { _ = fcgi.Serve(l, h) })
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return "fastcgi://" + l.Addr().String()
}

// speaks turns the URL of a test's endpoint into one of another scheme.
func speaks(scheme, url string) string {
	_, rest, _ := strings.Cut(url, "://")
	return scheme + "://" + rest
}

func fastcgiSite(url string) ruche.Route {
	s := site("a.test", url)
	s.Root = "/srv/www"
	return s
}

func TestFastCGI(t *testing.T) {
	up := responder(t, func(w http.ResponseWriter, r *http.Request) {
		env := fcgi.ProcessEnv(r)
		w.Header().Set("X-Script", env["SCRIPT_FILENAME"])
		w.Header().Set("X-Seen", strings.Join([]string{r.Method, r.URL.RequestURI(), r.Host, r.Header.Get("X-A"), r.Header.Get("X-Forwarded-For"),
			fmt.Sprint(r.ContentLength)}, " "))
		switch r.URL.Path {
		case "/status":
			w.WriteHeader(http.StatusTeapot)
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/large":
			for i := range 64 {
				_, _ = w.Write(bytes.Repeat([]byte{'a' + byte(i%26)}, 50_000))
			}
		default:
			_, _ = io.Copy(w, r.Body)
		}
	})
	r := start(t, Config{}, fastcgiSite(up))
	tests := []struct {
		name, method, url, body string
		unknown                 bool // the length of the body is not told
		status                  int
		script, seen            string
		bytes                   int // of the answer
	}{
		{"GET", "GET", "/", "", false, 200, "/srv/www/index.php", "GET / a.test 1 127.0.0.1 0", 0},
		{"a script and a query", "GET", "/a/b.php?x=1%20", "", false, 200, "/srv/www/a/b.php", "GET /a/b.php?x=1%20 a.test 1 127.0.0.1 0", 0},
		{"a path that is not clean", "GET", "/a/../c.php", "", false, 200, "/srv/www/c.php", "GET /a/../c.php a.test 1 127.0.0.1 0", 0},
		{"POST", "POST", "/p.php", "hello", false, 200, "/srv/www/p.php", "POST /p.php a.test 1 127.0.0.1 5", 5},
		{"POST of unknown length", "POST", "/p.php", strings.Repeat("x", 100_000), true, 200, "/srv/www/p.php", "POST /p.php a.test 1 127.0.0.1 100000", 100_000},
		{"large upload", "PUT", "/p.php", strings.Repeat("y", 5<<20), false, 200, "/srv/www/p.php", "PUT /p.php a.test 1 127.0.0.1 5242880", 5 << 20},
		{"a status", "GET", "/status", "", false, 418, "/srv/www/status", "GET /status a.test 1 127.0.0.1 0", 0},
		{"no content", "GET", "/empty", "", false, 204, "/srv/www/empty", "GET /empty a.test 1 127.0.0.1 0", 0},
		{"large answer", "GET", "/large", "", false, 200, "/srv/www/large", "GET /large a.test 1 127.0.0.1 0", 64 * 50_000},
		{"HEAD", "HEAD", "/large", "", false, 200, "/srv/www/large", "HEAD /large a.test 1 127.0.0.1 0", 0},
	}
	for _, scheme := range []string{"http", "https"} { // HTTP/1.1 on a loop, HTTP/2 on goroutines
		for _, tt := range tests {
			t.Run(scheme+" "+tt.name, func(t *testing.T) {
				var body io.Reader
				if tt.body != "" {
					body = strings.NewReader(tt.body)
				}
				if tt.unknown {
					body = struct{ io.Reader }{body}
				}
				req := r.request(tt.method, scheme+"://a.test"+tt.url, body)
				req.Header.Set("X-A", "1")
				resp, got := r.do(req)
				if resp.StatusCode != tt.status || resp.Header.Get("X-Script") != tt.script || len(got) != tt.bytes {
					t.Errorf("%d, script %q, %d bytes; want %d, %q, %d", resp.StatusCode, resp.Header.Get("X-Script"), len(got), tt.status, tt.script, tt.bytes)
				}
				if seen := resp.Header.Get("X-Seen"); seen != tt.seen {
					t.Errorf("the program was told %q, want %q", seen, tt.seen)
				}
			})
		}
	}
}

func TestFastCGITooLargeWithoutLength(t *testing.T) {
	r := start(t, Config{}, fastcgiSite(responder(t, func(http.ResponseWriter, *http.Request) {})))
	body := struct{ io.Reader }{io.LimitReader(zeroBytes{}, maxGathered+1)}
	if resp, got := r.do(r.request("POST", "https://a.test/", body)); resp.StatusCode != http.StatusLengthRequired {
		t.Errorf("got %d %q, want 411", resp.StatusCode, got)
	}
}

// zeroBytes is endless.
type zeroBytes struct{}

func (zeroBytes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestFastCGIExpectIsAnsweredHere(t *testing.T) {
	up := responder(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	r := start(t, Config{}, fastcgiSite(up))
	for name, framing := range map[string]string{"length": "Content-Length: 2", "chunked": "Transfer-Encoding: chunked"} {
		t.Run(name, func(t *testing.T) {
			c := r.raw("POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\n" + framing + "\r\n\r\n")
			in := bufio.NewReader(c)
			if line, err := in.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
				t.Fatalf("%q, %v", line, err)
			}
			if err := readHead(in); err != nil {
				t.Fatal(err)
			}
			content := "ok"
			if name == "chunked" {
				content = "2\r\nok\r\n0\r\n\r\n"
			}
			_, _ = io.WriteString(c, content)
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(resp.Body); string(got) != "ok" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// fcgiRecord is a record of the only request.
func fcgiRecord(kind byte, content string) string {
	return string([]byte{1, kind, 0, 1, byte(len(content) >> 8), byte(len(content)), 0, 0}) + content
}

const fcgiEnd = "\x00\x00\x00\x00\x00\x00\x00\x00"

// program is a FastCGI endpoint that says the text to each request that has no body, and closes.
func program(t testing.TB, text string) string {
	return speaks("fastcgi", rude(t, func(_ int, c net.Conn) {
		if readRequest(c) == nil {
			_, _ = io.WriteString(c, text)
		}
	}))
}

// readRequest reads the records of a request.
func readRequest(c net.Conn) error {
	for h := make([]byte, 8); ; {
		if _, err := io.ReadFull(c, h); err != nil {
			return err
		}
		n := int64(h[4])<<8 + int64(h[5])
		if _, err := io.CopyN(io.Discard, c, n+int64(h[6])); err != nil {
			return err
		}
		if h[1] == 5 && n == 0 {
			return nil
		}
	}
}

func TestFastCGIProgramsThatFail(t *testing.T) {
	tests := []struct {
		name, says string
		status     int
		logged     string // part of the access log's line
	}{
		{"it says nothing", "", 502, "broke the exchange off"},
		{"it ends within the head", fcgiRecord(6, "Status: 200\r\n"), 502, "broke the exchange off"},
		{"it complains", fcgiRecord(7, "PHP Warning: oh dear") + fcgiRecord(6, "X: y\r\n\r\nhi") + fcgiRecord(6, "") + fcgiRecord(3, fcgiEnd), 200, "the program says: PHP Warning: oh dear"},
		{"it complains and fails", fcgiRecord(7, "Primary script unknown") + fcgiRecord(6, "") + fcgiRecord(3, fcgiEnd), 502, "Primary script unknown"},
		{"no script", fcgiRecord(7, "Primary script unknown") + fcgiRecord(6, "Status: 404 Not Found\r\n\r\nFile not found.\n") + fcgiRecord(3, fcgiEnd), 404, "Primary script unknown"},
		{"it speaks HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n", 502, "seems to speak HTTP"},
		{"a line in a header", fcgiRecord(6, "X: a\rb\r\n\r\n"), 502, "broke the exchange off"},
		{"a hop-by-hop field", fcgiRecord(6, "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\nhi") + fcgiRecord(3, fcgiEnd), 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, Config{}, fastcgiSite(program(t, tt.says)))
			resp, body := r.do(r.request("POST", "http://a.test/x.php", nil))
			if resp.StatusCode != tt.status || resp.StatusCode == 200 && body != "hi" {
				t.Errorf("got %d %q, want %d", resp.StatusCode, body, tt.status)
			}
			until(t, "the access log tells it", func() bool { return strings.Contains(r.log.String(), tt.logged) })
		})
	}
}

func TestFastCGIAnswerThatEndsEarly(t *testing.T) {
	r := start(t, Config{}, fastcgiSite(program(t, fcgiRecord(6, "Content-Length: 100\r\n\r\nhello"))))
	for _, scheme := range []string{"http", "https"} {
		resp, err := r.client().Get(scheme + "://a.test/")
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the client took a broken answer for a whole one", scheme)
		}
	}
}

func TestFastCGIRefusalGoesToAnotherEndpoint(t *testing.T) {
	overloaded := program(t, fcgiRecord(3, "\x00\x00\x00\x00\x02\x00\x00\x00"))
	var served atomic.Int64
	good := responder(t, func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		_, _ = io.WriteString(w, "ok")
	})
	r := start(t, Config{}, site("a.test", good, overloaded))
	if resp, body := r.do(r.request("POST", "http://a.test/", nil)); resp.StatusCode != 200 || body != "ok" || served.Load() != 1 {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}

func TestFastCGIPiecesAreNotHeldBack(t *testing.T) {
	next := make(chan struct{})
	up := responder(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "%d", i)
			w.(http.Flusher).Flush()
			<-next
		}
	})
	r := start(t, Config{}, fastcgiSite(up))
	for _, scheme := range []string{"http", "https"} {
		resp, err := r.client().Get(scheme + "://a.test/")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			p := make([]byte, 1)
			if _, err := io.ReadFull(resp.Body, p); err != nil || p[0] != byte('0'+i) {
				t.Fatalf("%s: %q, %v", scheme, p, err)
			}
			next <- struct{}{}
		}
		_ = resp.Body.Close()
	}
}

// phpFPM starts one with its scripts in root and returns its URL. It is handed the socket, so nobody has to wait for it.
func phpFPM(t *testing.T, root string) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/sbin/php-fpm*") // Debian puts its version into the name
	if len(found) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("php-fpm is not installed: run scripts/setup")
		}
		t.Skip("php-fpm is not installed: scripts/setup does that")
	}
	l := listenOn(t, "127.0.0.1:0")
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	config := filepath.Join(t.TempDir(), "fpm.conf")
	text := fmt.Sprintf("[global]\nerror_log = /dev/stderr\nlog_level = warning\n[www]\nlisten = %s\npm = static\npm.max_children = 2\n", l.Addr())
	if os.Getuid() == 0 {
		text += "user = root\n"
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, found[0], "-F", "-n", "-R", "-y", config)
	cmd.Env = append(os.Environ(), fmt.Sprintf("FPM_SOCKETS=%s=3", l.Addr()))
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	return "fastcgi://" + l.Addr().String()
}

func TestPHP(t *testing.T) {
	root := t.TempDir()
	for name, script := range map[string]string{
		"index.php":  `<?php header('X-Script: index'); echo json_encode($_SERVER);`,
		"broken.php": `<?php ini_set('log_errors', 1); ini_set('display_errors', 0); error_log('oh dear'); nobody();`,
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := site("a.test", phpFPM(t, root))
	s.Root = root
	var messages lockedBuffer
	r := start(t, Config{Logger: slog.New(slog.NewTextHandler(&messages, &slog.HandlerOptions{Level: slog.LevelDebug}))}, s)
	// More clients than processes, one after the other: a kept connection would block the third.
	for range 3 {
		resp, body := r.get("https://a.test/?q=1")
		var env map[string]any
		if err := json.Unmarshal([]byte(body), &env); err != nil || resp.Header.Get("X-Script") != "index" {
			t.Fatalf("%v: %d %q", err, resp.StatusCode, body)
		}
		for name, want := range map[string]any{"HTTPS": "on", "REMOTE_ADDR": "127.0.0.1", "SERVER_NAME": "a.test", "QUERY_STRING": "q=1",
			"SERVER_PORT": portOf(r.HTTPSAddr()), "SERVER_PROTOCOL": "HTTP/2.0", "SCRIPT_FILENAME": root + "/index.php", "HTTP_X_FORWARDED_PROTO": "https"} {
			if env[name] != want {
				t.Errorf("%s is %v, want %v", name, env[name], want)
			}
		}
	}
	if resp, _ := r.get("http://a.test/broken.php"); resp.StatusCode != 500 {
		t.Errorf("got %d, want 500", resp.StatusCode)
	}
	if resp, body := r.get("http://a.test/none.php"); resp.StatusCode != 404 || !strings.Contains(body, "File not found") {
		t.Errorf("got %d %q, want 404", resp.StatusCode, body)
	}
	until(t, "the access log has what PHP says", func() bool {
		return strings.Contains(r.log.String(), "oh dear") && strings.Contains(r.log.String(), "Primary script unknown")
	})
	if !strings.Contains(messages.String(), "undefined function nobody") {
		t.Errorf("the log does not have what PHP says:\n%s", messages.String())
	}
}
