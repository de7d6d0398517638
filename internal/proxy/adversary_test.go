package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// These tests do not run beside others: they look at the memory and the files of the process.

// memory is the memory of heap and stacks after a collection.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// files counts the descriptors of the process.
func files(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// unharmed wants the other route to answer.
func unharmed(t testing.TB, r *rig) {
	t.Helper()
	c := r.raw(wired("GET / HTTP/1.1\nHost: good.test\nConnection: close\n\n"))
	defer c.Close()
	in := collect(c)
	if !in.until(func(got string) bool { return strings.HasSuffix(got, "\r\n\r\nfine") }) {
		t.Errorf("another route answers\n%s", in.got())
	}
}

// A head has to come as a whole within its time, however its bytes drip.
func TestHeadsThatDripAreCutOff(t *testing.T) {
	r := start(t, Config{HTTPSAddr: "off", Timeouts: Timeouts{ReadHeader: 500 * time.Millisecond}}, site("a.test", says(t, "x")))
	c := r.raw("GET / HTTP/1.1\r\nHost: a.test\r\nX: ")
	in := collect(c)
	drip := time.NewTicker(10 * time.Millisecond)
	defer drip.Stop()
	started := time.Now()
	for shown(in.got()) == "" && time.Since(started) < 10*time.Second {
		<-drip.C
		_, _ = io.WriteString(c, "x")
	}
	if got := shown(in.got()); got != "[408 close]" {
		t.Errorf("the client got %q, want 408", got)
	}
	until(t, "it is logged", func() bool { return strings.Contains(r.log.String(), `"status":408`) })
}

// What is refused before it is a request is logged and counted all the same.
func TestRefusalsAreLoggedAndCounted(t *testing.T) {
	for send, status := range map[string]int{
		with("X: " + strings.Repeat("x", maxHeaderBytes) + "\n"): 431, "GET /" + strings.Repeat("x", maxHeaderBytes) + " HTTP/1.1\n": 414,
		"nonsense\n": 400, with("Transfer-Encoding: gzip, chunked\n"): 501, "GET / HTTP/3.0\n": 505, with("Expect: x\n"): 417,
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			r := start(t, Config{HTTPSAddr: "off"}, site("a.test", says(t, "x")))
			in := collect(r.raw(wired(send)))
			if in.untilEnd(); shown(in.got()) != fmt.Sprintf("[%d close]", status) {
				t.Errorf("the client got\n%s\nwant %d", shown(in.got()), status)
			}
			until(t, "it is logged", func() bool { return strings.Contains(r.log.String(), fmt.Sprintf(`"status":%d`, status)) })
			n := uint64(0)
			for _, class := range r.Counts()[0].ByClass {
				n += class
			}
			if n != 1 {
				t.Errorf("%d requests are counted, want this one", n)
			}
		})
	}
}

