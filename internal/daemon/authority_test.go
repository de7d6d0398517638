package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// dockerFiles issues a certificate and lays it out as the docker command wants it.
func dockerFiles(t *testing.T, client *api.Client, name, profile string) (dir, serial string) {
	t.Helper()
	key := newKey(t)
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := client.SignCertificate(t.Context(), ruche.SigningRequest{Request: request, Names: []string{name}, Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := client.AuthorityFile(t.Context(), "docker.pem")
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for file, content := range map[string][]byte{"ca.pem": bundle, "cert.pem": signed.Chain, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, signed.Serial
}

// TestDockerOverTLS has one host serve its Engine's API, and the docker command use it: by its role, until it is revoked.
func TestDockerOverTLS(t *testing.T) {
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("there is no docker command")
	}
	engine := fakeengine.New(t)
	dir := t.TempDir()
	cfg := testConfig(t, dir, engine.Host())
	cfg.DockerTLSAddr = "127.0.0.1:0"
	d, err := New(t.Context(), config.All, cfg, "test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := serve(t, d)
	defer n.stop(t)
	client := api.NewClient(n.AdminAddr())
	run := func(certs string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), "docker", args...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST=tcp://"+d.dockerFront.listener.Addr().String(), "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH="+certs, "DOCKER_CONFIG="+certs, "DOCKER_CONTEXT=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return err.Error() + ": " + string(out)
		}
		return string(out)
	}
	ann, serial := dockerFiles(t, client, "ann", "docker-read")
	bob, _ := dockerFiles(t, client, "bob@corp.example", "docker-full")
	await(t, "docker ps works", func() bool { return strings.HasPrefix(run(ann, "ps"), "CONTAINER ID") }) // the certificate is there soon after the start
	if out := run(bob, "ps"); !strings.HasPrefix(out, "CONTAINER ID") {
		t.Errorf("docker ps of bob: %s", out)
	}
	if out := run(ann, "rm", "-f", "x"); !strings.Contains(out, "good for looking alone") {
		t.Errorf("docker rm of ann: %s", out)
	}
	if out := run(bob, "rm", "x"); strings.Contains(out, "good for looking alone") {
		t.Errorf("docker rm of bob: %s", out)
	}
	if _, err := client.RevokeIssued(t.Context(), ruche.RevocationRequest{What: serial, Reason: "keyCompromise"}); err != nil {
		t.Fatal(err)
	}
	if out := run(ann, "ps"); strings.HasPrefix(out, "CONTAINER ID") {
		t.Errorf("docker ps of ann, who is revoked: %s", out)
	}
	list, err := client.IssuedCertificates(t.Context(), "")
	if err != nil || len(list.Certificates) != 3 {
		t.Errorf("issued are %v, %v", list, err)
	}
}

func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after 20 s", what)
		}
	}
}

func TestAuthorityOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	engine := fakeengine.New(t)
	n := start(t, dir, engine.Host())
	client := api.NewClient(n.AdminAddr())
	if _, err := client.BeginAuthorities(t.Context(), ruche.AuthorityRequest{Names: []string{"services", "clients"}, Permit: []string{"corp.example"}}); err != nil {
		t.Fatal(err)
	}
	before, err := client.AuthorityFile(t.Context(), "bundle.pem")
	if err != nil {
		t.Fatal(err)
	}
	n.stop(t)
	n = start(t, dir, engine.Host())
	client = api.NewClient(n.AdminAddr())
	after, err := client.AuthorityFile(t.Context(), "bundle.pem")
	if err != nil || string(after) != string(before) {
		t.Errorf("the bundle after a restart is %s, %v", after, err)
	}
	dockerFiles(t, client, "ann", "docker-read")
	for _, file := range []string{"services.crl.pem", "services-i2.crl", "clients.pem"} {
		resp, err := http.Get("http://" + n.AdminAddr() + "/ca/" + file)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || len(body) < 100 {
			t.Errorf("%s: %d, %d bytes", file, resp.StatusCode, len(body))
		}
	}
	n.stop(t)
}

// TestAnotherSealingKey: nothing is signed, and the warning says why.
func TestAnotherSealingKey(t *testing.T) {
	dir := t.TempDir()
	engine := fakeengine.New(t)
	n := start(t, dir, engine.Host())
	if _, err := n.ca.Begin(t.Context(), ruche.AuthorityRequest{Names: []string{"services"}}); err != nil {
		t.Fatal(err)
	}
	n.stop(t)
	if err := os.Remove(filepath.Join(dir, "seal.key")); err != nil {
		t.Fatal(err)
	}
	n = start(t, dir, engine.Host())
	defer n.stop(t)
	await(t, "the warning", func() bool {
		return slices.ContainsFunc(n.health.List(), func(w ruche.Warning) bool { return w.Code == ruche.CodeCAKeyUnreadable && w.Subject == "services" })
	})
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestDockerOverTLSIsHandedOver has an upgrade: the next process takes the port over, and knows the clients of before.
func TestDockerOverTLSIsHandedOver(t *testing.T) {
	engine, dir := fakeengine.New(t), t.TempDir()
	next := func() *node {
		cfg := testConfig(t, dir, engine.Host())
		cfg.DockerTLSAddr = "127.0.0.1:0"
		d, err := New(t.Context(), config.All, cfg, "test", slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		return serve(t, d)
	}
	old := next()
	certs, _ := dockerFiles(t, api.NewClient(old.AdminAddr()), "ann", "docker-read")
	pair, err := tls.LoadX509KeyPair(filepath.Join(certs, "cert.pem"), filepath.Join(certs, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	bundle, err := os.ReadFile(filepath.Join(certs, "ca.pem"))
	if err != nil || !roots.AppendCertsFromPEM(bundle) {
		t.Fatal(err)
	}
	ping := func(n *node) bool {
		client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}}
		resp, err := client.Get("https://" + n.dockerFront.listener.Addr().String() + "/_ping")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	await(t, "the Engine answers", func() bool { return ping(old) })
	n := next()
	defer n.stop(t)
	if err := <-old.done; err != nil {
		t.Errorf("the old process: %v", err)
	}
	if was, is := old.dockerFront.listener.Addr().String(), n.dockerFront.listener.Addr().String(); was != is {
		t.Errorf("it listens at %s after %s", is, was)
	}
	await(t, "the Engine answers through the next process", func() bool { return ping(n) })
}
