package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// readHead reads the head of a request off a connection.
func readHead(in *bufio.Reader) error {
	for {
		line, err := in.ReadString('\n')
		if err != nil || line == "\r\n" {
			return err
		}
	}
}

// hangsUp is an endpoint that closes every connection after a request's head.
func hangsUp(t testing.TB, requests *atomic.Int64) string {
	return rude(t, func(_ int, c net.Conn) {
		if readHead(bufio.NewReader(c)) == nil {
			requests.Add(1)
		}
	})
}

func TestRoundRobin(t *testing.T) {
	r := start(t, Config{}, site("a.test", says(t, "1"), says(t, "2"), says(t, "3")))
	seen := map[string]int{}
	for range 9 {
		_, body := r.get("http://a.test/")
		seen[body]++
	}
	if seen["1"] != 3 || seen["2"] != 3 || seen["3"] != 3 {
		t.Errorf("answers by endpoint: %v, want three each", seen)
	}
}

func TestRetry(t *testing.T) {
	tests := []struct {
		name, method, body string
		first              string // deaf or hangs up
		want               int
		attempts           int64 // requests the first endpoint saw
	}{
		{"GET, cannot connect", "GET", "", "deaf", 200, 0},
		{"POST with body, cannot connect", "POST", "x", "deaf", 200, 0},
		{"GET, broken off", "GET", "", "hangs up", 200, 1},
		{"DELETE, broken off", "DELETE", "", "hangs up", 200, 1},
		{"POST without body, broken off", "POST", "", "hangs up", 502, 1},
		{"PUT with a body that came with the head, broken off", "PUT", "x", "hangs up", 200, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var requests atomic.Int64
			first := deaf(t)
			if tt.first == "hangs up" {
				first = hangsUp(t, &requests)
			}
			good := backend(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				_, _ = w.Write(body)
			})
			r := start(t, Config{}, site("a.test", good, first)) // the first turn is the second endpoint's
			var body io.Reader
			if tt.body != "" {
				body = strings.NewReader(tt.body)
			}
			resp, got := r.do(r.request(tt.method, "http://a.test/", body))
			if resp.StatusCode != tt.want || tt.want == 200 && got != tt.body {
				t.Errorf("got %d %q, want %d %q", resp.StatusCode, got, tt.want, tt.body)
			}
			if n := requests.Load(); n != tt.attempts {
				t.Errorf("the first endpoint saw %d requests, want %d", n, tt.attempts)
			}
		})
	}
}

func TestUnreachableEndpointCoolsDown(t *testing.T) {
	down := deaf(t)
	r := start(t, Config{}, site("a.test", says(t, "ok"), down))
	for range 6 {
		if resp, _ := r.get("http://a.test/"); resp.StatusCode != 200 {
			t.Fatalf("got %d", resp.StatusCode)
		}
	}
	until(t, "six requests are logged", func() bool { return strings.Count(r.log.String(), "\n") == 6 })
	if n := strings.Count(r.log.String(), `"retries":1`); n != 1 {
		t.Errorf("%d requests were tried twice, want the first alone:\n%s", n, r.log)
	}
	for _, e := range r.Routes().Routes[0].Endpoints {
		if bad := e.URL == down; e.CoolingDown != bad || (e.LastError != "") != bad {
			t.Errorf("endpoint %s: cooling down %v, last error %q", e.URL, e.CoolingDown, e.LastError)
		}
	}
	// What is known of an endpoint outlives a new table.
	r.serve(site("a.test", says(t, "ok"), down), site("b.test"))
	if e := r.Routes().Routes[0].Endpoints[1]; !e.CoolingDown {
		t.Error("a new table forgot that the endpoint is cooling down")
	}
	// With nothing else left it is tried all the same.
	r.serve(site("a.test", down))
	if resp, _ := r.get("http://a.test/"); resp.StatusCode != 502 {
		t.Errorf("got %d, want 502 from an attempt", resp.StatusCode)
	}
}

func TestEndpointThatClosesIdleConnections(t *testing.T) {
	up := rude(t, func(_ int, c net.Conn) {
		if readHead(bufio.NewReader(c)) == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") // promises to stay, and closes
		}
	})
	r := start(t, Config{}, site("a.test", up))
	for i := range 20 {
		if resp, body := r.get("http://a.test/"); resp.StatusCode != 200 || body != "ok" {
			t.Fatalf("request %d: %d %q", i, resp.StatusCode, body)
		}
	}
}

