package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestRequestBodyStreams(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			got := make(chan string)
			up := backend(t, func(_ http.ResponseWriter, r *http.Request) {
				in := bufio.NewReader(r.Body)
				for range 2 {
					line, _ := in.ReadString('\n')
					got <- line
				}
			})
			r := start(t, Config{}, site("a.test", up))
			body, send := io.Pipe()
			done := make(chan error, 1)
			go func() {
				resp, err := r.client().Do(r.request("POST", scheme+"://a.test/", body))
				if err == nil {
					err = resp.Body.Close()
				}
				done <- err
			}()
			for _, line := range []string{"first\n", "second\n"} {
				if _, err := io.WriteString(send, line); err != nil {
					t.Fatal(err)
				}
				if l := <-got; l != line {
					t.Fatalf("endpoint got %q, want %q before the client has sent more", l, line)
				}
			}
			_ = send.Close()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnswerStreams(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			next := make(chan string)
			up := backend(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_ = http.NewResponseController(w).Flush()
				for event := range next {
					_, _ = io.WriteString(w, event)
					_ = http.NewResponseController(w).Flush()
				}
			})
			r := start(t, Config{}, site("a.test", up))
			resp, err := r.client().Get(scheme + "://a.test/") // returns before the first event
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			in := bufio.NewReader(resp.Body)
			for _, event := range []string{"data: 1\n", "data: 2\n"} {
				next <- event
				if line, err := in.ReadString('\n'); line != event {
					t.Fatalf("got %q, %v, want %q as soon as it was sent", line, err, event)
				}
			}
			close(next)
			if rest, err := io.ReadAll(in); err != nil || len(rest) != 0 {
				t.Errorf("end of the stream: %q, %v", rest, err)
			}
		})
	}
}

func TestTrailersBothWays(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Announced")
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s", body, r.Trailer.Get("X-Sum"))
		w.Header().Set("X-Announced", "one")
		w.Header().Set(http.TrailerPrefix+"X-Surprise", "two")
	})
	r := start(t, Config{}, site("a.test", up))
	for _, scheme := range []string{"http", "https"} {
		req := r.request("POST", scheme+"://a.test/", struct{ io.Reader }{strings.NewReader("hello")})
		req.Trailer = http.Header{"X-Sum": {"42"}}
		resp, body := r.do(req)
		if body != "hello 42" {
			t.Errorf("%s: endpoint got %q, want the body and its trailer", scheme, body)
		}
		if resp.Trailer.Get("X-Announced") != "one" || resp.Trailer.Get("X-Surprise") != "two" {
			t.Errorf("%s: trailers %v, want both", scheme, resp.Trailer)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %q", body, r.Header.Get("Expect"))
	})
	r := start(t, Config{MaxBodyBytes: 100}, site("a.test", up))
	c := r.raw("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
	in := bufio.NewReader(c)
	if line, err := in.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q, %v, want 100", line, err)
	}
	_, _ = io.WriteString(c, "hello")
	if rest, _ := io.ReadAll(in); !strings.HasSuffix(string(rest), `hello "100-continue"`) {
		t.Errorf("got %q", rest)
	}
	c = r.raw("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 500\r\nExpect: 100-continue\r\n\r\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); !strings.Contains(line, "413") {
		t.Errorf("got %q, %v, want 413 without 100", line, err)
	}
}

func TestBigBodies(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		if r.ContentLength >= 0 {
			w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
		}
		_, _ = io.Copy(w, r.Body)
	})
	r := start(t, Config{}, site("a.test", up))
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB
	for _, scheme := range []string{"http", "https"} {
		for name, body := range map[string]io.Reader{"length": bytes.NewReader(big), "chunked": struct{ io.Reader }{bytes.NewReader(big)}} {
			if _, got := r.do(r.request("POST", scheme+"://a.test/", body)); got != string(big) {
				t.Errorf("%s, %s: %d bytes came back, want the %d that were sent", scheme, name, len(got), len(big))
			}
		}
	}
}

func TestBodyLimitWhileStreaming(t *testing.T) {
	up := backend(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	r := start(t, Config{MaxBodyBytes: 1000}, site("a.test", up))
	for size, want := range map[int]int{1000: 200, 1001: 413, 100_000: 413} {
		resp, _ := r.do(r.request("POST", "http://a.test/", struct{ io.Reader }{strings.NewReader(strings.Repeat("x", size))}))
		if resp.StatusCode != want {
			t.Errorf("%d bytes: %d, want %d", size, resp.StatusCode, want)
		}
	}
}

func TestEarlyAnswerWhileTheBodyIsStillSent(t *testing.T) {
	up := rude(t, func(_ int, c net.Conn) {
		in := bufio.NewReader(c)
		if readHead(in) == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
			_, _ = io.Copy(io.Discard, in)
		}
	})
	r := start(t, Config{}, site("a.test", up))
	c := r.raw("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\nonly the beginning")
	if line, err := bufio.NewReader(c).ReadString('\n'); !strings.Contains(line, "401") {
		t.Errorf("got %q, %v, want 401 before the body is complete", line, err)
	}
}

