package ca_test

import (
	"crypto/x509"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
)

const day = 24 * time.Hour

// TestTwelveYears lets the clock run past the end of the first root.
func TestTwelveYears(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.beginWith(t, ruche.AuthorityRequest{Names: []string{"services"}, Permit: []string{"corp.example", "10.0.0.0/8"}})
	life := &lifetime{rig: r, t: t, known: map[string]*sighting{}}
	const step = 5 * day // nobody leads in between
	for hour := 0 * time.Hour; hour < 12*365*day; hour += step {
		r.upkeep(t)
		life.issue("server")
		if hour%(30*day) == 0 {
			life.issue("short")
			life.believed()
		}
		life.look()
		r.clock.add(step)
	}
	life.report()
}

// sighting is when an issuer was in the bundle, and since when it signed.
type sighting struct {
	first, last, signed time.Time
}

type lifetime struct {
	*rig
	t     *testing.T
	live  []issuedLeaf
	first *x509.Certificate    // the first root
	known map[string]*sighting // roots, by fingerprint
}

type issuedLeaf struct {
	chain     [][]byte
	authority string
	usage     x509.ExtKeyUsage
	end       time.Time
}

func (l *lifetime) issue(profile string) {
	l.t.Helper()
	req := request(l.t, profile)
	issued, err := l.Issue(l.t.Context(), req)
	if err != nil {
		l.t.Fatalf("at %v: Issue(%s): %v", l.clock.Now(), profile, err)
	}
	n := slices.IndexFunc(l.Profiles(), func(p ca.Profile) bool { return p.Name == profile })
	p := l.Profiles()[n]
	if got := issued.NotAfter.Sub(l.clock.Now()); got != p.Lifetime {
		l.t.Errorf("at %v: %s lasts %v, want its whole time of %v", l.clock.Now(), profile, got, p.Lifetime)
	}
	intermediate := parse(l.t, issued.Chain[1])
	if issued.NotAfter.After(intermediate.NotAfter) {
		l.t.Errorf("at %v: %s ends at %v, after its issuer at %v", l.clock.Now(), profile, issued.NotAfter, intermediate.NotAfter)
	}
	l.live = append(l.live, issuedLeaf{issued.Chain, p.Authority, p.Usages[0], issued.NotAfter})
	l.believe(l.live[len(l.live)-1])
	roots, err := l.RootsOf(l.t.Context(), p.Authority)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, root := range roots {
		if intermediate.CheckSignatureFrom(root) == nil {
			if intermediate.NotAfter.After(root.NotAfter) {
				l.t.Errorf("at %v: the intermediate ends at %v, after its root at %v", l.clock.Now(), intermediate.NotAfter, root.NotAfter)
			}
			if s := l.known[root.Subject.CommonName]; s != nil && s.signed.IsZero() {
				s.signed = l.clock.Now()
			}
		}
	}
}

// believed checks every certificate that is good against the bundle of now.
func (l *lifetime) believed() {
	l.t.Helper()
	l.live = slices.DeleteFunc(l.live, func(i issuedLeaf) bool { return !l.clock.Now().Before(i.end) })
	if l.first == nil {
		roots, err := l.Roots(l.t.Context())
		if err != nil {
			l.t.Fatal(err)
		}
		l.first = roots[0]
	}
	for _, leaf := range l.live {
		l.believe(leaf)
		// Who has never fetched another root believes it too, until the end of that, and nothing after that.
		err := verifyUnder(leaf.chain, []*x509.Certificate{l.first}, l.clock.Now(), leaf.usage)
		if ended := l.clock.Now().After(l.first.NotAfter); (err == nil) == ended {
			l.t.Fatalf("at %v: by the first root alone, which ends at %v, a certificate that ends at %v: %v", l.clock.Now(), l.first.NotAfter, leaf.end, err)
		}
	}
}

