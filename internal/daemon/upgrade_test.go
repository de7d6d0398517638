package daemon

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
	"github.com/ruche-project/ruche/internal/handover"
)

// logged is what a node wrote to its log.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) wants(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(l.String(), text) {
			t.Errorf("the log does not say %q:\n%s", text, l)
		}
	}
}

// begin starts a node of a version without waiting for it.
func begin(t *testing.T, dir, dockerHost, version string, points ...config.EntryPoint) (*node, *logged) {
	t.Helper()
	log := &logged{}
	cfg := testConfig(t, dir, dockerHost)
	cfg.DrainTimeout, cfg.EntryPoints = time.Minute, points
	d, err := New(t.Context(), config.All, cfg, version, slog.New(slog.NewTextHandler(log, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{Daemon: d, cancel: cancel, done: make(chan error, 1)}
	go func() { n.done <- d.Run(ctx) }()
	t.Cleanup(cancel)
	return n, log
}

func (n *node) ready(t *testing.T) {
	t.Helper()
	select {
	case <-n.Ready():
	case err := <-n.done:
		t.Fatalf("the node ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the node is not ready after a minute")
	}
}

// echo serves what it is told, over a WebSocket, and "hello" otherwise.
func echo(t *testing.T) fakeengine.Container {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, "hello")
			return
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for err == nil {
			var kind websocket.MessageType
			var message []byte
			if kind, message, err = c.Read(r.Context()); err == nil {
				err = c.Write(r.Context(), kind, message)
			}
		}
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return fakeengine.Container{Name: "echo", NetworkMode: "host", Env: []string{"VIRTUAL_HOST=echo.example", "VIRTUAL_PORT=" + u.Port()}}
}

// load sends requests one after the other on each of some connections, never a second time, and counts those that fail.
type load struct {
	address  string
	sent     atomic.Int64
	mu       sync.Mutex
	failures []string
	stop     chan struct{}
	workers  sync.WaitGroup
}

func startLoad(address string) *load {
	l := &load{address: address, stop: make(chan struct{})}
	for i := range 4 {
		l.workers.Go(func() { l.run(i%2 == 0) })
	}
	return l
}

func (l *load) run(keepAlive bool) {
	for {
		conn, err := net.Dial("tcp", l.address)
		if err != nil {
			l.fail("dial", err)
			return
		}
		r := bufio.NewReader(conn)
		for again := true; again; {
			select {
			case <-l.stop:
				_ = conn.Close()
				return
			default:
			}
			again = l.request(conn, r) && keepAlive
		}
		_ = conn.Close()
	}
}

// request reports whether the connection may be used again.
func (l *load) request(conn net.Conn, r *bufio.Reader) bool {
	l.sent.Add(1)
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: echo.example\r\n\r\n"); err != nil {
		l.fail("write", err)
		return false
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		l.fail("read", err)
		return false
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != 200 || string(body) != "hello" {
		l.fail(fmt.Sprintf("answer %d %q", resp.StatusCode, body), err)
	}
	return err == nil && !resp.Close
}

func (l *load) fail(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, fmt.Sprintf("%s: %v", what, err))
}

// more waits until so many further requests were sent.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	want := l.sent.Load() + n
	deadline := time.Now().Add(time.Minute)
	for l.sent.Load() < want {
		if time.Now().After(deadline) {
			t.Fatalf("the load has stopped: %v", l.failures)
		}
		<-time.After(time.Millisecond)
	}
}

func (l *load) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.workers.Wait()
	if len(l.failures) > 0 {
		t.Errorf("%d of %d requests failed: %v", len(l.failures), l.sent.Load(), l.failures[:min(len(l.failures), 5)])
	}
	t.Logf("%d requests", l.sent.Load())
}

