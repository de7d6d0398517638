package acmeserver

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/ruche-project/ruche"
)

// part finds the authorization that a request names.
func (s *Server) part(ctx context.Context, q *query) (e ruche.Entry[Order], n int, err error) {
	if e, err = s.find(ctx, q); err != nil {
		return e, 0, err
	}
	n, bad := strconv.Atoi(q.PathValue("n"))
	if bad != nil || n < 0 || n >= len(e.Value.Authorizations) || strconv.Itoa(n) != q.PathValue("n") {
		p := problem(malformed, "the order has no such authorization")
		p.Status = http.StatusNotFound
		return e, 0, p
	}
	return e, n, nil
}

// token is what a client has to show somewhere. Nodes can tell it without its being kept: 256 bits that nobody without the shared secret can.
func (s *Server) token(order string, n int, by ruche.ChallengeType) string {
	mac := hmac.New(sha256.New, s.shared.Load().secret)
	mac.Write([]byte("token/" + order + "/" + strconv.Itoa(n) + "/" + string(by)))
	return encode(mac.Sum(nil))
}

// authorization shows an authorization, or deactivates it (RFC 8555 section 7.5).
func (s *Server) authorization(ctx context.Context, q *query) (*answer, error) {
	e, n, err := s.part(ctx, q)
	if err != nil {
		return nil, err
	}
	if !q.asGet() {
		var change struct {
			Status Status `json:"status"`
		}
		if err := q.read(&change); err != nil {
			return nil, err
		}
		if change.Status != StatusDeactivated {
			return nil, problem(malformed, "an authorization can be made deactivated, and nothing else")
		}
		if err := s.deactivate(ctx, q, e.Key, e.Value.Authorizations[n].Name); err != nil {
			return nil, err
		}
		if e, err = s.find(ctx, q); err != nil {
			return nil, err
		}
	}
	a := e.Value.Authorizations[n]
	name, wild := base(a.Name)
	body := map[string]any{"identifier": identifierOf(name), "status": shown(a.Status)}
	body["expires"] = e.Value.Expires.UTC().Truncate(time.Second)
	if !a.Expires.IsZero() {
		body["expires"] = a.Expires.UTC().Truncate(time.Second)
	}
	if wild {
		body["wildcard"] = true
	}
	challenges := []map[string]any{}
	for _, by := range challengesFor(a.Name) {
		if a.Status == StatusPending || a.Status == StatusProcessing || a.By == by {
			challenges = append(challenges, s.challengeBody(e.Key, n, a, by))
		}
	}
	body["challenges"] = challenges
	answer := &answer{body: body}
	if a.Status == StatusProcessing {
		answer.retry = time.Second
	}
	return answer, nil
}

// shown is the status of an authorization to a client: to it one that is being proven is pending.
func shown(s Status) Status {
	if s == StatusProcessing {
		return StatusPending
	}
	return s
}

// challengeBody is a challenge as a client sees it (RFC 8555 section 8).
func (s *Server) challengeBody(order string, n int, a Authorization, by ruche.ChallengeType) map[string]any {
	body := map[string]any{
		"type": by, "url": s.url + "/challenge/" + order + "/" + strconv.Itoa(n) + "/" + string(by), "token": s.token(order, n, by), "status": StatusPending,
	}
	if a.By != by {
		return body
	}
	switch a.Status {
	case StatusDeactivated, StatusExpired:
		body["status"] = StatusValid
	default:
		body["status"] = a.Status
	}
	if !a.Validated.IsZero() {
		body["validated"] = a.Validated.UTC().Truncate(time.Second)
	}
	if a.Error != nil {
		body["error"] = a.Error
	}
	return body
}

// challenge shows a challenge, or hears that it can be met (RFC 8555 section 7.5.1).
func (s *Server) challenge(ctx context.Context, q *query) (*answer, error) {
	e, n, err := s.part(ctx, q)
	if err != nil {
		return nil, err
	}
	by := ruche.ChallengeType(q.PathValue("type"))
	if !slices.Contains(challengesFor(e.Value.Authorizations[n].Name), by) {
		p := problem(malformed, "the authorization has no such challenge")
		p.Status = http.StatusNotFound
		return nil, p
	}
	if a := &e.Value.Authorizations[n]; !q.asGet() && e.Value.Status == StatusPending && a.Status == StatusPending {
		var nothing struct{}
		if err := q.read(&nothing); err != nil {
			return nil, err
		}
		a.Status, a.By, a.Since = StatusProcessing, by, s.now()
		_, err := s.cfg.Orders.CompareAndSet(ctx, e.Key, e.Value, e.Revision)
		if errors.Is(err, ruche.ErrConflict) { // as when a client says so of several names at once
			return s.challenge(ctx, q)
		}
		if err != nil {
			return nil, err
		}
		s.jobs.add(e.Key, &e.Value)
	}
	a := e.Value.Authorizations[n]
	answer := &answer{body: s.challengeBody(e.Key, n, a, by), links: []string{s.link("/authz/"+e.Key+"/"+strconv.Itoa(n), "up")}}
	if a.Status == StatusProcessing {
		answer.retry = time.Second
	}
	return answer, nil
}

// deactivate gives up the right to a name: in this order, and in the account's others, that may have taken it over.
func (s *Server) deactivate(ctx context.Context, q *query, order, name string) error {
	orders := s.orders.of(q.account.Key, "")
	orders[order] = Order{}
	for id := range orders {
		err := s.update(ctx, id, func(o *Order) bool {
			changed := false
			for i := range o.Authorizations {
				a := &o.Authorizations[i]
				if a.Name == name && (a.Status == StatusValid || id == order && (a.Status == StatusPending || a.Status == StatusProcessing)) {
					a.Status, changed = StatusDeactivated, true
				}
			}
			o.settle()
			return changed
		})
		if err != nil && !errors.Is(err, ruche.ErrNotFound) {
			return err
		}
	}
	s.audit(ctx, "authorization deactivated", append(q.who(), slog.String("order", order), slog.String("name", name))...)
	return nil
}

// update changes an order, again when something else did so meanwhile. Without a change nothing is written.
func (s *Server) update(ctx context.Context, id string, change func(*Order) bool) error {
	for {
		e, err := s.cfg.Orders.Get(ctx, id)
		if err != nil {
			return err
		}
		o := e.Value.at(s.now())
		if !change(&o) {
			return nil
		}
		if _, err = s.cfg.Orders.CompareAndSet(ctx, id, o, e.Revision); !errors.Is(err, ruche.ErrConflict) {
			return err
		}
	}
}
