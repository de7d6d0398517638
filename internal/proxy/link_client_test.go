package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/pires/go-proxyproto"
)

// told is an endpoint that takes PROXY headers and says whom they name, in the scheme's protocol.
func told(t *testing.T, scheme, address string) (url string, connections func() int) {
	var mu sync.Mutex
	n := 0
	l := listenOn(t, address)
	s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RemoteAddr)
	})}
	s.Protocols.SetHTTP1(scheme == "http")
	s.Protocols.SetUnencryptedHTTP2(scheme != "http")
	var serving sync.WaitGroup
	serving.Go(func() {
		_ = s.Serve(&proxyproto.Listener{Listener: l, ConnPolicy: func(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
			mu.Lock()
			defer mu.Unlock()
			n++
			return proxyproto.REQUIRE, nil
		}})
	})
	t.Cleanup(func() {
		_ = s.Close()
		serving.Wait()
	})
	return scheme + "://" + l.Addr().String(), func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

func TestProxyProtocolToEndpoints(t *testing.T) {
	for _, version := range []int{1, 2} {
		for _, scheme := range []string{"http", "h2c"} {
			for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
				t.Run(fmt.Sprint(version, scheme, address), func(t *testing.T) {
					url, connections := told(t, scheme, address)
					s := site("a.test", url)
					s.ProxyProtocol = version
					r := start(t, Config{HTTPAddr: address, HTTPSAddr: address, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, s)
					host, _, _ := net.SplitHostPort(address)
					for _, from := range []string{"http", "https"} {
						if resp, body := r.get(from + "://a.test/"); resp.StatusCode != 200 || !strings.HasPrefix(body, net.JoinHostPort(host, "")) || strings.HasSuffix(body, ":0") {
							t.Errorf("from %s: %d, the endpoint was told of %q", from, resp.StatusCode, body)
						}
					}
					// Two requests on one connection are two of the endpoint's: another client might be next.
					c := r.raw("")
					in := bufio.NewReader(c)
					for range 2 {
						before := connections()
						_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")
						resp, err := http.ReadResponse(in, nil)
						if err != nil {
							t.Fatal(err)
						}
						body, _ := io.ReadAll(resp.Body)
						want := c.LocalAddr().String()
						if host == "127.0.0.1" {
							want = "192.0.2.7:0" // what a trusted proxy says
						}
						if string(body) != want || connections() != before+1 {
							t.Errorf("the endpoint was told of %q on connection %d, want %q on %d", body, connections(), want, before+1)
						}
					}
				})
			}
		}
	}
}

// A client whose address is of another family than Ruche's own is told in the larger one.
func TestProxyProtocolOfTwoFamilies(t *testing.T) {
	url, _ := told(t, "http", "127.0.0.1:0")
	s := site("a.test", url)
	s.ProxyProtocol = 2
	r := start(t, Config{TrustedProxies: loopback()}, s)
	req := r.request("GET", "http://a.test/", nil)
	req.Header.Set("X-Forwarded-For", "2001:db8::7")
	if resp, body := r.do(req); resp.StatusCode != 200 || body != "[2001:db8::7]:0" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}

func TestKeepAliveOff(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	conns := 0
	up := rude(t, func(_ int, c net.Conn) {
		mu.Lock()
		conns++
		mu.Unlock()
		in := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			mu.Lock()
			seen = append(seen, fmt.Sprint(r.Close))
			mu.Unlock()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	s := site("a.test", up)
	s.KeepAlive = "off"
	r := start(t, Config{}, s)
	for _, scheme := range []string{"http", "https"} {
		for range 2 {
			if resp, _ := r.get(scheme + "://a.test/"); resp.StatusCode != 200 {
				t.Errorf("%s: got %d", scheme, resp.StatusCode)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(seen, " "); conns != 4 || got != "true true true true" {
		t.Errorf("%d connections, Connection: close on %s; want 4, each", conns, got)
	}
}
