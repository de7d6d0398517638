package acmeserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
	"github.com/ruche-project/ruche/internal/health"
)

// Authority signs, as ca.Authority does.
type Authority interface {
	Issue(ctx context.Context, r ca.Request) (ca.Issued, error)
	Revoke(ctx context.Context, serial string, reason int, who string) error
	Lookup(ctx context.Context, serial string) (ca.Entry, error)
	// Permits tells whether Issue would sign the name.
	Permits(ctx context.Context, profile, name string) error
	Profiles() []ca.Profile
}

// Config is what a Server needs.
type Config struct {
	// URL is where clients reach the server, the same at all nodes: "https://ca.dept.example:8443/acme". The directory is at "/directory" below it.
	URL string
	// Terms is where the terms of service are, to which a new account must agree; Website tells people more. Both may be empty.
	Terms, Website string
	// RequireKey refuses new accounts without an external account key.
	RequireKey bool

	Authority Authority
	Accounts  Bucket[Account]
	Orders    Bucket[Order]
	Keys      *Keys

	// Resolver answers where names point to, and what TXT records they have; nil: as the system does.
	Resolver Resolver
	// HTTPPort and TLSPort are where challenges are looked for; 0: 80 and 443, the only ones that prove anything outside of tests.
	HTTPPort, TLSPort int
	// Loopback allows challenges to be looked for at addresses of this machine and at link-local ones, for tests.
	Loopback bool

	Limits Limits
	// Health gets warnings of whom has no room left.
	Health *health.Registry
	// Logger gets a line for each event that an auditor asks for, with the attribute "audit".
	Logger *slog.Logger
	// Now tells the time; nil stands for the clock.
	Now func() time.Time
}

// Server is the ACME server of one node. It answers with 503 until Run has read the state. It is safe for concurrent use.
type Server struct {
	cfg    Config
	url    string // without a slash at the end
	path   string // of the URL
	now    func() time.Time
	mux    *http.ServeMux
	shared atomic.Pointer[nonces]
	// What this node knows of orders and accounts; warnings tell of whom there is too much.
	orders   *mirror[Order]
	accounts *mirror[Account]
	warnings health.Group
	timing   timing
	prover   prover
	// profiles are those that can be asked for; the first one is taken when none is
	profiles []ca.Profile
	jobs     *jobs
	counts   counts

	requests *throttle
}

// New gives the server on its buckets. It reads and writes nothing yet.
func New(cfg Config) (*Server, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" {
		return nil, fmt.Errorf("cannot serve ACME at %q: it is not a URL such as https://ca.dept.example:8443/acme", cfg.URL)
	}
	profiles := servable(cfg.Authority.Profiles())
	if len(profiles) == 0 {
		return nil, errors.New("cannot serve ACME: the authority has no profile for servers")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Limits = cfg.Limits.withDefaults()
	s := &Server{
		cfg: cfg, url: strings.TrimSuffix(cfg.URL, "/"), path: strings.TrimSuffix(u.Path, "/"), now: cfg.Now, timing: usual(),
		orders: newMirror(ordersOf), accounts: newMirror(accountsOf), warnings: health.Group{Registry: cfg.Health},
		prover: newProver(cfg), jobs: newJobs(), profiles: profiles,
		counts: counts{events: map[string]uint64{}, refused: map[string]uint64{}},
	}
	s.requests = newThrottle(cfg.Limits.Requests, time.Minute, cfg.Now)
	s.mux = s.routes()
	return s, nil
}

// Run follows the state, proves what clients say can be proven, finishes what another node began, and forgets what is over. It returns nil when ctx ends.
func (s *Server) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	secret, err := s.cfg.Keys.shared(ctx)
	for err != nil && ctx.Err() == nil {
		s.cfg.Logger.Warn("the ACME server waits for the state", slog.Any("error", err))
		s.pause(ctx, s.timing.again)
		secret, err = s.cfg.Keys.shared(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	s.shared.Store(newNonces(secret, s.now))
	all.Go(func() { s.work(ctx) })
	all.Go(func() { s.pruneRounds(ctx) })
	failed := make(chan error, 2)
	all.Go(func() {
		failed <- s.cfg.Orders.Watch(ctx, func(u ruche.Update[Order]) {
			s.orders.apply(u)
			s.jobs.look()
		})
	})
	all.Go(func() { failed <- s.cfg.Accounts.Watch(ctx, s.accounts.apply) })
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("cannot follow orders and accounts: %w", err)
	}
}

