package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/ruche-project/ruche"
)

const (
	defaultTimeout = 2 * time.Minute
	// writeTimeout bounds one change at a provider, with all the calls that it takes.
	writeTimeout = 2 * time.Minute
	recordTTL    = time.Minute
)

// Options say how a Solver works. The zero value is good.
type Options struct {
	// Resolvers are asked instead of those of /etc/resolv.conf, as NewResolver takes them.
	Resolvers []string
	// Timeout is how long a record may take to reach all name servers; 0: two minutes.
	Timeout time.Duration
	// NameServerPort is where name servers of zones answer; empty: 53.
	NameServerPort string
	// Client speaks to the APIs of providers that no workload declares; nil: one that knows the proxies of the environment.
	Client *http.Client
}

// Solver writes the TXT records of dns-01, and removes them. It is safe for concurrent use: several values under one name stand beside each other, and only the
// own one is removed.
type Solver struct {
	log      *slog.Logger
	resolver *Resolver
	timeout  time.Duration
	port     string
	free     network // for providers of the settings
	guarded  network // for those that a workload declares
	zones    locks
}

// New makes a Solver.
func New(log *slog.Logger, o Options) (*Solver, error) {
	resolver, err := NewResolver(o.Resolvers...)
	if err != nil {
		return nil, err
	}
	s := &Solver{log: log, resolver: resolver, timeout: o.Timeout, port: o.NameServerPort, free: network{client: o.Client}, guarded: guardedNetwork()}
	if s.timeout == 0 {
		s.timeout = defaultTimeout
	}
	if s.port == "" {
		s.port = "53"
	}
	if s.free.client == nil {
		s.free.client = &http.Client{Timeout: apiTimeout}
	}
	return s, nil
}

// Resolver gives what the Solver looks names up with, for looks before an order.
func (s *Solver) Resolver() *Resolver { return s.resolver }

// writer changes TXT records at one provider.
type writer interface {
	// add puts a value beside those that stand under a name. That it stands there already is no error.
	add(ctx context.Context, r record) error
	// remove takes one value away. That it is not there is no error.
	remove(ctx context.Context, r record) error
}

// Present writes a TXT record where the CNAMEs of name lead, and returns when all name servers of that zone have it and the provider's Wait is over.
// name is that of the challenge ("_acme-challenge.a.example"). Errors hold no secret.
func (s *Solver) Present(ctx context.Context, p ruche.DNSProvider, name, value string) error {
	r, err := s.change(ctx, p, name, value, func(w writer, ctx context.Context, r record) error {
		s.warnIfHidden(ctx, r)
		return w.add(ctx, r)
	})
	if err != nil {
		return fmt.Errorf("cannot write the TXT record of %s by %s: %w", plain(name), p.Name, err)
	}
	if r.zone == "" {
		s.log.Info("a record was written, and nobody can be asked whether it has spread", slog.String("name", r.name))
		return pause(ctx, p.Wait)
	}
	if err := s.spread(ctx, r); err != nil {
		return err
	}
	s.log.Debug("a record was written and has spread", slog.String("name", r.name), slog.String("zone", r.zone), slog.String("provider", p.Name))
	return pause(ctx, p.Wait)
}

// CleanUp removes the record that Present has written. A record that is gone is no error.
func (s *Solver) CleanUp(ctx context.Context, p ruche.DNSProvider, name, value string) error {
	if _, err := s.change(ctx, p, name, value, writer.remove); err != nil {
		return fmt.Errorf("cannot remove the TXT record of %s by %s: %w", plain(name), p.Name, err)
	}
	return nil
}

func (s *Solver) change(ctx context.Context, p ruche.DNSProvider, name, value string, do func(writer, context.Context, record) error) (record, error) {
	kind, v, err := load(p)
	if err != nil {
		return record{}, err
	}
	n := s.free
	if p.Declared {
		n = s.guarded
	}
	w, err := kind.open(n, v)
	if err != nil {
		return record{}, v.scrub(err)
	}
	r, err := s.place(ctx, kind, plain(name), value)
	if err != nil {
		return record{}, err
	}
	free, err := s.zones.take(ctx, r.zone)
	if err != nil {
		return record{}, err
	}
	defer free()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout) // from now on: many may have waited for this zone
	defer cancel()
	return r, v.scrub(hinted(do(w, ctx, r)))
}

// place finds where a record is to be written.
func (s *Solver) place(ctx context.Context, kind kind, name, value string) (record, error) {
	end, err := s.resolver.follow(ctx, name)
	if err != nil {
		return record{}, err
	}
	zone, err := s.resolver.zoneOf(ctx, end)
	if err != nil && !kind.zoneless {
		return record{}, err
	}
	return record{asked: name, name: end, zone: zone, value: value}, nil
}
