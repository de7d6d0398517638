package acme

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

const (
	// publishTimeout is how long edges are waited for that do not say that they have the answers. The CA asks several times, from several places.
	publishTimeout = 10 * time.Second
	// challengeLife is how long an edge answers at most.
	challengeLife = time.Hour
	// atOnce is how many authorizations of an order are worked on at a time.
	atOnce = 8
)

// task is an authorization with the challenge that was chosen for it.
type task struct {
	authorization acmez.Authorization
	challenge     acmez.Challenge
}

// prove answers the challenges of an order, and gives the order as it is then.
func (r *run) prove(ctx context.Context, order acmez.Order) (acmez.Order, error) {
	tasks, err := r.tasks(ctx, order)
	if err != nil {
		return order, err
	}
	if len(tasks) == 0 { // the CA is about to see that all is proved
		return r.await(ctx, order)
	}
	if err := r.present(ctx, tasks); err != nil {
		return order, err
	}
	err = each(tasks, func(t task) error { return r.answer(ctx, t) })
	if err != nil {
		return order, err
	}
	return r.get(ctx, order.Location)
}

// tasks fetches the authorizations that are still to be had, and chooses a challenge for each.
func (r *run) tasks(ctx context.Context, order acmez.Order) ([]task, error) {
	var mu sync.Mutex
	var pending []task
	err := each(order.Authorizations, func(url string) error {
		a, err := r.authorization(ctx, url)
		if err != nil || a.Status != acmez.StatusPending {
			return err
		}
		chosen, err := r.choose(a)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		pending = append(pending, task{a, chosen})
		return nil
	})
	return pending, err
}

func (r *run) authorization(ctx context.Context, url string) (acmez.Authorization, error) {
	c := &call{}
	a, err := r.client.GetAuthorization(withCall(ctx, c), r.account, url)
	if err != nil {
		return a, explain(err, c)
	}
	return a, nil
}

// choose takes the first challenge type that may be used, that the CA offers, and that has not failed.
func (r *run) choose(a acmez.Authorization) (acmez.Challenge, error) {
	var offered []string
	for _, c := range a.Challenges {
		if c.Status == acmez.StatusProcessing { // the CA was told before a crash
			return c, nil
		}
		offered = append(offered, c.Type)
	}
	for _, t := range r.left(a.IdentifierValue()) {
		if n := slices.Index(offered, string(t)); n >= 0 {
			return a.Challenges[n], nil
		}
	}
	if r.reason != nil { // the others have failed, which is what matters
		return acmez.Challenge{}, r.reason
	}
	return acmez.Challenge{}, &failure{
		text:  fmt.Sprintf("the CA offers %s to prove %s, and none of them can be used", strings.Join(offered, ", "), a.IdentifierValue()),
		hint:  "look at the challenge types of the issuer and of the certificate; dns-01 needs a DNS provider",
		final: true,
	}
}

// left are the challenge types that may still be tried for a name.
func (r *run) left(name string) []ruche.ChallengeType {
	st, _ := r.states.get(r.want.ID)
	return slices.DeleteFunc(r.terms.types(st.Value.Proved), func(t ruche.ChallengeType) bool {
		byDNS := t == ruche.ChallengeDNS01 || t == ruche.ChallengeDNSPersist01
		return slices.Contains(r.journal.Tried[name], t) || t == ruche.ChallengeDNS01 && (r.terms.DNS == nil || r.cfg.DNS == nil) ||
			byDNS && isAddress(name) || !byDNS && isWildcard(name)
	})
}

// present puts all answers where the CA will look, and waits until edges have theirs.
func (r *run) present(ctx context.Context, tasks []task) error {
	if err := r.writeRecords(ctx, tasks); err != nil {
		return err
	}
	var revision int64
	for _, t := range tasks {
		if t.challenge.Type != acmez.ChallengeTypeHTTP01 && t.challenge.Type != acmez.ChallengeTypeTLSALPN01 {
			continue
		}
		kind := ruche.ChallengeType(t.challenge.Type)
		row := vault.Challenge{
			Type: kind, Name: t.authorization.Identifier.Value, Token: t.challenge.Token, KeyAuthorization: t.challenge.KeyAuthorization,
			Expires: r.now().Add(challengeLife),
		}
		key := vault.ChallengeKey(kind, row.Name, row.Token)
		written, err := r.challenges.put(ctx, key, row)
		if err != nil {
			return fmt.Errorf("cannot publish the answer to a challenge: %w", err)
		}
		revision = max(revision, written)
	}
	if revision > 0 {
		r.published(ctx, revision)
	}
	return nil
}

