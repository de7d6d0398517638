package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/ruche-project/ruche"
)

// startHTTP3 runs a proxy that serves HTTP/3, at an address at which no UDP socket of the clients' can be in the way.
func startHTTP3(t testing.TB, cfg Config, routes ...ruche.Route) *rig {
	t.Helper()
	cfg.HTTP3, cfg.HTTPSAddr = true, "127.0.0.2:0"
	return start(t, cfg, routes...)
}

// client3 sends every request to the proxy by HTTP/3, whatever its host.
func (r *rig) client3() *http.Client {
	r.t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		r.t.Fatal(err)
	}
	network := &quic.Transport{Conn: socket}
	transport := &http3.Transport{
		DisableCompression: true,
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true},
		Dial: func(ctx context.Context, _ string, t *tls.Config, c *quic.Config) (*quic.Conn, error) {
			tcp := r.HTTPSAddr().(*net.TCPAddr)
			return network.Dial(ctx, &net.UDPAddr{IP: tcp.IP, Port: tcp.Port}, t, c)
		},
	}
	r.t.Cleanup(func() {
		_ = transport.Close()
		_ = network.Close()
		_ = socket.Close()
	})
	return &http.Client{Transport: transport}
}

// answer3 has a request answered by HTTP/3 and returns the answer with its body.
func (r *rig) answer3(req *http.Request) (*http.Response, string) {
	r.t.Helper()
	resp, err := r.client3().Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s %s: cannot read the body: %v", req.Method, req.URL, err)
	}
	return resp, string(body)
}

func TestHTTP3IsForwardedLikeTheOthers(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Saw", fmt.Sprintf("%s %s %s te=%v len=%d", r.Method, r.RequestURI, r.Host, r.TransferEncoding, r.ContentLength))
		w.Header().Set("X-Client", r.Header.Get("X-Forwarded-For")+" "+r.Header.Get("X-Forwarded-Proto"))
		if r.Method == http.MethodHead {
			return
		}
		_, _ = fmt.Fprintf(w, "%d", len(body))
	})
	r := startHTTP3(t, Config{}, site("a.test", up))
	for _, tt := range []struct {
		name, method, url, body string
		host                    string // if another one than the server name
		unknownLength           bool
		status                  int
		saw, says               string
	}{
		{name: "GET", method: "GET", url: "https://a.test/p%20q?x=1", status: 200, saw: "GET /p%20q?x=1 a.test te=[] len=0", says: "0"},
		{name: "DELETE with content of unknown length", method: "DELETE", url: "https://a.test/", body: "abc", unknownLength: true, status: 200, saw: "DELETE / a.test te=[chunked] len=-1", says: "3"},
		{name: "GET with content", method: "GET", url: "https://a.test/", body: "ab", status: 200, saw: "GET / a.test te=[] len=2", says: "2"},
		{name: "POST", method: "POST", url: "https://a.test/", body: "hello", status: 200, saw: "POST / a.test te=[] len=5", says: "5"},
		{name: "POST of unknown length", method: "POST", url: "https://a.test/", body: "hello", unknownLength: true, status: 200, saw: "POST / a.test te=[chunked] len=-1", says: "5"},
		{name: "POST without content or length", method: "POST", url: "https://a.test/", unknownLength: true, status: 200, saw: "POST / a.test te=[] len=0", says: "0"},
		{name: "HEAD", method: "HEAD", url: "https://a.test/", status: 200, saw: "HEAD / a.test te=[] len=0"},
		{name: "OPTIONS", method: "OPTIONS", url: "https://a.test/", status: 200, saw: "OPTIONS / a.test te=[] len=0", says: "0"},
		{name: "host with a port", method: "GET", url: "https://a.test:8443/", status: 200, saw: "GET / a.test:8443 te=[] len=0", says: "0"},
		{name: "unknown host", method: "GET", url: "https://a.test/", host: "b.test", status: 503, says: "no site is published under this name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var body io.Reader = strings.NewReader(tt.body)
			if tt.unknownLength {
				body = io.MultiReader(body)
			}
			req := r.request(tt.method, tt.url, body)
			req.Host = tt.host
			resp, got := r.answer3(req)
			if resp.StatusCode != tt.status || resp.Header.Get("X-Saw") != tt.saw || tt.status == 200 && got != tt.says || !strings.Contains(strings.ToLower(got), tt.says) {
				t.Errorf("got %d %q %q, want %d %q %q", resp.StatusCode, resp.Header.Get("X-Saw"), got, tt.status, tt.saw, tt.says)
			}
			if tt.status == 200 && resp.Header.Get("X-Client") != "127.0.0.1 https" {
				t.Errorf("the endpoint was told %q", resp.Header.Get("X-Client"))
			}
			if resp.Proto != "HTTP/3.0" || resp.Header.Get("Alt-Svc") != "" {
				t.Errorf("%s with Alt-Svc %q", resp.Proto, resp.Header.Get("Alt-Svc"))
			}
		})
	}
}

