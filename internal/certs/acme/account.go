package acme

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	acmez "github.com/mholt/acmez/v3/acme"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// accounts are those that are known to be good in this term of leadership.
type accounts struct {
	mu    sync.Mutex
	known map[string]*knownAccount
}

type knownAccount struct {
	asking  chan struct{} // holds one element while the CA is asked
	account acmez.Account
	// err is why the last one who asked has no account, until when it was asked.
	err    error
	failed time.Time
}

// take waits until nobody asks.
func (k *knownAccount) take(ctx context.Context) (free func(), err error) {
	select {
	case k.asking <- struct{}{}:
		return func() { <-k.asking }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *accounts) of(key string) *knownAccount {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		a.known = make(map[string]*knownAccount)
	}
	if a.known[key] == nil {
		a.known[key] = &knownAccount{asking: make(chan struct{}, 1)}
	}
	return a.known[key]
}

func accountKey(terms Terms) string {
	keyID := ""
	if terms.EAB != nil {
		keyID = terms.EAB.KeyID
	}
	return vault.AccountKey(terms.Directory, terms.Email, keyID)
}

// account gives the account that terms order by. Without one its key is made and kept before the CA hears of it, so that asking again, after a crash, finds
// the same one (RFC 8555 section 7.3).
func (t *term) account(ctx context.Context, client *acmez.Client, terms Terms) (acmez.Account, error) {
	key := accountKey(terms)
	k, began := t.accountsKnown.of(key), time.Now()
	free, err := k.take(ctx)
	if err != nil {
		return acmez.Account{}, err
	}
	defer free()
	switch {
	case k.account.Location != "":
		return k.account, nil
	case k.failed.After(began): // one after the other would find out the same, each after minutes when the CA does not answer
		return acmez.Account{}, k.err
	}
	if k.account, k.err = t.findAccount(ctx, client, key, terms); k.err != nil {
		k.failed = time.Now()
	}
	return k.account, k.err
}

func (t *term) findAccount(ctx context.Context, client *acmez.Client, key string, terms Terms) (acmez.Account, error) {
	row, err := t.accountRow(ctx, key, terms)
	if err != nil {
		return acmez.Account{}, err
	}
	signer, err := t.open(vault.AccountSealedFor(key), row.Key)
	if err != nil && t.unopenedFor("account "+key, row.Created) > brokenAfter && !terms.persists() {
		t.log.Warn("the key of an account cannot be opened for an hour, another account is registered", slog.String("directory", terms.Directory), slog.String("account", row.URL), slog.Any("error", err))
		if err := t.accounts.delete(ctx, key); err != nil {
			return acmez.Account{}, fmt.Errorf("cannot forget an account whose key is lost: %w", err)
		}
		if row, err = t.accountRow(ctx, key, terms); err != nil {
			return acmez.Account{}, err
		}
		signer, err = t.open(vault.AccountSealedFor(key), row.Key)
	}
	if err != nil {
		return acmez.Account{}, &failure{
			text: "cannot open the key of the account at the CA: " + err.Error(), cause: err, ours: true,
			hint: "give this node the sealing key that the others have (--seal-key-file); if it is lost, another account is registered by itself in an hour, or by another --acme-email at once",
		}
	}
	account := acmez.Account{PrivateKey: signer, Contact: row.Contact, TermsOfServiceAgreed: true, Location: row.URL}
	if row.URL == "" {
		if account, err = t.register(ctx, client, account, key, terms); err != nil {
			return acmez.Account{}, err
		}
	}
	return account, nil
}

func (t *term) accountRow(ctx context.Context, key string, terms Terms) (vault.Account, error) {
	if e, ok := t.accounts.get(key); ok {
		return e.Value, nil
	}
	der, err := newKey(ruche.KeyP256)
	if err != nil {
		return vault.Account{}, err
	}
	row := vault.Account{Directory: terms.Directory, Key: t.cfg.Seal.Close(vault.AccountSealedFor(key), der), Created: t.now()}
	if terms.Email != "" {
		row.Contact = []string{"mailto:" + terms.Email}
	}
	if terms.EAB != nil {
		row.KeyID = terms.EAB.KeyID
	}
	_, err = t.accounts.put(ctx, key, row)
	if errors.Is(err, ruche.ErrConflict) { // it was imported since this node leads
		if err = t.accounts.refresh(ctx, key); err == nil {
			if e, ok := t.accounts.get(key); ok {
				return e.Value, nil
			}
			err = ruche.ErrConflict
		}
	}
	if err != nil {
		return vault.Account{}, fmt.Errorf("cannot keep the key of a new account: %w", err)
	}
	return row, nil
}

