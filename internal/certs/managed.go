package certs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// Watcher is a bucket of the state that can be followed.
type Watcher[T any] interface {
	// Watch calls fn with the whole content, once there is any, and then with each change in order, until ctx ends; then it returns nil.
	Watch(ctx context.Context, fn func(ruche.Update[T])) error
}

// Opener opens what was sealed to this node, or for the installation where the state is in this process.
type Opener interface {
	Open(what string, sealed []byte) ([]byte, error)
}

// managed is a certificate of the store, ready to be served. It is never changed.
type managed struct {
	id          string
	origin      vault.Origin
	issuer      string // the issuer's name, for people
	revoked     bool
	fingerprint string
	names       []string // those in the certificate, as it is found by
	certificate tls.Certificate
}

// good reports whether clients take the certificate, as far as its own fields tell.
func (m *managed) good(now time.Time) bool {
	leaf := m.certificate.Leaf
	return !m.revoked && now.Before(leaf.NotAfter) && !now.Before(leaf.NotBefore)
}

// kind is what a status calls the origin.
func (m *managed) kind() ruche.CertificateKind {
	switch m.origin {
	case vault.OriginInternal:
		return ruche.CertificateInternal
	case vault.OriginImported:
		return ruche.CertificateImported
	}
	return ruche.CertificateACME
}

// store holds the managed certificates. A look-up takes no lock, and costs the same whatever their number.
type store struct {
	exact, wild sync.Map // name, or what follows "*.", to []*managed, which is never changed

	mu     sync.Mutex // held by who changes the store
	byID   map[string]*managed
	chains map[[sha256.Size]byte][]byte // what follows a certificate is the same for many
	loaded chan struct{}                // closed when the content is there
	once   sync.Once
	size   atomic.Int64
	broken map[string]error // records that cannot be used, by ID
}

func newStore() *store {
	return &store{byID: map[string]*managed{}, chains: map[[sha256.Size]byte][]byte{}, loaded: make(chan struct{}), broken: map[string]error{}}
}

// apply takes in what happened in the bucket of records.
func (c *Certs) applyRecords(u ruche.Update[vault.Record]) {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.Reset {
		for id := range s.byID {
			if _, stays := u.Puts[id]; !stays {
				c.drop(id)
			}
		}
	}
	for id, r := range u.Puts {
		if !r.Retired.IsZero() {
			c.drop(id)
			continue
		}
		c.take(id, r)
	}
	for _, id := range u.Deletes {
		c.drop(id)
	}
	c.warnBroken()
	s.size.Store(int64(len(s.byID)))
	s.once.Do(func() { close(s.loaded) })
	c.changed.say()
}

// take puts a record in force, or leaves what was there under its ID if it cannot be used.
func (c *Certs) take(id string, r vault.Record) {
	s, old := c.store, c.store.byID[id]
	m, err := c.ready(id, r, old)
	if err != nil {
		if s.broken[id] = err; len(s.broken) <= maxNamed {
			c.cfg.Logger.Error("cannot use a certificate of the store", "id", id, "names", r.Names, "last_good_served", old != nil, "error", err)
		}
		return
	}
	delete(s.broken, id)
	s.byID[id] = m
	for _, name := range m.names {
		s.list(name, m, old)
	}
	if old != nil { // only what the new one does not have: a handshake in between must find one of them
		s.unlist(old)
	}
}

// ready opens the key of a record, unless what is served has it already.
func (c *Certs) ready(id string, r vault.Record, old *managed) (*managed, error) {
	m := &managed{id: id, origin: r.Origin, issuer: r.Issuer, revoked: !r.Revoked.IsZero()}
	if old != nil && slices.EqualFunc(old.certificate.Certificate, r.Chain, bytes.Equal) {
		m.certificate, m.names, m.fingerprint = old.certificate, old.names, old.fingerprint
		return m, nil
	}
	key, err := c.cfg.Opener.Open(vault.SealedFor(id), r.Key)
	if err != nil {
		return nil, err
	}
	certificate, err := r.Pair(key)
	clear(key)
	if err != nil {
		return nil, err
	}
	if err := checkChain(*certificate); err != nil {
		return nil, err
	}
	m.certificate = *certificate
	m.certificate.Certificate = c.store.shared(r.Chain)
	m.fingerprint = vault.Fingerprint(r.Chain[0])
	m.names = namesOf(certificate.Leaf)
	return m, nil
}

// maxChains bounds how many certificates of issuers are shared.
const maxChains = 1000

// shared gives a chain in which what follows the certificate itself is kept once for all that have the same.
func (s *store) shared(chain [][]byte) [][]byte {
	chain = slices.Clone(chain)
	if len(s.chains) > maxChains {
		clear(s.chains)
	}
	for i := 1; i < len(chain); i++ {
		sum := sha256.Sum256(chain[i])
		if s.chains[sum] == nil {
			s.chains[sum] = chain[i]
		}
		chain[i] = s.chains[sum]
	}
	return chain
}

