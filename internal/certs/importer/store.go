package importer

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
)

// Bucket is what Store needs of a part of the state. A revision of 0 stands for a key that does not exist. Errors are those that package ruche names.
type Bucket[T any] interface {
	List(ctx context.Context) (map[string]ruche.Entry[T], error)
	CompareAndSet(ctx context.Context, key string, v T, revision int64) (int64, error)
}

// Store keeps what was read. It is safe for concurrent use, and on several nodes at once.
type Store struct {
	Certificates Bucket[vault.Record]  // vault.BucketCertificates
	Accounts     Bucket[vault.Account] // vault.BucketAccounts
	Seal         vault.Sealer
	// Now tells the time; nil stands for the clock.
	Now func() time.Time
}

// tries is how often a write is tried again that somebody else's came before.
const tries = 5

// Import keeps certificates and accounts. A certificate never replaces one that ends later, and an account none at all. What cannot be used is refused, and keeps nothing else from being
// imported. It gives an error when the state does not answer: what was kept by then stays.
func (s Store) Import(ctx context.Context, list []ruche.ImportedCertificate) (ruche.ImportResult, error) {
	result := Plan(list)
	certificates, accounts := result.Certificates, result.Accounts
	there, err := s.Certificates.List(ctx)
	if err != nil {
		return result, err
	}
	for _, c := range Merge(list) {
		var item *ruche.ImportedItem
		if len(c.Chain) == 0 {
			item, accounts = &accounts[0], accounts[1:]
			err = s.account(ctx, c.Account, item)
		} else {
			item, certificates = &certificates[0], certificates[1:]
			err = s.certificate(ctx, c, item, there)
		}
		if err != nil {
			return result, err
		}
	}
	return result, nil
}

// Plan tells what would be imported, as far as that is known without the state.
func Plan(list []ruche.ImportedCertificate) ruche.ImportResult {
	result := ruche.ImportResult{Certificates: []ruche.ImportedItem{}, Accounts: []ruche.ImportedItem{}, Problems: []ruche.ImportProblem{}}
	for _, c := range Merge(list) {
		item := ruche.ImportedItem{Names: slices.Clone(c.Names), Directory: c.Directory, Guessed: c.Guessed, Source: c.Source, Outcome: ruche.ImportReady}
		if len(c.Chain) == 0 {
			if a := c.Account; a != nil {
				item.Directory, item.Names = a.Directory, []string{}
				if a.Email != "" {
					item.Names = []string{a.Email}
				}
			}
			result.Accounts = append(result.Accounts, item)
			continue
		}
		if leaf, err := x509.ParseCertificate(c.Chain[0]); err == nil {
			item.NotAfter = leaf.NotAfter
		}
		result.Certificates = append(result.Certificates, item)
	}
	return result
}

// certificate keeps one, and notes what became of it there and in what is there.
func (s Store) certificate(ctx context.Context, c ruche.ImportedCertificate, item *ruche.ImportedItem, there map[string]ruche.Entry[vault.Record]) error {
	leaf, err := s.check(c)
	if err != nil {
		item.Outcome, item.Reason = ruche.ImportRefused, err.Error()
		return nil
	}
	keyType := keyTypeOf(leaf.PublicKey)
	id := vault.ID(c.Names, c.Directory, keyType)
	record := vault.Record{Names: c.Names, Origin: vault.OriginImported, Directory: c.Directory, KeyType: keyType, Chain: c.Chain, Issued: s.now()}
	record.Key = s.Seal.Close(vault.SealedFor(id), c.Key)
	for try := 0; ; try++ {
		item.ID, item.Outcome = compare(there, id, leaf)
		if item.Outcome != ruche.ImportDone {
			return nil
		}
		revision, err := s.Certificates.CompareAndSet(ctx, id, record, there[id].Revision)
		if err == nil {
			there[id] = ruche.Entry[vault.Record]{Key: id, Value: record, Revision: revision}
			return nil
		}
		if errors.Is(err, ruche.ErrConflict) && try < tries {
			var all map[string]ruche.Entry[vault.Record]
			all, err = s.Certificates.List(ctx)
			maps.Copy(there, all)
		}
		if err != nil {
			item.Outcome = ruche.ImportReady
			return err
		}
	}
}

