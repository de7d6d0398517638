// Package certs decides which certificate a name is served with: a file by nginx-proxy's naming rules, else one of the store, else a self-signed one.
package certs

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/fsx"
	"github.com/ruche-project/ruche/internal/health"
)

// Config is what Certs needs.
type Config struct {
	// Dir holds the certificate files, NAME.crt and NAME.key. SecretsDir may hold more, such as Docker secrets of these names; those in Dir go first.
	Dir, SecretsDir string
	// StateDir is where self-signed certificates are kept, in a directory of their own, their keys sealed with Safe; nil leaves these in the clear.
	StateDir string
	Safe     vault.Sealer
	// PasswordsDir is where nginx-proxy looks for password files, named after hosts. They are not supported: their hosts are not
	// served.
	PasswordsDir string
	// Certificates, Challenges, Tickets and ECH are the buckets of those names, and Opener opens what is sealed in them. All are nil where there is no state.
	Certificates Watcher[vault.Record]
	Challenges   Watcher[vault.Challenge]
	Tickets      Watcher[vault.Tickets]
	ECH          Watcher[vault.ECH]
	Opener       Opener
	// ChallengesApplied is told of which revision of the state the challenges in force are, whenever that changes; nil: nobody asks.
	ChallengesApplied func(revision int64)
	// ApplyTickets puts session ticket keys in force, the first one for new tickets.
	ApplyTickets func(keys [][32]byte)
	// ApplyECH puts keys of Encrypted Client Hello in force, with the name that clients ask for openly; none switch it off.
	ApplyECH func(publicName string, keys []tls.EncryptedClientHelloKey)
	// InternalAuthority gives the certificates of one of Ruche's own authorities (ruche.AuthorityClients, AuthorityServices) and what it has revoked, both PEM; nothing while it is not known, and nil where there is
	// none. It is asked for every handshake and request that is verified by it, from many goroutines at once. What it gives must not be changed.
	InternalAuthority func(authority string) (authorities, revoked []byte)
	Logger            *slog.Logger
	Health            *health.Registry
}

// Certs answers for certificates. It is safe for concurrent use.
type Certs struct {
	cfg        Config
	loading    sync.Mutex            // held while the directories are read
	files      atomic.Pointer[files] // replaced as a whole
	selfSigned *selfSigned
	store      *store
	challenges *challenges
	changed    signal
	system     *ruche.PeerCheck
	// internalClients and internalServices are what the two internal authorities were last.
	internalClients, internalServices atomic.Pointer[internalCheck]
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
	c := &Certs{cfg: cfg, selfSigned: newSelfSigned(cfg.StateDir, cfg.Safe, cfg.Logger), store: newStore(), challenges: newChallenges(cfg.ChallengesApplied)}
	c.system = &ruche.PeerCheck{Source: "the authorities of this system", Check: new(verifier).check}
	c.files.Store(&files{})
	c.load()
	if cfg.Certificates == nil {
		close(c.store.loaded)
	}
	return c
}

// Loaded is closed when the certificates of the store are there, at once where there is no store.
func (c *Certs) Loaded() <-chan struct{} { return c.store.loaded }

// Changed gives what is closed when a name may be served otherwise than before. It is to be asked for before Status.
func (c *Certs) Changed() <-chan struct{} { return c.changed.wait() }

// expiryCheck is how often certificates are looked at for expiry when no file changes.
const expiryCheck = time.Hour

// Run follows changes of the certificate files, and of the buckets, until ctx ends. It returns nil.
func (c *Certs) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	for _, dir := range []string{c.cfg.Dir, c.cfg.SecretsDir, c.cfg.PasswordsDir} {
		if dir != "" {
			watching.Go(func() { fsx.WatchDir(ctx, dir, c.cfg.Logger, c.load) })
		}
	}
	follow(ctx, c, &watching, "certificates", c.cfg.Certificates, c.applyRecords)
	follow(ctx, c, &watching, "challenges", c.cfg.Challenges, c.challenges.apply)
	follow(ctx, c, &watching, "tickets", c.cfg.Tickets, c.applyTickets)
	follow(ctx, c, &watching, "ech", c.cfg.ECH, c.applyECH)
	tick := time.NewTicker(expiryCheck)
	defer tick.Stop()
	for {
		changed, turn := c.changed.wait(), time.NewTimer(c.untilTurn(time.Now()))
		select {
		case <-ctx.Done():
			watching.Wait()
			return nil
		case <-changed: // there may be other files
		case <-turn.C:
			c.lookAtExpiry()
			c.changed.say()
		case <-tick.C:
			c.lookAtExpiry()
		}
		turn.Stop()
	}
}

