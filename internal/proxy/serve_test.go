package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ruche-project/ruche"
)

func TestServesByName(t *testing.T) {
	r := start(t, Config{}, site("a.test", says(t, "this is a")), site("b.test", says(t, "this is b")))
	for url, want := range map[string]string{
		"http://a.test/": "this is a", "http://A.Test./x": "this is a", "http://b.test/": "this is b",
		"https://a.test/": "this is a", "https://b.test/": "this is b",
	} {
		if resp, body := r.get(url); resp.StatusCode != 200 || body != want {
			t.Errorf("%s: %d %q, want 200 %q", url, resp.StatusCode, body, want)
		}
	}
	if resp, _ := r.get("https://a.test/"); resp.ProtoMajor != 2 {
		t.Errorf("HTTPS was served as %s, want HTTP/2", resp.Proto)
	}
}

func TestOwnAnswers(t *testing.T) {
	closed := site("closed.test", says(t, "secret"))
	closed.Blocked = "asks for basic auth"
	path := site("path.test", says(t, "x"))
	path.Match.Path = "/app/"
	r := start(t, Config{MaxBodyBytes: 10}, site("a.test", says(t, "a")), nowhere("empty.test"), closed, path,
		site("down.test", deaf(t)), site("only.trusted.test", says(t, "x")))
	tests := []struct {
		name, method, url, body string
		status                  int
		text                    string
		retryAfter              string
		location                string
	}{
		{"unknown host", "GET", "http://nobody.test/", "", 503, "No site is published under this name", "", ""},
		{"no endpoint", "GET", "http://empty.test/", "", 503, "Nothing that serves this site is running", "5", ""},
		{"blocked", "GET", "http://closed.test/", "", 503, "restriction", "", ""},
		{"unknown path", "GET", "http://path.test/other", "", 404, "Nothing is published under this path", "", ""},
		{"slash", "GET", "http://path.test/app?x=1", "", 301, "", "", "http://path.test/app/?x=1"},
		{"endpoint down", "GET", "http://down.test/", "", 502, "cannot be reached", "", ""},
		{"body too large", "POST", "http://a.test/", "12345678901", 413, "larger", "", ""},
		{"body not too large", "POST", "http://a.test/", "1234567890", 200, "a", "", ""},
		{"above the root", "GET", "http://a.test/../x", "", 400, "malformed", "", ""},
		{"NUL", "GET", "http://a.test/%00", "", 400, "malformed", "", ""},
		{"trace", "TRACE", "http://a.test/", "", 405, "TRACE", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var body io.Reader
			if tt.body != "" {
				body = strings.NewReader(tt.body)
			}
			resp, text := r.do(r.request(tt.method, tt.url, body))
			if resp.StatusCode != tt.status || !strings.Contains(text, tt.text) {
				t.Errorf("got %d %q, want %d with %q", resp.StatusCode, text, tt.status, tt.text)
			}
			if got := resp.Header.Get("Retry-After"); got != tt.retryAfter {
				t.Errorf("Retry-After %q, want %q", got, tt.retryAfter)
			}
			if got := resp.Header.Get("Location"); got != tt.location {
				t.Errorf("Location %q, want %q", got, tt.location)
			}
			if tt.status >= 400 && (strings.Contains(text, "127.0.0.1") || !strings.Contains(text, resp.Header.Get("X-Request-Id"))) {
				t.Errorf("the page tells an address, or not the request's ID: %q", text)
			}
		})
	}
}

func TestUnknownHostStatus(t *testing.T) {
	r := start(t, Config{UnknownHostStatus: 404})
	if resp, _ := r.get("http://nobody.test/"); resp.StatusCode != 404 {
		t.Errorf("got %d, want 404", resp.StatusCode)
	}
}

