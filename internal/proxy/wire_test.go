package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

// What stands behind an HTTP/1.0 head with a Transfer-Encoding is nobody's next request.
func TestHTTP10ConnectionsEndAfterTheirAnswer(t *testing.T) {
	r := start(t, Config{}, site("a.test", says(t, "hello")))
	for name, host := range map[string]string{"forwarded": "a.test", "own answer": "unknown.test"} {
		t.Run(name, func(t *testing.T) {
			c := r.raw("POST / HTTP/1.0\r\nHost: " + host + "\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" +
				"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n")
			all, _ := io.ReadAll(c)
			if n := strings.Count(string(all), "HTTP/1.1 "); n != 1 {
				t.Errorf("got %d answers, want 1:\n%s", n, all)
			}
		})
	}
	if strings.Contains(r.log.String(), "/smuggled") {
		t.Error("the body was taken for a request")
	}
}

func TestTrailersCannotSayWhoTheClientIs(t *testing.T) {
	seen := make(chan http.Header, 1)
	r := start(t, Config{}, site("a.test", backend(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen <- r.Trailer
	})))
	c := r.raw("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Forwarded-For, X-Sum\r\n\r\n" +
		"1\r\nx\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-Ip: 6.6.6.6\r\nX-Sum: 1\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
		t.Fatal(err)
	}
	if trailer := <-seen; trailer.Get("X-Sum") != "1" || trailer.Get("X-Forwarded-For") != "" || trailer.Get("X-Real-Ip") != "" {
		t.Errorf("the endpoint got the trailer %v, want X-Sum alone", trailer)
	}
}

func TestAnImpossibleStatusIsTheEndpointsFault(t *testing.T) {
	url := rude(t, func(_ int, c net.Conn) {
		if readHead(bufio.NewReader(c)) == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n")
		}
	})
	r := start(t, Config{}, site("a.test", url))
	req := r.request("POST", "http://a.test/", nil)
	if resp, _ := r.do(req); resp.StatusCode != 502 {
		t.Errorf("got %d, want 502", resp.StatusCode)
	}
	until(t, "the request is in the access log", func() bool { return strings.Contains(r.log.String(), `"status":502`) })
}

func TestHTTP2IsNoUpgrade(t *testing.T) {
	if got := upgradeType([]byte("H2C")); got != "" {
		t.Errorf("upgradeType() = %q, want none", got)
	}
}

func TestTheSlashIsAddedOnTheClientsOwnScheme(t *testing.T) {
	api := site("a.test", says(t, "api"))
	api.Match.Path = "/api/"
	api.HTTPSMethod = ruche.HTTPSNoRedirect
	r := start(t, Config{TrustedProxies: loopback()}, api)
	req := r.request("GET", "http://a.test/api", nil)
	req.Header.Set("X-Forwarded-Proto", "https")
	if resp, _ := r.do(req); resp.Header.Get("Location") != "https://a.test/api/" {
		t.Errorf("redirected to %q, want https://a.test/api/", resp.Header.Get("Location"))
	}
}
