package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/mesh"
)

// agentCertificate is what an agent serves the API of its Engine with: a certificate that a control node gives, and what it knows clients by, which it follows. Both are on its disk, so that it
// starts and goes on without any control node. It is safe for concurrent use.
type agentCertificate struct {
	client *mesh.Client
	names  []string // beside those that a control node knows itself
	kept   keptCertificate
	logger *slog.Logger
	poke   chan struct{}

	current atomic.Pointer[tls.Certificate]
	clients atomic.Pointer[dockerClients]
	failed  atomic.Pointer[error] // why there is no certificate
}

// dockerClients is how clients are known.
type dockerClients struct {
	roots   *x509.CertPool
	revoked map[string]bool // by serial, of 32 hexadecimal digits
}

const (
	// frontPause is the time between two certificates, or tries, at least; frontPauseMax between two tries at most.
	frontPause    = 5 * time.Second
	frontPauseMax = time.Minute
)

var errNotTold = errors.New("no control node has told them yet")

func (d *Daemon) newAgentCertificate(cfg *config.Config) *agentCertificate {
	a := &agentCertificate{
		client: d.client, names: givenNames(cfg), kept: d.keptFront(cfg),
		logger: d.logger.With("component", "docker-front"), poke: make(chan struct{}, 1),
	}
	if cert := a.kept.before(a.logger); cert != nil {
		a.current.Store(cert)
	}
	return a
}

// Certificate gives the certificate of now.
func (a *agentCertificate) Certificate() (*tls.Certificate, error) {
	if cert := a.current.Load(); cert != nil {
		return cert, nil
	}
	if err := a.failed.Load(); err != nil {
		return nil, *err
	}
	return nil, errors.New("no control node has given one yet")
}

// Roots gives those by which clients are known.
func (a *agentCertificate) Roots() (*x509.CertPool, error) {
	if c := a.clients.Load(); c != nil {
		return c.roots, nil
	}
	return nil, errNotTold
}

// Revoked tells whether a client is no longer good, as far as this node has heard. It says yes to everybody while nothing was heard.
func (a *agentCertificate) Revoked(serial string) bool {
	c := a.clients.Load()
	return c == nil || c.revoked[serial]
}

// Run follows what clients are known by, and keeps the certificate good, until ctx ends.
func (a *agentCertificate) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return together(ctx, cancel, []func(context.Context) error{a.follow, a.renew})
}

func (a *agentCertificate) follow(ctx context.Context) error {
	return mesh.Follow[ruche.Trust](a.client, ruche.BucketTrust).Watch(ctx, func(u ruche.Update[ruche.Trust]) {
		row, ok := u.Puts[ruche.AuthorityDocker]
		if !ok {
			return
		}
		clients, err := readClients(row)
		if err != nil {
			a.logger.Error("cannot read by what clients of the Docker API are known, going on with what was known before", "error", err)
			return
		}
		a.clients.Store(clients)
		select {
		case a.poke <- struct{}{}:
		default:
		}
	})
}

// readClients reads roots, and lists of what they have revoked. Who signed the lists is not looked at: they come from a control node.
func readClients(row ruche.Trust) (*dockerClients, error) {
	c := &dockerClients{roots: x509.NewCertPool(), revoked: map[string]bool{}}
	if !c.roots.AppendCertsFromPEM(row.Authorities) {
		return nil, errors.New("there is no root among what was told")
	}
	for block, rest := pem.Decode(row.Revoked); block != nil; block, rest = pem.Decode(rest) {
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("cannot read a list of revoked certificates: %w", err)
		}
		for _, e := range list.RevokedCertificateEntries {
			c.revoked[fmt.Sprintf("%032x", e.SerialNumber)] = true
		}
	}
	return c, nil
}

func (a *agentCertificate) renew(ctx context.Context) error {
	if a.client.Enrolled(ctx) != nil {
		return nil
	}
	backoff := frontPause
	for {
		if due := a.due(); !due.After(time.Now()) {
			pause := frontPause
			if err := a.obtain(ctx); err != nil {
				pause, backoff = backoff, min(2*backoff, frontPauseMax)
				a.fail(ctx, err, pause)
			} else {
				backoff = frontPause
			}
			if !pauseFor(ctx, pause) {
				return nil
			}
			continue
		}
		timer := time.NewTimer(min(time.Until(a.due()), time.Hour)) // a clock may be set
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-a.poke:
			timer.Stop()
		case <-timer.C:
		}
	}
}

func (a *agentCertificate) fail(ctx context.Context, err error, again time.Duration) {
	if ctx.Err() != nil {
		return
	}
	a.failed.Store(&err)
	a.logger.Warn("cannot renew the certificate of the Docker API, trying again", "in", again, "error", err)
}

// due is when another certificate is to be had: at half the life of this one, and at once when it is revoked, of a root that is not known any more, or not for all names.
func (a *agentCertificate) due() time.Time {
	cert := a.current.Load()
	if cert == nil {
		return time.Time{}
	}
	leaf := cert.Leaf
	if slices.ContainsFunc(a.names, func(name string) bool { return leaf.VerifyHostname(name) != nil }) {
		return time.Time{}
	}
	if c := a.clients.Load(); c != nil && (c.revoked[fmt.Sprintf("%032x", leaf.SerialNumber)] || !leads(cert, c.roots)) {
		return time.Time{}
	}
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
}

// leads reports whether a certificate leads to one of the roots.
func leads(cert *tls.Certificate, roots *x509.CertPool) bool {
	above := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			above.AddCert(c)
		}
	}
	_, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: above})
	return err == nil
}

// obtain has a certificate made for a fresh key, and keeps both.
func (a *agentCertificate) obtain(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return err
	}
	chain, err := a.client.DockerCertificate(ctx, request, a.names)
	if err != nil {
		return err
	}
	cert, err := pair(key, chain)
	if err != nil {
		return fmt.Errorf("cannot use the certificate that a control node gave: %w", err)
	}
	a.current.Store(cert)
	a.logger.Info("the Docker API has a new certificate", "until", cert.Leaf.NotAfter)
	if err := a.kept.save(cert); err != nil { // it serves all the same
		a.logger.Warn("cannot keep the certificate of the Docker API on the disk", "file", a.kept.file, "error", err)
	}
	return nil
}
