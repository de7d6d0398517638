package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// content is so many bytes of which no two kilobytes are the same.
func content(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i ^ i>>8*7 ^ i>>16*13)
	}
	return b
}

func TestContentsArriveIntact(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		got := sha256.New()
		_, _ = io.Copy(got, r.Body)
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		w.Header().Set("X-Got", fmt.Sprintf("%x", got.Sum(nil)))
		w.Header().Set("Content-Length", fmt.Sprint(size))
		rest := content(size)
		piece, _ := strconv.Atoi(r.URL.Query().Get("piece"))
		for len(rest) > 0 { // pieces may be worth a pipe or not
			n := min(piece, len(rest))
			_, _ = w.Write(rest[:n])
			_ = http.NewResponseController(w).Flush()
			rest = rest[n:]
		}
	})
	r := start(t, Config{HTTPSAddr: "off"}, site("a.test", up))
	c := r.raw("")
	in := bufio.NewReader(c)
	sizes := []int{1, shortPiece - 1, spliceFrom - 1, spliceFrom, spliceFrom + mediumBuffer, spliceFrom + largeBuffer + 1, 1<<20 + 3, 5<<20 + 7}
	for _, piece := range []int{3000, shortPiece + 1, 300_000, 8 << 20} {
		for _, size := range sizes { // one after the other on one connection, which nobody may leave something on
			sent := content(size)
			go func() {
				_, _ = fmt.Fprintf(c, "POST /?size=%d&piece=%d HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%s", size, piece, size, sent)
			}()
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes in pieces of %d: the client got %d, or others: %v", size, piece, len(got), err)
			}
			if want := fmt.Sprintf("%x", sha256.Sum256(sent)); resp.Header.Get("X-Got") != want {
				t.Errorf("%d bytes: the endpoint got others", size)
			}
		}
	}
	_ = c.Close()
	r.stop()
	<-r.stopped
	for _, size := range sizes {
		if n := strings.Count(r.log.String(), fmt.Sprintf(`"bytes_sent":%d,"bytes_received":%d,`, size, size)); n != 4 {
			t.Errorf("%d exchanges of %d bytes are logged, want 4", n, size)
		}
	}
}

// While the pipes are held by clients that do not read, contents are copied.
func TestMoreSlowClientsThanPipes(t *testing.T) {
	const clients, size = 40, 6 << 20
	text := content(size)
	want := sha256.Sum256(text)
	up := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = w.Write(text)
	})
	r := start(t, Config{HTTPSAddr: "off"}, site("a.test", up))
	before := pipeEnds(t)
	var waiting []net.Conn
	for range clients {
		waiting = append(waiting, r.raw("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"))
	}
	until(t, "all are being answered", func() bool { return r.Routes().Routes[0].Endpoints[0].InFlight == clients })
	until(t, "pipes are held", func() bool { return pipeEnds(t) >= before+20 })
	var all sync.WaitGroup
	for i, c := range waiting {
		all.Go(func() {
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			got := sha256.New()
			if n, err := io.Copy(got, resp.Body); err != nil || [32]byte(got.Sum(nil)) != want {
				t.Errorf("client %d got %d bytes, or others: %v", i, n, err)
			}
		})
	}
	all.Wait()
}

// pipeEnds is how many ends of pipes the process has open.
func pipeEnds(t testing.TB) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if link, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(link, "pipe:") {
			n++
		}
	}
	return n
}