// namesOf gives the names and addresses that a certificate is for, in lower case.
func namesOf(leaf *x509.Certificate) []string {
	names := make([]string, 0, len(leaf.DNSNames)+len(leaf.IPAddresses))
	for _, n := range leaf.DNSNames {
		names = append(names, strings.ToLower(n))
	}
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (c *Certs) drop(id string) {
	if m := c.store.byID[id]; m != nil {
		c.store.unlist(m)
		delete(c.store.byID, id)
	}
	delete(c.store.broken, id)
}

// maxNamed is how many certificates that cannot be used are named: where one key is wrong all are.
const maxNamed = 5

// warnBroken keeps one warning about all records that cannot be used.
func (c *Certs) warnBroken() {
	const subject = "certificates"
	broken := c.store.broken
	if len(broken) == 0 {
		c.cfg.Health.Clear(ruche.CodeCertUnusable, subject)
		return
	}
	ids := slices.Sorted(maps.Keys(broken))
	named := make([]string, 0, maxNamed+1)
	for _, id := range ids[:min(len(ids), maxNamed)] {
		stays := ""
		if c.store.byID[id] != nil {
			stays = "; its last good version is served"
		}
		named = append(named, fmt.Sprintf("%s (%v%s)", id, broken[id], stays))
	}
	if more := len(ids) - len(named); more > 0 {
		named = append(named, fmt.Sprintf("and %d more", more))
	}
	c.cfg.Health.Set(ruche.Warning{
		Code: ruche.CodeCertUnusable, Severity: ruche.SeverityError, Subject: subject,
		Message: "certificates of the store that cannot be used on this node: " + strings.Join(named, ", "),
		Hint:    "look whether all control nodes have the same sealing key (--seal-key-file); ruche certs renew gets another certificate",
	})
}

// at gives where a name is listed, and under what.
func (s *store) at(name string) (*sync.Map, string) {
	if suffix, ok := strings.CutPrefix(name, "*."); ok {
		return &s.wild, suffix
	}
	return &s.exact, name
}

// list adds m under a name, in the place of old, which may be nil.
func (s *store) list(name string, m, old *managed) {
	where, key := s.at(name)
	before, _ := where.Load(key)
	list, _ := before.([]*managed)
	list = append(slices.DeleteFunc(slices.Clone(list), func(o *managed) bool { return o == old }), m)
	slices.SortFunc(list, func(a, b *managed) int { return strings.Compare(a.id, b.id) })
	where.Store(key, list)
}

func (s *store) unlist(m *managed) {
	for _, name := range m.names {
		where, key := s.at(name)
		before, _ := where.Load(key)
		list, _ := before.([]*managed)
		list = slices.DeleteFunc(slices.Clone(list), func(o *managed) bool { return o == m })
		if len(list) == 0 {
			where.Delete(key)
		} else {
			where.Store(key, list)
		}
	}
}

// Names are those of the certificates of the store, also those that no route has.
func (c *Certs) Names() []string {
	var names []string
	for prefix, listed := range map[string]*sync.Map{"": &c.store.exact, "*.": &c.store.wild} {
		for key := range listed.Range {
			names = append(names, prefix+key.(string))
		}
	}
	return names
}

// find gives the best certificate for a name among those that may serve it, and whether clients take it: one that names it goes before one with a
// wildcard, and one that is good before both.
func (s *store) find(name string, mode ruche.TLSMode, now time.Time) (m *managed, good bool) {
	if s == nil || name == "" || s.size.Load() == 0 {
		return nil, false
	}
	named := best(&s.exact, name, mode, now)
	if named != nil && named.good(now) {
		return named, true
	}
	if label, suffix, ok := strings.Cut(name, "."); ok && label != "" && label != "*" {
		if wild := best(&s.wild, suffix, mode, now); wild != nil && (named == nil || wild.good(now)) {
			return wild, wild.good(now)
		}
	}
	return named, false
}

// best chooses among certificates for one name: one that is good; of a CA before Ruche's own authority, which strangers do not know; the newest; the smallest ID.
func best(where *sync.Map, key string, mode ruche.TLSMode, now time.Time) (b *managed) {
	value, _ := where.Load(key)
	list, _ := value.([]*managed) // by ID
	for _, m := range list {
		if allows(mode, m.origin) && (b == nil || better(m, b, now)) {
			b = m
		}
	}
	return b
}

func better(m, than *managed, now time.Time) bool {
	if a, b := m.good(now), than.good(now); a != b {
		return a
	}
	if a, b := m.origin == vault.OriginInternal, than.origin == vault.OriginInternal; a != b {
		return b
	}
	return m.certificate.Leaf.NotBefore.After(than.certificate.Leaf.NotBefore)
}

// allows reports whether a route of the mode may be served with a certificate of the origin.
func allows(mode ruche.TLSMode, origin vault.Origin) bool {
	switch mode {
	case ruche.TLSFile, ruche.TLSOff:
		return false
	case ruche.TLSACME:
		return origin != vault.OriginInternal
	case ruche.TLSInternal:
		return origin == vault.OriginInternal
	}
	return true
}

func (m *managed) status(reason string) ruche.CertificateStatus {
	leaf := m.certificate.Leaf
	return ruche.CertificateStatus{
		Kind: m.kind(), Issuer: leaf.Issuer.String(), Names: slices.Clone(m.names), NotAfter: leaf.NotAfter, Fingerprint: m.fingerprint, Reason: reason,
	}
}

// reason says why the certificate was chosen for a name.
func (m *managed) reason(name string, now time.Time) string {
	from := map[ruche.CertificateKind]string{
		ruche.CertificateACME: "the certificate by ACME", ruche.CertificateInternal: "the certificate of Ruche's own authority", ruche.CertificateImported: "the imported certificate",
	}[m.kind()]
	why := fmt.Sprintf("%s %s is for %s", from, m.id, name)
	if !slices.Contains(m.names, name) {
		_, suffix, _ := strings.Cut(name, ".")
		why = fmt.Sprintf("%s %s is for *.%s", from, m.id, suffix)
	}
	switch leaf := m.certificate.Leaf; {
	case m.revoked:
		return why + "; it was revoked, and there is none better"
	case !now.Before(leaf.NotAfter):
		return why + "; it expired at " + leaf.NotAfter.UTC().Format(time.RFC3339) + ", and there is none better"
	case now.Before(leaf.NotBefore):
		return why + "; it is not valid yet (look at the clock of this node), and there is none better"
	}
	return why
}
