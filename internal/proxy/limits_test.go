package proxy

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

func TestIdleConnectionsMakeRoom(t *testing.T) {
	r := start(t, Config{MaxConnections: 8}, site("a.test", says(t, "ok")))
	for i := range 40 {
		c := r.raw("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		answered := false
		for try := 0; !answered && try < 100; try++ { // where the idle ones are another loop's they are closed a moment later
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if answered = err == nil && resp.StatusCode == 200; !answered {
				c = r.raw("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
			}
		}
		if !answered {
			t.Fatalf("connection %d was never served", i)
		}
	}
	if n := r.Connections(); n.Open > 8 {
		t.Errorf("%d connections are open, want at most 8", n.Open)
	}
}

func TestTheLongestIdleConnectionsAreClosed(t *testing.T) {
	r := start(t, Config{Loops: 1}, site("a.test", says(t, "ok")))
	ask := func(c net.Conn) {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var conns []net.Conn
	for range 3 {
		c := r.raw("")
		ask(c)
		conns = append(conns, c)
	}
	ask(conns[0])
	w := r.workers[0]
	idle := make(chan int, 1)
	until(t, "all of them are idle", func() bool {
		w.loop.Post(func() { idle <- w.clients.n })
		return <-idle == 3
	})
	w.loop.Post(func() { w.clients.closeFirst(1) })
	_ = conns[1].SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := conns[1].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection that was idle longest got %v, want its end", err)
	}
	ask(conns[0])
	ask(conns[2])
}

func TestBusyConnectionsKeepTheirPlace(t *testing.T) {
	release := make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = io.WriteString(w, "done")
	})
	warnings := &health.Registry{}
	r := start(t, Config{MaxConnections: 2, Health: warnings}, site("a.test", up))
	var running []net.Conn
	for range 2 {
		running = append(running, r.raw(plainRequest))
	}
	until(t, "both are served", func() bool { return r.Connections().Open == 2 && r.Routes().Routes[0].Endpoints[0].InFlight == 2 })
	third := r.raw("")
	if _, err := third.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a third connection got %v, want it closed", err)
	}
	if n := r.Connections().Refused["all"]; n != 1 {
		t.Errorf("%d refusals are counted, want 1", n)
	}
	if list := warnings.List(); len(list) != 1 || list[0].Code != ruche.CodeConnectionsLimited {
		t.Errorf("warnings %+v", list)
	}
	close(release)
	for _, c := range running {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "done" {
			t.Errorf("a running request got %q, %v", body, err)
		}
	}
	until(t, "there is room again", func() bool { return r.Connections().Open == 0 })
}

func TestConnectionsOfOneClientAreBounded(t *testing.T) {
	r := start(t, Config{ProxyProtocol: loopback(), MaxConnectionsPerAddress: 2, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("203.0.113.99/32")}},
		site("a.test", says(t, "ok")))
	open := func(client string) (c net.Conn, served bool) {
		c = r.raw(proxyHeader(t, 2, client) + "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		_, err := http.ReadResponse(bufio.NewReader(c), nil)
		return c, err == nil
	}
	first, served := open("203.0.113.7:1")
	if !served {
		t.Fatal("the first connection was refused")
	}
	tests := []struct {
		name, client string
		served       bool
	}{
		{"second", "203.0.113.7:2", true},
		{"third", "203.0.113.7:3", false},
		{"another client", "203.0.113.8:1", true},
		{"an IPv6 client", "[2001:db8::1]:1", true},
		{"the same network", "[2001:db8::2]:1", true},
		{"a third of that network", "[2001:db8::3]:1", false},
		{"another network", "[2001:db8:0:1::3]:1", true},
		{"a trusted proxy", "203.0.113.99:1", true}, {"its second", "203.0.113.99:2", true}, {"its third", "203.0.113.99:3", true},
	}
	for _, tt := range tests {
		if _, served := open(tt.client); served != tt.served {
			t.Errorf("%s: served is %t", tt.name, served)
		}
	}
	_ = first.Close()
	until(t, "a place is free again", func() bool {
		_, served := open("203.0.113.7:4")
		return served
	})
}

func TestWarningOfRefusalsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warnings := &health.Registry{}
		l := newLimiter(&Config{MaxConnections: 1, Health: warnings, Logger: slog.New(slog.DiscardHandler)})
		l.full(1)
		<-time.After(limitedFor / 2)
		l.full(1)
		<-time.After(limitedFor - time.Second)
		if len(warnings.List()) != 1 {
			t.Error("the warning has ended within its time")
		}
		<-time.After(2 * time.Second)
		if list := warnings.List(); len(list) != 0 {
			t.Errorf("warnings %+v, want none", list)
		}
		l.full(1)
		if len(warnings.List()) != 1 {
			t.Error("a new refusal raises no warning")
		}
		<-time.After(2 * limitedFor)
	})
}

func TestTicketIsGivenBackOnce(t *testing.T) {
	l := newLimiter(&Config{MaxConnections: 1, MaxConnectionsPerAddress: 1})
	one, _ := l.enter()
	two, fits := l.enter()
	if fits {
		t.Error("a second connection fits")
	}
	a := netip.MustParseAddr("203.0.113.7")
	if !one.counted(a) || two.counted(a) {
		t.Error("the client's connections are counted wrongly")
	}
	for range 2 {
		one.giveBack()
		two.giveBack()
	}
	if l.open.Load() != 0 || len(l.byAddress) != 0 {
		t.Errorf("%d open, by address %v", l.open.Load(), l.byAddress)
	}
}

func TestPace(t *testing.T) {
	const second = time.Second
	tests := []struct {
		name   string
		waited []time.Duration
		bytes  int
		slow   bool
	}{
		{"a byte each 59 s", []time.Duration{59 * second, 59 * second}, 1, true},
		{"within the grace", []time.Duration{59 * second}, 0, false},
		{"slow but moving", []time.Duration{30 * second, 30 * second, 30 * second, 30 * second}, 3001, false},
		{"the endpoint makes it wait", []time.Duration{0, 0, 0, 0}, 1, false},
		{"fast, then silent", []time.Duration{0, 50 * second, 50 * second}, 1 << 20, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p pace
			slow := false
			for _, d := range tt.waited {
				slow = p.tooSlow(d, tt.bytes, 60*second)
			}
			if slow != tt.slow {
				t.Errorf("too slow: %t, want %t", slow, tt.slow)
			}
		})
	}
}

func TestDrippedBodyIsEnded(t *testing.T) {
	up := backend(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	r := start(t, Config{Timeouts: Timeouts{Body: 100 * time.Millisecond}}, site("a.test", up))
	c := r.raw("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n")
	answered := make(chan int, 1)
	go func() {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			answered <- 0
			return
		}
		answered <- resp.StatusCode
	}()
	drip := time.NewTicker(30 * time.Millisecond)
	defer drip.Stop()
	for {
		select {
		case status := <-answered:
			if status != http.StatusRequestTimeout {
				t.Errorf("got %d, want 408", status)
			}
			return
		case <-drip.C:
			_, _ = io.WriteString(c, "x")
		}
	}
}

func TestOpenFilesAreRaised(t *testing.T) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if files.Cur != files.Max {
		t.Errorf("%d files may be opened, want the most that may be set, %d", files.Cur, files.Max)
	}
}
