//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche/e2e/lab"
)

// visitor is the address that the lab's clients come from, when they come from outside of the nodes.
const visitor = "10.99.0.254"

// passThrough is HAProxy as docs/load-balancer.md has it, with a check that is quicker, for the scenario's sake.
const passThrough = `defaults
    mode tcp
    timeout connect 2s
    timeout client 1m
    timeout server 1m
    retries 3
    option redispatch 1

frontend http
    bind :80
    default_backend ruche_http
frontend https
    bind :443
    default_backend ruche_https

backend ruche_http
    balance leastconn
    option httpchk GET /readyz
    server edge1 10.99.0.2:80 send-proxy-v2 check port 8900 inter 500ms fall 2 rise 1
    server edge2 10.99.0.3:80 send-proxy-v2 check port 8900 inter 500ms fall 2 rise 1
backend ruche_https
    balance leastconn
    option httpchk GET /readyz
    server edge1 10.99.0.2:443 send-proxy-v2 check port 8900 inter 500ms fall 2 rise 1
    server edge2 10.99.0.3:443 send-proxy-v2 check port 8900 inter 500ms fall 2 rise 1
`

// HAProxy passes TCP through to two edges, and names lead to it alone. Certificates are ordered through it, the site knows its visitors, edges come and go.
func TestBehindALoadBalancer(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 3, lab.Options{})
	balancer := l.Nodes[0]
	pebble := balancer.StartPebble(balancer.Address)
	edges, agent := edgesBehind(t, l, pebble)
	balancer.StartHAProxy(passThrough)
	client := balancer.Client()
	lab.Eventually(t, aMinute, func() error { return client.Answers("http://none.test/", 503) }) // the edges' answer

	balancer.Run("shop", "--publish", "8081:8080")
	agent.WriteRoutes("sites.yaml", `routes:
  - {host: shop.test, endpoints: ["http://10.99.0.1:8081"], tls: {mode: acme, challenge: tls-alpn-01}}
  - {host: wiki.test, endpoints: ["http://10.99.0.1:8081"], tls: {mode: acme, challenge: http-01}}
`)
	root, err := pebble.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shop.test", "wiki.test"} {
		isVouchedFor(t, balancer, name, root)
		site, err := client.Site("https://" + name + "/")
		if err != nil {
			t.Fatal(err)
		}
		if got := site.Headers.Get("X-Forwarded-For"); got != visitor {
			t.Errorf("%s sees visitors of %q, want %s", name, got, visitor)
		}
	}
	if n := pebble.Orders(); n != 2 {
		t.Errorf("the CA has taken %d orders, want one for each name", n)
	}
	nobodyIsBelieved(t, balancer, l.Nodes[1])
	edgesComeAndGo(t, balancer, edges)
}

// edgesBehind starts a control node and an agent on the first node, and on each of the others an edge, which believes in PROXY headers of the first one.
func edgesBehind(t *testing.T, l *lab.Lab, pebble *lab.Pebble) (edges []*lab.Ruche, agent *lab.Ruche) {
	t.Helper()
	first, dir := l.Nodes[0], l.Dir("secrets")
	control := first.Role("control", "--no-docker", "--bootstrap", "--advertise-addr", first.Address, "--join-token-file", dir+"/control", "--seal-key-file",
		l.File(dir, "seal", base64.StdEncoding.EncodeToString(make([]byte, 32))), "--acme-email", "people@shop.test", "--acme-ca", pebble.Directory, "--acme-ca-bundle", pebble.Bundle)
	control.Start()
	for _, role := range []string{"edge", "agent"} {
		token, err := control.Verb("nodes", "token", "--role", role)
		if err != nil {
			t.Fatal(err)
		}
		l.File(dir, role, token)
	}
	agent = first.Role("agent", "--no-docker", "--join-token-file", dir+"/agent", "--control", first.Address)
	for _, n := range l.Nodes[1:] {
		edges = append(edges, n.Role("edge", "--join-token-file", dir+"/edge", "--control", first.Address, "--admin-addr", ":8900", "--proxy-protocol", first.Address))
	}
	started := append([]*lab.Ruche{agent}, edges...)
	for _, r := range started {
		r.Launch()
	}
	for _, r := range started {
		r.AwaitReady()
	}
	return edges, agent
}

