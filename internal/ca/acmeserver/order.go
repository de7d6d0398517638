package acmeserver

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
)

const (
	pendingLife = 8 * time.Hour  // of an order until its certificate
	keptLife    = 25 * time.Hour // of an order after its certificate: as long as the limit by day looks back, and the client may fetch it again
	backdate    = time.Hour      // by which a wished start may be past
)

// wish is what a client orders (RFC 8555 section 7.4).
type wish struct {
	Identifiers []Identifier `json:"identifiers"`
	NotBefore   *time.Time   `json:"notBefore"`
	NotAfter    *time.Time   `json:"notAfter"`
	Profile     string       `json:"profile"`
	Replaces    string       `json:"replaces"`
}

// newOrder begins an order, or gives the one that waits for the same.
func (s *Server) newOrder(ctx context.Context, q *query) (*answer, error) {
	o, err := s.parseOrder(q)
	if err != nil {
		return nil, err
	}
	if err := s.permit(ctx, q, o); err != nil {
		return nil, err
	}
	mine := s.orders.of(q.account.Key, "")
	for id, other := range mine {
		if now := other.at(s.now()); sameOrder(&now, o) {
			return s.orderAnswer(id, now, http.StatusCreated), nil
		}
	}
	if o.Replaces != "" {
		if err := s.checkReplaced(ctx, q, o); err != nil {
			return nil, err
		}
	}
	s.reuse(o, mine)
	id := newID()
	err = s.bound(o, "")
	if err == nil {
		if _, err := s.cfg.Orders.Create(ctx, id, *o); err != nil {
			return nil, err
		}
		err = held(ctx, s.orders, s.cfg.Orders, id, func() error { return s.bound(o, id) })
	}
	if err != nil {
		s.audit(ctx, "order refused", append(q.who(), slog.Any("names", o.names()), slog.String("reason", err.Error()))...)
		return nil, err
	}
	s.audit(ctx, "order begun", append(q.who(), slog.String("order", id), slog.Any("names", o.names()), slog.String("profile", o.Profile), slog.String("replaces", o.Replaces))...)
	return s.orderAnswer(id, *o, http.StatusCreated), nil
}

// parseOrder reads a wish.
func (s *Server) parseOrder(q *query) (*Order, error) {
	var w wish
	if err := q.read(&w); err != nil {
		return nil, err
	}
	if n := len(w.Identifiers); n == 0 || n > maxNames {
		return nil, problem(malformed, "an order has 1 to %d identifiers, not %d", maxNames, n)
	}
	names, p := parseNames(w.Identifiers)
	if p != nil {
		return nil, p
	}
	now := s.now()
	o := &Order{Account: q.account.Key, Client: q.account.Value.client(), Status: StatusPending, Created: now, Expires: now.Add(pendingLife), Replaces: w.Replaces}
	for _, name := range names {
		o.Authorizations = append(o.Authorizations, Authorization{Name: name, Status: StatusPending})
	}
	if w.NotBefore != nil && (w.NotBefore.After(now.Add(time.Minute)) || w.NotBefore.Before(now.Add(-backdate))) {
		return nil, problem(malformed, "certificates here begin when they are issued: leave notBefore out")
	}
	if w.NotAfter != nil {
		if o.NotAfter = *w.NotAfter; !o.NotAfter.After(now) {
			return nil, problem(malformed, "notAfter is past")
		}
	}
	profile, ok := s.profile(w.Profile)
	if !ok {
		return nil, problem(invalidProfile, "there is no profile %.40q (the directory lists them)", w.Profile)
	}
	if profile.Lifetime > 0 && o.NotAfter.After(now.Add(profile.Lifetime)) {
		return nil, problem(malformed, "certificates of the profile %s end after %s at the latest: leave notAfter out, or make it sooner", profile.Name, profile.Lifetime)
	}
	o.Profile = profile.Name
	return o, nil
}

