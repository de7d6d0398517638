package acmeserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	acmezacme "github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
	"golang.org/x/crypto/acme"

	"github.com/ruche-project/ruche"
)

// The Go project's client: two names, an IP address, another account key, revocation by the certificate's key, deactivation.
func TestGoClient(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ctx := t.Context()
	client := &acme.Client{Key: newECKey(t), DirectoryURL: r.url + "/directory", HTTPClient: r.client}
	if _, err := client.Register(ctx, &acme.Account{Contact: []string{"mailto:ops@dept.example"}}, acme.AcceptTOS); err != nil {
		t.Fatal(err)
	}
	r.serveHTTP01(func(token string) (string, bool) {
		text, err := client.HTTP01ChallengeResponse(token)
		return text, err == nil
	})
	order, err := client.AuthorizeOrder(ctx, append(acme.DomainIDs("a.dept.example", "b.dept.example"), acme.IPIDs("127.0.0.1")...))
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range order.AuthzURLs {
		authz, err := client.GetAuthorization(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Accept(ctx, authz.Challenges[0]); err != nil {
			t.Fatal(err)
		}
	}
	if order, err = client.WaitOrder(ctx, order.URI); err != nil {
		t.Fatal(err)
	}
	key := newECKey(t)
	csr, err := decode(csrFor(t, key, "a.dept.example", "b.dept.example", "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	chain, _, err := client.CreateOrderCert(ctx, order.FinalizeURL, csr, true)
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	cert := r.verify(text, "a.dept.example", "b.dept.example", "127.0.0.1")
	if err := client.AccountKeyRollover(ctx, newECKey(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.GetReg(ctx, ""); err != nil {
		t.Errorf("with the new key: %v", err)
	}
	if err := client.RevokeCert(ctx, key, chain[0], acme.CRLReasonKeyCompromise); err != nil {
		t.Fatal(err)
	}
	if e := r.entry(cert); e.Revoked == nil || e.Revoked.Reason != 1 {
		t.Errorf("after the revocation: %+v", e)
	}
	if err := client.DeactivateReg(ctx); err != nil {
		t.Fatal(err)
	}
}

// nsupdate solves dns-01 at the rig's name server.
type nsupdate struct{ r *rig }

func (n nsupdate) send(command string) error {
	c := exec.Command("nsupdate")
	c.Stdin = strings.NewReader(fmt.Sprintf("server 127.0.0.1 %s\n%s\nsend\n", n.r.dns.port(), command))
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (n nsupdate) Present(_ context.Context, ch acmezacme.Challenge) error {
	return n.send("add " + ch.DNS01TXTRecordName() + ". 1 TXT " + ch.DNS01KeyAuthorization())
}

func (n nsupdate) CleanUp(_ context.Context, ch acmezacme.Challenge) error {
	return n.send("delete " + ch.DNS01TXTRecordName() + ". TXT")
}

// acmez: a wildcard by dns-01, a profile, renewal by ARI with replaces, the window after a revocation.
func TestAcmez(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ctx := t.Context()
	client := acmez.Client{
		Client:           &acmezacme.Client{Directory: r.url + "/directory", HTTPClient: r.client, PollInterval: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)},
		ChallengeSolvers: map[string]acmez.Solver{acmezacme.ChallengeTypeDNS01: nsupdate{r}},
	}
	account, err := client.NewAccount(ctx, acmezacme.Account{PrivateKey: newECKey(t), TermsOfServiceAgreed: true})
	if err != nil {
		t.Fatal(err)
	}
	obtain := func(replaces *x509.Certificate) (*x509.Certificate, error) {
		key := newECKey(t)
		csr, err := acmez.NewCSR(key, []string{"*.apps.dept.example", "apps.dept.example"})
		if err != nil {
			t.Fatal(err)
		}
		params, err := acmez.OrderParametersFromCSR(account, csr)
		if err != nil {
			t.Fatal(err)
		}
		params.Profile, params.Replaces = "short", replaces
		certs, err := client.ObtainCertificate(ctx, params)
		if err != nil {
			return nil, err
		}
		return r.verify(certs[0].ChainPEM, "x.apps.dept.example", "apps.dept.example"), nil
	}
	first, err := obtain(nil)
	if err != nil {
		t.Fatal(err)
	}
	if life := first.NotAfter.Sub(first.NotBefore); life > 26*time.Hour {
		t.Errorf("the profile short gives %s", life)
	}
	info, err := client.GetRenewalInfo(ctx, first)
	if err != nil {
		t.Fatal(err)
	}
	if from := info.SuggestedWindow.Start; from.Before(first.NotBefore.Add(11*time.Hour)) || from.After(first.NotAfter.Add(-11*time.Hour)) {
		t.Errorf("a certificate from %s to %s is to be renewed at %s", first.NotBefore, first.NotAfter, from)
	}
	second, err := obtain(first)
	if err != nil {
		t.Fatal(err)
	}
	if e := r.entry(second); e.Replaces != serialText(first.SerialNumber) {
		t.Errorf("the log says that it replaces %q", e.Replaces)
	}
	// A certificate is replaced once: refused with replaces, the client orders without.
	if third, err := obtain(first); err != nil || r.entry(third).Replaces != "" {
		t.Errorf("replaced a second time: %v", err)
	}
	if err := client.RevokeCertificate(ctx, account, second, account.PrivateKey, 1); err != nil {
		t.Fatal(err)
	}
	if info, err = client.GetRenewalInfo(ctx, second); err != nil || info.SuggestedWindow.End.After(time.Now()) {
		t.Errorf("a revoked certificate is to be renewed until %v, %v", info.SuggestedWindow, err)
	}
}

// certmagic, which Caddy is: with an external account key, by tls-alpn-01, and revocation.
func TestCertmagic(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.RequireKey = true })
	key, err := r.keys.MakeKey(t.Context(), ruche.ACMEKeySpec{Names: []string{"magic.dept.example"}})
	if err != nil {
		t.Fatal(err)
	}
	var magic *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{Logger: zap.NewNop(), GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return magic, nil }})
	t.Cleanup(cache.Stop)
	magic = certmagic.New(cache, certmagic.Config{Storage: &certmagic.FileStorage{Path: t.TempDir()}, Logger: zap.NewNop(), KeySource: certmagic.StandardKeyGenerator{KeyType: certmagic.P384}})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.file(r.caFile))
	issuer := certmagic.NewACMEIssuer(magic, certmagic.ACMEIssuer{
		CA: r.url + "/directory", Email: "ops@dept.example", Agreed: true, TrustedRoots: roots, Logger: zap.NewNop(), AltTLSALPNPort: r.tlsPort,
		ListenHost: "127.0.0.1", DisableHTTPChallenge: true, ExternalAccount: &acmezacme.EAB{KeyID: key.ID, MACKey: key.Secret},
	})
	magic.Issuers = []certmagic.Issuer{issuer}
	if err := magic.ManageSync(t.Context(), []string{"magic.dept.example"}); err != nil {
		t.Fatal(err)
	}
	cert, err := magic.CacheManagedCertificate(t.Context(), "magic.dept.example")
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, der := range cert.Certificate.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	leaf := r.verify(text, "magic.dept.example")
	if k, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P384() {
		t.Errorf("the key is a %T", leaf.PublicKey)
	}
	if err := magic.RevokeCert(t.Context(), "magic.dept.example", 4, false); err != nil {
		t.Fatal(err)
	}
	if r.entry(leaf).Revoked == nil {
		t.Error("the certificate is not revoked")
	}
}