// published waits until the edges have what was written, but not for ever: one that hangs must not keep the others from their certificates.
func (t *term) published(ctx context.Context, revision int64) {
	if t.cfg.Published == nil {
		return
	}
	ctx, stop := context.WithTimeout(ctx, publishTimeout)
	defer stop()
	if err := t.cfg.Published(ctx, revision); err != nil {
		t.log.Debug("not all edges have said that they have what was written", slog.Int64("revision", revision), slog.Any("error", err))
	}
}

// writeRecords writes the DNS records of dns-01. They are in the journal first, so that none is left behind.
func (r *run) writeRecords(ctx context.Context, tasks []task) error {
	var records []vault.DNSRecord
	for _, t := range tasks {
		if t.challenge.Type == acmez.ChallengeTypeDNS01 {
			records = append(records, vault.DNSRecord{Name: t.challenge.DNS01TXTRecordName(), Value: t.challenge.DNS01KeyAuthorization()})
		}
	}
	if len(records) == 0 {
		return nil
	}
	for _, rec := range records {
		if !slices.Contains(r.journal.Records, rec) {
			r.journal.Records = append(r.journal.Records, rec)
		}
	}
	if err := r.save(ctx); err != nil {
		return err
	}
	return each(records, func(rec vault.DNSRecord) error {
		if err := r.cfg.DNS.Present(ctx, *r.terms.DNS, rec.Name, rec.Value); err != nil {
			return &failure{
				text: err.Error(), cause: err,
				hint: "look at the settings of the DNS provider " + r.terms.DNS.Name,
			}
		}
		return nil
	})
}

// answer tells the CA that it may look, and waits until it has.
func (r *run) answer(ctx context.Context, t task) error {
	c := &call{}
	if t.challenge.Status != acmez.StatusProcessing {
		if _, err := r.client.InitiateChallenge(withCall(ctx, c), r.account, t.challenge); err != nil {
			f := explain(err, c)
			// The CA may have looked already, in an earlier life of ours.
			if now, again := r.authorization(ctx, t.authorization.Location); f.unreachable || again != nil || now.Status == acmez.StatusPending {
				return f
			}
		}
	}
	a, err := r.client.PollAuthorization(withCall(ctx, c), r.account, t.authorization)
	if err != nil && a.Status == acmez.StatusPending {
		return explain(err, c)
	}
	if a.Status == acmez.StatusValid {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.proved = ruche.ChallengeType(t.challenge.Type)
	}
	return nil
}

// again handles an order that has become invalid: it is made anew with the next challenge types, as long as there are any. The error is the CA's reason.
func (r *run) again(ctx context.Context, order acmez.Order) (acmez.Order, error) {
	reason, more, err := r.whatFailed(ctx, order)
	if err != nil {
		return order, err
	}
	if !more && (reason.cause != nil || !r.resumed) {
		return order, joined(r.reason, reason)
	}
	// Without a cause an order that was begun earlier has run out.
	r.resumed = false
	r.log.Info("an order has failed, another one is made", slog.Any("error", reason))
	r.journal.URL = ""
	if reason.cause != nil {
		r.reason = joined(r.reason, reason)
	}
	if err := r.save(ctx); err != nil {
		return order, err
	}
	return r.anew(ctx)
}

// joined is the later one of two failures, with what both say: a name was tried in two ways, and whoever mends one wants to know which.
func joined(before, f *failure) *failure {
	if before == nil {
		return f
	}
	all := *f
	if all.text = before.text + "; then " + f.text; before.hint != f.hint {
		all.hint = strings.Trim(before.hint+"; "+f.hint, "; ")
	}
	return &all
}