func (l *lifetime) believe(leaf issuedLeaf) {
	l.t.Helper()
	if err := l.verify(l.t.Context(), leaf.chain, leaf.authority, leaf.usage); err != nil {
		l.t.Fatalf("at %v: a certificate of %s that ends at %v is not believed: %v", l.clock.Now(), leaf.authority, leaf.end, err)
	}
	if len(leaf.chain) > 3 {
		l.t.Fatalf("at %v: a chain has %d certificates", l.clock.Now(), len(leaf.chain))
	}
}

// look notes what is in the bundles.
func (l *lifetime) look() {
	l.t.Helper()
	roots, err := l.Roots(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	for _, root := range roots {
		s := l.known[root.Subject.CommonName]
		if s == nil {
			s = &sighting{first: l.clock.Now()}
			l.known[root.Subject.CommonName] = s
		}
		s.last = l.clock.Now()
	}
	if w := l.health.List(); len(w) != 0 {
		l.t.Fatalf("at %v: %v", l.clock.Now(), w)
	}
}

func (l *lifetime) report() {
	l.t.Helper()
	if len(l.known) != 2 {
		l.t.Errorf("%d roots were seen, want two: %v", len(l.known), l.known)
	}
	for name, s := range l.known {
		begin := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
		if s.first.Equal(begin) {
			if kept := s.last.Sub(begin); kept < 3650*day-10*day || kept > 3650*day+10*day { // its key signs lists until then, for who knows it alone
				l.t.Errorf("the first root %s was kept for %v", name, kept)
			}
			continue
		}
		if s.signed.Sub(s.first) < 30*day {
			l.t.Errorf("%s was in the bundle at %v, and signed at %v: less than 30 days for people to trust it", name, s.first, s.signed)
		}
	}
	status, err := l.Status(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	for _, a := range status.Authorities {
		if len(a.Roots) != 1 || len(a.Intermediates) > 3 {
			l.t.Errorf("%s has %d roots and %d intermediates at the end", a.Name, len(a.Roots), len(a.Intermediates))
		}
	}
	crls, err := l.cfg.CRLs.List(l.t.Context())
	if err != nil || len(crls) > 4 {
		l.t.Errorf("%d CRLs are kept, %v", len(crls), err)
	}
	log, err := l.Log(l.t.Context(), "")
	if err != nil || len(log.Certificates) > 25 {
		l.t.Errorf("%d certificates are in the log, %v", len(log.Certificates), err)
	}
}

// Nobody has looked for years: what can still be done is done, and no two intermediates are made for nothing.
func TestLateUpkeep(t *testing.T) {
	for _, years := range []int{7, 9, 10, 11} {
		t.Run(fmt.Sprint(years, " years"), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.beginWith(t, ruche.AuthorityRequest{Names: []string{"services"}})
			r.clock.add(time.Duration(years) * 365 * day)
			for range 3 {
				r.upkeep(t)
			}
			r.issue(t, "short")
			roots, err := r.Roots(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for range 50 { // what comes next also comes in time
				r.clock.add(4 * day)
				r.upkeep(t)
				r.issue(t, "short")
			}
			record, err := r.cfg.Authorities.Get(t.Context(), ruche.AuthorityServices)
			if err != nil || record.Value.Number > 12 {
				t.Errorf("%d issuers were made, %v; the roots were %d", record.Value.Number, err, len(roots))
			}
		})
	}
}

func TestStatusPlans(t *testing.T) {
	r := newRig(t).begin(t)
	r.clock.add(8*365*day + day)
	r.upkeep(t)
	status, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	roots := status.Authorities[2].Roots
	if made := roots[1].Made; !made.Equal(r.clock.Now()) || !roots[1].NotBefore.Before(made) {
		t.Errorf("the next root was made at %v, and is good from %v on", made, roots[1].NotBefore)
	}
	if len(roots) != 2 || roots[0].State != ruche.IssuerActive || roots[1].State != ruche.IssuerNext || !roots[0].Turn.Equal(roots[1].Turn) || roots[1].Turn.Sub(r.clock.Now()) != 365*day {
		t.Errorf("the roots are %+v", roots)
	}
}
