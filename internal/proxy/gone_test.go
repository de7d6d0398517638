package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// crowded is an address whose connections do not come about: its queue is full.
func crowded(t testing.TB) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	to := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*unix.SockaddrInet4).Port}
	for { // until a handshake does not end
		c, err := net.DialTimeout("tcp", to.String(), 200*time.Millisecond)
		if err != nil {
			return to.String()
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

func TestAClientThatGoesAwayEndsTheDial(t *testing.T) {
	silent := listens(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	for _, client := range []string{"http", "https"} {
		for name, endpoint := range map[string]string{
			"HTTP/1.1":      "http://" + crowded(t),
			"TLS":           "https://" + crowded(t),
			"TLS handshake": "https://" + silent,
			"HTTP/2":        "h2c://" + crowded(t),
			"FastCGI":       "fastcgi://" + crowded(t),
		} {
			t.Run(client+" to "+name, func(t *testing.T) {
				r := start(t, Config{Timeouts: Timeouts{Dial: time.Hour, Connect: time.Hour}}, site("a.test", endpoint))
				state := func() (n int64, failure string) {
					e := r.Routes().Routes[0].Endpoints[0]
					return e.InFlight, e.LastError
				}
				ctx, leave := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					resp, err := r.client().Do(r.request("GET", client+"://a.test/", nil).WithContext(ctx))
					if err == nil {
						_ = resp.Body.Close()
						t.Errorf("got %d", resp.StatusCode)
					}
				}()
				until(t, "the endpoint is asked", func() bool { n, _ := state(); return n == 1 })
				leave()
				<-ended
				until(t, "the exchange is logged as 499", func() bool { return strings.Contains(r.log.String(), `"status":499`) })
				if n, failure := state(); n != 0 || failure != "" {
					t.Errorf("%d exchanges are under way, and the endpoint is blamed: %q", n, failure)
				}
			})
		}
	}
}

// nginx and Go's server do the same; RFC 9112 section 9.6 leaves it open.
func TestAClientThatEndsItsDirectionIsGone(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
	const post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\n"
	for _, tt := range []struct {
		name, first, rest string
		arrives           bool // the endpoint has the first part before the rest is sent
		held              bool // the endpoint has left
	}{
		{"with the request", "", get, false, false},
		{"with the request, and another one", "", get + get, false, false},
		{"with the request, where it is held", "", get, false, true},
		{"after the request", get, "", true, false},
		{"with the request and its content", "", post + "123456", false, false},
		{"with the rest of the content", post + "123", "456", true, false},
		{"after the content", post + "123456", "", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			arrived := make(chan struct{}, 2)
			up := backend(t, func(_ http.ResponseWriter, r *http.Request) {
				arrived <- struct{}{}
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
			})
			r := start(t, Config{Timeouts: Timeouts{Hold: time.Hour}}, site("a.test", up))
			if tt.held {
				r.serve(nowhere("a.test"))
			}
			c := r.raw(tt.first).(*net.TCPConn)
			if tt.arrives {
				<-arrived
			}
			_, _ = io.WriteString(c, tt.rest)
			_ = c.CloseWrite()
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if got, err := io.ReadAll(c); err != nil || len(got) > 0 {
				t.Errorf("got %q, %v; want the end of the connection", got, err)
			}
			if log := r.log.String(); strings.Count(log, "\n") > 1 {
				t.Errorf("more than one request was answered:\n%s", log)
			}
			until(t, "the exchange is logged as 499", func() bool { return strings.Contains(r.log.String(), `"status":499`) })
		})
	}
}