// ready tells whether the state has been read.
func (s *Server) ready() bool {
	return s.shared.Load() != nil && s.orders.ready() && s.accounts.ready()
}

// pause waits, or returns when ctx ends.
func (s *Server) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for path, h := range map[string]http.HandlerFunc{
		"/directory":                 s.get(s.directory),
		"/renewal-info/{id}":         s.get(s.renewalInfo),
		"/new-nonce":                 s.newNonce,
		"/new-account":               s.post(byKey, s.newAccount),
		"/account/{id}":              s.post(byAccount, s.account),
		"/account/{id}/orders":       s.post(byAccount, s.listOrders),
		"/key-change":                s.post(byAccount, s.keyChange),
		"/new-order":                 s.post(byAccount, s.newOrder),
		"/order/{id}":                s.post(byAccount, s.order),
		"/order/{id}/finalize":       s.post(byAccount, s.finalize),
		"/authz/{id}/{n}":            s.post(byAccount, s.authorization),
		"/challenge/{id}/{n}/{type}": s.post(byAccount, s.challenge),
		"/certificate/{id}":          s.post(byAccount, s.certificate),
		"/revoke-cert":               s.post(byEither, s.revoke),
	} {
		mux.HandleFunc(s.path+path, h)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		p := problem(malformed, "there is nothing at this URL (the directory is at %s/directory)", s.url)
		p.Status = http.StatusNotFound
		p.write(w)
	})
	return mux
}

// ServeHTTP answers a client.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.URL.Path != s.path+"/directory" {
		w.Header().Add("Link", s.link("/directory", "index"))
	}
	if !s.ready() {
		p := problem(serverInternal, "the server has just started, and reads its state").after(2 * time.Second)
		p.Status = http.StatusServiceUnavailable
		s.refuse(w, p)
		return
	}
	if wait := s.requests.take(clientOf(r)); wait > 0 {
		s.refuse(w, problem(rateLimited, "there are more than %d requests a minute from this address", s.cfg.Limits.Requests).after(wait))
		return
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Server) link(path, rel string) string { return fmt.Sprintf(`<%s>;rel="%s"`, s.url+path, rel) }

// directory says what there is (RFC 8555 section 7.1.1).
func (s *Server) directory(context.Context, *http.Request) (*answer, error) {
	profiles := map[string]string{}
	for _, p := range s.profiles {
		profiles[p.Name] = p.Description
	}
	meta := map[string]any{"externalAccountRequired": s.cfg.RequireKey, "profiles": profiles}
	for name, v := range map[string]string{"termsOfService": s.cfg.Terms, "website": s.cfg.Website} {
		if v != "" {
			meta[name] = v
		}
	}
	return &answer{body: map[string]any{
		"newNonce": s.url + "/new-nonce", "newAccount": s.url + "/new-account", "newOrder": s.url + "/new-order",
		"revokeCert": s.url + "/revoke-cert", "keyChange": s.url + "/key-change", "renewalInfo": s.url + "/renewal-info",
		"meta": meta,
	}}, nil
}

// newNonce gives a nonce (RFC 8555 section 7.2).
func (s *Server) newNonce(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		notAllowed(w, "GET, HEAD")
		return
	}
	w.Header().Set("Replay-Nonce", s.shared.Load().make())
	if r.Method == http.MethodGet {
		w.WriteHeader(http.StatusNoContent)
	}
}

// profile finds the profile of a name, "" being the first one.
func (s *Server) profile(name string) (ca.Profile, bool) {
	if name == "" {
		return s.profiles[0], true
	}
	n := slices.IndexFunc(s.profiles, func(p ca.Profile) bool { return p.Name == name })
	if n < 0 {
		return ca.Profile{}, false
	}
	return s.profiles[n], true
}

// refuse answers with a problem, and counts it.
func (s *Server) refuse(w http.ResponseWriter, p *Problem) {
	s.counts.refuse(p)
	p.write(w)
}

// audit writes down an event, and counts it.
func (s *Server) audit(ctx context.Context, event string, attrs ...slog.Attr) {
	s.counts.event(event)
	audit(ctx, s.cfg.Logger, event, attrs...)
}

func audit(ctx context.Context, logger *slog.Logger, event string, attrs ...slog.Attr) {
	logger.LogAttrs(ctx, slog.LevelInfo, "ACME server: "+event, append([]slog.Attr{slog.Bool("audit", true)}, attrs...)...)
}
