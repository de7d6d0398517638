// Package acme has certificates issued: it knows which ones are wanted, orders them of a CA by ACME (RFC 8555) or takes them from Ruche's own authority, and
// renews them by the plan. One control node of an installation does so at a time.
package acme

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/health"
)

// DNS writes records for the challenge dns-01 (RFC 8555 section 8.4). Both calls may be repeated after a crash.
type DNS interface {
	// Present adds a TXT record, name being fully qualified and without a last dot, and returns when all name servers of the zone have it.
	Present(ctx context.Context, provider ruche.DNSProvider, name, value string) error
	// CleanUp removes it.
	CleanUp(ctx context.Context, provider ruche.DNSProvider, name, value string) error
}

// Config is what an Engine needs.
type Config struct {
	Buckets Buckets
	// Issuers are the CAs that are configured; SetIssuers replaces them.
	Issuers []ruche.Issuer
	// Routes are those that settings ask for, beside what is declared.
	Routes []ruche.Route
	Seal   vault.Sealer
	// Published returns when all edges that are up have the challenges that the state had at a revision, or with an error when ctx ends before.
	Published func(ctx context.Context, revision int64) error
	// DNS is nil where no records can be written, Records where none are looked up beforehand.
	DNS     DNS
	Records Records
	// Internal has a certificate made by Ruche's own authority, for the names and the key of csr (DER), and gives it with what follows it; nil when there is no authority.
	Internal func(ctx context.Context, spec ruche.CertificateSpec, csr *x509.CertificateRequest) (chain [][]byte, err error)
	// RevokeInternal has one of its certificates revoked, for a reason of RFC 5280 section 5.3.1. One that is revoked already is no error.
	RevokeInternal func(ctx context.Context, cert *x509.Certificate, reason int) error
	// Grace is how long a certificate that nobody wants any more is still served; 0 stands for a day.
	Grace  time.Duration
	Logger *slog.Logger
	Health *health.Registry
	// Now tells the time; nil stands for the clock.
	Now func() time.Time
}

// Engine has certificates issued. Its operations (Renew, Revoke, Replace, Import, Snapshot) may be called on any control node, at any time; Run works on the
// one that leads. It is safe for concurrent use.
type Engine struct {
	cfg Config
	log *slog.Logger
	// poll is how often a CA is asked that does not say how often; rest is how long nothing is done at most; transport is how CAs are reached.
	poll      time.Duration
	rest      time.Duration
	transport func(Terms) (http.RoundTripper, error)

	warnings health.Group // Run's own

	mu      sync.Mutex
	clients map[[sha256.Size]byte]caClient
	clocks  map[string]time.Duration // by directory: how far our clock is ahead of the CA's, by its last answer
	// authority counts the changes of Ruche's own authority, changed tells the term of one.
	authority int
	changed   chan struct{}
	// issuersVersion counts how often cfg.Issuers were replaced; both are under mu.
	issuersVersion int
}

