package docker_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

func open(t *testing.T, host string) *docker.Client {
	t.Helper()
	c, err := docker.Open(host)
	if err != nil {
		t.Fatalf("Open(%q): %v", host, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestInspectGivesPlainTypes(t *testing.T) {
	engine := fakeengine.New(t)
	engine.AddNetwork(fakeengine.Network{Name: "web", Driver: "bridge"})
	engine.AddNetwork(fakeengine.Network{Name: "six", Driver: "bridge", IPv6Only: true})
	created := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	id := engine.Run(fakeengine.Container{
		Name: "shop", Image: "shop:1", Env: []string{"VIRTUAL_HOST=shop.example", "EMPTY=", "A=b=c"},
		Labels: map[string]string{"l": "v"}, Ports: []string{"8080/tcp", "53/udp", "80/tcp"}, Networks: []string{"web", "six"},
		HealthCheck: true, StopSignal: "SIGQUIT", StopTimeout: 30, Created: created,
	})
	got, err := open(t, engine.Host()).Inspect(t.Context(), id)
	if err != nil {
		t.Fatalf("Inspect: %v", err)
	}
	if got.ID != id || got.Name != "shop" || got.Image != "shop:1" || !got.Created.Equal(created) {
		t.Errorf("identity = %q %q %q %v", got.ID, got.Name, got.Image, got.Created)
	}
	if got.Env["VIRTUAL_HOST"] != "shop.example" || got.Env["A"] != "b=c" || got.Labels["l"] != "v" {
		t.Errorf("env = %v, labels = %v", got.Env, got.Labels)
	}
	want := []docker.Port{{Number: 53, Protocol: "udp"}, {Number: 80, Protocol: "tcp"}, {Number: 8080, Protocol: "tcp"}}
	if !slices.Equal(got.ExposedPorts, want) {
		t.Errorf("ExposedPorts = %v, want %v", got.ExposedPorts, want)
	}
	if !got.State.Running || got.State.Health != "starting" || got.State.StartedAt.IsZero() {
		t.Errorf("State = %+v, want running, starting, with a start time", got.State)
	}
	if len(got.Networks) != 2 || got.Networks[0].Name != "six" || !got.Networks[0].IPv6.Is6() || got.Networks[0].IPv4.IsValid() ||
		got.Networks[1].IPv4.String() != engine.Address(id, "web") {
		t.Errorf("Networks = %+v", got.Networks)
	}
	if got.StopSignal != "SIGQUIT" || got.StopTimeout != 30*time.Second {
		t.Errorf("stop = %q %v", got.StopSignal, got.StopTimeout)
	}
}

func TestExposedPortsOfAStoppedContainerComeFromItsConfig(t *testing.T) {
	engine := fakeengine.New(t)
	id := engine.Create(fakeengine.Container{Name: "c", Ports: []string{"81/tcp"}})
	got, err := open(t, engine.Host()).Inspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if want := []docker.Port{{Number: 81, Protocol: "tcp"}}; !slices.Equal(got.ExposedPorts, want) {
		t.Errorf("ExposedPorts = %v, want %v", got.ExposedPorts, want)
	}
	if got.State.Running || !got.State.StartedAt.IsZero() {
		t.Errorf("State = %+v, want not running and never started", got.State)
	}
}

func TestSummaryChangesExactlyWhenTheContainerDoes(t *testing.T) {
	engine := fakeengine.New(t)
	engine.AddNetwork(fakeengine.Network{Name: "web", Driver: "bridge"})
	id := engine.Run(fakeengine.Container{Name: "c", HealthCheck: true})
	c := open(t, engine.Host())
	last := summary(t, c, id)
	if again := summary(t, c, id); again != last {
		t.Errorf("two lists without a change between them differ: %+v, %+v", last, again)
	}
	for _, tc := range []struct {
		name   string
		change func()
	}{
		{"health", func() { engine.SetHealth(id, "healthy") }},
		{"rename", func() { engine.Rename(id, "d") }},
		{"network", func() { engine.Connect(id, "web") }},
		{"pause", func() { engine.Pause(id) }},
		{"stop", func() { engine.Stop(id) }},
	} {
		tc.change()
		now := summary(t, c, id)
		if now == last {
			t.Errorf("after %s the summary is still %+v", tc.name, now)
		}
		last = now
	}
}

func summary(t *testing.T, c *docker.Client, id string) docker.Summary {
	t.Helper()
	list, err := c.List(t.Context())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	i := slices.IndexFunc(list, func(s docker.Summary) bool { return s.ID == id })
	if i < 0 {
		t.Fatalf("List() = %+v, lacks %s", list, id)
	}
	return list[i]
}

func TestVersionIsNegotiated(t *testing.T) {
	for name, api := range map[string][2]int{
		"Engine 20.10": {12, 41}, "Engine 29, refuses below 1.44": {44, 52}, "an Engine of the future": {44, 99},
	} {
		t.Run(name, func(t *testing.T) {
			engine := fakeengine.New(t)
			engine.SetAPI(api[0], api[1])
			engine.Run(fakeengine.Container{Name: "c"})
			list, err := open(t, engine.Host()).List(t.Context())
			if err != nil || len(list) != 1 {
				t.Errorf("List() = %v, %v; want one container", list, err)
			}
		})
	}
}

func TestNetworksAreOrderedAndTold(t *testing.T) {
	engine := fakeengine.New(t)
	engine.AddNetwork(fakeengine.Network{Name: "ingress", Driver: "overlay", Ingress: true, Subnets: []string{"10.0.0.0/24", "fd00::/64"}})
	engine.AddNetwork(fakeengine.Network{Name: "back", Driver: "bridge", Internal: true})
	got, err := open(t, engine.Host()).Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range got {
		names = append(names, n.Name)
		if (n.Name == "ingress") != n.Ingress || (n.Name == "ingress") != (fmt.Sprint(n.Subnets) == "[10.0.0.0/24 fd00::/64]") || (n.Name == "back") != n.Internal || n.ID == "" {
			t.Errorf("network %+v", n)
		}
	}
	if want := []string{"back", "bridge", "host", "ingress", "none"}; !slices.Equal(names, want) {
		t.Errorf("names = %v, want %v", names, want)
	}
}

func TestSubscribeDeliversEvents(t *testing.T) {
	engine := fakeengine.New(t)
	engine.AddNetwork(fakeengine.Network{Name: "web", Driver: "bridge"})
	s, err := open(t, engine.Host()).Subscribe(t.Context())
	if err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	waitFor(t, func() bool { return engine.Streams() == 1 })
	id := engine.Create(fakeengine.Container{Name: "c", HealthCheck: true, NetworkMode: "none"})
	engine.SetHealth(id, "healthy")
	engine.Connect(id, "web")
	engine.Kill(id, 15)
	engine.Die(id, 3)
	want := []docker.Action{docker.ActionCreate, docker.ActionHealthStatus, docker.ActionNetworkConnect, docker.ActionKill, docker.ActionDie}
	for _, action := range want {
		e := <-s.Events()
		if e.Action != action || e.Container != id || e.Time.IsZero() {
			t.Errorf("event %+v, want %s of %s", e, action, id)
		}
		if action == docker.ActionKill && e.Signal != "15" || action == docker.ActionDie && e.ExitCode != 3 ||
			action == docker.ActionNetworkConnect && e.Network != "web" {
			t.Errorf("event %+v lacks its attribute", e)
		}
	}
	engine.Down()
	for range s.Events() {
	}
	if s.Err() == nil {
		t.Error("Err() = nil after the Engine went away")
	}
	engine.Up()
}

func TestErrorsSayWhatToDo(t *testing.T) {
	engine := fakeengine.New(t)
	c := open(t, engine.Host())
	if _, err := c.Inspect(t.Context(), "nobody"); !errors.Is(err, docker.ErrNotFound) {
		t.Errorf("Inspect of an unknown container: %v, want ErrNotFound", err)
	}
	engine.FailLists(1)
	if _, err := c.List(t.Context()); err == nil || !strings.Contains(err.Error(), "told to fail") {
		t.Errorf("List: %v, want what the Engine said", err)
	}

	dead := filepath.Join(t.TempDir(), "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	for name, tc := range map[string]struct{ host, message, hint string }{
		"absent":  {"unix:///nowhere/docker.sock", "/nowhere/docker.sock does not exist", "mount its socket"},
		"refused": {"unix://" + dead, "nothing listens on the socket " + dead, "systemctl start docker"},
		"tcp":     {"tcp://127.0.0.1:1", "127.0.0.1:1", "check the address"},
	} {
		_, err := open(t, tc.host).Ping(t.Context())
		if err == nil || !strings.Contains(err.Error(), tc.message) || !strings.Contains(docker.Hint(err), tc.hint) {
			t.Errorf("%s: error %v, hint %q; want %q, %q", name, err, docker.Hint(err), tc.message, tc.hint)
		}
	}
}

func TestOpenRefusesWhatItCannotUse(t *testing.T) {
	for _, host := range []string{"ssh://root@host", "unix://", "unix://relative", "tcp://", "/var/run/docker.sock", "http://x:1", "npipe:////./pipe/x"} {
		if _, err := docker.Open(host); err == nil {
			t.Errorf("Open(%q) succeeded", host)
		}
	}
	t.Setenv("DOCKER_HOST", "unix:///from/env.sock")
	if c := open(t, ""); c.Host() != "unix:///from/env.sock" {
		t.Errorf("Host() = %q, want DOCKER_HOST", c.Host())
	}
	if c := open(t, "tcp://127.0.0.1:2375"); !c.Plain() || c.Local() {
		t.Errorf("tcp without TLS: Plain() = %v, Local() = %v", c.Plain(), c.Local())
	}
	t.Setenv("DOCKER_TLS_VERIFY", "1")
	if _, err := docker.Open("tcp://127.0.0.1:2376"); err == nil || !strings.Contains(err.Error(), "DOCKER_CERT_PATH") {
		t.Errorf("Open with DOCKER_TLS_VERIFY alone: %v", err)
	}
	t.Setenv("DOCKER_CERT_PATH", t.TempDir())
	if _, err := docker.Open("tcp://127.0.0.1:2376"); err == nil {
		t.Error("Open with an empty DOCKER_CERT_PATH succeeded")
	}
	if c, err := docker.Open("unix:///var/run/docker.sock"); err != nil || c.Plain() {
		t.Errorf("TLS settings got in the way of a socket: %v", err)
	}
}

func TestEngineComesBack(t *testing.T) {
	engine := fakeengine.New(t)
	c := open(t, engine.Host())
	if _, err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	engine.Down()
	if _, err := c.List(t.Context()); err == nil {
		t.Error("List succeeded while the Engine was down")
	}
	engine.Up()
	if _, err := c.List(t.Context()); err != nil {
		t.Errorf("List after the Engine came back: %v", err)
	}
	if _, err := os.Stat(engine.Socket()); err != nil {
		t.Error(err)
	}
}

// waitFor polls a condition of the other side of the wire, which has no channel to wait on.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(10 * time.Second)
	for !condition() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatal("the condition did not come true within 10 s")
		}
	}
}