func TestWebSocket(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Forwarded-Proto") != "http" && r.Header.Get("X-Forwarded-Proto") != "https" {
			t.Errorf("X-Forwarded-Proto %q", r.Header.Get("X-Forwarded-Proto"))
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, Subprotocols: []string{"chat"}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, data, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, append([]byte("echo "), data...)) != nil {
				return
			}
		}
	})
	r := start(t, Config{}, site("a.test", up))
	for _, scheme := range []string{"ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			c := dialWebSocket(t, r, scheme+"://a.test/")
			for _, m := range []string{"one", strings.Repeat("two", 10_000)} {
				if err := c.Write(t.Context(), websocket.MessageText, []byte(m)); err != nil {
					t.Fatal(err)
				}
				if _, data, err := c.Read(t.Context()); err != nil || string(data) != "echo "+m {
					t.Fatalf("got %d bytes, %v", len(data), err)
				}
			}
			if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "both upgrades are logged", func() bool { return strings.Count(r.log.String(), `"status":101`) == 2 })
}

func dialWebSocket(t *testing.T, r *rig, url string) *websocket.Conn {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			to := r.HTTPAddr()
			if strings.HasSuffix(address, ":443") {
				to = r.HTTPSAddr()
			}
			return (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}},
	}
	c, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{"chat"}})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = c.CloseNow() })
	if c.Subprotocol() != "chat" {
		t.Errorf("subprotocol %q was not passed on", c.Subprotocol())
	}
	return c
}

func TestUpgradeThatWasNotAskedFor(t *testing.T) {
	up := rude(t, func(_ int, c net.Conn) {
		_, _ = bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: evil\r\n\r\n")
	})
	r := start(t, Config{}, site("a.test", up))
	if resp, _ := r.get("http://a.test/"); resp.StatusCode != 502 {
		t.Errorf("got %d, want 502", resp.StatusCode)
	}
}

func TestHalfClosedUpgrade(t *testing.T) {
	up := rude(t, func(_ int, c net.Conn) {
		in := bufio.NewReader(c)
		if readHead(in) != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
		all, _ := io.ReadAll(in) // until the client has ended its direction
		_, _ = fmt.Fprintf(c, "got %s", all)
	})
	r := start(t, Config{}, site("a.test", up))
	c := r.raw("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nearly ")
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	in := bufio.NewReader(c)
	if err := readHead(in); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "late")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(in)
	if err != nil || string(all) != "got early late" {
		t.Errorf("got %q, %v; want the answer to what was sent before the end", all, err)
	}
}

func TestAnswerKeepsItsHeader(t *testing.T) {
	up := rude(t, func(_ int, c net.Conn) {
		_, _ = bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, "HTTP/1.1 299 Odd\r\nServer: own\r\nX-Powered-By: PHP\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nContent-Length: 2\r\n\r\n<!")
	})
	r := start(t, Config{}, site("a.test", up))
	resp, body := r.get("http://a.test/")
	if resp.StatusCode != 299 || body != "<!" || resp.Header.Get("Server") != "own" || len(resp.Header["Set-Cookie"]) != 2 {
		t.Errorf("got %d %q %v", resp.StatusCode, body, resp.Header)
	}
	for _, name := range []string{"X-Hop", "Keep-Alive", "Content-Type", "X-Request-Id"} {
		if v, ok := resp.Header[name]; ok {
			t.Errorf("%s: %q, want no such header", name, v)
		}
	}
}

func TestHead(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "12345") })
	r := start(t, Config{}, site("a.test", up), nowhere("b.test"))
	if resp, _ := r.do(r.request("HEAD", "http://a.test/", nil)); resp.ContentLength != 12345 {
		t.Errorf("Content-Length %d, want the endpoint's", resp.ContentLength)
	}
	if resp, body := r.do(r.request("HEAD", "http://b.test/", nil)); resp.StatusCode != 503 || body != "" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
}

// gathered keeps what is written until it is sent in one go.
type gathered struct {
	net.Conn
	kept bytes.Buffer
	hold bool
}

func (g *gathered) Write(p []byte) (int, error) {
	if g.hold {
		return g.kept.Write(p)
	}
	return g.Conn.Write(p)
}

// A head and its content may come in one segment, but in two TLS records: then no event tells of the second.
func TestContentInARecordOfItsOwn(t *testing.T) {
	r := start(t, Config{}, site("a.test", backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })))
	raw, err := net.Dial("tcp", r.HTTPSAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	g := &gathered{Conn: raw}
	c := tls.Client(g, &tls.Config{InsecureSkipVerify: true, ServerName: "a.test"})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	g.hold = true
	for _, record := range []string{"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\n", "hello", "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"} {
		_, _ = io.WriteString(c, record)
	}
	if _, err := raw.Write(g.kept.Bytes()); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	if n := strings.Count(string(all), "HTTP/1.1 200 OK"); err != nil || n != 2 || !strings.Contains(string(all), "hello") {
		t.Errorf("%d answers, %v:\n%s", n, err, all)
	}
}