// New makes an engine. It does nothing until Run is called.
func New(cfg Config) *Engine {
	if cfg.Grace == 0 {
		cfg.Grace = 24 * time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Buckets.Specs = openedSpecs{cfg.Buckets.Specs, cfg.Seal}
	return &Engine{
		cfg: cfg, log: cfg.Logger, poll: pollInterval, rest: longestPause, transport: newTransport,
		clients: make(map[[sha256.Size]byte]caClient), clocks: make(map[string]time.Duration), warnings: health.Group{Registry: cfg.Health}, changed: make(chan struct{}, 1),
	}
}

// AuthorityChanged tells that Ruche's own authority has been made or changed: what could not be had of it before is tried at once.
func (e *Engine) AuthorityChanged() {
	e.mu.Lock()
	e.authority++
	e.mu.Unlock()
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

func (e *Engine) now() time.Time { return e.cfg.Now() }

const (
	// maxOrders is how many orders are under way at a time with one CA, maxQuestions how many questions for renewal windows, or revocations; maxPools with how many CAs that counts by itself.
	maxOrders, maxQuestions, maxPools = 20, 8, 30
	// longestPause is how long the engine rests when nothing is to be done.
	longestPause = 10 * time.Minute
	// gather is how long the engine waits after a change for others that come with it, and at least restFactor times what the last look at everything took.
	// A pass that took longer than tookMost waited for the state, and news does not wait for that.
	gather, restFactor, tookMost = 20 * time.Millisecond, 9, 200 * time.Millisecond
	// renewEvery is the pace at which renewals begin of certificates that are served well meanwhile, maxRenewals how many begin at once: a thousand are not to take the
	// processor from visitors. Nobody waits for them: one look in calm is made for all that end within that time.
	renewEvery, maxRenewals = 200 * time.Millisecond, 5
	calm                    = maxRenewals * renewEvery
)

// Run looks after the certificates until ctx ends, which has to be when this node leads no more (cluster.Lead); its writes are to be fenced by ctx. It returns nil, or an
// error when the state cannot be read.
func (e *Engine) Run(ctx context.Context) error {
	t, err := e.begin(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("cannot look after certificates: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer e.warn(nil)
	defer t.working.Wait()
	defer stop()
	if !t.follow(ctx) {
		return nil
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	var began, next time.Time
	var took, rest time.Duration
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
			if sleep(ctx, rest) != nil {
				return nil
			}
		case <-t.ended:
			if soon := began.Add(max(calm, restFactor*took)); soon.Before(next) {
				next = soon
				pause.Reset(time.Until(next))
			}
			continue
		case <-e.changed:
		case <-pause.C:
		}
		began = time.Now()
		allowed := int(min(began.Sub(t.renewed)/renewEvery, maxRenewals))
		t.renewals, t.hurry = allowed, false
		wait := t.pass(ctx).Sub(e.now())
		if t.renewals < allowed {
			t.renewed = began
		}
		took = min(time.Since(began), tookMost)
		if rest = max(gather, restFactor*took); t.hurry {
			rest = max(gather, took)
		}
		next = time.Now().Add(wait)
		pause.Reset(wait)
	}
}

// term is one time of leadership.
type term struct {
	*Engine
	specs        *mirror[ruche.CertificateSpecs]
	declarations *mirror[ruche.Declaration]
	served       *mirror[vault.Served]

	certificates table[vault.Record]
	states       table[vault.State]
	orders       table[vault.Order]
	accounts     table[vault.Account]
	challenges   table[vault.Challenge]
	issuances    table[vault.Issuance]

	accountsKnown accounts
	// wake gets something when there is news, ended when work has ended that nobody waits for.
	wake, ended chan struct{}
	working     sync.WaitGroup

	mu     sync.Mutex
	busy   map[string]bool          // by what is worked on
	pools  map[string]chan struct{} // of work, by its kind and whom it waits for
	names  map[string]bool          // of the orders that are worked on
	down   map[string]*outage       // by directory
	swept  time.Time
	leaves map[string]leaf
	// list is what is wanted, as it was found out last; only the passes use it.
	list wantList
	// renewals is how many may begin in this pass, renewed when some began last.
	renewals int
	renewed  time.Time
	// hurry tells that the last pass found names without a certificate that one is being had for.
	hurry bool
	// later has what is tried again at a time that is not worth a row, by what it is; unopened since when the key of a journal cannot be opened, by ID.
	later, unopened map[string]time.Time
	// tried has of which change of its issuer a certificate was last asked of it, issuersBefore that of the issuers when this term began; only passes use them.
	tried         map[string]int
	issuersBefore int
	// preflights is what the DNS says of wants, by ID; refused the accounts that their CA takes no more, by key, with what it says.
	preflights map[string]preflight
	refused    map[string]string
}

func (e *Engine) begin(ctx context.Context) (*term, error) {
	b := e.cfg.Buckets
	_, issuers := e.issuersNow()
	t := &term{
		Engine: e, specs: newMirror[ruche.CertificateSpecs](), declarations: newMirror[ruche.Declaration](), served: newMirror[vault.Served](),
		wake: make(chan struct{}, 1), ended: make(chan struct{}, 1),
		busy: make(map[string]bool), pools: make(map[string]chan struct{}), names: make(map[string]bool), down: make(map[string]*outage), leaves: make(map[string]leaf),
		later: make(map[string]time.Time), unopened: make(map[string]time.Time), tried: make(map[string]int), preflights: make(map[string]preflight), refused: make(map[string]string), issuersBefore: issuers,
	}
	t.certificates.bucket, t.states.bucket, t.orders.bucket = b.Certificates, b.States, b.Orders
	t.accounts.bucket, t.challenges.bucket, t.issuances.bucket = b.Accounts, b.Challenges, b.Issuances
	for _, load := range []func(context.Context) error{
		t.certificates.load, t.states.load, t.orders.load, t.accounts.load, t.challenges.load, t.issuances.load,
	} {
		if err := load(ctx); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// follow begins to follow what others write, and returns when all of it is known. It reports false when ctx ends before.
func (t *term) follow(ctx context.Context) bool {
	t.working.Go(func() { t.specs.follow(ctx, t.cfg.Buckets.Specs, t.poke) })
	t.working.Go(func() { t.declarations.follow(ctx, t.cfg.Buckets.Declarations, t.poke) })
	t.working.Go(func() { t.served.follow(ctx, t.cfg.Buckets.Served, t.poke) })
	t.working.Go(func() { t.certificates.follow(ctx, t.poke) })
	t.working.Go(func() { t.states.follow(ctx, t.poke) })
	for _, ready := range []chan struct{}{t.specs.ready, t.declarations.ready, t.served.ready} {
		select {
		case <-ready:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// poke has the engine look soon.
func (t *term) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// calmly has the engine look within a second.
func (t *term) calmly() {
	select {
	case t.ended <- struct{}{}:
	default:
	}
}

// start does work for a key in a goroutine of its own, and then calls done, unless some is done for it already, or all slots are taken.
func (t *term) start(key string, slots chan struct{}, done, work func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[key] {
		return false
	}
	select {
	case slots <- struct{}{}:
	default:
		return false
	}
	t.busy[key] = true
	t.working.Go(func() {
		defer done()
		defer func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			delete(t.busy, key)
			<-slots
		}()
		work()
	})
	return true
}

// pool gives the slots of orders by these terms. A CA that does not answer, or a DNS provider that is slow, keeps orders for minutes: only those that wait for the same one wait behind them.
func (t *term) pool(terms Terms) chan struct{} {
	who := terms.Directory
	if terms.DNS != nil {
		who += " " + terms.DNS.Name
	}
	return t.slots("order", who, maxOrders)
}

// slots gives those of one kind of work with one party.
func (t *term) slots(kind, who string, count int) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := kind + " " + who
	if t.pools[key] == nil && len(t.pools) >= maxPools {
		key = kind // workloads can name any CA
	}
	if t.pools[key] == nil {
		t.pools[key] = make(chan struct{}, count)
	}
	return t.pools[key]
}

// reserve keeps names for one order at a time: for tls-alpn-01 a name has one answer. It reports false when another order has one of them.
func (t *term) reserve(names []string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range names {
		if t.names[n] {
			return false
		}
	}
	for _, n := range names {
		t.names[n] = true
	}
	return true
}

func (t *term) release(names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range names {
		delete(t.names, n)
	}
}

func (t *term) isBusy(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.busy[key]
}

// ended reports whether an error is no more than the end of this term.
func ended(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, context.Canceled)
}
