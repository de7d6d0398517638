package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/pebbletest"
)

// issueNames is how many names are published at once.
const issueNames = 200

// BenchmarkFirstIssue measures how long it takes from publishing 200 names until each is served with a certificate of an ACME CA: Pebble, in this process, which rejects one nonce in ten and uses
// no authorization twice. The proxy runs with an empty table before. Caddy takes part where it was built, as scripts/bench does.
func BenchmarkFirstIssue(b *testing.B) {
	b.Chdir("..") // where programs are found
	for _, p := range []struct {
		name  string
		start func(*issue) (publish func() error)
	}{{"ruche", (*issue).ruche}, {"caddy", (*issue).caddy}} {
		b.Run(p.name, func(b *testing.B) {
			program, err := findProgram(p.name)
			if err != nil {
				b.Skip(err)
			}
			free := &bench{port: 18300}
			i := &issue{B: b, program: program, dir: b.TempDir(), http: free.address(), https: free.address(), admin: free.address()}
			i.ca = pebbletest.Start(b, pebbletest.Options{HTTPPort: port(i.http), TLSPort: port(i.https), AuthzReuse: -1})
			i.bundle = filepath.Join(i.dir, "roots.pem")
			i.write(i.bundle, i.ca.Bundle())
			publish := p.start(i)
			begin, before := time.Now(), i.process.cpu()
			if err := publish(); err != nil {
				b.Fatal(err)
			}
			i.await()
			b.ReportMetric(time.Since(begin).Seconds(), "s")
			b.ReportMetric((i.process.cpu() - before).Seconds(), "cpu-s")
			b.ReportMetric(float64(i.ca.Made(pebbletest.NewOrder)), "orders")
			b.ReportMetric(0, "ns/op")
		})
	}
}

type issue struct {
	*testing.B
	ca                   *pebbletest.CA
	process              *process
	program, dir, bundle string
	http, https, admin   string
}

func issueName(n int) string { return fmt.Sprintf("n%d.issue.example", n) }

func port(address string) int { return int(netip.MustParseAddrPort(address).Port()) }

func (i *issue) write(file string, content []byte) {
	i.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		i.Fatal(err)
	}
}

// run starts the proxy, and waits until a URL at its admin address answers.
func (i *issue) run(ready string, args ...string) {
	i.Helper()
	p, err := start(filepath.Base(i.program), filepath.Join(i.dir, "log"), append([]string{i.program}, args...))
	if err != nil {
		i.Fatal(err)
	}
	i.process = p
	i.Cleanup(p.stop)
	i.until("an answer at "+ready, func() bool {
		resp, err := http.Get("http://" + i.admin + ready)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
}

func (i *issue) until(what string, condition func() bool) {
	i.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !condition(); {
		if err := i.process.ended(); err != nil {
			i.Fatal(err)
		}
		if time.Now().After(deadline) {
			i.Fatalf("waited five minutes for %s", what)
		}
		_ = pause(i.Context(), 50*time.Millisecond)
	}
}

// await waits until each name is served with a certificate of the CA.
func (i *issue) await() {
	i.Helper()
	roots := x509.NewCertPool()
	for _, root := range i.ca.Roots() {
		roots.AddCert(root)
	}
	next := 0
	i.until(fmt.Sprintf("%d certificates", issueNames), func() bool {
		for ; next < issueNames; next++ {
			d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{ServerName: issueName(next), RootCAs: roots}}
			conn, err := d.DialContext(i.Context(), "tcp", i.https)
			if err != nil {
				return false
			}
			_ = conn.Close()
		}
		return true
	})
}

func (i *issue) ruche() func() error {
	routes := filepath.Join(i.dir, "routes")
	if err := os.Mkdir(routes, 0o755); err != nil {
		i.Fatal(err)
	}
	i.run("/readyz", "up", "--no-docker", "--routes-dir", routes, "--certs-dir", filepath.Join(i.dir, "certs"), "--data-dir", filepath.Join(i.dir, "data"), "--http-addr", i.http, "--https-addr", i.https,
		"--admin-addr", i.admin, "--acme-email", "ops@issue.example", "--acme-ca", i.ca.Directory(), "--acme-ca-bundle", i.bundle)
	return func() error {
		var text bytes.Buffer
		text.WriteString("routes:\n")
		for n := range issueNames {
			fmt.Fprintf(&text, "  - {host: %s, endpoints: [\"http://127.0.0.1:1\"]}\n", issueName(n))
		}
		return os.WriteFile(filepath.Join(routes, "issue.yaml"), text.Bytes(), 0o600)
	}
}

func (i *issue) caddy() func() error {
	config := func(hosts []string) []byte {
		server := map[string]any{"listen": []string{i.http, i.https}}
		if len(hosts) > 0 {
			server["routes"] = []any{map[string]any{"match": []any{map[string]any{"host": hosts}}, "handle": []any{map[string]any{"handler": "reverse_proxy", "upstreams": []any{map[string]any{"dial": "127.0.0.1:1"}}}}}}
		}
		issuer := map[string]any{"module": "acme", "ca": i.ca.Directory(), "email": "ops@issue.example", "trusted_roots_pem_files": []string{i.bundle}}
		text, err := json.Marshal(map[string]any{
			"admin": map[string]any{"listen": i.admin, "config": map[string]any{"persist": false}}, "storage": map[string]any{"module": "file_system", "root": filepath.Join(i.dir, "data")},
			"apps": map[string]any{
				"http": map[string]any{"http_port": port(i.http), "https_port": port(i.https), "servers": map[string]any{"issue": server}},
				"tls":  map[string]any{"automation": map[string]any{"policies": []any{map[string]any{"issuers": []any{issuer}}}}},
			},
		})
		if err != nil {
			i.Fatal(err)
		}
		return text
	}
	file := filepath.Join(i.dir, "caddy.json")
	i.write(file, config(nil))
	i.run("/config/", "run", "--config", file)
	var hosts []string
	for n := range issueNames {
		hosts = append(hosts, issueName(n))
	}
	return func() error { return caddyLoad(i.Context(), i.admin, bytes.NewReader(config(hosts))) }
}
