package proxy

import (
	"context"
	"io"
	"net"
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
		c, err := net.DialTimeout("tcp", to.String(), 20*time.Millisecond)
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
				r := start(t, Config{Timeouts: Timeouts{Dial: time.Hour}}, site("a.test", endpoint))
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