// compare says what becomes of a certificate, and under which ID it is, or will be: it is kept already, what is there ends later, or it is to be kept.
func compare(there map[string]ruche.Entry[vault.Record], id string, leaf *x509.Certificate) (string, ruche.ImportOutcome) {
	for key, e := range there {
		if len(e.Value.Chain) > 0 && slices.Equal(e.Value.Chain[0], leaf.Raw) {
			return key, ruche.ImportSame
		}
	}
	// One that cannot be read is none that anybody is served with.
	if was, err := there[id].Value.Leaf(); err == nil && !leaf.NotAfter.After(was.NotAfter) {
		return id, ruche.ImportOlder
	}
	return id, ruche.ImportDone
}

func (s Store) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// check looks whether a certificate is whole: it comes from outside.
func (s Store) check(c ruche.ImportedCertificate) (*x509.Certificate, error) {
	pair, err := vault.Record{Chain: c.Chain}.Pair(c.Key)
	if err != nil {
		return nil, err
	}
	for _, der := range c.Chain[1:] {
		if _, err := x509.ParseCertificate(der); err != nil {
			return nil, errors.New("a certificate of the chain cannot be read")
		}
	}
	has := namesOf(pair.Leaf)
	switch {
	case len(c.Names) == 0 || !sameNames(c.Names, has):
		return nil, fmt.Errorf("the names %v are not those of the certificate", c.Names)
	case s.now().After(pair.Leaf.NotAfter):
		return nil, fmt.Errorf("the certificate has ended on %s", pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	case c.Directory != "" && !isURL(c.Directory):
		return nil, fmt.Errorf("%q is no URL of an ACME directory", c.Directory)
	}
	return pair.Leaf, nil
}

func sameNames(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

func checkAccount(a *ruche.ImportedAccount) error {
	switch {
	case a == nil:
		return errors.New("it is neither a certificate nor an account")
	case !isURL(a.Directory):
		return fmt.Errorf("%q is no URL of an ACME directory", a.Directory)
	case a.URL != "" && !isURL(a.URL):
		return fmt.Errorf("%q is no URL of an account", a.URL)
	case strings.ContainsAny(a.Email, " \r\n<>"):
		return errors.New("the e-mail address cannot be used")
	}
	if key, err := x509.ParsePKCS8PrivateKey(a.Key); err == nil {
		if _, ok := key.(crypto.Signer); ok {
			return nil
		}
	}
	return errUnreadable
}

// account keeps one, if there is none of that name yet, and notes what became of it.
func (s Store) account(ctx context.Context, a *ruche.ImportedAccount, item *ruche.ImportedItem) error {
	if err := checkAccount(a); err != nil {
		item.Outcome, item.Reason = ruche.ImportRefused, err.Error()
		return nil
	}
	item.ID = vault.AccountKey(a.Directory, a.Email, a.KeyID)
	v := vault.Account{
		Directory: a.Directory, KeyID: a.KeyID, URL: a.URL, Created: s.now(),
		Key: s.Seal.Close(vault.AccountSealedFor(item.ID), a.Key),
	}
	if a.Email != "" {
		v.Contact = []string{"mailto:" + a.Email}
	}
	_, err := s.Accounts.CompareAndSet(ctx, item.ID, v, 0)
	if err == nil {
		item.Outcome = ruche.ImportDone
	}
	if !errors.Is(err, ruche.ErrConflict) {
		return err
	}
	all, err := s.Accounts.List(ctx)
	if err != nil {
		return err
	}
	item.Outcome = ruche.ImportOlder
	if key, err := s.Seal.Open(vault.AccountSealedFor(item.ID), all[item.ID].Value.Key); err == nil && slices.Equal(key, a.Key) {
		item.Outcome = ruche.ImportSame
	}
	return nil
}
