// Package certs decides which certificate a name is served with: a file by nginx-proxy's naming rules, else a self-signed one.
package certs

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
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
	// PasswordsDir is where nginx-proxy looks for password files, named after hosts. They are not supported: their hosts are not
	// served.
	PasswordsDir string
	// InternalAuthority gives the certificates of Ruche's own authority and what it has revoked, both PEM; nothing while it is not known, and nil where there is
	// none. It is asked for every handshake and request that is verified by it, from many goroutines at once. What it gives must not be changed.
	InternalAuthority func() (authorities, revoked []byte)
	Logger            *slog.Logger
	Health            *health.Registry
}

// Certs answers for certificates. It is safe for concurrent use.
type Certs struct {
	cfg        Config
	loading    sync.Mutex            // held while the directories are read
	files      atomic.Pointer[files] // replaced as a whole
	selfSigned *selfSigned
	system     *ruche.PeerCheck
	internal   atomic.Pointer[internalCheck]
}

// files is what was found in the directories at one time.
type files struct {
	pairs map[string]*pair // by base name, in lower case
	// restricted tells by host, or by hashed host, which file restricts it in a way that is not supported; everyHost is for all.
	restricted map[string]string
	// authorities and revoked are those that peers are verified by, by base name in lower case; checks are made of them when they are asked for.
	authorities map[string]*authorityFile
	revoked     map[string]*revocationFile
	checks      sync.Map // a *ruche.PeerCheck by its checkKey
}

const everyHost = ""

// New reads the certificate files, so that the first handshake already gets them.
func New(cfg Config) *Certs {
	c := &Certs{cfg: cfg, selfSigned: newSelfSigned(cfg.StateDir, cfg.Logger)}
	c.system = &ruche.PeerCheck{Source: "the authorities of this system", Check: new(verifier).check}
	c.files.Store(&files{})
	c.load()
	return c
}

// expiryCheck is how often certificates are looked at for expiry when no file changes.
const expiryCheck = time.Hour

// Run follows changes of the certificate files until ctx ends. It returns nil.
func (c *Certs) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	for _, dir := range []string{c.cfg.Dir, c.cfg.PasswordsDir} {
		if dir != "" {
			watching.Go(func() { fsx.WatchDir(ctx, dir, c.cfg.Logger, c.load) })
		}
	}
	tick := time.NewTicker(expiryCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			watching.Wait()
			return nil
		case <-tick.C:
			for _, p := range c.files.Load().pairs {
				c.warnExpiry(p)
			}
			for _, r := range c.files.Load().revoked {
				c.warnListExpiry(r)
			}
		}
	}
}

// Restriction says why requests for host, as it was declared, must not be served: nginx-proxy would ask for a password because of a file, and this release
// cannot. It is empty when they may be, and costs a map look-up or two.
func (c *Certs) Restriction(host string) string {
	restricted := c.files.Load().restricted
	if len(restricted) == 0 {
		return ""
	}
	for _, name := range []string{host, hashed(host), everyHost} {
		if reason := restricted[name]; reason != "" {
			return reason
		}
	}
	return ""
}

// hashed is the name of a host's files where the host cannot be a file name: a regular expression.
func hashed(host string) string {
	if !strings.HasPrefix(host, "~") {
		return host
	}
	sum := sha1.Sum([]byte(host))
	return hex.EncodeToString(sum[:])
}

// HasFile reports whether a certificate file serves the query's host: what Certificate would choose with the mode TLSFile, at the cost of a few
// map look-ups.
func (c *Certs) HasFile(q ruche.CertificateQuery) bool {
	if q.Mode == ruche.TLSOff || q.Host == "" {
		return false
	}
	p, _ := c.findFile(q.Host, q.CertName)
	return p != nil
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
		return none(reason)
	}
	certificate, err := c.selfSigned.get(q.ServerName, q.Declared)
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
	if p := c.files.Load().pairs["default"]; p != nil {
		return &p.certificate, p.status("no route has this name; default.crt answers for unknown names")
	}
	return none("no route has this name, and there is no default.crt in " + c.cfg.Dir)
}

func none(reason string) (*tls.Certificate, ruche.CertificateStatus) {
	return nil, ruche.CertificateStatus{Kind: ruche.CertificateNone, Reason: reason}
}

// rank tells by which of nginx-proxy's rules a file was found.
type rank int

const (
	named   rank = iota // by CERT_NAME
	own                 // by the host
	parents             // by the host without its first label
	last                // as the default, or not at all
)

// findFile applies nginx-proxy's rules.
func (c *Certs) findFile(host, certName string) (*pair, rank) {
	files := c.files.Load().pairs
	if certName != "" {
		return files[strings.ToLower(certName)], named
	}
	if p := files[hashed(host)]; p != nil {
		return p, own
	}
	if parent := parentOf(host); parent != "" {
		if p := files[parent]; p != nil {
			return p, parents
		}
	}
	return files["default"], last
}

// parentOf is the name without its first label, if what is left may have a certificate.
func parentOf(host string) string {
	if _, parent, ok := strings.Cut(host, "."); ok && strings.Contains(parent, ".") && !strings.HasPrefix(host, "~") {
		return parent
	}
	return ""
}

// chooseFile is findFile with the reason. Without a file it returns nil and the names that were looked for.
func (c *Certs) chooseFile(host, certName string) (*pair, string) {
	p, by := c.findFile(host, certName)
	switch {
	case by == named && p == nil:
		return nil, fmt.Sprintf("CERT_NAME asks for %s.crt, which is not in %s or cannot be used", certName, c.cfg.Dir)
	case by == named:
		return p, fmt.Sprintf("CERT_NAME asks for %s.crt", certName)
	case by == own:
		return p, filepath.Base(p.path) + " is the host's own"
	case by == parents:
		parent := parentOf(host)
		return p, fmt.Sprintf("%s.crt is that of the name without %q", parent, strings.TrimSuffix(host, "."+parent))
	}
	looked := []string{hashed(host) + ".crt"}
	if parent := parentOf(host); parent != "" {
		looked = append(looked, parent+".crt")
	}
	if p != nil {
		return p, fmt.Sprintf("there is no %s, so default.crt serves", strings.Join(looked, " and no "))
	}
	return nil, fmt.Sprintf("%s has no usable %s or default.crt", c.cfg.Dir, strings.Join(looked, ", "))
}
