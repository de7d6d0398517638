package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"log/slog"
	"net"
	"net/http"
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