func TestHTTP3HeadWithoutLengthHasNone(t *testing.T) {
	up := rude(t, func(_ int, c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
	})
	resp, _ := startHTTP3(t, Config{}, site("a.test", up)).headOnly("https://a.test/")
	if v, ok := resp.Header["Content-Length"]; ok {
		t.Errorf("Content-Length %q, want none", v)
	}
}

func (r *rig) headOnly(url string) (*http.Response, string) {
	return r.answer3(r.request("HEAD", url, nil))
}

func TestHTTP3BigContentBothWays(t *testing.T) {
	const size = 3 * streamWindow
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(200)
		_, _ = io.Copy(w, r.Body)
	})
	r := startHTTP3(t, Config{}, site("a.test", up))
	pattern := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	resp, err := r.client3().Do(r.request("POST", "https://a.test/", bytes.NewReader(pattern)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(got, pattern) {
		t.Errorf("%d bytes came back (%v), want the same %d", len(got), err, size)
	}
}

func TestHTTP3Trailers(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "got "+r.Trailer.Get("X-Check"))
	})
	r := startHTTP3(t, Config{}, site("a.test", up))
	req := r.request("POST", "https://a.test/", io.MultiReader(strings.NewReader("content")))
	req.Trailer = http.Header{"X-Check": {"42"}}
	resp, body := r.answer3(req)
	if body != "body" || resp.Trailer.Get("X-Sum") != "got 42" {
		t.Errorf("body %q, trailer %v", body, resp.Trailer)
	}
}

func TestHTTP3EarlyHints(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "page")
	})
	r := startHTTP3(t, Config{}, site("a.test", up))
	hints := ""
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints += fmt.Sprint(code, " ", h.Get("Link"))
		return nil
	}}
	req := r.request("GET", "https://a.test/", nil)
	_, body := r.answer3(req.WithContext(httptrace.WithClientTrace(t.Context(), trace)))
	if hints != "103 </a.css>; rel=preload" || body != "page" {
		t.Errorf("hints %q, body %q", hints, body)
	}
}

func TestHTTP3InvitesContentThatWaits(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	r := startHTTP3(t, Config{}, site("a.test", up))
	content, feed := io.Pipe()
	invited := make(chan struct{})
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		if code == http.StatusContinue {
			close(invited)
		}
		return nil
	}}
	go func() {
		<-invited
		_, _ = io.WriteString(feed, "content")
		_ = feed.Close()
	}()
	req := r.request("POST", "https://a.test/", content)
	req.Header.Set("Expect", "100-continue")
	if _, body := r.answer3(req.WithContext(httptrace.WithClientTrace(t.Context(), trace))); body != "content" {
		t.Errorf("got %q", body)
	}
}

func TestHTTP3AnswerBeforeTheContentEnds(t *testing.T) {
	up := rude(t, func(_ int, c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
	})
	r := startHTTP3(t, Config{}, site("a.test", up))
	content, feed := io.Pipe()
	defer feed.Close()
	resp, body := r.answer3(r.request("POST", "https://a.test/", content))
	if resp.StatusCode != 403 || body != "no" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
}

