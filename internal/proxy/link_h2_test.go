package proxy

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// backend2 is an endpoint that speaks HTTP/2 and nothing else, by TLS for grpcs.
func backend2(t testing.TB, scheme string, h http.HandlerFunc) string {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	if scheme == ruche.SchemeGRPCS {
		s.Config.Protocols.SetHTTP2(true)
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
	}
	t.Cleanup(s.Close)
	return speaks(scheme, s.URL)
}

func TestHTTP2Endpoints(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", fmt.Sprint(r.Proto, " ", r.Method, " ", r.Host, " ", r.RequestURI, " ", r.Header.Get("X-Forwarded-For"), " ", r.ContentLength,
			" ", r.Header.Get("User-Agent"), r.Header.Get("Expect"), r.Header.Get("Accept-Encoding")))
		switch r.URL.Path {
		case "/hints":
			w.Header().Set("Link", "</a.css>")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusOK)
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/error":
			panic(http.ErrAbortHandler)
		default:
			n, _ := io.Copy(w, r.Body)
			w.Header().Set(http.TrailerPrefix+"X-Bytes", fmt.Sprint(n, r.Trailer.Get("X-Sum")))
		}
	}
	for _, endpoint := range []string{ruche.SchemeH2C, ruche.SchemeGRPC, ruche.SchemeGRPCS} {
		r := start(t, Config{}, site("a.test", backend2(t, endpoint, echo)))
		for _, scheme := range []string{"http", "https"} {
			tests := []struct {
				name, method, path, body string
				unknown                  bool
				status                   int
				seen, trailer            string
			}{
				{"GET", "GET", "/a%20b//c?x=1", "", false, 200, "HTTP/2.0 GET a.test /a%20b//c?x=1 127.0.0.1 0 ", "0"},
				{"a path that begins with two slashes", "GET", "//a/b", "", false, 200, "HTTP/2.0 GET a.test //a/b 127.0.0.1 0 ", "0"},
				{"POST", "POST", "/", "hello", false, 200, "HTTP/2.0 POST a.test / 127.0.0.1 5 ", "5"},
				{"POST without content", "POST", "/", "", false, 200, "HTTP/2.0 POST a.test / 127.0.0.1 0 ", "0"},
				{"large", "PUT", "/", strings.Repeat("x", 3<<20), false, 200, "HTTP/2.0 PUT a.test / 127.0.0.1 3145728 ", "3145728"},
				{"unknown length and a trailer", "POST", "/", strings.Repeat("x", 70_000), true, 200, "HTTP/2.0 POST a.test / 127.0.0.1 -1 ", "70000sum"},
				{"no content", "GET", "/empty", "", false, 204, "HTTP/2.0 GET a.test /empty 127.0.0.1 0 ", ""},
				{"early hints", "GET", "/hints", "", false, 200, "HTTP/2.0 GET a.test /hints 127.0.0.1 0 ", ""},
				{"broken off", "POST", "/error", "", false, 502, "", ""},
				{"HEAD", "HEAD", "/", "", false, 200, "HTTP/2.0 HEAD a.test / 127.0.0.1 0 ", ""},
			}
			for _, tt := range tests {
				t.Run(endpoint+" from "+scheme+" "+tt.name, func(t *testing.T) {
					var body io.Reader
					if tt.body != "" {
						body = strings.NewReader(tt.body)
					}
					req := r.request(tt.method, scheme+"://a.test"+tt.path, body)
					req.Header.Set("User-Agent", "")
					if tt.unknown {
						req.Body, req.ContentLength = io.NopCloser(body), -1
						req.Trailer = http.Header{"X-Sum": {"sum"}}
					}
					resp, got := r.do(req)
					if seen := strings.TrimSpace(resp.Header.Get("X-Seen")); resp.StatusCode != tt.status || seen != strings.TrimSpace(tt.seen) {
						t.Errorf("%d, the endpoint saw %q; want %d, %q", resp.StatusCode, seen, tt.status, tt.seen)
					}
					if tt.status == 200 && tt.method != "HEAD" && tt.path != "/hints" && (got != tt.body || resp.Trailer.Get("X-Bytes") != tt.trailer && scheme == "https") {
						t.Errorf("got %d bytes back and the trailer %v, want %d and %q", len(got), resp.Trailer, len(tt.body), tt.trailer)
					}
				})
			}
		}
	}
}

func TestHTTP2EndpointEarlyHintsArePassedOn(t *testing.T) {
	r := start(t, Config{}, site("a.test", backend2(t, "h2c", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(http.StatusEarlyHints)
	})))
	in := bufio.NewReader(r.raw("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"))
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 103 ") {
		t.Errorf("%q, %v; want 103 first", line, err)
	}
}

// grpcMessage is a message as gRPC frames it.
func grpcMessage(text string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...)
}

func readMessage(in io.Reader) (string, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(in, head); err != nil {
		return "", err
	}
	text := make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err := io.ReadFull(in, text)
	return string(text), err
}

// grpcEcho says every message back, and ends with a status.
func grpcEcho(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Te") != "trailers" || r.Header.Get("Content-Type") != "application/grpc" {
		w.Header().Set("Grpc-Status", "3") // in the head: there is nothing else
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		text, err := readMessage(r.Body)
		if err != nil {
			break
		}
		_, _ = w.Write(grpcMessage("you said " + text))
		w.(http.Flusher).Flush()
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	w.Header().Set(http.TrailerPrefix+"Grpc-Message", "bye")
}