// register makes the account at the CA, or finds the one that the key has there.
func (t *term) register(ctx context.Context, client *acmez.Client, account acmez.Account, key string, terms Terms) (acmez.Account, error) {
	c := &call{}
	ctx = withCall(ctx, c)
	if terms.EAB != nil {
		mac := strings.TrimRight(terms.EAB.Key, "=")
		if _, err := base64.RawURLEncoding.DecodeString(mac); err != nil {
			return account, &failure{
				text: "the MAC key of the external account is not in base64url", refused: true, final: true, hint: "give it as the CA did (--acme-eab-key-file)",
			}
		}
		if err := account.SetExternalAccountBinding(ctx, client, acmez.EAB{KeyID: terms.EAB.KeyID, MACKey: mac}); err != nil {
			return account, explain(err, c)
		}
	}
	account, err := client.NewAccount(ctx, account)
	if err != nil {
		f := explain(err, c)
		if terms.EAB == nil && problemKind(err) == "unauthorized" {
			return account, t.refuseAccount(terms, "of "+cmp.Or(terms.Email, "this installation"), f)
		}
		f.text = "cannot register an account: " + f.text
		if kind := problemKind(err); terms.EAB != nil && (kind == "unauthorized" || kind == "malformed") {
			f.hint = "look at the key ID and the MAC key of the external account (--acme-eab-kid, --acme-eab-key-file)"
		}
		return account, f
	}
	err = t.accounts.change(ctx, key, func(row *vault.Account) bool {
		row.URL = account.Location
		return true
	})
	if err != nil {
		return account, fmt.Errorf("cannot keep the URL of an account: %w", err)
	}
	t.log.Info("an account was registered", slog.String("directory", terms.Directory), slog.String("account", account.Location))
	return account, nil
}

// lost handles that the CA does not know the account at a URL: with the same key it is registered again by who asks for it next, but never where standing DNS records name it.
func (t *term) lost(ctx context.Context, terms Terms, url string) error {
	key := accountKey(terms)
	if terms.persists() {
		return &failure{
			text:    fmt.Sprintf("the CA does not know the account %s any more, which the standing DNS records name", url),
			hint:    "ask the CA; to begin with a new account, take another --acme-email, and change accounturi in all records _validation-persist",
			refused: true, final: true,
		}
	}
	k := t.accountsKnown.of(key)
	free, err := k.take(ctx)
	if err != nil {
		return err
	}
	defer free()
	if k.account.Location != url { // another order has found out, and it is registered again
		return nil
	}
	k.account = acmez.Account{}
	t.log.Warn("the CA does not know the account any more, it is registered again with the same key", slog.String("directory", terms.Directory), slog.String("account", url))
	err = t.accounts.change(ctx, key, func(row *vault.Account) bool {
		row.URL = ""
		return true
	})
	if err != nil {
		return fmt.Errorf("cannot forget the URL of an account that its CA has lost: %w", err)
	}
	return nil
}

// unauthorized says why the CA does not let an account order: most often, because the account was deactivated, by its owner or by the CA (RFC 8555 section 7.3.6).
func (r *run) unauthorized(ctx context.Context, f *failure) *failure {
	c := &call{}
	account, err := r.client.GetAccount(withCall(ctx, c), r.account)
	if problemKind(err) == "unauthorized" || err == nil && account.Status != acmez.StatusValid {
		return r.refuseAccount(r.terms, r.account.Location, f)
	}
	f.hint, f.refused = "the CA does not let this account order these names: ask the CA, or take another one", true
	return f
}

// refuseAccount notes that a CA takes an account no more.
func (t *term) refuseAccount(terms Terms, url string, f *failure) *failure {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused[accountKey(terms)] = f.text
	return &failure{
		text: fmt.Sprintf("the CA does not take the account %s any more: %s", url, f.text), cause: f.cause, refused: true, final: true,
		hint: "what is deactivated stays so: begin with a new account, by another --acme-email",
	}
}

// accepted notes that a CA takes an account.
func (t *term) accepted(terms Terms) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.refused, accountKey(terms))
}

// refusals are the warnings of accounts that their CA takes no more, each once, for however many certificates.
func (t *term) refusals() []ruche.Warning {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []ruche.Warning
	for key, text := range t.refused {
		row, _ := t.accounts.get(key)
		all = append(all, ruche.Warning{
			Code: ruche.CodeAccountInvalid, Severity: ruche.SeverityError, Subject: row.Value.Directory + " " + key,
			Message: fmt.Sprintf("the CA does not take the account %s any more, by which certificates are ordered: %s", row.Value.URL, text),
			Hint:    "what is deactivated stays so: begin with a new account, by another --acme-email; with dns-persist-01 the records have to name the new one",
		})
	}
	return all
}
