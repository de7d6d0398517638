package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// What an endpoint began to answer before it broke off is no part of another endpoint's answer.
func TestHalfAHeadIsForgotten(t *testing.T) {
	half := rude(t, func(_ int, c net.Conn) {
		if readHead(bufio.NewReader(c)) == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Secret: of another\r\nX-Half")
		}
	})
	whole := rude(t, func(_ int, c net.Conn) {
		if readHead(bufio.NewReader(c)) == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwell")
		}
	})
	r := start(t, Config{HTTPSAddr: "off", Loops: 1}, site("a.test", half, whole))
	for range 4 {
		resp, body := r.get("http://a.test/")
		if resp.StatusCode != 404 || body != "well" || resp.Header.Get("X-Secret") != "" {
			t.Errorf("got %d %q with %v, want 404 and nothing of the other endpoint", resp.StatusCode, body, resp.Header)
		}
	}
}

// HTTP/2 has places for the method and the path where a space is no separator; in HTTP/1.1 it is one.
func TestNoRequestLineIsMadeOfHTTP2(t *testing.T) {
	up := newScripted(t, []string{ok})
	r := start(t, Config{}, site("a.test", up.url))
	for _, tt := range []struct{ name, method, target string }{
		{"space in the method", "GET /admin HTTP/1.1", "/"},
		{"tab in the method", "GET\t/admin", "/"},
		{"space in the path", "GET", "/admin HTTP/1.1"},
		{"space in the query", "GET", "/?a b"},
		{"fragment", "GET", "/?a#b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := httptest.NewRequest("GET", "http://a.test/", nil)
			req.Method, req.RequestURI, req.Proto, req.ProtoMajor = tt.method, tt.target, "HTTP/2.0", 2
			got := httptest.NewRecorder()
			(&handler{entry: &entry{proxy: r.Proxy, secure: true}}).ServeHTTP(got, req)
			if got.Code != 400 {
				t.Errorf("got %d, want 400", got.Code)
			}
		})
	}
	if seen := up.seen(); seen != "" {
		t.Errorf("the endpoint got\n%s", seen)
	}
}

// A callback that has begun must not outlive the watch: what it cuts off may be another exchange's by then.
func TestWatchOfHTTP2EndsWithItsCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := &httpClient{r: httptest.NewRequest("GET", "/", nil).WithContext(ctx)}
		hold, ended := make(chan struct{}), false
		c.watch(func() { <-hold })
		cancel()
		synctest.Wait() // it runs
		go func() {
			c.watch(nil)
			ended = true
		}()
		synctest.Wait()
		if ended {
			t.Error("the watch has ended while its callback ran")
		}
		close(hold)
		synctest.Wait()
		if !ended {
			t.Error("the watch has not ended")
		}
	})
}

// batched sends what is written when it is told to.
type batched struct {
	net.Conn
	mu      sync.Mutex
	holding bool
	kept    []byte
}

func (b *batched) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.holding {
		b.kept = append(b.kept, p...)
		return len(p), nil
	}
	return b.Conn.Write(p)
}

func (b *batched) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = b.Conn.Write(b.kept)
	b.holding, b.kept = false, nil
}

// What an endpoint says by TLS beyond its answer may have been read together with the answer: then the socket has nothing to tell of it.
func TestAnswersByTLSAreNotPoisoned(t *testing.T) {
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	defer certificate.Close()
	url := rude(t, func(_ int, raw net.Conn) {
		b := &batched{Conn: raw}
		c := tls.Server(b, certificate.TLS.Clone())
		in := bufio.NewReader(c)
		for n := 0; readHead(in) == nil; n++ {
			b.mu.Lock()
			b.holding = true
			b.mu.Unlock()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell")
			if n == 0 {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
			}
			b.send()
		}
	})
	r := start(t, Config{Loops: 1}, site("a.test", strings.Replace(url, "http:", "https:", 1)))
	for _, scheme := range []string{"http", "https"} {
		for range 3 {
			if resp, body := r.get(scheme + "://a.test/"); resp.StatusCode != 200 || body != "well" {
				t.Errorf("%s: got %d %q, want 200 and the request's own answer", scheme, resp.StatusCode, body)
			}
		}
	}
}

// Connections by TLS that have nothing more to tell are used again.
func TestConnectionsByTLSAreUsedAgain(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hi") }))
	var opened atomic.Int64
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	r := start(t, Config{Loops: 1}, site("a.test", s.URL))
	for _, scheme := range []string{"http", "https"} {
		opened.Store(0)
		for range 5 {
			if _, body := r.get(scheme + "://a.test/"); body != "hi" {
				t.Errorf("%s: got %q", scheme, body)
			}
		}
		if n := opened.Load(); n != 1 {
			t.Errorf("%s: 5 requests took %d connections, want 1", scheme, n)
		}
	}
}
