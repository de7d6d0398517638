package dns

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	wire "github.com/miekg/dns"
)

const (
	firstPoll = 250 * time.Millisecond
	lastPoll  = 5 * time.Second
	// patience is how many questions in a row a name server may leave unanswered before it is left out: a CA's resolver passes it over, too.
	patience = 3
)

// sight is what is known of one name server.
type sight struct {
	server   string
	answered bool // ever
	has      bool
	silent   int    // questions in a row without an answer
	why      string // the last of them had none
}

func (s sight) out() bool { return s.silent >= patience }

// spread waits until every name server of the record's zone that answers has it. Where none answers, as behind a firewall that lets no DNS out, it waits until the
// resolvers have it.
func (s *Solver) spread(ctx context.Context, r record) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	servers, err := s.resolver.nameServers(ctx, r.zone, s.port)
	if err != nil {
		return err
	}
	sights := make([]sight, len(servers))
	for i, server := range servers {
		sights[i].server = server
	}
	for wait := firstPoll; ; wait = min(wait*3/2, lastPoll) {
		lookAround(ctx, sights, r)
		done, missing := verdict(sights)
		if !done && missing == "" {
			done, missing = s.resolversHave(ctx, r)
		}
		if done {
			s.logOut(r, sights)
			return nil
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("cannot see the TXT record of %s everywhere: %s (are all name servers of the zone %s told of its changes?): %w", r.name, missing, r.zone, err)
		}
	}
}

// lookAround asks all servers at once that are not known to have the record.
func lookAround(ctx context.Context, sights []sight, r record) {
	var all sync.WaitGroup
	for i := range sights {
		if v := &sights[i]; !v.has && !v.out() {
			all.Go(func() { v.look(ctx, r) })
		}
	}
	all.Wait()
}

func (s *sight) look(ctx context.Context, r record) {
	answer, err := query(ctx, s.server, r.name, wire.TypeTXT, false)
	switch {
	case err != nil:
		s.silent, s.why = s.silent+1, err.Error()
	case answer.Rcode != wire.RcodeSuccess && answer.Rcode != wire.RcodeNameError:
		// It does not serve the zone, or cannot now.
		s.silent, s.why = s.silent+1, fmt.Sprintf("%s answers %s", s.server, wire.RcodeToString[answer.Rcode])
	default:
		s.answered, s.silent, s.has = true, 0, hasText(answer, r.value)
	}
}

// verdict says whether all have the record, else who has not; neither, when nobody answers.
func verdict(sights []sight) (done bool, missing string) {
	var without []string
	for _, v := range sights {
		switch {
		case v.has:
			done = true
		case v.out():
		case v.answered: // the last question may have been cut off by the end of the time
			without = append(without, v.server+" does not have it yet")
		default:
			without = append(without, v.why)
		}
	}
	return done && len(without) == 0, strings.Join(without, ", ")
}

func (s *Solver) resolversHave(ctx context.Context, r record) (done bool, missing string) {
	answer, err := s.resolver.lookup(ctx, r.name, wire.TypeTXT)
	if err != nil {
		return false, "no name server answers, nor do the resolvers: " + err.Error()
	}
	return hasText(answer, r.value), "no name server answers, and the resolvers do not have it yet"
}

func (s *Solver) logOut(r record, sights []sight) {
	for _, v := range sights {
		if v.out() {
			s.log.Warn("a name server was left out when waiting for a record", slog.String("name", r.name), slog.String("server", v.server), slog.String("why", v.why))
		}
	}
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