func TestBodiesByteByByte(t *testing.T) {
	up := newScripted(t, []string{ok})
	r := start(t, Config{HTTPSAddr: "off"}, site("a.test", up.url))
	const size = 500
	for _, head := range []string{fmt.Sprintf("Content-Length: %d", size), "Transfer-Encoding: chunked"} {
		body := strings.Repeat("x", size)
		if strings.HasPrefix(head, "T") {
			body = strings.Repeat("1;x\r\nx\r\n", size) + "0\r\nX: y\r\n\r\n"
		}
		c := r.raw("POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n" + head + "\r\n\r\n")
		in := collect(c)
		for i := range len(body) {
			if _, err := io.WriteString(c, body[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if in.untilEnd(); !strings.HasSuffix(in.got(), "\r\n\r\nok") {
			t.Errorf("%s: got\n%s", head, in.got())
		}
	}
	if got := strings.Count(up.seen(), "x\n"); got < size {
		t.Errorf("the endpoint got %d chunks, want %d", got, size)
	}
}

// A client that does not read an answer stops its endpoint, and not the memory of everybody.
func TestClientThatDoesNotRead(t *testing.T) {
	const size = 100 << 20
	sent := make(chan int64, 1)
	up := rude(t, func(_ int, c net.Conn) {
		if readHead(bufio.NewReader(c)) != nil {
			return
		}
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		piece, n := make([]byte, 64<<10), int64(0)
		for n < size {
			k, err := c.Write(piece)
			if n += int64(k); err != nil {
				break
			}
		}
		sent <- n
	})
	r := start(t, Config{Timeouts: Timeouts{Body: 300 * time.Millisecond}}, site("a.test", up), site("good.test", says(t, "fine")))
	unharmed(t, r)
	before := memory()
	c := r.raw("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	unharmed(t, r)
	n := <-sent
	if n == size {
		t.Error("the endpoint got rid of all of its answer, though nobody reads")
	}
	if more := memory() - before; more > 4<<20 {
		t.Errorf("%d bytes are held for a client that does not read", more)
	}
	until(t, "the connection is given up", func() bool { return strings.Contains(r.log.String(), `"host":"a.test"`) })
	_ = c.Close()
}

// endless is an endpoint that begins its answer with one text and repeats another until it is stopped, or has sent so many bytes.
func endless(t testing.TB, begin, repeat string, most int) string {
	piece := []byte(strings.Repeat(repeat, max(1, 32<<10/len(repeat))))
	return rude(t, func(_ int, c net.Conn) {
		in := bufio.NewReader(c)
		if readHead(in) != nil {
			return
		}
		if _, err := io.WriteString(c, begin); err != nil {
			return
		}
		for n := 0; n < most; n += len(piece) {
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
		_, _ = io.Copy(io.Discard, in)
	})
}

// Endpoints that misbehave cost their own requests alone.
func TestEndpointsThatMisbehave(t *testing.T) {
	const lot = 10 << 20
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	afterHead := func(say string, then func(c net.Conn)) string {
		return rude(t, func(_ int, c net.Conn) {
			in := bufio.NewReader(c)
			if readHead(in) == nil {
				_, _ = io.WriteString(c, say)
				then(c)
			}
		})
	}
	stall := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	reset := func(c net.Conn) {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	tests := []struct{ name, url, want string }{ // want is what the answer begins with
		{"resets every connection", rude(t, func(_ int, c net.Conn) { reset(c) }), "[502]"},
		{"resets before its head", afterHead("", reset), "[502]"},
		{"resets within its head", afterHead("HTTP/1.1 200 OK\r\nX", reset), "[502]"},
		{"stalls before its head", afterHead("", stall), "[504]"},
		{"stalls within its head", afterHead("HTTP/1.1 200 OK\r\nX", stall), "[504]"},
		{"stalls within its content", afterHead("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun", stall), "HTTP/1.1 200 OK"},
		{"resets within its content", afterHead("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun", reset), ""},
		{"answers garbage without lines", endless(t, "", "\x80\x81", lot), "[502]"},
		{"answers garbage with lines", endless(t, "", "garbage\r\n", lot), "[502]"},
		{"sends 10 MiB of fields", endless(t, "HTTP/1.1 200 OK\r\n", "X-Y: z\r\n", lot), "[502]"},
		{"sends a field of 10 MiB", endless(t, "HTTP/1.1 200 OK\r\nX: ", "y", lot), "[502]"},
		{"sends a reason of 10 MiB", endless(t, "HTTP/1.1 200 ", "y", lot), "[502]"},
		{"sends informational answers for ever", endless(t, "", "HTTP/1.1 103 Early Hints\r\n\r\n", 1<<40), "HTTP/1.1 103 Early Hints"},
		{"sends chunk extensions for ever", endless(t, chunked+"1;", "x", 1<<40), "HTTP/1.1 200 OK"},
		{"sends short chunks with long extensions for ever", endless(t, chunked, "1;"+strings.Repeat("x", 500)+"\r\nx\r\n", 1<<40), "HTTP/1.1 200 OK"},
		{"sends a trailer for ever", endless(t, chunked+"0\r\n", "X: y\r\n", 1<<40), "HTTP/1.1 200 OK"},
		{"sends a chunk size for ever", endless(t, chunked, "0", 1<<40), "HTTP/1.1 200 OK"},
	}
	routes, hosts := []ruche.Route{site("good.test", says(t, "fine"))}, make([]string, len(tests))
	for i, tt := range tests {
		hosts[i] = fmt.Sprintf("r%d.test", i)
		routes = append(routes, site(hosts[i], tt.url))
	}
	calm := start(t, Config{HTTPSAddr: "off"}, routes...)
	hasty := start(t, Config{HTTPSAddr: "off", Timeouts: Timeouts{ResponseHeader: 500 * time.Millisecond, Body: 500 * time.Millisecond}}, routes...)
	unharmed(t, calm)
	before, open := memory(), files(t)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := calm
			if strings.HasPrefix(tt.name, "stalls ") {
				r = hasty
			}
			c := r.raw("POST / HTTP/1.1\r\nHost: " + hosts[i] + "\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
			in := collect(c)
			unharmed(t, r)
			in.untilEnd()
			if text := strings.Replace(shown(in.got()), " close]", "]", 1); !strings.HasPrefix(text, tt.want) {
				t.Errorf("the client got\n%.500s\nwant it to begin with %s", text, tt.want)
			}
			_ = c.Close()
			until(t, "it is logged", func() bool { return strings.Contains(r.log.String(), `"host":"`+hosts[i]+`"`) })
			if more := memory() - before; more > 6<<20 {
				t.Errorf("%d bytes more are held than before", more)
			}
		})
	}
	// Each loop may keep a connection to the other route's endpoint.
	until(t, "no file is left open", func() bool { return files(t) <= open+8 })
	unharmed(t, calm)
}

// What an endpoint answers before it has read all of the content reaches the client, though it then closes in the middle of it.
func TestEndpointsThatAnswerAndLeave(t *testing.T) {
	up := rude(t, func(_ int, c net.Conn) {
		if readHead(bufio.NewReader(c)) == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch")
		}
	})
	r := start(t, Config{}, site("a.test", up))
	for range 20 {
		c := r.raw("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3000000\r\n\r\n")
		in := collect(c)
		_, _ = io.Copy(c, io.LimitReader(blanks{}, 3_000_000))
		if !in.until(func(got string) bool {
			return strings.HasPrefix(got, "HTTP/1.1 413 ") && strings.HasSuffix(got, "much")
		}) {
			t.Errorf("the client got\n%s\nwant what the endpoint said", in.got())
		}
		_ = c.Close()
	}
}

type blanks struct{}

func (blanks) Read(p []byte) (int, error) { return len(p), nil }

// An endpoint that closes its connections as it likes, without saying so, costs no request that may be repeated.
func TestEndpointsThatCloseAtRandom(t *testing.T) {
	up := rude(t, func(n int, c net.Conn) {
		in := bufio.NewReader(c)
		for range n%4 + 1 {
			if readHead(in) != nil {
				return
			}
			_, _ = io.WriteString(c, wired(ok))
		}
	})
	r := start(t, Config{HTTPSAddr: "off"}, site("a.test", up))
	c := r.raw("")
	in := collect(c)
	for n := 1; n <= 300; n++ {
		_, _ = io.WriteString(c, wired(get))
		if !in.until(func(got string) bool { return strings.Count(got, "\r\n\r\nok") == n }) {
			t.Fatalf("request %d: got\n%s", n, in.got()[max(0, len(in.got())-300):])
		}
	}
}
