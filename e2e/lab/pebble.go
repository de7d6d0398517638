package lab

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Pebble is Let's Encrypt's ACME server for tests on a node of its own or of others, strict, with its own name server. It refuses every tenth nonce and
// takes up an authorization of before in half of all cases.
type Pebble struct {
	node    *Node
	process *process
	// Directory is the URL of its ACME directory, Bundle the file with the certificate by which that is trusted.
	Directory, Bundle string
	http              *http.Client
	command           []string
	env               []string
}

// pebbleProfiles are what it can issue, with the lifetimes in seconds.
func pebbleProfiles() map[string]any {
	profile := func(life time.Duration) map[string]any {
		return map[string]any{"description": life.String(), "validityPeriod": int(life.Seconds())}
	}
	day := 24 * time.Hour
	return map[string]any{"classic": profile(90 * day), "tlsserver": profile(45 * day), "shortlived": profile(160 * time.Hour)}
}

// StartPebble starts it on the node. Names lead to the address that is given, until PointTo says otherwise.
func (n *Node) StartPebble(address string) *Pebble {
	n.lab.t.Helper()
	dir := filepath.Join(n.dir, "pebble")
	n.lab.must(os.MkdirAll(dir, 0o755))
	p := &Pebble{node: n, Directory: "https://" + net.JoinHostPort(n.Address, "14000") + "/dir", Bundle: filepath.Join(dir, "server.crt")}
	key := filepath.Join(dir, "server.key")
	n.lab.must(selfSign(n.Address, p.Bundle, key))
	at := func(port string) string { return net.JoinHostPort(n.Address, port) }
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": at("14000"), "managementListenAddress": at("15000"), "certificate": p.Bundle, "privateKey": key, "httpPort": 80, "tlsPort": 443,
		"retryAfter": map[string]int{"authz": 1, "order": 1}, "keyAlgorithm": "ecdsa", "profiles": pebbleProfiles(),
	}})
	n.lab.must(err)
	names, err := n.start("pebble-dns", nil, append(n.enter(), goTool(n.lab, "pebble-challtestsrv"), "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "",
		"-dnsserver", at("8053"), "-management", at("8055"), "-defaultIPv4", address, "-defaultIPv6", "")...)
	n.lab.must(err)
	n.others = append(n.others, names)
	p.command = append(n.enter(), goTool(n.lab, "pebble"), "-strict", "-config", n.lab.File(dir, "pebble.json", string(config)), "-dnsserver", at("8053"))
	// It locks orders and authorizations in different orders, and twice over, and comes to a standstill when goroutines meet between two locks. One at a time hardly ever does there.
	p.env = []string{"GOMAXPROCS=1", "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=10", "PEBBLE_AUTHZREUSE=50"}
	p.http = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, target string) (net.Conn, error) {
			return n.lab.net.dial(ctx, network, target)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // it is the lab's own
	}}
	n.lab.t.Cleanup(p.http.CloseIdleConnections)
	p.Start()
	Eventually(n.lab.t, 30*time.Second, func() error {
		_, err := p.ask(http.MethodPost, "http://"+at("8055")+"/clear-caa", map[string]string{"host": "none.test"})
		return err
	})
	return p
}

// goTool gives the path of a tool of the module, built.
func goTool(l *Lab, name string) string {
	l.t.Helper()
	cmd := exec.Command("go", "tool", "-n", name)
	cmd.Dir = moduleDir()
	out, err := cmd.Output()
	l.must(err)
	return strings.TrimSpace(string(out))
}

// Start starts it, or starts it again after Stop. It forgets all that it knew.
func (p *Pebble) Start() {
	p.node.lab.t.Helper()
	var err error
	p.process, err = p.node.start("pebble", p.env, p.command...)
	p.node.lab.must(err)
	p.node.others = append(p.node.others, p.process)
	Eventually(p.node.lab.t, 30*time.Second, func() error {
		if err := p.process.running(); err != nil {
			p.node.lab.t.Fatal(err)
		}
		_, err := p.ask(http.MethodGet, p.Directory, nil)
		return err
	})
}

// Stop ends it.
func (p *Pebble) Stop() {
	p.node.lab.t.Helper()
	p.node.lab.must(p.process.stop(syscall.SIGTERM, 10*time.Second))
}

// PointTo has a name lead to addresses.
func (p *Pebble) PointTo(name string, addresses ...string) {
	p.node.lab.t.Helper()
	_, err := p.ask(http.MethodPost, "http://"+net.JoinHostPort(p.node.Address, "8055")+"/add-a", map[string]any{"host": name, "addresses": addresses})
	p.node.lab.must(err)
}

// SetRenewalInfo sets what it answers who asks when to renew a certificate (RFC 9773), given in PEM: the window, as an answer in JSON.
func (p *Pebble) SetRenewalInfo(certificate, answer string) error {
	_, err := p.ask(http.MethodPost, "https://"+net.JoinHostPort(p.node.Address, "15000")+"/set-renewal-info/", map[string]string{"certificate": certificate, "ariResponse": answer})
	return err
}

// Root gives the root that its certificates lead to.
func (p *Pebble) Root() (*x509.CertPool, error) {
	text, err := p.ask(http.MethodGet, "https://"+net.JoinHostPort(p.node.Address, "15000")+"/roots/0", nil)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(text)) {
		return nil, fmt.Errorf("pebble's root is no certificate: %.100q", text)
	}
	return pool, nil
}

// Orders counts the orders that it has taken since it was started.
func (p *Pebble) Orders() int {
	log, err := os.ReadFile(p.process.log)
	p.node.lab.must(err)
	return bytes.Count(log, []byte("Added order "))
}

// ask sends a request to it or to its name server.
func (p *Pebble) ask(method, url string, body any) (string, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequest(method, url, bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %.200s", method, url, resp.Status, answer)
	}
	return string(answer), err
}

// selfSign writes a certificate for an IP address, and its key.
func selfSign(address, certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: address}, IPAddresses: []net.IP{net.ParseIP(address)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return err
	}
	return os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)
}
