//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
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
		lab.Eventually(t, aMinute, func() error { return isVouchedFor(t.Context(), balancer, name, root) })
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

// isVouchedFor returns an error until a name is served with a certificate for it that leads to the root.
func isVouchedFor(ctx context.Context, n *lab.Node, name string, root *x509.CertPool) error {
	conn, err := n.Dial(ctx, "443")
	if err != nil {
		return err
	}
	defer conn.Close()
	return tls.Client(conn, &tls.Config{ServerName: name, RootCAs: root}).HandshakeContext(ctx)
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
const crowd, crowdRate, crowdCount = 8, 20, 160

// edgesComeAndGo stops an edge and starts it again under load, and then kills the other one.
func edgesComeAndGo(t *testing.T, balancer *lab.Node, edges []*lab.Ruche) {
	t.Helper()
	begin := func() (loads []*lab.Load) {
		for range crowd {
			loads = append(loads, balancer.Client().StartLoad("https://shop.test/", crowdRate, crowdCount))
		}
		<-loads[0].UnderWay()
		return loads
	}
	end := func(loads []*lab.Load) (failed int, all error) {
		for _, load := range loads {
			if err := load.Wait(); err != nil {
				all = err
			}
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

// Ruche is the load balancer in front of two clusters. It alone has public certificates; the hop has those of the clusters' own authorities.
func TestAsTheLoadBalancer(t *testing.T) {
	l := lab.New(t, 3, lab.Options{})
	first, a, b := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	pebble := first.StartPebble(first.Address)
	clusterA, clusterB := a.StartRuche("--trusted-proxies", first.Address), b.StartRuche("--trusted-proxies", first.Address, "--acme-ca", "internal")
	a.Run("shop", "--env", "VIRTUAL_HOST=shop.test")
	b.Run("wiki", "--env", "VIRTUAL_HOST=wiki.test")
	clusterA.WriteRoutes("hop.yaml", "certificates:\n  - names: [cluster-a.internal]\n    issuer: internal\n")
	// They are asked for before there is an authority, which must not matter when it is made.
	lab.Eventually(t, soon, func() error { return lists(clusterA, "ruche ca init") })
	front := first.StartRuche("--no-docker", "--acme-email", "people@shop.test", "--acme-ca", pebble.Directory, "--acme-ca-bundle", pebble.Bundle)
	bundles := map[*lab.Ruche]string{}
	for cluster, names := range map[*lab.Ruche]string{clusterA: "internal", clusterB: "wiki.test"} {
		if _, err := cluster.Verb("ca", "init", "--permit", names); err != nil {
			t.Fatal(err)
		}
		bundles[cluster] = verb(t, cluster, "ca", "export")
	}
	write(t, front, "cluster-a.ca.crt", bundles[clusterB]) // the wrong one
	write(t, front, "cluster-b.ca.crt", bundles[clusterB])
	front.WriteRoutes("clusters.yaml", `routes:
  - host: shop.test
    endpoints: ["https://10.99.0.2:443"]
    endpoint_tls: {ca: cluster-a, server_name: cluster-a.internal}
  - host: wiki.test
    endpoints: ["https://10.99.0.3:443"]
    endpoint_tls: {ca: cluster-b, server_name: wiki.test}
`)
	client := first.Client()
	root, err := pebble.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shop.test", "wiki.test"} {
		lab.Eventually(t, aMinute, func() error { return isVouchedFor(t.Context(), first, name, root) })
	}
	lab.Eventually(t, aMinute, func() error { return refusedBecause(front, client, "unknown authority") })
	write(t, front, "cluster-a.ca.crt", bundles[clusterA])
	lab.Eventually(t, aMinute, func() error { return client.IsServedBy("https://shop.test/", "shop") })
	for _, name := range []string{"shop", "wiki"} {
		site, err := client.Site("https://" + name + ".test/")
		if err != nil {
			t.Fatal(err)
		}
		from, _, _ := strings.Cut(site.Headers.Get("X-Forwarded-For"), ",")
		if site.Site != name || from != visitor || site.Headers.Get("X-Forwarded-Proto") != "https" {
			t.Errorf("%s is served by %s, which is told %v", name, site.Site, site.Headers)
		}
	}
	strangersGetNothing(t, a)

	load := client.StartLoad("https://shop.test/", loadRate/5, loadCount)
	before := hopSerial(t, a, "cluster-a.internal")
	verb(t, clusterA, "certs", "renew", "cluster-a.internal")
	lab.Eventually(t, aMinute, func() error {
		if hopSerial(t, a, "cluster-a.internal") == before {
			return fmt.Errorf("the certificate of the hop is still %s", before)
		}
		return nil
	})
	<-load.UnderWay()
	load.Stop()
	if err := load.Wait(); err != nil {
		t.Errorf("while the certificate of the hop was renewed: %v", err)
	}
	t.Log(load)

	first.StartHAProxy(fmt.Sprintf(endsTLS, filepath.Join(front.CertsDir, "cluster-a.ca.crt")))
	lab.Eventually(t, aMinute, func() error {
		site, err := client.Site("http://shop.test:8080/")
		if from, _, _ := strings.Cut(site.Headers.Get("X-Forwarded-For"), ","); err == nil && (from != visitor || site.Headers.Get("X-Forwarded-Proto") != "https") {
			err = fmt.Errorf("behind HAProxy the site is told %v", site.Headers)
		}
		return err
	})
	revokeHop(t, clusterA, front, client)
	if n := pebble.Orders(); n != 2 {
		t.Errorf("the CA has taken %d orders, want one for each name, all of the load balancer", n)
	}
}

// endsTLS is HAProxy in front of cluster A, without TLS of its own, as docs/load-balancer.md has it.
const endsTLS = `defaults
    mode http
    timeout connect 2s
    timeout client 1m
    timeout server 1m

frontend web
    bind :8080
    default_backend cluster_a
backend cluster_a
    http-request set-header X-Forwarded-Proto https
    option forwardfor
    server edge1 10.99.0.2:443 ssl verify required ca-file %s sni str(cluster-a.internal) verifyhost cluster-a.internal check check-sni cluster-a.internal
`

// revokeHop revokes the hop's certificate, while visitors come, and has another one issued.
func revokeHop(t *testing.T, cluster, front *lab.Ruche, client *lab.Client) {
	t.Helper()
	load := client.StartLoad("https://shop.test/", loadRate/5, loadCount) // that connections are in use must not keep a revoked certificate alive
	verb(t, cluster, "ca", "revoke", "cluster-a.internal", "--all")       // the one before as well: sessions that began with it go on
	write(t, front, "cluster-a.crl.pem", verb(t, cluster, "ca", "export", "--crl"))
	lab.Eventually(t, aMinute, func() error { return refusedBecause(front, client, "it was revoked") })
	load.Stop()
	_ = load.Wait()
	verb(t, cluster, "certs", "renew", "cluster-a.internal")
	lab.Eventually(t, aMinute, func() error { return client.IsServedBy("https://shop.test/", "shop") })
	if err := client.IsServedBy("https://wiki.test/", "wiki"); err != nil {
		t.Error(err)
	}
}

// refusedBecause returns an error until the front refuses cluster A, and says why.
func refusedBecause(front *lab.Ruche, client *lab.Client, reason string) error {
	if err := client.Answers("https://shop.test/", http.StatusBadGateway); err != nil {
		return err
	}
	ex, err := front.Explain("https://shop.test/")
	if err == nil && !strings.Contains(strings.Join(ex.Reasons, "\n"), reason) {
		err = fmt.Errorf("the 502 is explained by %q, want %q", ex.Reasons, reason)
	}
	return err
}

// strangersGetNothing checks that a node answers no handshake for a name that nobody has asked for.
func strangersGetNothing(t *testing.T, n *lab.Node) {
	t.Helper()
	conn, err := n.Dial(t.Context(), "443")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = tls.Client(conn, &tls.Config{ServerName: "stranger.test", InsecureSkipVerify: true}).Handshake() //nolint:gosec // it is to fail
	if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("a stranger's name is answered by %v", err)
	}
}

// hopSerial gives the serial number of the certificate that a node shows for a name.
func hopSerial(t *testing.T, n *lab.Node, name string) string {
	t.Helper()
	conn, err := n.Dial(t.Context(), "443")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	secure := tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // the serial number is all that is asked
	if err := secure.Handshake(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return fmt.Sprintf("%x", secure.ConnectionState().PeerCertificates[0].SerialNumber)
}

// lists returns an error until "ruche certs list" has a text in it.
func lists(r *lab.Ruche, text string) error {
	out, err := r.Verb("certs", "list")
	if err == nil && !strings.Contains(out, text) {
		err = fmt.Errorf("ruche certs list has no %q: %s", text, out)
	}
	return err
}

func verb(t *testing.T, r *lab.Ruche, args ...string) string {
	t.Helper()
	out, err := r.Verb(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// write puts a file into the directory of a ruche's certificates, at once.
func write(t *testing.T, r *lab.Ruche, name, content string) {
	t.Helper()
	path := filepath.Join(r.CertsDir, name)
	err := os.WriteFile(path+".new", []byte(content+"\n"), 0o644)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}
