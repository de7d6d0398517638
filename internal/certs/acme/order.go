package acme

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// run is one certificate being ordered. Before each step that the CA sees, the journal has what is needed to go on after a crash.
type run struct {
	*term
	want    Want
	terms   Terms
	client  *acmez.Client
	account acmez.Account
	journal vault.Order
	// resumed tells that the journal is an earlier run's, whose order the CA may know although the journal does not.
	resumed bool
	waited  time.Duration // for the CA to go on
	// reason is why the orders of this run failed, each by another type of challenge.
	reason *failure
	log    *slog.Logger

	mu     sync.Mutex
	proved ruche.ChallengeType // the challenge type that has succeeded, for the next time
}

// orderTimeout bounds a run, most of which may be the waiting for DNS. The order goes on in the next one.
const orderTimeout = 30 * time.Minute

// brokenAfter is how long an order is asked for that the CA fails over.
const brokenAfter = time.Hour

// obtain orders the certificate, or goes on with its order.
func (r *run) obtain(ctx context.Context) error {
	if err := r.open(ctx); err != nil {
		return err
	}
	if e, ok := r.certificates.get(r.want.ID); ok && r.journal.URL != "" && e.Value.Order == r.journal.URL {
		return r.finish(ctx) // the crash was after the commit
	}
	var err error
	if r.client, err = r.term.client(ctx, r.terms); err != nil {
		return err
	}
	if r.account, err = r.term.account(ctx, r.client, r.terms); err != nil {
		return err
	}
	order, err := r.place(ctx)
	for err == nil {
		switch order.Status {
		case acmez.StatusPending:
			order, err = r.prove(ctx, order)
		case acmez.StatusReady:
			order, err = r.finalize(ctx, order)
		case acmez.StatusProcessing:
			order, err = r.await(ctx, order)
		case acmez.StatusValid:
			return r.collect(ctx, order)
		default:
			order, err = r.again(ctx, order)
		}
	}
	return err
}

// open reads the journal, or begins one: with the key, since what the CA certifies must not get lost.
func (r *run) open(ctx context.Context) error {
	if e, ok := r.orders.get(r.want.ID); ok {
		if e.Value.Directory == r.terms.Directory && e.Value.Account == accountKey(r.terms) {
			r.journal, r.resumed = e.Value, true
			return nil
		}
		former := &run{term: r.term, want: r.want, terms: r.configured(e.Value.Issuer), journal: e.Value, log: r.log}
		if former.terms.DNS == nil { // then the workload has named it
			former.terms.DNS = r.terms.DNS
		}
		if err := former.drop(ctx); err != nil { // the order is with a CA that is not asked any more
			return err
		}
	}
	had, renewal := r.certificates.get(r.want.ID)
	key, err := r.newKey(had.Value)
	if err != nil {
		return err
	}
	r.journal = vault.Order{
		Names: r.want.Spec.Names, Issuer: r.terms.Name, Directory: r.terms.Directory, Account: accountKey(r.terms), Key: key, Profile: r.terms.Profile,
		Replaces: replaces(had.Value, r.terms), Began: r.now(), Renewal: renewal,
	}
	return r.save(ctx)
}

// newKey makes the key, sealed, or takes that of the certificate before where its owner wants that.
func (r *run) newKey(had vault.Record) ([]byte, error) {
	st, _ := r.states.get(r.want.ID)
	if r.want.Spec.ReuseKey && len(had.Key) > 0 && st.Value.Reason != vault.ReasonKeyCompromise {
		return had.Key, nil
	}
	der, err := newKey(r.terms.KeyType)
	if err != nil {
		return nil, &failure{text: err.Error(), cause: err}
	}
	return r.cfg.Seal.Close(vault.SealedFor(r.want.ID), der), nil
}

// replaces is ARI's ID of the certificate that an order replaces (RFC 9773 section 5), where the CA and the account are the same.
func replaces(had vault.Record, terms Terms) string {
	if had.Origin != vault.OriginACME || had.Directory != terms.Directory || had.Account != accountKey(terms) {
		return ""
	}
	leaf, err := had.Leaf()
	if err != nil || len(leaf.AuthorityKeyId) == 0 {
		return ""
	}
	id, err := acmez.ARIUniqueIdentifier(leaf)
	if err != nil {
		return ""
	}
	return id
}