// whatFailed finds the authorizations that made an order invalid, and writes down what failed. more tells that all of them may be had in another way.
func (r *run) whatFailed(ctx context.Context, order acmez.Order) (reason *failure, more bool, err error) {
	for _, url := range order.Authorizations {
		a, err := r.authorization(ctx, url)
		if err != nil && !gone(err) {
			return nil, false, err
		}
		for _, c := range a.Challenges {
			if c.Error == nil {
				continue
			}
			name := a.IdentifierValue()
			f := r.challengeFailure(a, c)
			if err := r.count(ctx, name, url); err != nil {
				return nil, false, err
			}
			if r.journal.Tried == nil {
				r.journal.Tried = make(map[string][]ruche.ChallengeType)
			}
			r.journal.Tried[name] = append(r.journal.Tried[name], ruche.ChallengeType(c.Type))
			more = (more || reason == nil) && len(r.left(name)) > 0
			if reason == nil {
				reason = f
			}
		}
	}
	if reason == nil {
		reason = &failure{text: "the CA has given the order up without a reason", final: true}
		if order.Error != nil {
			reason = explain(*order.Error, nil)
		}
	}
	reason.final = true
	return reason, more, nil
}

func (r *run) challengeFailure(a acmez.Authorization, c acmez.Challenge) *failure {
	f := explain(*c.Error, nil)
	f.text = fmt.Sprintf("%s for %s: %s", c.Type, a.IdentifierValue(), f.text)
	// A problem inside of a challenge has no status of its own worth reading: the CA did answer.
	f.unreachable = false
	switch c.Type {
	case acmez.ChallengeTypeDNSPersist01:
		domain := "the CA's domain"
		if len(c.IssuerDomainNames) > 0 {
			domain = c.IssuerDomainNames[0]
		}
		f.hint = fmt.Sprintf("create the record, which stands for all renewals: %s IN TXT %q", c.DNSPersist01TXTRecordName(), c.DNSPersist01TXTRecordValue(r.account, domain, a.Wildcard))
	case acmez.ChallengeTypeDNS01:
		f.hint = fmt.Sprintf("look whether the public DNS has %s while an order is under way, and whether all name servers of the zone have the same records", c.DNS01TXTRecordName())
	}
	return f
}

// count writes a failed validation into the ledger, once.
func (r *run) count(ctx context.Context, name, of string) error {
	now := r.now()
	i := vault.Issuance{At: now, Directory: r.journal.Directory, Account: r.journal.Account, Names: r.journal.Names, Renewal: r.journal.Renewal, Failed: true, FailedName: name}
	_, err := r.issuances.put(ctx, issuanceKey(r.journal.Began, of), i)
	return err
}

// cleanUp removes what was put up for the CA.
func (r *run) cleanUp(ctx context.Context) {
	for _, rec := range r.journal.Records {
		if r.terms.DNS == nil || r.cfg.DNS == nil {
			r.log.Warn("a DNS record is left behind, for its provider is not described any more", slog.String("name", rec.Name), slog.String("value", rec.Value))
			continue
		}
		if err := r.cfg.DNS.CleanUp(ctx, *r.terms.DNS, rec.Name, rec.Value); err != nil && !ended(ctx, err) {
			r.log.Warn("a DNS record is left behind", slog.String("name", rec.Name), slog.String("value", rec.Value), slog.Any("error", err))
		}
	}
	needed := make(map[string]bool)
	for id, e := range r.orders.all() {
		for _, n := range e.Value.Names {
			needed[n] = needed[n] || id != r.want.ID
		}
	}
	for key, e := range r.challenges.all() {
		if slices.Contains(r.journal.Names, e.Value.Name) && !needed[e.Value.Name] {
			if err := r.challenges.delete(ctx, key); err != nil {
				return // it runs out by itself
			}
		}
	}
}

// each calls fn for all items, some at a time, and gives one of the errors.
func each[T any](items []T, fn func(T) error) error {
	slots, errs := make(chan struct{}, atOnce), make([]error, len(items))
	var all sync.WaitGroup
	for i, item := range items {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			errs[i] = fn(item)
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
