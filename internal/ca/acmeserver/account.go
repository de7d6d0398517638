package acmeserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
)

const (
	unusedLife  = 30 * 24 * time.Hour // of an account that has had no certificate, and of a deactivated one
	afterLife   = 30 * 24 * time.Hour // of an account after its last certificate's end, at least
	aheadLife   = 90 * 24 * time.Hour // by which that is moved ahead at once, so that it is seldom written
	maxContacts = 10
	ordersPage  = 100
)

// accountAnswer is an account as a client sees it (RFC 8555 section 7.1.2).
func (s *Server) accountAnswer(id string, a Account) *answer {
	return &answer{location: s.url + "/account/" + id, body: map[string]any{
		"status": a.Status, "contact": append([]string{}, a.Contact...), "termsOfServiceAgreed": a.Terms, "orders": s.url + "/account/" + id + "/orders",
	}}
}

// newAccount opens an account, or finds that of the key (RFC 8555 section 7.3).
func (s *Server) newAccount(ctx context.Context, q *query) (*answer, error) {
	var wish struct {
		Contact  []string        `json:"contact"`
		Terms    bool            `json:"termsOfServiceAgreed"`
		Existing bool            `json:"onlyReturnExisting"`
		Binding  json.RawMessage `json:"externalAccountBinding"`
	}
	if err := q.read(&wish); err != nil {
		return nil, err
	}
	index, found, err := s.accountOf(ctx, q.key)
	if err != nil {
		return nil, err
	}
	if found != nil {
		if found.Value.Status != StatusValid {
			return nil, problem(unauthorized, "the account of this key is %s", found.Value.Status)
		}
		return s.accountAnswer(found.Key, found.Value), nil
	}
	if wish.Existing {
		return nil, problem(accountDoesNotExist, "there is no account with this key")
	}
	if s.cfg.Terms != "" && !wish.Terms {
		p := problem(userActionRequired, "a new account must agree to the terms of service at %s", s.cfg.Terms)
		p.terms = true
		return nil, p
	}
	if err := checkContacts(wish.Contact); err != nil {
		return nil, err
	}
	bound, err := s.binding(ctx, q, wish.Binding)
	if err != nil {
		return nil, err
	}
	now := s.now()
	a := Account{
		Key: q.key.canonical, Contact: wish.Contact, Bound: bound, From: clientOf(q.Request), Status: StatusValid, Terms: wish.Terms, Created: now, Expires: now.Add(unusedLife),
	}
	if err := s.roomForAccount(a, ""); err != nil {
		return nil, s.accountRefused(ctx, q, a, err)
	}
	return s.open(ctx, q, index, a)
}

// accountRefused notes that an account is beyond a limit.
func (s *Server) accountRefused(ctx context.Context, q *query, a Account, err error) error {
	if p := (*Problem)(nil); errors.As(err, &p) {
		s.audit(ctx, "account refused", slog.String("client", q.RemoteAddr), slog.String("key", a.Bound), slog.String("reason", p.Detail))
	}
	return err
}

// open writes the account first, and then that the key has it: who loses a race for the key takes its account away again.
func (s *Server) open(ctx context.Context, q *query, index int64, a Account) (*answer, error) {
	id := newID()
	if _, err := s.cfg.Accounts.Create(ctx, id, a); err != nil {
		return nil, err
	}
	if err := held(ctx, s.accounts, s.cfg.Accounts, id, func() error { return s.roomForAccount(a, id) }); err != nil {
		return nil, s.accountRefused(ctx, q, a, err)
	}
	_, err := s.cfg.Accounts.CompareAndSet(ctx, keyIndex(q.key), Account{Of: id}, index)
	if errors.Is(err, ruche.ErrConflict) {
		if err := s.cfg.Accounts.Delete(ctx, id); err != nil {
			return nil, err
		}
		_, found, err := s.accountOf(ctx, q.key)
		if err == nil && found == nil {
			err = ruche.ErrConflict
		}
		if err != nil {
			return nil, err
		}
		return s.accountAnswer(found.Key, found.Value), nil
	}
	if err != nil {
		return nil, err
	}
	s.audit(ctx, "account opened", slog.String("client", q.RemoteAddr), slog.String("account", id), slog.String("key", a.Bound), slog.Any("contact", a.Contact))
	answer := s.accountAnswer(id, a)
	answer.status = http.StatusCreated
	return answer, nil
}

