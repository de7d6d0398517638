//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche/e2e/lab"
)

// soon bounds what takes well under a second on an idle machine.
const soon = 20 * time.Second

// Three ways to declare a site, on one Engine, with ruche as a process of the host.
func TestPlainContainersAreServedByName(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1, lab.Options{})
	node := l.Nodes[0]
	node.Run("before", "--env", "VIRTUAL_HOST=before.test")
	r := node.StartRuche("--entry-points", "secure=:8443,echo=:5353/udp")
	client := node.Client()
	// What ran before it is served from the moment it is ready.
	if err := client.IsServedBy("http://before.test/", "before"); err != nil {
		t.Errorf("ready, but a container that ran before is not served: %v", err)
	}

	node.Run("virtual", "--env", "VIRTUAL_HOST=virtual.test, www.virtual.test")
	node.Run("traefik", "--label", "traefik.enable=true",
		"--label", "traefik.http.routers.shop.rule=Host(`traefik.test`) && PathPrefix(`/shop`)",
		"--label", "traefik.http.services.shop.loadbalancer.server.port=8080")
	node.Run("byfile")
	r.WriteRoutes("byfile.yaml", fmt.Sprintf("routes:\n  - host: file.test\n    endpoints: [http://%s:8080]\n",
		node.ContainerAddress("byfile", "bridge")))

	for url, site := range map[string]string{
		"virtual.test/":      "virtual",
		"www.virtual.test/x": "virtual",
		"traefik.test/shop":  "traefik",
		"file.test/":         "byfile",
	} {
		for _, scheme := range []string{"http://", "https://"} {
			lab.Eventually(t, soon, func() error { return client.IsServedBy(scheme+url, site) })
		}
	}
	// An unknown host, and a path that no route of a known host takes.
	for url, status := range map[string]int{"http://unknown.test/": http.StatusServiceUnavailable, "http://traefik.test/other": http.StatusNotFound} {
		if answer, err := client.Get(url); err != nil || answer.Status != status {
			t.Errorf("%s: got %d, %v; want %d", url, answer.Status, err, status)
		}
	}
	if err := upgradeEchoes(node, "virtual.test"); err != nil {
		t.Errorf("an upgraded connection does not echo: %v", err)
	}
	headersSayWhoAsked(t, client)
	streamsAreCarried(t, node)
}

// streamsAreCarried reaches a container by UDP, and by TCP whose TLS ends at ruche.
func streamsAreCarried(t *testing.T, node *lab.Node) {
	t.Helper()
	node.Run("streams", "--label", "traefik.udp.routers.echo.entrypoints=echo", "--label", "traefik.udp.services.echo.loadbalancer.server.port=8080",
		"--label", "traefik.tcp.routers.inside.rule=HostSNI(`inside.test`)", "--label", "traefik.tcp.routers.inside.entrypoints=secure",
		"--label", "traefik.tcp.routers.inside.tls=true", "--label", "traefik.tcp.services.inside.loadbalancer.server.port=8080")
	lab.Eventually(t, soon, func() error {
		got, err := node.AskByUDP("5353", "hello")
		if err == nil && got != "streams hello" {
			err = fmt.Errorf("got %q by UDP, want %q", got, "streams hello")
		}
		return err
	})
	raw, err := node.Dial(context.Background(), "8443")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	conn := tls.Client(raw, &tls.Config{ServerName: "inside.test", InsecureSkipVerify: true})
	if err := conn.SetDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "POST /echo HTTP/1.0\r\nHost: whatever\r\nContent-Length: 5\r\n\r\nhello")
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("got %v, %v through TLS that ends here", resp, err)
	}
}

// headersSayWhoAsked looks at what the site sees of the client.
func headersSayWhoAsked(t *testing.T, client *lab.Client) {
	t.Helper()
	s, err := client.Site("https://virtual.test/a%2Fb?q=1")
	if err != nil {
		t.Fatal(err)
	}
	if s.Host != "virtual.test" || s.Path != "/a%2Fb" {
		t.Errorf("the site saw host %q and path %q, want virtual.test and /a%%2Fb", s.Host, s.Path)
	}
	for name, want := range map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Host": "virtual.test", "X-Forwarded-For": "10.99.0.254"} {
		if got := s.Headers.Get(name); got != want {
			t.Errorf("the site saw %s: %q, want %q", name, got, want)
		}
	}
}

// upgradeEchoes switches protocols through ruche and sends a line both ways.
func upgradeEchoes(node *lab.Node, host string) error {
	conn, err := node.Dial(context.Background(), "80")
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(soon)); err != nil {
		return err
	}
	fmt.Fprintf(conn, "GET /upgrade HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", host)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return echoes(conn, in)
}

func echoes(conn net.Conn, in *bufio.Reader) error {
	for _, line := range []string{"one\n", "two\n"} {
		fmt.Fprint(conn, line)
		got, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if got != line {
			return fmt.Errorf("sent %q, got %q", line, got)
		}
	}
	return nil
}

// Ruche as a container of its own FROM scratch image: it must know itself and reach what shares a network with it.
func TestRucheRunsAsContainer(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1, lab.Options{})
	node := l.Nodes[0]
	node.LoadRuche()
	node.Docker("network", "create", "web")
	node.Docker("network", "create", "private")
	node.Docker("run", "--detach", "--name", "ruche", "--network", "web",
		"--publish", "80:80", "--publish", "443:443", "--volume", node.Socket()+":/var/run/docker.sock",
		lab.RucheImage, "up")
	client := node.Client()

	node.Run("web", "--network", "web", "--env", "VIRTUAL_HOST=web.test")
	node.Run("both", "--network", "private", "--env", "VIRTUAL_HOST=both.test")
	node.Docker("network", "connect", "web", "both")
	for _, scheme := range []string{"http://", "https://"} {
		lab.Eventually(t, soon, func() error { return client.IsServedBy(scheme+"web.test/", "web") })
		lab.Eventually(t, soon, func() error { return client.IsServedBy(scheme+"both.test/", "both") })
	}

	// Out of reach is said, not guessed; and mended as soon as a network is shared.
	node.Run("apart", "--network", "private", "--env", "VIRTUAL_HOST=apart.test")
	lab.Eventually(t, soon, func() error {
		out, err := node.TryDocker("exec", "ruche", "/ruche", "explain", "http://apart.test/")
		if err != nil {
			return err
		}
		if !strings.Contains(out, "network") {
			return fmt.Errorf("explain says nothing of networks:\n%s", out)
		}
		return client.Answers("http://apart.test/", http.StatusServiceUnavailable)
	})
	node.Docker("network", "connect", "web", "apart")
	lab.Eventually(t, soon, func() error { return client.IsServedBy("http://apart.test/", "apart") })
}