// parseNames reads identifiers; a name that comes twice is taken once. All that are wrong are told at once.
func parseNames(ids []Identifier) (names []string, _ *Problem) {
	var wrong []*Problem
	for _, id := range ids {
		name, p := id.parse()
		switch {
		case p != nil:
			wrong = append(wrong, p.about(id))
		case !slices.Contains(names, name):
			names = append(names, name)
		}
	}
	if len(wrong) > 0 {
		return nil, together(wrong)
	}
	return names, nil
}

// permit holds the names and the profile against what the account may have.
func (s *Server) permit(ctx context.Context, q *query, o *Order) error {
	patterns, bound := []string{"*"}, q.account.Value.Bound
	if bound == "" && s.cfg.RequireKey { // it was opened when that was not asked for
		return problem(externalAccountRequired, "the account has no external account key, which is needed here: open another account with one")
	}
	if bound != "" {
		key, err := s.cfg.Keys.find(ctx, bound)
		if errors.Is(err, ruche.ErrNotFound) {
			return problem(unauthorized, "the external account key %s, to which this account is bound, has expired or was removed", bound)
		}
		if err != nil {
			return err
		}
		if len(key.Profiles) > 0 && !slices.Contains(key.Profiles, o.Profile) {
			return problem(invalidProfile, "the external account key %s does not allow the profile %s", bound, o.Profile)
		}
		patterns = key.Names
	}
	var wrong []*Problem
	for _, name := range o.names() {
		if !allowed(patterns, name) {
			wrong = append(wrong, problem(rejectedIdentifier, "the account's external account key does not allow %s", name).about(identifierOf(name)))
			continue
		}
		err := s.cfg.Authority.Permits(ctx, o.Profile, name)
		if errors.Is(err, ca.ErrRefused) {
			wrong = append(wrong, problem(rejectedIdentifier, "the authority does not certify %s: %s", name, err).about(identifierOf(name)))
		} else if err != nil {
			return err
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	s.audit(ctx, "order refused", append(q.who(), slog.Any("names", o.names()), slog.String("reason", wrong[0].Detail))...)
	return together(wrong)
}

// sameOrder tells whether an order that waits is for the same as another one.
func sameOrder(waiting, o *Order) bool {
	if waiting.Status != StatusPending && waiting.Status != StatusReady || waiting.Account != o.Account {
		return false
	}
	a, b := waiting.names(), o.names()
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b) && waiting.Profile == o.Profile && waiting.Replaces == o.Replaces && waiting.NotAfter.Equal(o.NotAfter)
}

// reuse takes over what the account has proven lately. When that was is taken over too, so that nothing is stretched by it.
func (s *Server) reuse(o *Order, mine map[string]Order) {
	for i := range o.Authorizations {
		want := &o.Authorizations[i]
		for _, other := range mine {
			for _, a := range other.at(o.Created).Authorizations {
				if a.Name == want.Name && a.Status == StatusValid && o.Created.Sub(a.Validated) < s.cfg.Limits.Reuse && a.Validated.After(want.Validated) {
					*want = a
					want.Expires = o.Expires
				}
			}
		}
	}
	o.settle()
}

// bound holds the order against the limits. own is its ID when it is written, and empty before.
func (s *Server) bound(o *Order, own string) error {
	l, now := s.cfg.Limits, o.Created
	if err := room("orders", s.orders, l.AllOrders, o.client(), own); err != nil {
		return err
	}
	mine := s.orders.of(o.Account, own)
	orders, certificates, pending := 0, 0, 0
	oldest := map[bool]time.Time{true: now, false: now}
	for _, other := range mine {
		other = other.at(now)
		for _, a := range other.Authorizations {
			if other.open() && (a.Status == StatusPending || a.Status == StatusProcessing) {
				pending++
			}
		}
		age := now.Sub(other.Created)
		if other.Replaces != "" || age >= 24*time.Hour {
			continue
		}
		if other.Issued || other.open() {
			certificates++
			oldest[true] = earlier(oldest[true], other.Created)
		}
		if age < time.Hour {
			orders++
			oldest[false] = earlier(oldest[false], other.Created)
		}
	}
	switch {
	case pending+len(o.Authorizations) > l.Authorizations:
		return problem(rateLimited, "the account has %d authorizations pending, and may have %d", pending, l.Authorizations).after(time.Hour)
	case o.Replaces != "":
		return nil
	case orders >= l.Orders:
		return problem(rateLimited, "the account has made %d orders within an hour", orders).after(oldest[false].Add(time.Hour).Sub(now))
	case certificates >= l.Certificates:
		return problem(rateLimited, "the account has %d certificates of a day, with those that it has ordered", certificates).after(oldest[true].Add(24 * time.Hour).Sub(now))
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// orderAnswer is an order as a client sees it (RFC 8555 section 7.1.3).
func (s *Server) orderAnswer(id string, o Order, status int) *answer {
	authorizations, identifiers := []string{}, []Identifier{}
	for i, a := range o.Authorizations {
		authorizations = append(authorizations, s.url+"/authz/"+id+"/"+strconv.Itoa(i))
		identifiers = append(identifiers, identifierOf(a.Name))
	}
	body := map[string]any{
		"status": o.Status, "expires": o.Expires.UTC().Truncate(time.Second), "identifiers": identifiers, "profile": o.Profile,
		"authorizations": authorizations, "finalize": s.url + "/order/" + id + "/finalize",
	}
	if !o.NotAfter.IsZero() {
		body["notAfter"] = o.NotAfter.UTC()
	}
	if o.Replaces != "" {
		body["replaces"] = o.Replaces
	}
	if o.Status == StatusValid {
		body["certificate"] = s.url + "/certificate/" + id
	}
	if o.Error != nil {
		body["error"] = o.Error
	}
	a := &answer{status: status, location: s.url + "/order/" + id, body: body}
	if o.Status == StatusProcessing || o.Status == StatusPending && status == http.StatusOK {
		a.retry = time.Second
	}
	return a
}

// find reads the order that a request names, as it is now.
func (s *Server) find(ctx context.Context, q *query) (ruche.Entry[Order], error) {
	e, err := s.cfg.Orders.Get(ctx, q.PathValue("id"))
	if errors.Is(err, ruche.ErrNotFound) {
		p := problem(malformed, "there is no such order, or it was forgotten after its time")
		p.Status = http.StatusNotFound
		return e, p
	}
	if err != nil {
		return e, err
	}
	if e.Value.Account != q.account.Key {
		return e, problem(unauthorized, "it belongs to another account")
	}
	e.Value = e.Value.at(s.now())
	return e, nil
}

// order shows an order.
func (s *Server) order(ctx context.Context, q *query) (*answer, error) {
	e, err := s.find(ctx, q)
	if err != nil {
		return nil, err
	}
	return s.orderAnswer(e.Key, e.Value, http.StatusOK), nil
}

// checkReplaced checks that the account has the certificate that the order is to replace, and that no other order does (RFC 9773 section 5).
func (s *Server) checkReplaced(ctx context.Context, q *query, o *Order) error {
	old, err := s.byRenewalID(ctx, o.Replaces)
	if err != nil {
		return err
	}
	if old.Requester != requester(q.account.Key) {
		return problem(unauthorized, "the certificate to be replaced was issued to another account")
	}
	if !slices.ContainsFunc(o.names(), func(n string) bool { return slices.Contains(old.Names, n) }) {
		return problem(malformed, "the certificate to be replaced has none of the order's names")
	}
	now := s.now()
	if s.orders.anyOf(func(_ string, other Order) bool {
		return other.serialOf() == o.serialOf() && other.at(now).Status != StatusInvalid
	}) {
		return problem(alreadyReplaced, "another order replaces that certificate: order again without replaces")
	}
	return nil
}

// requester is how the authority's log names an account.
func requester(account string) string { return "acme:" + account }

// serialOf gives the serial of the certificate that an order replaces; empty for none.
func (o *Order) serialOf() string {
	serial, _ := parseRenewalID(o.Replaces)
	return serial
}

var _ Authority = (*ca.Authority)(nil)
