package daemon

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
	"github.com/ruche-project/ruche/internal/mesh"
)

// apart makes and runs one of several nodes.
func apart(t testing.TB, roles config.Role, dir, name string, change func(*config.Config)) *node {
	t.Helper()
	cfg := testConfig(t, dir, "unix:///nowhere")
	cfg.NodeName, cfg.MeshAddr = name, "127.0.0.1:0"
	change(cfg)
	d, err := New(t.Context(), roles, cfg, "test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, d)
}

// joinToken makes a token and returns the file that holds it.
func joinToken(t testing.TB, n *node, r ruche.TokenRequest) string {
	t.Helper()
	text, err := n.control.MakeToken(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Each role in a node of its own: what an agent sees reaches the edge by way of the control node, and the edge needs neither of them to go on, not even to start again.
func TestControlAgentAndEdgeApart(t *testing.T) {
	engine := fakeengine.New(t)
	engine.Run(site(t, "one"))
	controlDir, agentDir, edgeDir := t.TempDir(), t.TempDir(), t.TempDir()
	address, host := "", ownHost()
	startControl := func() *node {
		return apart(t, config.Control, controlDir, "c1", func(c *config.Config) {
			c.DockerHost, c.AdvertiseAddr, c.MeshAddr, c.Bootstrap = engine.Host(), host, host+":0", true
			if address != "" {
				c.MeshAddr = address
			}
		})
	}
	control := startControl()
	address = control.control.listener.Addr().String()
	token := joinToken(t, control, ruche.TokenRequest{Roles: []string{"edge", "agent"}, Uses: -1})
	join := func(c *config.Config) {
		c.Control, c.JoinTokenFile, c.DockerHost = []string{address}, token, engine.Host()
	}

	edgeJoins := func(c *config.Config) { join(c); c.DockerHost = "unix:///nowhere" }
	agent := apart(t, config.Agent, agentDir, "a1", join)
	edge := apart(t, config.Edge, edgeDir, "e1", edgeJoins)
	edge.eventually(t, "http", "one.example", 200, "I am one")
	engine.Run(site(t, "two"))
	edge.eventually(t, "http", "two.example", 200, "I am two")

	for _, n := range []*node{control, agent} {
		client := api.NewClient(n.AdminAddr())
		if list, err := client.Routes(t.Context()); err != nil || list.Elsewhere == nil || !strings.Contains(list.Elsewhere.Hint, "ask an edge: docker exec") {
			t.Errorf("Routes() of a node that serves no visitors = %+v, %v", list, err)
		}
		if e, err := client.Explain(t.Context(), "one.example"); err != nil || e.Elsewhere == nil || e.Answer != "this node serves no visitors" {
			t.Errorf("Explain() of a node that serves no visitors = %+v, %v", e, err)
		}
	}
	if list, err := api.NewClient(edge.AdminAddr()).Routes(t.Context()); err != nil || list.Elsewhere != nil {
		t.Errorf("Routes() of an edge = %+v, %v", list, err)
	}

	control.stop(t)
	agent.stop(t)
	edge.eventually(t, "http", "one.example", 200, "I am one")
	edge.stop(t)
	edge = apart(t, config.Edge, edgeDir, "e1", edgeJoins)
	edge.eventually(t, "http", "two.example", 200, "I am two")

	control = startControl()
	agent = apart(t, config.Agent, agentDir, "a1", join)
	engine.Run(site(t, "three"))
	edge.eventually(t, "http", "three.example", 200, "I am three")
	list, err := control.control.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range list.Nodes {
		names = append(names, n.Name+"="+strings.Join(n.Roles, ","))
	}
	if got, want := strings.Join(names, " "), "a1=agent c1=control e1=edge"; got != want {
		t.Errorf("nodes are %q, want %q", got, want)
	}
	edge.stop(t)
	agent.stop(t)
	control.stop(t)
}

func TestNodesThatCannotStartSayWhy(t *testing.T) {
	for name, tc := range map[string]struct {
		roles  config.Role
		change func(*config.Config)
		want   string
	}{
		"control without a state": {config.Control, func(c *config.Config) { c.NoDocker, c.AdvertiseAddr = true, "127.0.0.1" }, "ruche stack init"},
		"control without address": {config.Control, func(c *config.Config) { c.Bootstrap, c.NoDocker = true, true }, "--advertise-addr"},
		"edge without control":    {config.Edge, func(*config.Config) {}, "name control nodes with --control"},
		"token that is none": {config.Edge, func(c *config.Config) {
			c.Control, c.JoinTokenFile = []string{"127.0.0.1:1"}, filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(c.JoinTokenFile, []byte("RUCHE-1-X-Y"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "ruche nodes token makes one"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, t.TempDir(), "unix:///nowhere")
			tc.change(cfg)
			d, err := New(t.Context(), tc.roles, cfg, "test", slog.New(slog.DiscardHandler), nil)
			if err == nil {
				d.close()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// A unit may keep --bootstrap for ever: a node that has been a member once does not begin a second state when its first is gone.
func TestBootstrapIsForTheFirstTime(t *testing.T) {
	for name, lose := range map[string]func(dir string) error{
		"its state is lost": os.RemoveAll,
		"it was removed":    func(dir string) error { _, err := cluster.SetAside(dir); return err },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSeat(t, "c1")
			s.dir = filepath.Join(s.dir, "data")
			if _, err := mesh.MakeSeal(filepath.Join(s.dir, "..", "seal")); err != nil {
				t.Fatal(err)
			}
			s.bootstrap = true
			up(t, s)
			s.node.stop(t)
			if err := lose(stateDir(s.dir)); err != nil {
				t.Fatal(err)
			}
			if d, err := s.open(t.Context(), t); err == nil {
				d.close()
				t.Error("it has begun a second state")
			} else if !strings.Contains(err.Error(), "move all of --data-dir away") {
				t.Errorf("it says %v", err)
			}
		})
	}
}

// A control node that failed to start has given its port back.
func TestAControlNodeThatFailsGivesItsPortBack(t *testing.T) {
	cfg := testConfig(t, t.TempDir(), "unix:///nowhere")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	host := ownHost()
	cfg.Bootstrap, cfg.AdvertiseAddr, cfg.MeshAddr, cfg.AdminAddr = true, host, host+":0", taken.Addr().String()
	if _, err := New(t.Context(), config.Control, cfg, "test", slog.New(slog.DiscardHandler), nil); err == nil {
		t.Fatal("it started although its admin address is taken")
	} else if errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	cfg.AdminAddr = "127.0.0.1:0"
	d, err := New(t.Context(), config.Control, cfg, "test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatalf("a second start: %v", err)
	}
	d.close()
}

// readyz asks a node whether it is ready.
func (n *node) readyz(t *testing.T) (status int, body string) {
	t.Helper()
	resp, err := http.Get("http://" + n.AdminAddr() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// TestNodesStartWithoutControlNodes starts an agent and an edge while no control node answers: both are ready by what they have on disk, and say what they do without. Nodes that were never let in are not.
func TestNodesStartWithoutControlNodes(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	engine.Run(site(t, "one"))
	dirs := map[config.Role]string{config.Control: t.TempDir(), config.Agent: t.TempDir(), config.Edge: t.TempDir()}
	address, host := "", ownHost()
	startControl := func() *node {
		return apart(t, config.Control, dirs[config.Control], "c1", func(c *config.Config) {
			c.NoDocker, c.AdvertiseAddr, c.MeshAddr, c.Bootstrap = true, host, host+":0", true
			if address != "" {
				c.MeshAddr = address
			}
		})
	}
	control := startControl()
	address = control.control.listener.Addr().String()
	token := joinToken(t, control, ruche.TokenRequest{Roles: []string{"edge", "agent"}, Uses: -1})
	join := func(c *config.Config) {
		c.Control, c.JoinTokenFile, c.DockerHost = []string{address}, token, engine.Host()
	}
	agent, edge := apart(t, config.Agent, dirs[config.Agent], "a1", join), apart(t, config.Edge, dirs[config.Edge], "e1", join)
	edge.eventually(t, "http", "one.example", 200, "I am one")
	for _, n := range []*node{agent, edge} {
		if status, body := n.readyz(t); status != http.StatusOK || body != "ready\n" {
			t.Errorf("%s: %d %q", n.node, status, body)
		}
		n.stop(t)
	}
	control.stop(t)

	agent, edge = apart(t, config.Agent, dirs[config.Agent], "a1", join), apart(t, config.Edge, dirs[config.Edge], "e1", join)
	edge.eventually(t, "http", "one.example", 200, "I am one")
	for _, n := range []*node{agent, edge} {
		await(t, n.node+" says what it does without", func() bool {
			status, body := n.readyz(t)
			return status == http.StatusOK && strings.HasPrefix(body, "ready\nno control node can be asked") && strings.Contains(body, address)
		})
	}
	cfg := testConfig(t, t.TempDir(), "unix:///nowhere")
	cfg.NodeName = "a2"
	join(cfg)
	d, err := New(t.Context(), config.Agent, cfg, "test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger := launch(t, d)
	await(t, "a node that was never let in says why", func() bool { _, stands := stranger.stands(ruche.CodeIdentityUnavailable); return stands })
	if status, body := stranger.readyz(t); status != http.StatusServiceUnavailable || !strings.Contains(body, "discovery") {
		t.Errorf("a node that was never let in: %d %q", status, body)
	}
	stranger.stop(t)

	control = startControl()
	engine.Run(site(t, "two"))
	edge.eventually(t, "http", "two.example", 200, "I am two")
	for _, n := range []*node{agent, edge} {
		await(t, n.node+" does without nothing", func() bool { _, body := n.readyz(t); return body == "ready\n" })
		n.stop(t)
	}
	control.stop(t)
}