func TestHTTP3ClientThatGoesAwayCutsTheEndpointOff(t *testing.T) {
	entered, cut := make(chan struct{}), make(chan struct{})
	up := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(cut)
	})
	r := startHTTP3(t, Config{}, site("a.test", up))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		resp, err := r.client3().Do(r.request("GET", "https://a.test/", nil).WithContext(ctx))
		if err == nil {
			_ = resp.Body.Close()
		}
		ended <- err
	}()
	<-entered
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the client got %v", err)
	}
	<-cut
	until(t, "the access log tells that the client went away", func() bool { return strings.Contains(r.log.String(), `"status":499`) })
}

func TestHTTP3IsLogged(t *testing.T) {
	r := startHTTP3(t, Config{}, site("a.test", says(t, "hello")))
	r.answer3(r.request("POST", "https://a.test/p?q", strings.NewReader("body")))
	r.stop()
	<-r.stopped
	var got map[string]any
	if err := json.Unmarshal([]byte(r.log.String()), &got); err != nil {
		t.Fatalf("%v in %s", err, r.log)
	}
	for key, want := range map[string]any{
		"client_ip": "127.0.0.1", "host": "a.test", "method": "POST", "path": "/p", "query": "q", "proto": "HTTP/3.0", "scheme": "https", "status": 200.0,
		"bytes_sent": 5.0, "bytes_received": 4.0, "route": "nginx-proxy:a.test/", "tls_version": "TLS 1.3", "sni": "a.test",
	} {
		if got[key] != want {
			t.Errorf("%s: %v, want %v", key, got[key], want)
		}
	}
	if n := r.Counts()[1]; n.ByClass[1] != 1 {
		t.Errorf("counted %+v", n)
	}
}

func TestAltSvc(t *testing.T) {
	own := backend(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Alt-Svc", "clear") })
	routes := []ruche.Route{site("a.test", says(t, "")), site("own.test", own), nowhere("away.test")}
	on := startHTTP3(t, Config{}, routes...)
	without := start(t, Config{}, routes...)
	ours := `h3=":` + portOf(on.HTTPSAddr()) + `"; ma=86400`
	for _, tt := range []struct {
		name string
		r    *rig
		url  string
		http int // version
		want string
	}{
		{"HTTP/2", on, "https://a.test/", 2, ours},
		{"HTTP/1.1", on, "https://a.test/", 1, ours},
		{"an answer of our own", on, "https://away.test/", 2, ours},
		{"an answer of our own by HTTP/1.1", on, "https://away.test/", 1, ours},
		{"the endpoint's own", on, "https://own.test/", 2, "clear"},
		{"plain HTTP", on, "http://a.test/", 1, ""},
		{"HTTP/3 off", without, "https://a.test/", 2, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.r.client()
			if tt.http == 1 {
				transport := c.Transport.(*http.Transport)
				transport.ForceAttemptHTTP2, transport.TLSClientConfig.NextProtos = false, []string{"http/1.1"}
			}
			resp, err := c.Get(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got := strings.Join(resp.Header["Alt-Svc"], "|"); got != tt.want || resp.ProtoMajor != tt.http {
				t.Errorf("%s with Alt-Svc %q, want %q", resp.Proto, got, tt.want)
			}
		})
	}
}

func TestHTTP3DoesNotTunnel(t *testing.T) {
	r := startHTTP3(t, Config{}, site("a.test", says(t, "ok")))
	for _, protocol := range []string{"", "websocket"} {
		req := r.request("CONNECT", "https://a.test/", nil)
		req.Proto = protocol
		if resp, _ := r.answer3(req); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("CONNECT %s: got %d", protocol, resp.StatusCode)
		}
	}
	until(t, "both are logged as what they came by", func() bool { return strings.Count(r.log.String(), `"proto":"HTTP/3.0"`) == 2 })
}

// resumes3 reports whether a connection of HTTP/3 goes on with a session of the cache, and leaves one there.
func (r *rig) resumes3(cache tls.ClientSessionCache) bool {
	r.t.Helper()
	c := r.client3()
	transport := c.Transport.(*http3.Transport)
	transport.TLSClientConfig.ClientSessionCache = cache
	resp, err := c.Do(r.request("GET", "https://a.test/", nil))
	if err != nil {
		r.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.TLS.DidResume
}