func TestHTTPSMethods(t *testing.T) {
	up := says(t, "ok")
	route := func(host string, m ruche.HTTPSMethod, tls ruche.TLSMode) ruche.Route {
		s := site(host, up)
		s.HTTPSMethod, s.TLS = m, tls
		return s
	}
	routes := []ruche.Route{
		route("redirect.trusted.test", "", ""), route("redirect.self.test", "", ""),
		route("no.trusted.test", ruche.HTTPSNoRedirect, ""), route("nohttp.trusted.test", ruche.HTTPSNoHTTP, ""),
		route("nohttp.self.test", ruche.HTTPSNoHTTP, ""), route("nohttps.trusted.test", ruche.HTTPSNoHTTPS, ""),
		route("off.trusted.test", "", ruche.TLSOff), route("bare.test", "", ""),
	}
	r := start(t, Config{}, routes...)
	port := portOf(r.HTTPSAddr())
	tests := []struct{ url, want string }{
		{"http://redirect.trusted.test/a?b=c;d", "301 https://redirect.trusted.test:" + port + "/a?b=c;d"},
		{"https://redirect.trusted.test/", "200 "},
		{"http://redirect.self.test/", "200 "},
		{"https://redirect.self.test/", "200 "},
		{"http://no.trusted.test/", "200 "},
		{"http://nohttp.trusted.test/", "503 "},
		{"https://nohttp.trusted.test/", "200 "},
		{"http://nohttp.self.test/", "200 "},
		{"http://nohttps.trusted.test/", "200 "},
		{"https://nohttps.trusted.test/", "alert"},
		{"http://off.trusted.test/", "200 "},
		{"https://off.trusted.test/", "alert"},
		{"http://bare.test/", "200 "},
		{"https://bare.test/", "alert"},
		{"https://unknown.test/", "alert"},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			c := r.client()
			resp, err := c.Get(tt.url)
			got := "alert"
			if err == nil {
				got = fmt.Sprintf("%d %s", resp.StatusCode, resp.Header.Get("Location"))
				_ = resp.Body.Close()
			} else if !strings.Contains(err.Error(), "unrecognized name") {
				t.Fatalf("error %v, want the alert unrecognized_name", err)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestNoRedirectWithoutHTTPS(t *testing.T) {
	s := site("a.trusted.test", says(t, "ok"))
	s.HTTPSMethod = ruche.HTTPSRedirect
	r := start(t, Config{HTTPSAddr: "off"}, s)
	if resp, _ := r.get("http://a.trusted.test/"); resp.StatusCode != 200 {
		t.Errorf("got %d, want 200: there is nothing to redirect to", resp.StatusCode)
	}
}

func TestTrustedProxyThatTookTLSOffIsNotRedirected(t *testing.T) {
	s := site("a.trusted.test", says(t, "ok"))
	s.HTTPSMethod = ruche.HTTPSRedirect
	r := start(t, Config{TrustedProxies: loopback()}, s)
	req := r.request("GET", "http://a.trusted.test/", nil)
	req.Header.Set("X-Forwarded-Proto", "https")
	if resp, _ := r.do(req); resp.StatusCode != 200 {
		t.Errorf("got %d, want 200", resp.StatusCode)
	}
}

func TestHandshakeWithoutServerName(t *testing.T) {
	r := start(t, Config{}, site("a.test", says(t, "a")))
	_, err := tls.Dial("tcp", r.HTTPSAddr().String(), &tls.Config{InsecureSkipVerify: true})
	if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("got %v, want the alert unrecognized_name (112)", err)
	}
}

// echo answers with the request's head as it came over the wire.
func echo(t testing.TB) string {
	return rude(t, func(_ int, c net.Conn) {
		in := bufio.NewReader(c)
		for {
			var head strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == "\r\n" {
					break
				}
				head.WriteString(line)
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", head.Len(), head.String())
		}
	})
}

func TestTargetIsForwardedByteForByte(t *testing.T) {
	up := echo(t)
	clean, dest := site("clean.test", up), site("dest.test", up)
	clean.CleanPath = true
	dest.Match.Path, dest.Dest = "/app/", "/inner/"
	exact := site("dest.test", up)
	exact.Match.Path, exact.Dest = "= /hook", "/in/hook"
	r := start(t, Config{}, site("raw.test", up), clean, dest, exact)
	tests := []struct{ host, target, want string }{
		{"raw.test", "/", "/"},
		{"raw.test", "/a%2Fb//c;x=1?q=a;b", "/a%2Fb//c;x=1?q=a;b"},
		{"raw.test", "//a/b", "//a/b"},
		{"raw.test", `//a|b"<`, `//a|b"<`},
		{"raw.test", "///", "///"},
		{"raw.test", "/%e4%F6", "/%e4%F6"},
		{"raw.test", "/\xe4|{}^`", "/\xe4|{}^`"},
		{"raw.test", "/a/../b/./c", "/a/../b/./c"},
		{"raw.test", "/?", "/?"},
		{"raw.test", "/x??y=?", "/x??y=?"},
		{"raw.test", "/:colon", "/:colon"},
		{"raw.test", "http://raw.test/abs?x", "/abs?x"},
		{"raw.test", "http://raw.test?x", "/?x"},
		{"clean.test", "/a//b/../c/?x=//", "/a/c/?x=//"},
		{"clean.test", "/a%2Fb", "/a%2Fb"},
		{"dest.test", "/app/x%20y?q=1", "/inner/x%20y?q=1"},
		{"dest.test", "/app//x/../y", "/inner/y"},
		{"dest.test", "/hook?q=1", "/in/hook?q=1"},
	}
	for _, tt := range tests {
		t.Run(tt.host+tt.target, func(t *testing.T) {
			c := r.raw("GET " + tt.target + " HTTP/1.1\r\nHost: " + tt.host + "\r\nConnection: close\r\n\r\n")
			answer, err := io.ReadAll(c)
			if err != nil {
				t.Fatal(err)
			}
			_, body, _ := strings.Cut(string(answer), "\r\n\r\n")
			line, _, _ := strings.Cut(body, "\r\n")
			if want := "GET " + tt.want + " HTTP/1.1"; line != want {
				t.Errorf("endpoint got %q, want %q", line, want)
			}
			if !strings.Contains(body, "X-Original-URI: "+strings.TrimPrefix(strings.Replace(tt.target, "http://raw.test?", "/?", 1), "http://raw.test")+"\r\n") {
				t.Errorf("no X-Original-Uri with what was asked for in\n%s", body)
			}
		})
	}
}

func TestHeadersToEndpoint(t *testing.T) {
	seen := make(chan http.Header, 1)
	up := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		r.Header.Set("Host", r.Host)
		seen <- r.Header
	})
	sent := map[string]string{
		"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.test", "X-Forwarded-Port": "9",
		"X-Forwarded-Ssl": "on", "X-Forwarded-User": "root", "X-Real-Ip": "198.51.100.8", "Forwarded": "for=1.1.1.1", "X-Original-Uri": "/no",
		"X_Forwarded_For": "6.6.6.6", "X-Forwarded_Proto": "https", "Proxy": "http://evil", "X-Request-Id": "mine-1",
		"Connection": "X-Secret, X-Forwarded-For", "X-Secret": "1", "Keep-Alive": "1", "Te": "trailers, gzip", "Accept-Encoding": "br", "Cookie": "a=b",
	}
	run := func(t *testing.T, cfg Config, want map[string]string) {
		r := start(t, cfg, site("a.test", up))
		req := r.request("GET", "http://a.test:8080/x", nil)
		for name, value := range sent {
			req.Header[name] = []string{value}
		}
		r.do(req)
		got := <-seen
		want["X-Forwarded-Ssl"] = "off"
		if want["X-Forwarded-Proto"] == "https" {
			want["X-Forwarded-Ssl"] = "on"
		}
		for name, value := range map[string]string{
			"Host": "a.test:8080", "X-Original-Uri": "/x", "Te": "trailers", "Accept-Encoding": "br", "Cookie": "a=b",
			"X_forwarded_for": "", "X-Forwarded_proto": "", "Proxy": "", "Connection": "", "X-Secret": "", "Keep-Alive": "",
		} {
			want[name] = value
		}
		if want["X-Forwarded-Port"] == "" {
			want["X-Forwarded-Port"] = portOf(r.HTTPAddr())
		}
		for name, value := range want {
			if g := strings.Join(got[name], "|"); g != value {
				t.Errorf("%s: %q, want %q", name, g, value)
			}
		}
		if agents := got["User-Agent"]; len(agents) > 0 && agents[0] != "Go-http-client/1.1" {
			t.Errorf("User-Agent %q was not passed on as it was", agents)
		}
	}
	t.Run("peer is not trusted", func(t *testing.T) {
		run(t, Config{}, map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Host": "a.test:8080", "X-Forwarded-Proto": "http",
			"X-Forwarded-User": "", "Forwarded": "",
		})
	})
	t.Run("peer is trusted", func(t *testing.T) {
		delete(sent, "Connection")
		delete(sent, "X-Secret")
		run(t, Config{TrustedProxies: loopback()}, map[string]string{
			"X-Forwarded-For": "198.51.100.7, 127.0.0.1", "X-Real-Ip": "198.51.100.8", "X-Forwarded-Host": "evil.test", "X-Forwarded-Proto": "https",
			"X-Forwarded-Port": "9", "X-Forwarded-User": "root", "Forwarded": "for=1.1.1.1", "X-Request-Id": "mine-1",
		})
	})
}