func (r *run) save(ctx context.Context) error {
	_, err := r.orders.put(ctx, r.want.ID, r.journal)
	if errors.Is(err, ruche.ErrConflict) { // the sealing key was rotated: the journal's key is sealed anew, and all else is ours to write
		if err = r.orders.refresh(ctx, r.want.ID); err == nil {
			if e, ok := r.orders.get(r.want.ID); ok {
				r.journal.Key = e.Value.Key
			}
			_, err = r.orders.put(ctx, r.want.ID, r.journal)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot write the journal of the order: %w", err)
	}
	return nil
}

// place gives the order: that of the journal, one that an earlier run made without coming to write it down, or a new one.
func (r *run) place(ctx context.Context) (acmez.Order, error) {
	if r.journal.URL != "" {
		order, err := r.get(ctx, r.journal.URL)
		if err == nil || !gone(err) && !r.broken(err) { // whether it has expired is for the CA's clock to say
			return order, err
		}
		r.log.Info("the CA has given the order up, another one is made", slog.String("order", r.journal.URL))
		r.journal.URL = ""
		if err := r.save(ctx); err != nil {
			return order, err
		}
	} else if r.resumed {
		order, err := r.find(ctx)
		if err != nil {
			return order, err
		}
		if order.Location != "" {
			return r.remember(ctx, order)
		}
	}
	return r.anew(ctx)
}

// broken reports whether the CA has had a problem of its own with this order for long, while it does answer: such an order may never come to an end.
func (r *run) broken(err error) bool {
	p, ok := problemOf(err)
	return ok && p.Status >= http.StatusInternalServerError && r.now().Sub(r.journal.Began) > brokenAfter
}

// anew makes a new order, and writes down where it is.
func (r *run) anew(ctx context.Context) (acmez.Order, error) {
	order, err := r.ask(ctx)
	if err != nil {
		return order, err
	}
	return r.remember(ctx, order)
}

func (r *run) remember(ctx context.Context, order acmez.Order) (acmez.Order, error) {
	r.journal.URL = order.Location
	return order, r.save(ctx)
}

// ask makes a new order.
func (r *run) ask(ctx context.Context) (acmez.Order, error) {
	c := &call{once: true}
	dir, err := r.client.GetDirectory(withCall(ctx, c))
	if err != nil {
		return acmez.Order{}, explain(err, c)
	}
	order := acmez.Order{Identifiers: identifiers(r.journal.Names), Profile: r.journal.Profile}
	if dir.RenewalInfo != "" {
		order.Replaces = r.journal.Replaces
	}
	if order.Profile != "" && !hasProfile(dir, order.Profile) {
		return order, &failure{text: fmt.Sprintf("the CA has no profile %q", order.Profile), hint: "it has " + profileNames(dir), refused: true, final: true}
	}
	made, err := r.client.NewOrder(withCall(ctx, c), r.account, order)
	if err == nil {
		r.accepted(r.terms)
		return made, nil
	}
	if problemKind(err) == "unauthorized" {
		return made, r.unauthorized(ctx, explain(err, c))
	}
	if order.Replaces != "" && replacedBefore(err) {
		r.log.Info("the CA does not take the order as a replacement, it is asked without", slog.Any("error", err))
		r.journal.Replaces = ""
		if err := r.save(ctx); err != nil {
			return made, err
		}
		return r.ask(ctx)
	}
	return made, explain(err, c)
}

// replacedBefore reports whether a CA may object to what an order replaces: another order replaces it, it is not one of this account, or the CA fails to find it,
// for which some say that they have a problem of their own. Then the order is made without.
func replacedBefore(err error) bool {
	p, ok := problemOf(err)
	switch kind(p) {
	case "rateLimited", "badNonce", "accountDoesNotExist", "userActionRequired", "rejectedIdentifier", "unsupportedIdentifier", "invalidProfile":
		return false
	}
	return ok
}

func (r *run) get(ctx context.Context, url string) (acmez.Order, error) {
	c := &call{}
	order, err := r.client.GetOrder(withCall(ctx, c), r.account, acmez.Order{Location: url})
	if err != nil {
		return order, explain(err, c)
	}
	return order, nil
}

// finalize hands in the certificate request.
func (r *run) finalize(ctx context.Context, order acmez.Order) (acmez.Order, error) {
	key, err := r.key()
	if err != nil {
		return order, err
	}
	csr, err := request(r.journal.Names, key)
	if err != nil {
		return order, err
	}
	c := &call{}
	done, err := r.client.FinalizeOrder(withCall(ctx, c), r.account, order, csr)
	if err == nil {
		return done, nil
	}
	f := explain(err, c)
	if ended(ctx, err) || f.unreachable {
		return order, f
	}
	// The CA's last word is in the order: it may have been finalized before, or be invalid now.
	now, err := r.get(ctx, order.Location)
	if err != nil {
		return order, err
	}
	if now.Status == acmez.StatusReady {
		f.final = true
		return order, f
	}
	return now, nil
}

// key opens the journal's key. One that this leader cannot open for long never will be, since the sealing key is lost: then another order is begun.
func (r *run) key() (crypto.Signer, error) {
	key, err := r.Engine.open(vault.SealedFor(r.want.ID), r.journal.Key)
	if err == nil {
		return key, nil
	}
	return nil, &failure{
		text: "cannot open the key of the order that is under way: " + err.Error(), cause: err, ours: true, final: r.unopenedFor(r.want.ID, r.journal.Began) > brokenAfter,
		hint: "give this node the sealing key that the others have (--seal-key-file); if it is lost, another order is begun by itself in an hour",
	}
}

// unopenedFor is for how long it is known that a key cannot be opened, which was made at a time.
func (t *term) unopenedFor(what string, made time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	since := t.unopened[what]
	if since.Before(made) { // it is the first time
		since = t.now()
		t.unopened[what] = since
	}
	return t.now().Sub(since)
}

// await asks for the order again after a while, which grows. An order that stays pending although there is nothing left to prove leads nowhere; one that the CA is at goes on
// in the next run.
func (r *run) await(ctx context.Context, order acmez.Order) (acmez.Order, error) {
	wait := max(r.poll, r.waited/4)
	if r.waited += wait; r.waited > pollTimeout {
		return order, &failure{text: "the CA leaves the order " + order.Status, final: order.Status == acmez.StatusPending, hint: hints()["serverInternal"]}
	}
	if err := sleep(ctx, wait); err != nil {
		return order, err
	}
	return r.get(ctx, order.Location)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// collect fetches the certificate and commits it.
func (r *run) collect(ctx context.Context, order acmez.Order) error {
	c := &call{noWindow: true}
	chains, err := r.client.GetCertificateChain(withCall(ctx, c), r.account, order.Certificate)
	if err != nil {
		return explain(err, c)
	}
	key, err := r.key()
	if err != nil {
		return err
	}
	chain, err := choose(chains, r.terms.PreferredChain)
	if err == nil {
		err = check(chain, key, r.journal.Names, r.now())
	}
	if err != nil {
		return &failure{text: err.Error(), cause: err, final: true}
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	rec := vault.Record{
		Names: r.journal.Names, Origin: vault.OriginACME, Issuer: r.journal.Issuer, Directory: r.journal.Directory, Profile: r.journal.Profile,
		KeyType: r.terms.KeyType, Chain: chain, Issued: r.now(), Order: r.journal.URL, Account: r.journal.Account,
		Key: r.cfg.Seal.Close(vault.SealedFor(r.want.ID), der), // with the key of today: that of the journal may be rotated out
	}
	if err := r.commit(ctx, r.want.ID, rec); err != nil {
		return err
	}
	return r.finish(ctx)
}

// commit writes a record, unless it is that of the same order already.
func (t *term) commit(ctx context.Context, id string, rec vault.Record) error {
	err := t.certificates.change(ctx, id, func(row *vault.Record) bool {
		if rec.Order != "" && row.Order == rec.Order {
			return false
		}
		*row = rec
		return true
	})
	if err != nil {
		return fmt.Errorf("cannot keep the certificate: %w", err)
	}
	return nil
}

// finish does what comes after the commit. It may be done again.
func (r *run) finish(ctx context.Context) error {
	e, _ := r.certificates.get(r.want.ID)
	if err := r.succeeded(ctx, r.want.ID, e.Value, r.proved); err != nil {
		return err
	}
	i := r.journal
	issuance := vault.Issuance{At: i.Began, Directory: i.Directory, Account: i.Account, Names: i.Names, Renewal: i.Renewal, Replaces: i.Replaces != ""}
	if _, err := r.issuances.put(ctx, issuanceKey(i.Began, i.URL), issuance); err != nil && !errors.Is(err, ruche.ErrConflict) {
		return err
	}
	return r.drop(ctx)
}

// issuanceKey is the same for the same order, so that nothing is counted twice.
func issuanceKey(at time.Time, of string) string {
	sum := sha256.Sum256([]byte(of))
	return at.UTC().Format("20060102T150405") + "-" + hex.EncodeToString(sum[:6])
}

// drop ends the order: what the world saw of it is removed, and the journal last.
func (r *run) drop(ctx context.Context) error {
	r.cleanUp(ctx)
	return r.orders.delete(ctx, r.want.ID)
}