func TestEndpointThatDiesWithinItsAnswer(t *testing.T) {
	for name, head := range map[string]string{"length": "Content-Length: 100", "chunked": "Transfer-Encoding: chunked"} {
		t.Run(name, func(t *testing.T) {
			up := rude(t, func(_ int, c net.Conn) {
				if readHead(bufio.NewReader(c)) == nil {
					_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%s\r\n\r\n5\r\nhello\r\n", head)
				}
			})
			r := start(t, Config{}, site("a.test", up))
			resp, err := r.client().Get("http://a.test/")
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			if err == nil {
				t.Error("the client took a broken answer for a whole one")
			}
			until(t, "the failure is logged", func() bool { return strings.Contains(r.log.String(), "broke the exchange off") })
		})
	}
}

func TestTimeouts(t *testing.T) {
	release := make(chan struct{})
	silent := backend(t, func(http.ResponseWriter, *http.Request) { <-release })
	stalls := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "begun")
		_ = http.NewResponseController(w).Flush()
		<-release
	})
	reads := backend(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	t.Cleanup(func() { close(release) })
	const short = 50 * time.Millisecond
	// Each has the one bound that it is about: on a busy machine the others would come first.
	r := start(t, Config{Timeouts: Timeouts{ResponseHeader: short}}, site("silent.test", silent))
	if resp, _ := r.get("http://silent.test/"); resp.StatusCode != 504 {
		t.Errorf("silent endpoint: %d, want 504", resp.StatusCode)
	}
	r = start(t, Config{Timeouts: Timeouts{Body: short}}, site("stalls.test", stalls), site("reads.test", reads))
	for _, scheme := range []string{"http", "https"} {
		resp, err := r.client().Get(scheme + "://stalls.test/")
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err == nil || string(body) != "begun" {
			t.Errorf("%s, endpoint that stalls: %q, %v; want what it sent, and a broken connection", scheme, body, err)
		}
		_ = resp.Body.Close()
	}
	c := r.raw("POST / HTTP/1.1\r\nHost: reads.test\r\nContent-Length: 10\r\n\r\nabc")
	if line, err := bufio.NewReader(c).ReadString('\n'); !strings.Contains(line, "408") {
		t.Errorf("client that stalls within the body: %q, %v; want 408", line, err)
	}
	r = start(t, Config{Timeouts: Timeouts{ReadHeader: 10 * short}}, site("reads.test", reads)) // it begins when the client connects
	c = r.raw("GET / HTTP/1.1\r\nHost: rea")
	if rest, err := io.ReadAll(c); err != nil || len(rest) != 0 && !strings.Contains(string(rest), "408") {
		t.Errorf("client that stalls within the head: %q, %v; want the connection closed", rest, err)
	}
}

func TestClientGone(t *testing.T) {
	entered, left := make(chan struct{}), make(chan struct{})
	up := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(left)
	})
	r := start(t, Config{}, site("a.test", up))
	c := r.raw("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	<-entered
	_ = c.Close()
	<-left
	until(t, "the request is logged as 499", func() bool { return strings.Contains(r.log.String(), `"status":499`) })
	if e := r.Routes().Routes[0].Endpoints[0]; e.LastError != "" {
		t.Errorf("the endpoint is blamed: %s", e.LastError)
	}
}

func TestSwapUnderLoad(t *testing.T) {
	one, two := says(t, "ok"), says(t, "ok")
	r := start(t, Config{}, site("a.test", one))
	stop, done := make(chan struct{}), make(chan string, 1)
	go func() {
		defer close(done)
		client := r.client()
		for {
			select {
			case <-stop:
				return
			default:
			}
			resp, err := client.Get("http://a.test/")
			if err != nil {
				done <- err.Error()
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != 200 {
				done <- resp.Status
				return
			}
		}
	}()
	for i := range 200 {
		r.serve(site("a.test", [][]string{{one}, {two}, {one, two}}[i%3]...), site(fmt.Sprintf("h%d.test", i), one))
	}
	close(stop)
	if problem, failed := <-done; failed {
		t.Errorf("a request failed while tables were swapped: %s", problem)
	}
	until(t, "every request is counted once", func() bool {
		for _, c := range r.Counts() {
			if c.RouteID == "nginx-proxy:a.test/" {
				return uint64(strings.Count(r.log.String(), "\n")) == c.ByClass[1]
			}
		}
		return false
	})
}
