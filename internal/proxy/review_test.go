package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ruche-project/ruche"
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
		for range 5 {
			if _, body := r.get(scheme + "://a.test/"); body != "hi" {
				t.Errorf("%s: got %q", scheme, body)
			}
		}
		if n := opened.Load(); n != 1 {
			t.Errorf("%s: %d connections, want 1 for all requests", scheme, n)
		}
	}
}

// An endpoint that ends each stream without an answer does not get the request again and again.
func TestStreamsThatEndAreNotRepeatedForEver(t *testing.T) {
	var asked atomic.Int64
	r := start(t, Config{}, site("a.test", backend2(t, ruche.SchemeH2C, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" && asked.Add(1) < 100 {
			panic(http.ErrAbortHandler)
		}
	})))
	r.get("http://a.test/") // from now on the connection was used before
	if resp, _ := r.get("http://a.test/broken"); resp.StatusCode != 502 || asked.Load() > 2 {
		t.Errorf("got %d after the endpoint was asked %d times, want 502 after at most 2", resp.StatusCode, asked.Load())
	}
}

// A client may pause within its content for as long as Timeouts.Body says, which is longer than the head may take.
func TestContentMayPauseLongerThanTheHead(t *testing.T) {
	t.Parallel()
	const forHead = 300 * time.Millisecond // enough for a busy machine between the connection and what is said on it
	url := backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	r := start(t, Config{HTTPSAddr: "off", Timeouts: Timeouts{ReadHeader: forHead}}, site("a.test", url))
	for name, head := range map[string]string{
		"length":      "Content-Length: 4\r\n\r\nab",
		"nothing yet": "Content-Length: 2\r\n\r\n",
		"chunks":      "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := r.raw("POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n" + head)
			_ = c.SetReadDeadline(time.Now().Add(2 * forHead))
			if early, err := io.ReadAll(c); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("answered before the content was whole: %v\n%s", err, early)
			}
			_ = c.SetReadDeadline(time.Time{})
			rest := "cd"
			if name == "chunks" {
				rest = "2\r\ncd\r\n0\r\n\r\n"
			}
			_, _ = io.WriteString(c, rest)
			if all, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 200 ") {
				t.Errorf("got %v\n%s", err, all)
			}
		})
	}
}

// A loop that stops must not turn round for requests that wait for an endpoint.
func TestHeldRequestsEndWhenTheLoopsDo(t *testing.T) {
	r := start(t, Config{HTTPSAddr: "off", Timeouts: Timeouts{Hold: time.Minute, Drain: time.Millisecond}}, site("a.test", deaf(t)))
	r.raw("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	until(t, "the request is held", func() bool { return r.held.Load() == 1 })
	r.stop()
	select {
	case <-r.stopped:
	case <-time.After(5 * time.Second):
		t.Error("the proxy does not stop")
		r.serve(site("a.test", says(t, "x"))) // let it
	}
}

// A panic beside a request of HTTP/2 ends that request, and not the process.
func TestPanicsOfTasksAreCaught(t *testing.T) {
	r := start(t, Config{HTTPSAddr: "off"})
	var one task
	r.yard.spawn(&one, func() { panic("as told") })
	r.yard.await(&one)
}

// A client that has sent its next request already gets the answer that ends the connection, and by TLS the word that this is its end.
func TestLastAnswersArrive(t *testing.T) {
	r := start(t, Config{}, site("a.test", backend(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 200_000))
	})))
	more := strings.Repeat("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 5000)
	t.Run("pipelined", func(t *testing.T) {
		c, err := net.Dial("tcp", r.HTTPAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"+more) }()
		if all, err := io.ReadAll(c); err != nil || len(all) < 200_000 {
			t.Errorf("got %d bytes and %v, want all of the answer", len(all), err)
		}
	})
	t.Run("close_notify", func(t *testing.T) {
		raw, err := net.Dial("tcp", r.HTTPSAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		var got bytes.Buffer
		c := tls.Client(&recorded{raw, &got}, &tls.Config{InsecureSkipVerify: true, ServerName: "a.test", MaxVersion: tls.VersionTLS12})
		_, _ = io.WriteString(c, "GET / HTTP/1.0\r\nHost: a.test\r\n\r\n")
		if all, err := io.ReadAll(c); err != nil || len(all) < 200_000 {
			t.Errorf("got %d bytes and %v, want all of the answer", len(all), err)
		}
		kind := byte(0) // of the last record
		for b := got.Bytes(); len(b) >= 5; b = b[min(len(b), 5+int(binary.BigEndian.Uint16(b[3:]))):] {
			kind = b[0]
		}
		if kind != 21 {
			t.Errorf("the connection ends with a record of the type %d, want an alert (21)", kind)
		}
	})
}

// recorded keeps what is read.
type recorded struct {
	net.Conn
	got *bytes.Buffer
}

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.got.Write(p[:n])
	return n, err
}

// What is logged of a head that did not come in time is that head, though the buffer that it began in may be another client's by then.
func TestSlowHeadsAreLoggedAsTheyCame(t *testing.T) {
	r := start(t, Config{HTTPSAddr: "off", Loops: 1, Timeouts: Timeouts{ReadHeader: 500 * time.Millisecond}}, site("a.test", says(t, "x")))
	head := "GET /slow HTTP/1.1\r\nHost: a.test\r\nX: "
	c := r.raw(head + strings.Repeat("x", smallBuffer-len(head))) // so that it moves before more comes
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _ = io.ReadAll(c)
	}()
	for open := true; open; {
		r.get("http://a.test/otherotherother")
		select {
		case <-answered:
			open = false
		default:
		}
	}
	until(t, "it is in the log", func() bool { return strings.Contains(r.log.String(), `"status":408`) })
	for line := range strings.Lines(r.log.String()) {
		if strings.Contains(line, `"status":408`) && !strings.Contains(line, `"method":"GET","path":"/slow"`) {
			t.Errorf("logged was\n%s", line)
		}
	}
}
