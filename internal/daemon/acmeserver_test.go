package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/acme"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

func made(t *testing.T, cfg *config.Config) *Daemon {
	t.Helper()
	d, err := New(t.Context(), config.All, cfg, "test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestACMEServer has one host serve ACME with a certificate of the authority, once that is made, to accounts with a key.
func TestACMEServer(t *testing.T) {
	cfg := testConfig(t, t.TempDir(), fakeengine.New(t).Host())
	first := serve(t, made(t, cfg))
	request := ruche.AuthorityRequest{Names: []string{ruche.AuthorityServices}, Permit: []string{"corp.example"}}
	if _, err := api.NewClient(first.AdminAddr()).BeginAuthorities(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	first.stop(t)
	cfg.CAAddr, cfg.CARequireKey = "127.0.0.1:0", true
	if _, err := New(t.Context(), config.All, cfg, "test", slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), "--ca-acme-url") {
		t.Fatalf("without a URL: %v", err)
	}
	cfg.CAACMEURL = "https://ca.corp.example"
	d := made(t, cfg)
	n := serve(t, d)
	defer n.stop(t)
	admin := api.NewClient(n.AdminAddr())
	await(t, "there is a certificate", func() bool { _, err := d.acmeServer.held.Certificate(); return err == nil })
	bundle, err := admin.AuthorityFile(t.Context(), "bundle.pem")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	address := d.acmeServer.listener.Addr().String()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	defer transport.CloseIdleConnections()
	key, err := admin.MakeACMEKey(t.Context(), ruche.ACMEKeySpec{Names: []string{"*.corp.example"}})
	if err != nil {
		t.Fatal(err)
	}
	client := &acme.Client{Key: newKey(t), DirectoryURL: "https://ca.corp.example/acme/directory", HTTPClient: &http.Client{Transport: transport}}
	if _, err := client.Register(t.Context(), &acme.Account{}, acme.AcceptTOS); err == nil {
		t.Error("an account without a key was opened")
	}
	secret, err := base64.RawURLEncoding.DecodeString(key.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Register(t.Context(), &acme.Account{ExternalAccountBinding: &acme.ExternalAccountBinding{KID: key.ID, Key: secret}}, acme.AcceptTOS); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AuthorizeOrder(t.Context(), acme.DomainIDs("www.corp.example")); err != nil {
		t.Error(err)
	}
	if _, err := client.AuthorizeOrder(t.Context(), acme.DomainIDs("www.elsewhere.example")); err == nil {
		t.Error("a name that the authority does not permit was ordered")
	}
	resp, err := client.HTTPClient.Get("https://ca.corp.example/ca/bundle.pem")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the bundle: %s", resp.Status)
	}
}

// TestTheACMEServersCertificateOutlivesARestart starts a node several times: it serves with one certificate, whose key is on its disk, sealed.
func TestTheACMEServersCertificateOutlivesARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := testConfig(t, dir, fakeengine.New(t).Host())
	n := serve(t, made(t, cfg))
	if _, err := api.NewClient(n.AdminAddr()).BeginAuthorities(t.Context(), ruche.AuthorityRequest{Names: []string{ruche.AuthorityServices}, Permit: []string{"corp.example"}}); err != nil {
		t.Fatal(err)
	}
	n.stop(t)
	cfg.CAAddr, cfg.CAACMEURL = "127.0.0.1:0", "https://ca.corp.example"
	var first []byte
	for i := range 3 {
		d := made(t, cfg)
		n := serve(t, d)
		await(t, "there is a certificate", func() bool { _, err := d.acmeServer.held.Certificate(); return err == nil })
		cert, err := d.acmeServer.held.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = cert.Certificate[0]
		}
		if !bytes.Equal(cert.Certificate[0], first) {
			t.Errorf("start %d has another certificate", i)
		}
		issued, err := api.NewClient(n.AdminAddr()).IssuedCertificates(t.Context(), "")
		if err != nil || len(issued.Certificates) != 1 {
			t.Errorf("start %d: %d certificates were issued, %v", i, len(issued.Certificates), err)
		}
		n.stop(t)
		data, err := os.ReadFile(filepath.Join(dir, "acme-server.pem"))
		if err != nil || bytes.Contains(data, []byte("PRIVATE KEY")) || !bytes.Contains(data, []byte("SEALED KEY")) {
			t.Errorf("the file is not there, or has the key in the clear (%v)", err)
		}
	}
}