func openWebSocket(t *testing.T, address string) *websocket.Conn {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}}
	ws, _, err := websocket.Dial(t.Context(), "ws://echo.example/", &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

func says(t *testing.T, ws *websocket.Conn, word string) {
	t.Helper()
	if err := ws.Write(t.Context(), websocket.MessageText, []byte(word)); err != nil {
		t.Fatalf("the WebSocket is broken: %v", err)
	}
	if _, got, err := ws.Read(t.Context()); err != nil || string(got) != word {
		t.Fatalf("the WebSocket says %q, %v, want %q", got, err, word)
	}
}

func TestThreeUpgradesUnderLoadLoseNothing(t *testing.T) {
	dir, engine := t.TempDir(), fakeengine.New(t)
	engine.Run(echo(t))
	n, _ := begin(t, dir, engine.Host(), "v0")
	n.ready(t)
	address, admin := n.proxy.HTTPAddr().String(), n.AdminAddr()
	l := startLoad(address)
	var sockets []*websocket.Conn
	var olds []*node
	for i := range 3 {
		ws := openWebSocket(t, address)
		says(t, ws, "before")
		sockets = append(sockets, ws)
		l.more(t, 100)
		next, log := begin(t, dir, engine.Host(), fmt.Sprintf("v%d", i+1))
		next.ready(t)
		log.wants(t, fmt.Sprintf("took over from process %d (version v%d)", os.Getpid(), i))
		if got := next.proxy.HTTPAddr().String(); got != address {
			t.Fatalf("it listens on %s, want %s", got, address)
		}
		if got := next.AdminAddr(); got != admin {
			t.Errorf("it is asked at %s, want %s", got, admin)
		}
		l.more(t, 100)
		for _, ws := range sockets {
			says(t, ws, "after")
		}
		id := engine.Run(site(t, fmt.Sprintf("later-%d", i)))
		next.eventually(t, "http", fmt.Sprintf("later-%d.example", i), 200, "I am later")
		engine.Stop(id)
		next.eventually(t, "http", fmt.Sprintf("later-%d.example", i), 503, "")
		olds, n = append(olds, n), next
	}
	for _, ws := range sockets {
		_ = ws.CloseNow()
	}
	for i, old := range olds {
		if err := <-old.done; err != nil {
			t.Errorf("process %d ended with %v, want nil", i, err)
		}
	}
	l.more(t, 100)
	l.end(t)
	n.stop(t)
	if _, err := os.Stat(filepath.Join(dir, "upgrade.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket for upgrades is left behind: %v", err)
	}
	start(t, dir, engine.Host()).stop(t)
}

func TestDatagramsGoOnThroughAnUpgrade(t *testing.T) {
	up, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = up.Close() }()
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := up.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = up.WriteTo(b[:n], from)
		}
	}()
	_, port, _ := net.SplitHostPort(up.LocalAddr().String())
	dir, engine := t.TempDir(), fakeengine.New(t)
	engine.Run(fakeengine.Container{Name: "dns", NetworkMode: "host", Labels: map[string]string{
		"traefik.udp.routers.dns.entrypoints": "dns", "traefik.udp.services.dns.loadbalancer.server.port": port,
	}})
	point := config.EntryPoint{Name: "dns", Address: "127.0.0.1:0", UDP: true}
	old, log := begin(t, dir, engine.Host(), "v0", point)
	old.ready(t)
	_, address, _ := strings.Cut(log.String(), "entry_point=dns scheme=udp address=")
	address, _, _ = strings.Cut(address, "\n")
	c, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ask := func(what string) {
		t.Helper()
		b := make([]byte, 100)
		for range 100 {
			_, _ = io.WriteString(c, what)
			_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if n, _ := c.Read(b); string(b[:n]) == what {
				return
			}
		}
		t.Fatalf("nobody answers %q at %s:\n%s", what, address, log)
	}
	ask("before")
	young, _ := begin(t, dir, engine.Host(), "v1", point)
	young.ready(t)
	ask("after")
	if err := <-old.done; err != nil {
		t.Errorf("the old process ended with %v", err)
	}
	ask("alone")
	young.stop(t)
}

func TestANewProcessThatFailsHalfWayLeavesTheOldOneAsItWas(t *testing.T) {
	dir, engine := t.TempDir(), fakeengine.New(t)
	engine.Run(echo(t))
	n, log := begin(t, dir, engine.Host(), "v0")
	n.ready(t)
	l := startLoad(n.proxy.HTTPAddr().String())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	failing := func(change func(http, admin *string)) func(t *testing.T) error {
		return func(t *testing.T) error {
			cfg := testConfig(t, dir, engine.Host())
			change(&cfg.HTTPAddr, &cfg.AdminAddr)
			d, err := New(t.Context(), config.All, cfg, "broken", slog.New(slog.DiscardHandler), nil)
			if err == nil {
				err = d.Run(t.Context())
			}
			return err
		}
	}
	whole := t // the sites outlive the steps
	for i, c := range []struct {
		name string
		fail func(t *testing.T) error
	}{
		{"it dies with the sockets", func(t *testing.T) error {
			p, err := handover.Ask(t.Context(), dir, "broken")
			if err != nil {
				return err
			}
			p.Sockets().Close()
			p.Close()
			return errors.New("dead")
		}},
		{"it cannot open the admin address", failing(func(_, admin *string) { *admin = taken.Addr().String() })},
		{"it cannot listen", failing(func(http, _ *string) { *http = taken.Addr().String() })},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.fail(t); err == nil {
				t.Fatal("it did not fail")
			}
			name := fmt.Sprintf("later-%d", i)
			engine.Run(site(whole, name))
			n.eventually(t, "http", name+".example", 200, "I am "+name)
			l.more(t, 100)
		})
	}
	log.wants(t, "the upgrade failed, this process goes on as before", "version broken", "the log of the other process says")
	next, _ := begin(t, dir, engine.Host(), "v1")
	next.ready(t)
	if err := <-n.done; err != nil {
		t.Errorf("the old one ended with %v", err)
	}
	next.eventually(t, "http", "later-2.example", 200, "I am later-2")
	l.end(t)
	next.stop(t)
}

