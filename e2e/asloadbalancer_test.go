//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/e2e/lab"
)

// Ruche is the load balancer in front of two clusters. It alone has public certificates; the hop has those of the clusters' own authorities.
func TestAsTheLoadBalancer(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 3, lab.Options{})
	first, a, b := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	pebble := first.StartPebble(first.Address)
	clusterA, clusterB := a.StartRuche("--trusted-proxies", first.Address), b.StartRuche("--trusted-proxies", first.Address, "--acme-ca", "internal")
	a.Run("shop", "--env", "VIRTUAL_HOST=shop.test")
	b.Run("wiki", "--env", "VIRTUAL_HOST=wiki.test")
	clusterA.WriteRoutes("hop.yaml", hopByAuthority)
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
		isVouchedFor(t, first, name, root)
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

	load := client.StartLoad("https://shop.test/", loadRate/5)
	before := hopSerial(t, a, "cluster-a.internal")
	verb(t, clusterA, "certs", "renew", "cluster-a.internal")
	lab.Eventually(t, aMinute, func() error { return otherHop(t, a, before) })
	if err := load.End(); err != nil {
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
	revokeHop(t, a, clusterA, front, client)
	if n := pebble.Orders(); n != 2 {
		t.Errorf("the CA has taken %d orders, want one for each name, all of the load balancer", n)
	}
}

// What cluster A shows to the load balancer: a certificate that is looked after, or a file that nobody looks after.
const (
	hopByAuthority = "certificates:\n  - names: [cluster-a.internal]\n    issuer: internal\n"
	hopByFile      = "routes:\n  - {host: cluster-a.internal, tls: file, endpoints: [\"http://127.0.0.1:1\"]}\n"
)

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

// revokeHop revokes the hop's certificate, while visitors come: it is replaced at once. Then one is revoked that the cluster goes on showing, since it is in a file.
func revokeHop(t *testing.T, a *lab.Node, cluster, front *lab.Ruche, client *lab.Client) {
	t.Helper()
	const name = "cluster-a.internal"
	load := client.StartLoad("https://shop.test/", loadRate/5) // that connections are in use must not keep a revoked certificate alive
	before := hopSerial(t, a, name)
	verb(t, cluster, "ca", "revoke", name, "--all") // the one before as well: sessions that began with it go on
	lab.Eventually(t, aMinute, func() error { return otherHop(t, a, before) })
	write(t, front, "cluster-a.crl.pem", verb(t, cluster, "ca", "export", "--crl"))
	if err := load.End(); err != nil {
		t.Errorf("while the certificate of the hop was revoked: %v", err)
	}
	t.Log(load)

	before = hopSerial(t, a, name)
	verb(t, cluster, "ca", "issue", name, "--out", cluster.CertsDir)
	cluster.WriteRoutes("hop.yaml", hopByFile)
	lab.Eventually(t, aMinute, func() error { return otherHop(t, a, before) })
	if err := client.IsServedBy("https://shop.test/", "shop"); err != nil {
		t.Error(err)
	}
	load = client.StartLoad("https://shop.test/", loadRate/5)
	verb(t, cluster, "ca", "revoke", name, "--all")
	write(t, front, "cluster-a.crl.pem", verb(t, cluster, "ca", "export", "--crl"))
	lab.Eventually(t, aMinute, func() error { return refusedBecause(front, client, "it was revoked") })
	_ = load.End()
	cluster.WriteRoutes("hop.yaml", hopByAuthority)
	lab.Eventually(t, aMinute, func() error { return client.IsServedBy("https://shop.test/", "shop") })
	if err := client.IsServedBy("https://wiki.test/", "wiki"); err != nil {
		t.Error(err)
	}
}

// otherHop returns an error while a node shows the hop's certificate of before.
func otherHop(t *testing.T, n *lab.Node, before string) error {
	t.Helper()
	if hopSerial(t, n, "cluster-a.internal") == before {
		return fmt.Errorf("the certificate of the hop is still %s", before)
	}
	return nil
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