// isVouchedFor waits until a node serves a name with a certificate for it that leads to the root.
func isVouchedFor(t *testing.T, n *lab.Node, name string, root *x509.CertPool) {
	t.Helper()
	lab.Eventually(t, aMinute, func() error {
		_, err := n.Certificate(name, root)
		return err
	})
}

// nobodyIsBelieved checks that who is not the load balancer cannot make up an address, and that the load balancer has to tell one.
func nobodyIsBelieved(t *testing.T, balancer, edge *lab.Node) {
	t.Helper()
	const header = "PROXY TCP4 192.0.2.66 192.0.2.1 4711 443\r\n"
	dial := func(n *lab.Node, port, begin string) net.Conn {
		conn, err := n.Dial(t.Context(), port)
		if err == nil {
			_, err = io.WriteString(conn, begin)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(soon))
		return conn
	}
	for _, n := range []*lab.Node{edge, balancer} { // straight at an edge, and behind the header of the load balancer
		answer, err := http.ReadResponse(bufio.NewReader(dial(n, "80", header+"GET / HTTP/1.1\r\nHost: wiki.test\r\n\r\n")), nil)
		if err != nil || answer.StatusCode != http.StatusBadRequest {
			t.Errorf("a made-up PROXY header at port 80 of %s is answered by %v, %v, want 400", n.Name, answer, err)
		}
		secure := tls.Client(dial(n, "443", header), &tls.Config{ServerName: "shop.test", InsecureSkipVerify: true}) //nolint:gosec // it is to fail
		if err := secure.Handshake(); err == nil {
			t.Errorf("a made-up PROXY header at port 443 of %s is taken", n.Name)
		}
	}
	forged := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: "shop.test", Path: "/"}, Header: http.Header{"X-Forwarded-For": {"192.0.2.66"}}}
	if answer, err := balancer.Client().Do(forged); err != nil || strings.Contains(answer.Body, "192.0.2.66") {
		t.Errorf("the site sees a made-up address: %v, %v", answer.Body, err)
	}
	if answer, err := balancer.LocalClient().Get("http://" + edge.Address + "/"); err == nil {
		t.Errorf("without a PROXY header the load balancer's address is answered by %d", answer.Status)
	}
}

// crowd are visitors at a load balancer, each with a connection of its own, and how often each of them asks in a second.
const crowd, crowdRate = 8, 20

// edgesComeAndGo stops an edge and starts it again under load, and then kills the other one.
func edgesComeAndGo(t *testing.T, balancer *lab.Node, edges []*lab.Ruche) {
	t.Helper()
	begin := func() (loads []*lab.Load) {
		for range crowd {
			loads = append(loads, balancer.Client().StartLoad("https://shop.test/", crowdRate))
		}
		<-loads[0].UnderWay()
		return loads
	}
	end := func(loads []*lab.Load) (failed int, all error) {
		all = errors.Join(endAll(loads...)...)
		for _, load := range loads {
			failed += load.Failed()
		}
		t.Log(loads[0])
		return failed, all
	}
	loads := begin()
	edges[0].Stop()
	edges[0].Start()
	lab.Eventually(t, aMinute, func() error { return getsVisitors(balancer, edges[0]) })
	if _, err := end(loads); err != nil {
		t.Errorf("an edge was stopped and started: %v", err)
	}

	loads = begin()
	edges[1].Kill()
	failed, err := end(loads)
	t.Logf("an edge was killed under %d requests a second: %d failed", crowd*crowdRate, failed)
	// What was under way there is lost. New connections go to the other edge at once, as this one refuses them.
	if most := crowd * crowdRate / 4; failed > most {
		t.Errorf("more than %d failed: %v", most, err)
	}
	if err := balancer.Client().IsServedBy("https://shop.test/", "shop"); err != nil {
		t.Error(err)
	}
}

// getsVisitors returns an error until a visitor at the load balancer has come to the edge.
func getsVisitors(balancer *lab.Node, edge *lab.Ruche) error {
	before := len(edge.AccessLog())
	if err := balancer.Client().IsServedBy("https://shop.test/", "shop"); err != nil {
		return err
	}
	if len(edge.AccessLog()) == before {
		return fmt.Errorf("the load balancer does not send anybody to the edge")
	}
	return nil
}