func newID() string { return strings.ToLower(rand.Text()) }

func keyIndex(key *jwk) string { return "key/" + key.thumbprint() }

// accountOf finds the account that has a key; nil when none has. index is the revision of the entry that says so, for CompareAndSet.
func (s *Server) accountOf(ctx context.Context, key *jwk) (index int64, found *ruche.Entry[Account], err error) {
	e, err := s.cfg.Accounts.Get(ctx, keyIndex(key))
	if errors.Is(err, ruche.ErrNotFound) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	a, err := s.cfg.Accounts.Get(ctx, e.Value.Of)
	switch {
	case errors.Is(err, ruche.ErrNotFound):
		return e.Revision, nil, nil // it was forgotten
	case err != nil:
		return 0, nil, err
	case !bytes.Equal(a.Value.Key, key.canonical):
		return e.Revision, nil, nil // a change of keys was broken off
	}
	return e.Revision, &a, nil
}

func checkContacts(contacts []string) error {
	if len(contacts) > maxContacts {
		return problem(invalidContact, "an account has at most %d contacts", maxContacts)
	}
	for _, c := range contacts {
		address, ok := strings.CutPrefix(c, "mailto:")
		if !ok {
			return problem(unsupportedContact, "the contact %.100q is not a mailto: URL", c)
		}
		parsed, err := mail.ParseAddress(address)
		if err != nil || parsed.Address != address || len(address) > 254 || strings.ContainsAny(address, "?%, ") {
			return problem(invalidContact, "the contact %.100q is not one plain e-mail address", c)
		}
	}
	return nil
}

// binding checks that the account's key was signed by an external account key (RFC 8555 section 7.3.4), and gives that one's ID.
func (s *Server) binding(ctx context.Context, q *query, data json.RawMessage) (string, error) {
	if len(data) == 0 || string(data) == "null" {
		if s.cfg.RequireKey {
			return "", problem(externalAccountRequired, "an account here needs an external account key: ask those who run this authority for one")
		}
		return "", nil
	}
	j, p := parseJWS(data)
	if p != nil {
		return "", problem(malformed, "the external account binding cannot be read: %s", p.Detail)
	}
	if j.alg != hs256 || j.kid == "" || j.nonce != "" || j.url != q.url {
		return "", problem(malformed, "the external account binding must be signed by HS256, have kid and the request's url, and no nonce")
	}
	signed, err := parseJWK(j.payload)
	if err != nil || !signed.equal(q.key) {
		return "", problem(malformed, "the external account binding is for another account key")
	}
	refused := problem(unauthorized, "there is no such external account key, or the binding was signed by another one")
	key, err := s.cfg.Keys.find(ctx, j.kid)
	if errors.Is(err, ruche.ErrNotFound) {
		return "", refused
	}
	if err != nil {
		return "", err
	}
	secret, err := s.cfg.Keys.sealer.Open(SealedFor(j.kid), key.Secret)
	if err != nil {
		return "", err
	}
	if !j.verifyMAC(secret) {
		s.audit(ctx, "external account binding refused", slog.String("client", q.RemoteAddr), slog.String("key", j.kid))
		return "", refused
	}
	return j.kid, nil
}

// own refuses what belongs to another account.
func (q *query) own() error {
	if q.PathValue("id") != q.account.Key {
		return problem(unauthorized, "it belongs to another account")
	}
	return nil
}