// untilTurn is the time until a file begins or ceases to be valid, so that another certificate may serve; at most expiryCheck.
func (c *Certs) untilTurn(now time.Time) time.Duration {
	next := expiryCheck
	for _, p := range c.files.Load().pairs {
		for _, at := range []time.Time{p.certificate.Leaf.NotBefore, p.certificate.Leaf.NotAfter} {
			if at.After(now) {
				next = min(next, at.Sub(now))
			}
		}
	}
	return next
}

// lookAtExpiry keeps the warnings of files that are not valid, or not for long.
func (c *Certs) lookAtExpiry() {
	c.loading.Lock()
	defer c.loading.Unlock()
	for _, p := range c.files.Load().pairs {
		c.warnExpiry(p)
	}
	for _, r := range c.files.Load().revoked {
		c.warnListExpiry(r)
	}
}

// follow watches a bucket until ctx ends; nil is none.
func follow[T any](ctx context.Context, c *Certs, tasks *sync.WaitGroup, name string, bucket Watcher[T], apply func(ruche.Update[T])) {
	if bucket == nil {
		return
	}
	tasks.Go(func() {
		if err := bucket.Watch(ctx, apply); err != nil {
			c.cfg.Logger.Error("cannot follow changes any more, serving what is known", "bucket", name, "error", err)
		}
	})
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

// Certificate chooses the certificate for q. A nil certificate means that there is none; the status says why. It costs a few map
// look-ups, but for the first time that a name needs a self-signed one.
func (c *Certs) Certificate(q ruche.CertificateQuery) (*tls.Certificate, ruche.CertificateStatus) {
	switch {
	case q.Mode == ruche.TLSOff:
		return none("the route switches TLS off (tls: off)")
	case q.Host == "":
		return c.unknownHost(q.ServerName)
	}
	chosen := c.choose(q)
	if chosen.pair != nil {
		return &chosen.pair.certificate, c.status(q, chosen)
	}
	if chosen.managed != nil {
		return &chosen.managed.certificate, c.status(q, chosen)
	}
	st := c.status(q, chosen)
	if q.Mode == ruche.TLSFile {
		return nil, st
	}
	certificate, err := c.selfSigned.get(q.ServerName, q.Declared)
	if err != nil {
		return none(fmt.Sprintf("%s, and a self-signed certificate cannot be made: %v", st.Reason, err))
	}
	return certificate, ruche.CertificateStatus{
		Kind: ruche.CertificateSelfSigned, Issuer: organization, Names: []string{q.ServerName},
		NotAfter: certificate.Leaf.NotAfter, Reason: st.Reason + ", so a self-signed certificate was made",
	}
}

// unknownHost is for names that no route has. Somebody may have asked for a certificate for one all the same, such as for the hop from a load balancer. Others get
// default.crt, as with nginx-proxy: the answer then is a readable 503 instead of a broken handshake.
func (c *Certs) unknownHost(name string) (*tls.Certificate, ruche.CertificateStatus) {
	now, p := time.Now(), c.files.Load().pairs["default"]
	if m, good := c.store.find(name, ruche.TLSAuto, now); m != nil && (good || p == nil || !p.fits(name, now)) {
		return &m.certificate, m.status("no route has this name, but " + m.reason(name, now))
	}
	if p != nil {
		return &p.certificate, p.status("no route has this name; default.crt answers for unknown names")
	}
	return none("no route has this name, and there is neither a certificate for it nor a default.crt in " + c.cfg.Dir)
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