func TestGRPC(t *testing.T) {
	for _, scheme := range []string{ruche.SchemeGRPC, ruche.SchemeGRPCS, ruche.SchemeH2C} {
		t.Run(scheme, func(t *testing.T) {
			r := start(t, Config{}, site("a.test", backend2(t, scheme, grpcEcho)))
			content, say := io.Pipe()
			req := r.request("POST", "https://a.test/chat.Chat/Talk", content)
			req.Header.Set("Content-Type", "application/grpc")
			req.Header.Set("TE", "trailers")
			resp, err := r.client().Do(req) // before anything was said
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			for i := range 20 {
				text := fmt.Sprint("hello ", i)
				if _, err := say.Write(grpcMessage(text)); err != nil {
					t.Fatal(err)
				}
				if got, err := readMessage(resp.Body); err != nil || got != "you said "+text {
					t.Fatalf("%q, %v", got, err)
				}
			}
			_ = say.Close()
			if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
				t.Errorf("%d bytes more, %v", len(rest), err)
			}
			if resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("Grpc-Message") != "bye" {
				t.Errorf("the trailer is %v", resp.Trailer)
			}
		})
	}
}

func TestGRPCAnswerOfAHeadAlone(t *testing.T) {
	r := start(t, Config{}, site("a.test", backend2(t, "grpc", grpcEcho)))
	if resp, body := r.do(r.request("POST", "https://a.test/chat.Chat/Talk", nil)); resp.Header.Get("Grpc-Status") != "3" || body != "" {
		t.Errorf("%v %q", resp.Header, body)
	}
}

func TestHTTP2EndpointLearnsThatTheClientIsGone(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			arrived, gone := make(chan struct{}), make(chan struct{})
			up := backend2(t, "h2c", func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusOK)
				w.(http.Flusher).Flush()
				close(arrived)
				<-r.Context().Done()
				close(gone)
			})
			r := start(t, Config{}, site("a.test", up))
			ctx, cancel := context.WithCancel(t.Context())
			resp, err := r.client().Do(r.request("GET", scheme+"://a.test/", nil).WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			<-arrived
			cancel()
			_ = resp.Body.Close()
			select {
			case <-gone:
			case <-time.After(10 * time.Second):
				t.Error("the endpoint still works for a client that is gone")
			}
		})
	}
}

func TestHTTP2EndpointsThatFail(t *testing.T) {
	stall := make(chan struct{})
	t.Cleanup(func() { close(stall) })
	tests := []struct {
		name, url string
		status    int
		logged    string
	}{
		{"nobody listens", speaks("h2c", deaf(t)), 502, "cannot connect"},
		{"it speaks HTTP/1.1", speaks("h2c", says(t, "hi")), 502, `"status":502`}, // found out with the request, or just before it
		{"no TLS", speaks("grpcs", says(t, "hi")), 502, "cannot connect"},
		{"it does not answer", backend2(t, "h2c", func(http.ResponseWriter, *http.Request) { <-stall }), 504, "too slow"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			limits := Timeouts{}
			if tt.status == 504 { // the others answer, and may take their time
				limits.ResponseHeader = 50 * time.Millisecond
			}
			r := start(t, Config{Timeouts: limits}, site("a.test", tt.url))
			for _, scheme := range []string{"http", "https"} {
				if resp, _ := r.do(r.request("POST", scheme+"://a.test/", nil)); resp.StatusCode != tt.status {
					t.Errorf("%s: got %d, want %d", scheme, resp.StatusCode, tt.status)
				}
			}
			until(t, "the access log tells it", func() bool { return strings.Count(r.log.String(), tt.logged) == 2 })
		})
	}
}

// A body that another endpoint may have got is never sent twice, one that nobody got is sent to the next.
func TestHTTP2RetryWithABody(t *testing.T) {
	good := backend2(t, "h2c", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	r := start(t, Config{}, site("a.test", good, speaks("h2c", deaf(t))))
	for _, scheme := range []string{"http", "https"} {
		for range 2 {
			body := struct{ io.Reader }{strings.NewReader("hello")}
			if resp, got := r.do(r.request("POST", scheme+"://a.test/", body)); resp.StatusCode != 200 || got != "hello" {
				t.Errorf("%s: got %d %q", scheme, resp.StatusCode, got)
			}
		}
	}
}

func TestHTTP2ConnectionsAreShared(t *testing.T) {
	var conns atomic.Int64
	all := make(chan struct{})
	var waiting atomic.Int64
	const n = 20
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if waiting.Add(1) == n {
			close(all)
		}
		<-all
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		conns.Add(1)
		return ctx
	}
	s.Start()
	t.Cleanup(s.Close)
	r := start(t, Config{}, site("a.test", speaks("h2c", s.URL)))
	done := make(chan int, n)
	for i := range n {
		go func() {
			resp, err := r.client().Get([]string{"http", "https"}[i%2] + "://a.test/")
			if err != nil {
				done <- 0
				return
			}
			_ = resp.Body.Close()
			done <- resp.StatusCode
		}()
	}
	for range n {
		if status := <-done; status != 200 {
			t.Errorf("got %d", status)
		}
	}
	if conns.Load() != 1 {
		t.Errorf("%d connections to the endpoint, want 1", conns.Load())
	}
}

func TestHTTP2EndpointThatLeaves(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	r := start(t, Config{}, site("a.test", speaks("h2c", s.URL)))
	for range 5 {
		if resp, body := r.get("http://a.test/"); resp.StatusCode != 200 || body != "ok" {
			t.Fatalf("%d %q", resp.StatusCode, body)
		}
		s.CloseClientConnections()
	}
	until(t, "no connection is kept", func() bool {
		r.streams.mu.Lock()
		defer r.streams.mu.Unlock()
		return len(r.streams.conns) == 0
	})
}
