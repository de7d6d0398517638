package ca_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
	"github.com/ruche-project/ruche/internal/health"
)

// sealer stands for that of the mesh: what was closed for one thing, or by another sealer, does not open.
type sealer struct{ key byte }

func (s sealer) Close(what string, data []byte) []byte {
	sealed := []byte(what + "\x00")
	for _, b := range data {
		sealed = append(sealed, b^s.key)
	}
	return append(sealed, s.key)
}

func (s sealer) Open(what string, sealed []byte) ([]byte, error) {
	head := len(what) + 1
	if len(sealed) <= head || string(sealed[:head]) != what+"\x00" || sealed[len(sealed)-1] != s.key {
		return nil, errors.New("it was sealed with another key")
	}
	var data []byte
	for _, b := range sealed[head : len(sealed)-1] {
		data = append(data, b^s.key)
	}
	return data, nil
}

// clock tells a time that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// rig is an authority on a state in memory.
type rig struct {
	*ca.Authority
	cfg    ca.Config
	clock  *clock
	health *health.Registry
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{clock: &clock{now: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)}, health: &health.Registry{}}
	r.cfg = ca.Config{
		Authorities: newBucket[ca.Record](ca.BucketAuthorities), Issued: newBucket[ca.Entry](ca.BucketIssued), CRLs: newBucket[ca.CRL](ca.BucketCRLs),
		Sealer: sealer{key: 0x5a}, URL: "http://ca.example", Now: r.clock.Now, Logger: slog.New(slog.DiscardHandler), Health: r.health,
	}
	r.Authority = ca.New(r.cfg)
	return r
}

// begin makes all authorities, and the lists of what they revoke.
func (r *rig) begin(t testing.TB, permit ...string) *rig {
	t.Helper()
	r.beginWith(t, ruche.AuthorityRequest{Names: []string{"services", "clients", "docker"}, Organization: "Example", Permit: permit})
	return r
}

func (r *rig) beginWith(t testing.TB, q ruche.AuthorityRequest) []byte {
	t.Helper()
	answer, err := r.Begin(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	r.upkeep(t)
	return answer.Request
}

func (r *rig) upkeep(t testing.TB) {
	t.Helper()
	if err := r.Upkeep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// request is one that each profile grants.
func request(t testing.TB, profile string) ca.Request {
	t.Helper()
	names := map[string][]string{
		"server": {"www.corp.example", "*.corp.example", "10.1.2.3"}, "short": {"www.corp.example"}, "peer": {"node.corp.example"},
		"client": {"ann@corp.example"}, "docker-server": {"node.corp.example", "10.1.2.3"}, "docker-read": {"ann.corp.example"}, "docker-full": {"ann@corp.example"},
	}
	return ca.Request{PublicKey: newKey(t).Public(), Names: names[profile], Profile: profile, Requester: "test"}
}

func (r *rig) issue(t testing.TB, profile string) ca.Issued {
	t.Helper()
	issued, err := r.Issue(t.Context(), request(t, profile))
	if err != nil {
		t.Fatalf("Issue(%s): %v", profile, err)
	}
	return issued
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// verify checks a chain as a client would that has the bundle of the authority.
func (r *rig) verify(ctx context.Context, chain [][]byte, authority string, usage x509.ExtKeyUsage) error {
	roots, err := r.RootsOf(ctx, authority)
	if err != nil {
		return err
	}
	return verifyUnder(chain, roots, r.clock.Now(), usage)
}

// verifyUnder checks a chain as a client would that has these roots.
func verifyUnder(chain [][]byte, roots []*x509.Certificate, now time.Time, usage x509.ExtKeyUsage) error {
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}
	for _, root := range roots {
		options.Roots.AddCert(root)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return err
	}
	for _, der := range chain[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		options.Intermediates.AddCert(cert)
	}
	_, err = leaf.Verify(options)
	return err
}

func (r *rig) crl(t testing.TB, issuer string) *x509.RevocationList {
	t.Helper()
	der, err := r.CRL(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func pemOf(certs ...*x509.Certificate) []byte {
	var text []byte
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}