// account shows, changes or deactivates an account (RFC 8555 sections 7.3.2 and 7.3.6).
func (s *Server) account(ctx context.Context, q *query) (*answer, error) {
	if err := q.own(); err != nil {
		return nil, err
	}
	a, id := q.account.Value, q.account.Key
	if q.asGet() {
		return s.accountAnswer(id, a), nil
	}
	var change struct {
		Contact *[]string `json:"contact"`
		Status  Status    `json:"status"`
		Terms   bool      `json:"termsOfServiceAgreed"`
	}
	if err := q.read(&change); err != nil {
		return nil, err
	}
	event := "account changed"
	switch {
	case change.Status == StatusDeactivated:
		event = "account deactivated"
		a.Status, a.Contact, a.Expires = StatusDeactivated, nil, s.now().Add(unusedLife)
	case change.Status != "" && change.Status != a.Status:
		return nil, problem(malformed, "an account can be made deactivated, and nothing else")
	case change.Contact != nil:
		if err := checkContacts(*change.Contact); err != nil {
			return nil, err
		}
		a.Contact = *change.Contact
	}
	a.Terms = a.Terms || change.Terms
	if _, err := s.cfg.Accounts.CompareAndSet(ctx, id, a, q.account.Revision); err != nil {
		return nil, err
	}
	s.audit(ctx, event, append(q.who(), slog.Any("contact", a.Contact))...)
	return s.accountAnswer(id, a), nil
}

// listOrders lists an account's orders that are not invalid (RFC 8555 section 7.1.2.1).
func (s *Server) listOrders(_ context.Context, q *query) (*answer, error) {
	if err := q.own(); err != nil {
		return nil, err
	}
	var ids []string
	for id, o := range s.orders.of(q.account.Key, "") {
		if o.at(s.now()).Status != StatusInvalid && id > q.URL.Query().Get("after") {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	a := &answer{}
	if len(ids) > ordersPage {
		ids = ids[:ordersPage]
		a.links = []string{s.link("/account/"+q.account.Key+"/orders?after="+ids[ordersPage-1], "next")}
	}
	orders := make([]string, 0, len(ids))
	for _, id := range ids {
		orders = append(orders, s.url+"/order/"+id)
	}
	a.body = map[string]any{"orders": orders}
	return a, nil
}

// keyChange gives an account another key (RFC 8555 section 7.3.5).
func (s *Server) keyChange(ctx context.Context, q *query) (*answer, error) {
	inner, p := parseJWS(q.payload)
	if p != nil {
		return nil, p
	}
	if inner.key == nil || inner.url != q.url || inner.nonce != "" {
		return nil, problem(malformed, "the inner JWS must have the new key as jwk, the same url as the outer one, and no nonce")
	}
	if p := inner.verify(inner.key); p != nil {
		return nil, p
	}
	var change struct {
		Account string          `json:"account"`
		OldKey  json.RawMessage `json:"oldKey"`
	}
	if err := json.Unmarshal(inner.payload, &change); err != nil {
		return nil, problem(malformed, "the payload of the inner JWS is not a JSON object with account and oldKey")
	}
	old, err := parseJWK(change.OldKey)
	if err != nil || !old.equal(q.key) || change.Account != s.url+"/account/"+q.account.Key {
		return nil, problem(malformed, "account and oldKey are not those that signed the request")
	}
	index, taken, err := s.accountOf(ctx, inner.key)
	if err != nil {
		return nil, err
	}
	if taken != nil {
		p := problem(malformed, "an account has that key already")
		p.Status, p.location = http.StatusConflict, s.url+"/account/"+taken.Key
		return nil, p
	}
	return s.change(ctx, q, inner.key, index)
}

// change writes first who has the new key, then the account, then that nobody has the old one: broken off anywhere, one key is the account's.
func (s *Server) change(ctx context.Context, q *query, key *jwk, index int64) (*answer, error) {
	a := q.account.Value
	if _, err := s.cfg.Accounts.CompareAndSet(ctx, keyIndex(key), Account{Of: q.account.Key}, index); err != nil {
		return nil, err
	}
	a.Key = key.canonical
	if _, err := s.cfg.Accounts.CompareAndSet(ctx, q.account.Key, a, q.account.Revision); err != nil {
		return nil, err
	}
	if err := s.cfg.Accounts.Delete(ctx, keyIndex(q.key)); err != nil {
		return nil, err
	}
	s.audit(ctx, "account key changed", q.who()...)
	return s.accountAnswer(q.account.Key, a), nil
}