func TestASettingThatChangedGetsANewSocket(t *testing.T) {
	dir, engine := t.TempDir(), fakeengine.New(t)
	engine.Run(echo(t))
	n, _ := begin(t, dir, engine.Host(), "v0")
	n.ready(t)
	plain, secure := n.proxy.HTTPAddr().String(), n.proxy.HTTPSAddr().String()
	cfg := testConfig(t, dir, engine.Host())
	cfg.HTTPAddr = "[::1]:0"
	d, err := New(t.Context(), config.All, cfg, "v1", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	next := &node{Daemon: d, cancel: cancel, done: make(chan error, 1)}
	go func() { next.done <- d.Run(ctx) }()
	next.ready(t)
	if err := <-n.done; err != nil {
		t.Errorf("the old one ended with %v", err)
	}
	if got := next.proxy.HTTPSAddr().String(); got != secure {
		t.Errorf("HTTPS is on %s, want %s as before", got, secure)
	}
	next.eventually(t, "http", "echo.example", 200, "hello")
	if c, err := net.Dial("tcp", plain); err == nil {
		_ = c.Close()
		t.Errorf("%s is still open, though the setting names another address", plain)
	}
	next.stop(t)
}

func TestAProcessThatStopsWhileAnotherTakesOverLeavesItEverything(t *testing.T) {
	dir, engine := t.TempDir(), fakeengine.New(t)
	engine.Run(echo(t))
	n, _ := begin(t, dir, engine.Host(), "v0")
	n.ready(t)
	log := &logged{}
	d, err := New(t.Context(), config.All, testConfig(t, dir, engine.Host()), "v1", slog.New(slog.NewTextHandler(log, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	n.stop(t)
	ctx, cancel := context.WithCancel(t.Context())
	next := &node{Daemon: d, cancel: cancel, done: make(chan error, 1)}
	go func() { next.done <- d.Run(ctx) }()
	next.ready(t)
	log.wants(t, "has ended before it could hand over; this process serves alone")
	next.eventually(t, "http", "echo.example", 200, "hello")
	third, _ := begin(t, dir, engine.Host(), "v2")
	third.ready(t)
	if err := <-next.done; err != nil {
		t.Errorf("it ended with %v", err)
	}
	third.stop(t)
}

func TestAServiceManagerIsToldWhoServes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = manager.Close() }()
	t.Setenv("NOTIFY_SOCKET", path)
	told := func() string {
		buffer := make([]byte, 1024)
		n, err := manager.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}
	dir, engine := t.TempDir(), fakeengine.New(t)
	n, _ := begin(t, dir, engine.Host(), "v0")
	next := (*node)(nil)
	serving := fmt.Sprintf("READY=1\nMAINPID=%d\nSTATUS=serving (version v", os.Getpid())
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"start", func() {}, []string{serving + "0)"}},
		{"upgrade", func() {
			n.ready(t)
			next, _ = begin(t, dir, engine.Host(), "v1")
		}, []string{"RELOADING=1\nMONOTONIC_USEC=", serving + "1)"}},
		{"the old one ends", func() {
			<-n.done
			n.cancel()
		}, nil},
		{"failed upgrade", func() {
			next.ready(t)
			p, err := handover.Ask(t.Context(), dir, "v2")
			if err != nil {
				t.Fatal(err)
			}
			p.Sockets().Close()
			p.Close()
		}, []string{"RELOADING=1", "READY=1\nSTATUS=serving (version v1); an upgrade failed"}},
		{"stop", func() { next.stop(t) }, []string{"STOPPING=1"}},
	} {
		step.do()
		for _, want := range step.want {
			if got := told(); !strings.HasPrefix(got, want) {
				t.Errorf("%s: told %q, want %q", step.name, got, want)
			}
		}
	}
}
