package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// node is a running Daemon.
type node struct {
	*Daemon
	cancel context.CancelFunc
	done   chan error
}

func testConfig(t testing.TB, dir, dockerHost string) *config.Config {
	t.Helper()
	cfg, err := config.Load(map[string]string{
		"http-addr": "127.0.0.1:0", "https-addr": "127.0.0.1:0", "admin-addr": "127.0.0.1:0", "node-name": "n1",
		"data-dir": dir, "certs-dir": filepath.Join(dir, "certs"), "routes-dir": filepath.Join(dir, "routes"),
		"docker-host": dockerHost, "drain-timeout": "5s",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// start makes a node and runs it.
func start(t *testing.T, dir, dockerHost string) *node {
	t.Helper()
	return serve(t, prepare(t, dir, dockerHost))
}

// prepare makes a node that does not run yet.
func prepare(t *testing.T, dir, dockerHost string) *Daemon {
	t.Helper()
	d, err := New(t.Context(), config.All, testConfig(t, dir, dockerHost), "test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// serve runs a node until stop, or until the test ends, and waits until it serves.
func serve(t testing.TB, d *Daemon) *node {
	t.Helper()
	n := launch(t, d)
	select {
	case <-d.Ready():
	case err := <-n.done:
		t.Fatalf("the node ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the node is not ready after a minute")
	}
	return n
}

// launch is serve that does not wait until the node is ready.
func launch(t testing.TB, d *Daemon) *node {
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{Daemon: d, cancel: cancel, done: make(chan error, 1)}
	go func() { n.done <- d.Run(ctx) }()
	t.Cleanup(cancel)
	return n
}

func (n *node) stop(t testing.TB) {
	t.Helper()
	n.cancel()
	if err := <-n.done; err != nil {
		t.Errorf("Run() = %v, want nil after a stop", err)
	}
}

// get asks the node for host, over HTTP or HTTPS, and returns status and body.
func (n *node) get(t *testing.T, scheme, host string) (int, string) {
	t.Helper()
	addr := n.proxy.HTTPAddr().String()
	if scheme == "https" {
		addr = n.proxy.HTTPSAddr().String()
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	resp, err := client.Get(scheme + "://" + host + "/")
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// eventually waits until the node answers host with status and body.
func (n *node) eventually(t *testing.T, scheme, host string, status int, body string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		gotStatus, got := n.get(t, scheme, host)
		if gotStatus == status && strings.Contains(got, body) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s://%s/ answers %d %q, want %d %q", scheme, host, gotStatus, got, status, body)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// site serves name; the returned container declares it as name.example.
func site(t *testing.T, name string) fakeengine.Container {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "I am %s", name)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return fakeengine.Container{
		Name: name, NetworkMode: "host",
		Env: []string{"VIRTUAL_HOST=" + name + ".example", "VIRTUAL_PORT=" + u.Port()},
	}
}

func TestANodePublishesWhatRuns(t *testing.T) {
	engine := fakeengine.New(t)
	engine.Run(site(t, "early"))
	n := start(t, t.TempDir(), engine.Host())

	if status, body := n.get(t, "http", "early.example"); status != 200 || body != "I am early" {
		t.Errorf("the first request got %d %q: a node must not open its listeners before it knows what runs", status, body)
	}
	n.eventually(t, "https", "early.example", 200, "I am early")

	id := engine.Run(site(t, "late"))
	n.eventually(t, "http", "late.example", 200, "I am late")
	engine.Stop(id)
	n.eventually(t, "http", "late.example", 503, "")
	engine.Remove(id)
	engine.Run(site(t, "late"))
	n.eventually(t, "http", "late.example", 200, "I am late")
	n.stop(t)
}

func TestANodeServesWhatItKnewWhenTheEngineIsAway(t *testing.T) {
	dir, engine := t.TempDir(), fakeengine.New(t)
	engine.Run(site(t, "shop"))
	n := start(t, dir, engine.Host())
	n.eventually(t, "http", "shop.example", 200, "I am shop")

	engine.Down()
	if status, _ := n.get(t, "http", "shop.example"); status != 200 {
		t.Errorf("with the Engine away the site answers %d, want 200", status)
	}
	n.stop(t)
	n = start(t, dir, engine.Host())
	if status, body := n.get(t, "http", "shop.example"); status != 200 {
		t.Errorf("after a restart without the Engine the site answers %d %q, want 200", status, body)
	}
	engine.Run(site(t, "blog"))
	engine.Up()
	n.eventually(t, "http", "blog.example", 200, "I am blog")
	n.stop(t)
}

func TestTwoNodesLiveInOneProcess(t *testing.T) {
	one, two := fakeengine.New(t), fakeengine.New(t)
	one.Run(site(t, "one"))
	two.Run(site(t, "two"))
	a, b := start(t, t.TempDir(), one.Host()), start(t, t.TempDir(), two.Host())
	for _, c := range []struct {
		n    *node
		host string
		want int
	}{{a, "one.example", 200}, {a, "two.example", 503}, {b, "one.example", 503}, {b, "two.example", 200}} {
		if status, body := c.n.get(t, "http", c.host); status != c.want {
			t.Errorf("%s answers %d %q, want %d", c.host, status, body, c.want)
		}
	}
	b.stop(t)
	a.stop(t)
}

func TestAFailedStartGivesEverythingBack(t *testing.T) {
	dir, engine := t.TempDir(), fakeengine.New(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	cfg := testConfig(t, dir, engine.Host())
	cfg.AdminAddr = taken.Addr().String()
	if _, err := New(t.Context(), config.All, cfg, "test", slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), "--admin-addr") {
		t.Fatalf("New() = %v, want an error that names the flag to change", err)
	}
	start(t, dir, engine.Host()).stop(t) // the data directory must be free again
}

func TestAListenerThatCannotBeOpenedEndsTheNode(t *testing.T) {
	engine := fakeengine.New(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	cfg := testConfig(t, t.TempDir(), engine.Host())
	cfg.HTTPAddr = taken.Addr().String()
	d, err := New(t.Context(), config.All, cfg, "test", slog.New(slog.DiscardHandler), nil)
	if err == nil {
		err = d.Run(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), cfg.HTTPAddr) {
		t.Errorf("error = %v, want one that names %s", err, cfg.HTTPAddr)
	}
}