func TestEndpointByTLS(t *testing.T) {
	up := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s sni=%q", r.Proto, r.TLS.ServerName)
	}))
	t.Cleanup(up.Close)
	r := start(t, Config{}, site("a.test", strings.Replace(up.URL, "127.0.0.1", "localhost", 1)))
	if resp, body := r.get("http://a.test/"); resp.StatusCode != 200 || body != `HTTP/1.1 sni=""` {
		t.Errorf("got %d %q, want HTTP/1.1 without a server name", resp.StatusCode, body)
	}
}

func TestBadRequestsOnTheWire(t *testing.T) {
	r := start(t, Config{}, site("a.test", says(t, "smuggled")))
	tests := []struct{ name, text, want string }{
		{"no host in 1.1", "GET / HTTP/1.1\r\n\r\n", "400"},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", "400"},
		{"host with blank", "GET / HTTP/1.1\r\nHost: a test\r\n\r\n", "400"},
		{"host with path", "GET / HTTP/1.1\r\nHost: a.test/x\r\n\r\n", "400"},
		{"host with credentials", "GET / HTTP/1.1\r\nHost: u@a.test\r\n\r\n", "400"},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"},
		{"negative length", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: -1\r\n\r\n", "400"},
		{"blank before colon", "GET / HTTP/1.1\r\nHost : a.test\r\n\r\n", "400"},
		{"unknown transfer coding", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n", "501"},
		{"fragment", "GET /#x HTTP/1.1\r\nHost: a.test\r\n\r\n", "400"},
		{"tunnel", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", "400"},
		{"bad escape", "GET /%zz HTTP/1.1\r\nHost: a.test\r\n\r\n", "400"},
		{"bad chunk", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
		{"head too large", "GET / HTTP/1.1\r\nHost: a.test\r\nX: " + strings.Repeat("a", maxHeaderBytes+8192) + "\r\n\r\n", "431"},
		{"HTTP/1.0 without host", "GET / HTTP/1.0\r\n\r\n", "503"},
		{"HTTP/1.0 with host", "GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", "200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			line, err := bufio.NewReader(r.raw(tt.text)).ReadString('\n')
			if fields := strings.Fields(line); err != nil || len(fields) < 2 || fields[1] != tt.want {
				t.Errorf("got %q, %v; want %s", line, err, tt.want)
			}
		})
	}
}

func TestLengthAndChunksTogetherCannotSmuggle(t *testing.T) {
	var requests atomic.Int64
	up := backend(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	r := start(t, Config{}, site("a.test", up))
	c := r.raw("POST /one HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"0\r\n\r\nGET /two HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
	in := bufio.NewReader(c)
	if line, _ := in.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 400 ") {
		t.Errorf("got %q, want 400", line)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(in); err != nil || strings.Contains(string(rest), "HTTP/1.1 ") {
		t.Errorf("then %q, %v, want no second answer", rest, err)
	}
	until(t, "the refusal is in the access log", func() bool { return strings.Contains(r.log.String(), `"path":"/one"`) })
	if n := requests.Load(); n != 0 || strings.Contains(r.log.String(), "/two") {
		t.Errorf("the endpoint saw %d requests", n)
	}
}
