package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"github.com/ruche-project/ruche"
)

// Tables of 10,000 routes come and go, while connections are kept and a WebSocket talks.
func TestBigTablesAreSwappedUnderLoad(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, "ok")
			return
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, Subprotocols: []string{"chat"}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, data, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, data) != nil {
				return
			}
		}
	})
	sites := make([]ruche.Route, 10_000)
	for i := range sites {
		sites[i] = site(fmt.Sprintf("site-%d.test", i), up)
	}
	r := start(t, Config{}, sites...)
	chat := dialWebSocket(t, r, "ws://site-1.test/")
	var answered atomic.Int64
	var load sync.WaitGroup
	quit := make(chan struct{})
	for k := range 4 {
		load.Go(func() {
			if err := r.keepAsking(fmt.Sprintf("site-%d.test", 2000*k), quit, &answered); err != nil {
				t.Errorf("after %d requests: %v", answered.Load(), err)
			}
		})
	}
	for i := range 3 {
		seen := answered.Load()
		r.serve(append(sites[:len(sites):len(sites)], site(fmt.Sprintf("new-%d.test", i), up))...)
		message := fmt.Sprintf("message %d", i)
		if err := chat.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		if _, data, err := chat.Read(t.Context()); err != nil || string(data) != message {
			t.Fatalf("the WebSocket says %q, %v", data, err)
		}
		until(t, "requests go on", func() bool { return answered.Load() > seen+10 || t.Failed() })
	}
	close(quit)
	load.Wait()
}

// keepAsking sends one request after the other on one connection until it is told to quit.
func (r *rig) keepAsking(host string, quit <-chan struct{}, answered *atomic.Int64) error {
	c, err := net.Dial("tcp", r.HTTPAddr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		select {
		case <-quit:
			return nil
		default:
		}
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || string(body) != "ok" {
			return fmt.Errorf("%s %q: %w", resp.Status, body, err)
		}
		answered.Add(1)
	}
}

// A connection that waits for its next request holds no buffer and no stack.
func TestIdleConnectionsCostLittle(t *testing.T) {
	const n, most = 3000, 2 << 10
	r := start(t, Config{AccessLog: io.Discard, MaxConnectionsPerAddress: -1}, site("a.test", says(t, strings.Repeat("x", 1024))))
	address := r.HTTPAddr().(*net.TCPAddr)
	to := &unix.SockaddrInet4{Port: address.Port, Addr: [4]byte(address.IP.To4())}
	ask := func() int { // without the runtime's part, which would be measured too
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		if err := unix.Connect(fd, to); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fd, []byte("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		var buffer [4096]byte
		for total := 0; total < 1024; {
			k, err := unix.Read(fd, buffer[:])
			if err != nil || k == 0 {
				t.Fatalf("cannot read the answer: %d bytes, %v", k, err)
			}
			total += k
		}
		return fd
	}
	for range 64 {
		ask()
	}
	before := inUse()
	for range n {
		ask()
	}
	each := (int64(inUse()) - int64(before)) / n
	t.Logf("%d bytes of heap and stacks for each of %d idle connections", each, n)
	if each > most {
		t.Errorf("want at most %d", most)
	}
}