func TestLargeAnswersThatBreakOff(t *testing.T) {
	const size, half = 64 << 20, 3<<20 + 11
	ended := make(chan error, 1)
	up := rude(t, func(_ int, c net.Conn) {
		in := bufio.NewReader(c)
		line, _ := in.ReadString('\n')
		if readHead(in) != nil {
			return
		}
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		if strings.Contains(line, "/endpoint") {
			_, _ = c.Write(content(half))
			return
		}
		_, err := c.Write(content(size))
		ended <- err
	})
	r := start(t, Config{HTTPSAddr: "off"}, site("a.test", up))

	c := r.raw("GET /endpoint HTTP/1.1\r\nHost: a.test\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); err == nil || !bytes.Equal(got, content(half)) {
		t.Errorf("the endpoint breaks off: %d bytes, %v; want the %d that it has sent", len(got), err, half)
	}
	until(t, "it is logged", func() bool { return strings.Contains(r.log.String(), fmt.Sprintf(`"bytes_sent":%d,`, half)) })
	if !strings.Contains(r.log.String(), "broke the exchange off") {
		t.Errorf("the endpoint is not blamed:\n%s", r.log)
	}
	_ = c.Close()

	c = r.raw("GET /client HTTP/1.1\r\nHost: a.test\r\n\r\n")
	_, _ = io.CopyN(io.Discard, c, half)
	_ = c.Close()
	if err := <-ended; err == nil {
		t.Error("the client is gone: the endpoint got rid of all of its answer")
	}
	until(t, "it is logged", func() bool { return strings.Contains(r.log.String(), errClientGone.Error()) })
	if n := r.Routes().Routes[0].Endpoints[0].InFlight; n != 0 {
		t.Errorf("%d exchanges are left", n)
	}
}

func TestLargeRequestsThatBreakOff(t *testing.T) {
	const size, half = 64 << 20, 3<<20 + 11
	got := make(chan int, 1)
	up := rude(t, func(_ int, c net.Conn) {
		in := bufio.NewReader(c)
		line, _ := in.ReadString('\n')
		if readHead(in) != nil {
			return
		}
		if strings.Contains(line, "/endpoint") {
			_, _ = io.CopyN(io.Discard, in, half)
			_, _ = io.WriteString(c, "HTTP/1.1 413 Too Much\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return // with content that it has not read: what it has answered may be lost
		}
		all, _ := io.ReadAll(in)
		if bytes.HasPrefix(content(half), all) {
			got <- len(all)
		} else {
			got <- -len(all)
		}
	})
	r := start(t, Config{HTTPSAddr: "off"}, site("a.test", up))
	head := func(path string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n", path, size)
	}

	c := r.raw(head("/client"))
	_, _ = c.Write(content(half))
	_ = c.(*net.TCPConn).CloseWrite()
	if n := <-got; n < 0 {
		t.Errorf("the client breaks off: the endpoint got %d bytes that nobody has sent", -n)
	}
	until(t, "it is logged", func() bool { return strings.Contains(r.log.String(), `"path":"/client"`) })

	c = r.raw(head("/endpoint"))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = c.Write(content(size))
	}()
	if line, err := bufio.NewReader(c).ReadString('\n'); !strings.Contains(line, "413") && !strings.Contains(line, "502") {
		t.Errorf("the endpoint breaks off: the client got %q, %v; want what it said, or that it broke off", line, err)
	}
	_ = c.Close()
	<-sent
	until(t, "it is logged", func() bool { return strings.Contains(r.log.String(), `"path":"/endpoint"`) })
}

// A large content in a connection that is carried as it comes, both ways at once, with short messages before and behind it.
func TestLargeMessagesOfStreams(t *testing.T) {
	where := listening{}
	start(t, Config{HTTPSAddr: "off", EntryPoints: entryPoints("raw"), Listen: where.listen}, carries("raw", "", echoes(t, "")))
	c := where.dial(t, "raw")
	in := bufio.NewReader(c)
	for _, size := range []int{5, mediumBuffer, 5<<20 + 7, 11, 1<<20 + 1} {
		want := content(size)
		go func() { _, _ = c.Write(want) }()
		got := make([]byte, size)
		if _, err := io.ReadFull(in, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes came back as others: %v", size, err)
		}
	}
	_ = c.CloseWrite()
	if rest, err := io.ReadAll(in); err != nil || len(rest) != 0 {
		t.Errorf("behind them: %d bytes, %v", len(rest), err)
	}
}
