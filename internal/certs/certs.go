// Package certs decides which certificate a name is served with: a file by nginx-proxy's naming rules, else a self-signed one.
package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/fsx"
	"github.com/ruche-project/ruche/internal/health"
)

// Config is what Certs needs.
type Config struct {
	// Dir holds the certificate files, NAME.crt and NAME.key.
	Dir string
	// StateDir is where self-signed certificates are kept, in a directory of their own.
	StateDir string
	Logger   *slog.Logger
	Health   *health.Registry
}

// Certs answers for certificates. It is safe for concurrent use.
type Certs struct {
	cfg        Config
	files      atomic.Pointer[map[string]*pair] // by base name; replaced as a whole
	selfSigned *selfSigned
}

// New reads the certificate files, so that the first handshake already gets them.
func New(cfg Config) *Certs {
	c := &Certs{cfg: cfg, selfSigned: newSelfSigned(cfg.StateDir, cfg.Logger)}
	c.files.Store(&map[string]*pair{})
	c.load()
	return c
}

// expiryCheck is how often certificates are looked at for expiry when no file changes.
const expiryCheck = time.Hour

// Run follows changes of the certificate files until ctx ends. It returns nil.
func (c *Certs) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(expiryCheck)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				for _, p := range *c.files.Load() {
					c.warnExpiry(p)
				}
			}
		}
	}()
	fsx.WatchDir(ctx, c.cfg.Dir, c.cfg.Logger, c.load)
	<-done
	return nil
}

// Certificate chooses the certificate for q. A nil certificate means that there is none; the status says why. It costs a few map
// look-ups, but for the first time that a name needs a self-signed one.
func (c *Certs) Certificate(q ruche.CertificateQuery) (*tls.Certificate, ruche.CertificateStatus) {
	switch {
	case q.Mode == ruche.TLSOff:
		return none("the route switches TLS off (tls: off)")
	case q.Host == "":
		return c.unknownHost()
	}
	p, reason := c.chooseFile(q.Host, q.CertName)
	switch {
	case p != nil:
		return &p.certificate, p.status(reason)
	case q.Mode == ruche.TLSFile:
		return none(reason + ", and the route wants a file (tls: file)")
	}
	certificate, err := c.selfSigned.get(q.ServerName, q.ServerName == q.Host)
	if err != nil {
		return none(fmt.Sprintf("%s, and a self-signed certificate cannot be made: %v", reason, err))
	}
	return certificate, ruche.CertificateStatus{
		Kind: ruche.CertificateSelfSigned, Issuer: organization, Names: []string{q.ServerName},
		NotAfter: certificate.Leaf.NotAfter, Reason: reason + ", so a self-signed certificate was made",
	}
}

// unknownHost serves default.crt to names that no route has, as nginx-proxy does: the answer then is a readable 503
// instead of a broken handshake.
func (c *Certs) unknownHost() (*tls.Certificate, ruche.CertificateStatus) {
	if p := (*c.files.Load())["default"]; p != nil {
		return &p.certificate, p.status("no route has this name; default.crt answers for unknown names")
	}
	return none("no route has this name, and there is no default.crt in " + c.cfg.Dir)
}

func none(reason string) (*tls.Certificate, ruche.CertificateStatus) {
	return nil, ruche.CertificateStatus{Kind: ruche.CertificateNone, Reason: reason}
}

// chooseFile applies nginx-proxy's rules. Without a file it returns nil and the names that were looked for.
func (c *Certs) chooseFile(host, certName string) (*pair, string) {
	files := *c.files.Load()
	if certName != "" {
		if p := files[certName]; p != nil {
			return p, fmt.Sprintf("CERT_NAME asks for %s.crt", certName)
		}
		return nil, fmt.Sprintf("CERT_NAME asks for %s.crt, which is not in %s or cannot be used", certName, c.cfg.Dir)
	}
	if p := files[host]; p != nil {
		return p, fmt.Sprintf("%s.crt is the host's own", host)
	}
	looked := host + ".crt"
	if first, parent, ok := strings.Cut(host, "."); ok && strings.Contains(parent, ".") && !strings.HasPrefix(host, "~") {
		if p := files[parent]; p != nil {
			return p, fmt.Sprintf("%s.crt is that of the name without %q", parent, first)
		}
		looked += ", " + parent + ".crt"
	}
	if p := files["default"]; p != nil {
		return p, fmt.Sprintf("there is no %s, so default.crt serves", strings.Replace(looked, ", ", " and no ", 1))
	}
	return nil, fmt.Sprintf("%s has no usable %s or default.crt", c.cfg.Dir, looked)
}
