package daemon

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche/internal/certs"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/mesh"
)

const (
	// secretsDir is where Docker puts the secrets of a container.
	secretsDir = "/run/secrets"
	// certificatesWait bounds how long a start waits for the certificates of the store. They are in this process, or on its disk.
	certificatesWait = 10 * time.Second
)

// certsConfig is that of what chooses certificates on an edge.
func (d *Daemon) certsConfig(cfg *config.Config) certs.Config {
	c := certs.Config{
		Dir: cfg.CertsDir, SecretsDir: secretsDir, StateDir: cfg.DataDir, PasswordsDir: filepath.Join(filepath.Dir(cfg.CertsDir), "htpasswd"),
		InternalAuthority: d.trust.known, ChallengesApplied: d.challenges.set, ApplyTickets: func(keys [][32]byte) { d.proxy.SetTicketKeys(keys) },
		ApplyECH: func(name string, keys []tls.EncryptedClientHelloKey) { d.proxy.SetECHKeys(name, keys) },
		Logger:   d.logger.With("component", "certs"), Health: d.health,
	}
	if len(d.safe) > 0 {
		c.Safe = d.safe
	}
	if d.client == nil {
		c.Certificates = cluster.NewBucket[vault.Record](d.cluster, vault.BucketCertificates)
		c.Challenges = cluster.NewBucket[vault.Challenge](d.cluster, vault.BucketChallenges)
		c.Tickets = cluster.NewBucket[vault.Tickets](d.cluster, vault.BucketTickets)
		c.ECH = cluster.NewBucket[vault.ECH](d.cluster, vault.BucketECH)
		c.Opener = d.safe
		return c
	}
	c.Certificates = mesh.Follow[vault.Record](d.client, vault.BucketCertificates)
	c.Challenges = mesh.Follow[vault.Challenge](d.client, vault.BucketChallenges)
	c.Tickets = mesh.Follow[vault.Tickets](d.client, vault.BucketTickets)
	c.ECH = mesh.Follow[vault.ECH](d.client, vault.BucketECH)
	c.Opener = d.client
	return c
}

// awaitCertificates waits until the certificates of the store are there: else the first visitors after a start would get self-signed ones.
func (d *Daemon) awaitCertificates(ctx context.Context) {
	t := time.NewTimer(certificatesWait)
	defer t.Stop()
	select {
	case <-d.certs.Loaded():
	case <-ctx.Done():
	case <-t.C:
		d.logger.Warn("the certificates of the store are not known yet; names are served with files, or self-signed certificates, until they are")
	}
}

// deliveries say what of certificates edges get: what is sealed for the installation is sealed to each of them instead.
func deliveries(open certs.Opener, logger *slog.Logger) map[string]mesh.Deliver {
	d := &delivery{open: open, logger: logger}
	return map[string]mesh.Deliver{vault.BucketCertificates: d.certificate, vault.BucketTickets: d.tickets, vault.BucketECH: d.ech}
}

type delivery struct {
	open   certs.Opener
	logger *slog.Logger
	said   atomic.Int64 // when something was logged last, in seconds
}

// sayEvery is how often it is logged that something cannot be given to an edge. Each edge has a health warning about that, too.
const sayEvery = 60

// certificate gives the record without what edges have no use for. One whose key cannot be opened here is told without it: then an edge keeps what it serves.
func (d *delivery) certificate(to *mesh.Recipient, id string, value json.RawMessage) (json.RawMessage, bool) {
	r, err := vault.Decode(value)
	if err != nil || !r.Retired.IsZero() {
		return nil, false
	}
	r.Key, r.Order = d.reseal(to, vault.SealedFor(id), r.Key), ""
	value, err = json.Marshal(r)
	return value, err == nil
}

func (d *delivery) tickets(to *mesh.Recipient, _ string, value json.RawMessage) (json.RawMessage, bool) {
	var t vault.Tickets
	if json.Unmarshal(value, &t) != nil {
		return nil, false
	}
	t.Keys = d.reseal(to, vault.SealedForTickets, t.Keys)
	value, err := json.Marshal(t)
	return value, err == nil
}

func (d *delivery) ech(to *mesh.Recipient, _ string, value json.RawMessage) (json.RawMessage, bool) {
	var e vault.ECH
	if json.Unmarshal(value, &e) != nil {
		return nil, false
	}
	e.Keys = d.reseal(to, vault.SealedForECH, e.Keys)
	value, err := json.Marshal(e)
	return value, err == nil
}

// reseal opens something and seals it to a node; nil where that cannot be done.
func (d *delivery) reseal(to *mesh.Recipient, what string, sealed []byte) []byte {
	data, err := d.open.Open(what, sealed)
	if err == nil {
		sealed, err = to.Seal(what, data)
		clear(data)
	}
	if err == nil {
		return sealed
	}
	if now, last := time.Now().Unix(), d.said.Load(); now-last >= sayEvery && d.said.CompareAndSwap(last, now) {
		d.logger.Error("cannot give something to an edge", "what", what, "edge", to.Node, "error", err, "hint", "all control nodes must have the same sealing key (--seal-key-file)")
	}
	return nil
}

// mark is a number that grows, which others wait for.
type mark struct {
	told chan struct{} // gets something when it has grown

	mu      sync.Mutex
	value   int64
	changed chan struct{} // closed when it has grown
}

func newMark() *mark {
	return &mark{told: make(chan struct{}, 1), changed: make(chan struct{})}
}

func (m *mark) set(value int64) {
	m.mu.Lock()
	m.value = value
	close(m.changed)
	m.changed = make(chan struct{})
	m.mu.Unlock()
	select {
	case m.told <- struct{}{}:
	default:
	}
}

func (m *mark) now() (int64, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.value, m.changed
}
