package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
	"github.com/ruche-project/ruche/internal/mesh"
)

// dockerClient speaks to a front with the files of dockerFiles, a connection for each request.
func dockerClient(t *testing.T, dir string) *http.Client {
	t.Helper()
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	bundle, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil || !roots.AppendCertsFromPEM(bundle) {
		t.Fatal(err)
	}
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}}}}
}

// ping asks the front of a node for its Engine, and gives the serial that it serves with; empty when it does not answer.
func ping(c *http.Client, n *node) string {
	resp, err := c.Get("https://" + n.dockerFront.listener.Addr().String() + "/_ping")
	if err != nil {
		return ""
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return ""
	}
	return resp.TLS.PeerCertificates[0].SerialNumber.Text(16)
}

// An agent serves its Engine's API with a certificate that a control node gives: for as long as it is good, also when it starts while no control node is there; it has another one when that is
// revoked, and refuses clients that are.
func TestAnAgentServesTheDockerAPI(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	controlDir, agentDir, address, host := t.TempDir(), t.TempDir(), "", ownHost()
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
	token := joinToken(t, control, ruche.TokenRequest{Roles: []string{"agent"}, Uses: -1})
	join := func(c *config.Config) {
		c.Control, c.JoinTokenFile, c.DockerHost = []string{address}, token, engine.Host()
		c.DockerTLSAddr, c.DockerTLSNames = "127.0.0.1:0", []string{"docker1.example"}
	}
	agent := apart(t, config.Agent, agentDir, "a1", join)
	admin := api.NewClient(control.AdminAddr())
	annDir, annSerial := dockerFiles(t, admin, "ann", "docker-read")
	bobDir, _ := dockerFiles(t, admin, "bob", "docker-full")
	ann, bob := dockerClient(t, annDir), dockerClient(t, bobDir)
	await(t, "ann is served", func() bool { return ping(ann, agent) != "" })
	leaf := agent.dockerFront.own.(*agentCertificate).current.Load().Leaf
	for _, name := range []string{"a1", "localhost", "docker1.example", "127.0.0.1"} {
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}

	if _, err := admin.RevokeIssued(t.Context(), ruche.RevocationRequest{What: annSerial}); err != nil {
		t.Fatal(err)
	}
	await(t, "ann is refused", func() bool { return ping(ann, agent) == "" })
	first := ping(bob, agent)
	if _, err := admin.RevokeIssued(t.Context(), ruche.RevocationRequest{What: first}); err != nil {
		t.Fatal(err)
	}
	await(t, "another certificate is served", func() bool { now := ping(bob, agent); return now != "" && now != first })

	second := ping(bob, agent)
	agent.stop(t)
	control.stop(t)
	cfg := testConfig(t, agentDir, engine.Host())
	cfg.NodeName = "a1"
	join(cfg)
	d, err := New(t.Context(), config.Agent, cfg, "test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	agent = launch(t, d) // which is not ready: what runs on it is not known before a control node has told what it said before
	await(t, "bob is served without a control node", func() bool { return ping(bob, agent) == second })
	if ping(ann, agent) != "" {
		t.Error("ann, who is revoked, is served without a control node")
	}
	data, err := os.ReadFile(filepath.Join(agentDir, "docker-front.pem"))
	if err != nil || strings.Contains(string(data), "PRIVATE KEY") || !strings.Contains(string(data), "SEALED KEY") {
		t.Errorf("the key lies in the clear: %v", err)
	}
	agent.stop(t)
	control = startControl()
	agent = apart(t, config.Agent, agentDir, "a1", func(c *config.Config) { join(c); c.DockerTLSNames = []string{"docker2.example"} })
	await(t, "a certificate for another name", func() bool {
		return agent.dockerFront.own.(*agentCertificate).current.Load().Leaf.VerifyHostname("docker2.example") == nil
	})
	agent.stop(t)
	control.stop(t)
}

// What names an agent may have.
func TestNamesOfAgentsCertificates(t *testing.T) {
	control := apart(t, config.Control, t.TempDir(), "c1", func(c *config.Config) {
		c.NoDocker, c.AdvertiseAddr, c.MeshAddr, c.Bootstrap = true, ownHost(), ownHost()+":0", true
	})
	defer control.stop(t)
	nodes := control.control.registry.nodes
	for _, name := range []string{"a1", "a2"} {
		if _, err := nodes.Create(t.Context(), name, mesh.Node{Roles: []mesh.Role{mesh.RoleAgent}}); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(node string, names ...string) (*x509.Certificate, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		chain, err := control.dockerCertificate(t.Context(), nodes, mesh.DockerRequest{Node: node, From: netip.MustParseAddr("192.0.2.7"), Key: &key.PublicKey, Names: names})
		if err != nil {
			return nil, err
		}
		return x509.ParseCertificate(chain[0])
	}
	cert, err := ask("a1", "docker.example", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if got := cert.DNSNames; !slices.Equal(got, []string{"a1", "localhost", "docker.example"}) || len(cert.IPAddresses) != 2 || !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
		t.Errorf("the certificate is for %v %v, usages %v", got, cert.IPAddresses, cert.ExtKeyUsage)
	}
	for name, tc := range map[string]struct {
		node  string
		names []string
		want  string
	}{
		"its own again":          {"a1", []string{"docker.example"}, ""},
		"what every host has":    {"a2", []string{"localhost", "127.0.0.1"}, ""},
		"another node's name":    {"a2", []string{"A1"}, "that of node a1"},
		"the control node's":     {"a2", []string{"c1"}, "that of node c1"},
		"had by another":         {"a2", []string{"Docker.example."}, "that of node a1"},
		"where another asked":    {"a2", []string{"192.0.2.7"}, "that of node a1"},
		"a wildcard":             {"a2", []string{"*.example"}, "which the profile has not"},
		"no name":                {"a2", []string{"-"}, "must not begin"},
		"more than can be asked": {"a2", slices.Repeat([]string{"x.example"}, 17), "at most 16"},
	} {
		_, err := ask(tc.node, tc.names...)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	for range 20 {
		if _, err = ask("a3"); err != nil {
			break
		}
	}
	if _, err = ask("a3"); err == nil || !strings.Contains(err.Error(), "too many certificates") {
		t.Errorf("the 21st in an hour: %v", err)
	}
}

// TestKeptCertificateThatIsDamaged is as good as none, and says so.
func TestKeptCertificateThatIsDamaged(t *testing.T) {
	seal, err := mesh.TokenSeal("one")
	if err != nil {
		t.Fatal(err)
	}
	other, err := mesh.TokenSeal("two")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "docker-front.pem")
	a := keptCertificate{file, "key of a test", mesh.Safe{seal}}
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a1"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.save(&tls.Certificate{PrivateKey: key, Certificate: [][]byte{der}}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.load(); err != nil {
		t.Errorf("what was kept: %v", err)
	}
	a.safe = mesh.Safe{other}
	if _, err := a.load(); err == nil {
		t.Error("another seal opens it")
	}
	a.safe = mesh.Safe{seal}
	if err := a.save(&tls.Certificate{PrivateKey: newKey(t), Certificate: [][]byte{der}}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.load(); err == nil {
		t.Error("the certificate is for another key, and taken")
	}
	for name, content := range map[string][]byte{"empty": nil, "no key": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), "no PEM": []byte("x")} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := a.load(); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}
