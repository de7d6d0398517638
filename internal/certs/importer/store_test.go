package importer_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/importer"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/mesh"
)

// kept is a state with the two buckets.
type kept struct {
	importer.Store
	certificates *cluster.Bucket[vault.Record]
	accounts     *cluster.Bucket[vault.Account]
	seal         *mesh.Seal
}

func open(t *testing.T) kept {
	t.Helper()
	c, err := cluster.Open(t.Context(), cluster.Config{Dir: filepath.Join(t.TempDir(), "cluster"), Name: "c1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	_, seal, err := mesh.NewSeal()
	if err != nil {
		t.Fatal(err)
	}
	k := kept{certificates: cluster.NewBucket[vault.Record](c, vault.BucketCertificates), accounts: cluster.NewBucket[vault.Account](c, vault.BucketAccounts), seal: seal}
	k.Store = importer.Store{Certificates: k.certificates, Accounts: k.accounts, Seal: seal, Now: importer.NowForTest}
	return k
}

// outcomes imports, and gives what became of certificates and of accounts.
func (k kept) outcomes(t *testing.T, list ...ruche.ImportedCertificate) (certificates, accounts []ruche.ImportedItem) {
	t.Helper()
	result, err := k.Import(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if secret, _ := json.Marshal(c.Key); len(c.Key) > 0 && bytes.Contains(text, secret) {
			t.Error("the result has a key in it")
		}
	}
	return result.Certificates, result.Accounts
}

func TestStoreKeepsWhatEndsLast(t *testing.T) {
	k := open(t)
	old, sooner, later := importer.IssueForTest(t, 80), importer.IssueForTest(t, 70), importer.IssueForTest(t, 90)
	for _, step := range []struct {
		what  string
		given ruche.ImportedCertificate
		want  ruche.ImportOutcome
		kept  ruche.ImportedCertificate
	}{
		{"the first", old, ruche.ImportDone, old}, {"again", old, ruche.ImportSame, old},
		{"one that ends sooner", sooner, ruche.ImportOlder, old}, {"one that ends later", later, ruche.ImportDone, later}, {"the first again", old, ruche.ImportOlder, later},
	} {
		items, _ := k.outcomes(t, step.given)
		if items[0].Outcome != step.want {
			t.Errorf("%s: %+v, want %s", step.what, items[0], step.want)
		}
		entry, err := k.certificates.Get(t.Context(), items[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		r := entry.Value
		key, err := k.seal.Open(vault.SealedFor(items[0].ID), r.Key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Pair(key); err != nil || !bytes.Equal(r.Chain[0], step.kept.Chain[0]) {
			t.Errorf("%s: another certificate is kept (%v)", step.what, err)
		}
		if r.Origin != vault.OriginImported || r.Directory != ruche.LetsEncrypt || r.KeyType != ruche.KeyP256 || items[0].ID != vault.ID(r.Names, r.Directory, r.KeyType) {
			t.Errorf("%s: the record is %+v under %s", step.what, r.Redacted(), items[0].ID)
		}
	}
	elsewhere := later
	elsewhere.Directory = "https://ca.internal/directory"
	if items, _ := k.outcomes(t, elsewhere, elsewhere); len(items) != 1 || items[0].Outcome != ruche.ImportSame {
		t.Errorf("the same certificate, said to be of another directory: %+v", items)
	}
	all, err := k.certificates.List(t.Context())
	if err != nil || len(all) != 1 {
		t.Errorf("%d are kept, %v", len(all), err)
	}
}

func TestStoreRefusesWhatIsNotWhole(t *testing.T) {
	k := open(t)
	good, other, expired := importer.IssueForTest(t, 80), importer.IssueForTest(t, 80), importer.IssueForTest(t, -1)
	change := func(f func(*ruche.ImportedCertificate)) ruche.ImportedCertificate {
		c := good
		f(&c)
		return c
	}
	for says, c := range map[string]ruche.ImportedCertificate{
		"the key is not that":           change(func(c *ruche.ImportedCertificate) { c.Key = other.Key }),
		"the key cannot be read":        change(func(c *ruche.ImportedCertificate) { c.Key = nil }),
		"are not those of":              change(func(c *ruche.ImportedCertificate) { c.Names = []string{"bank.example"} }),
		"no URL of an ACME directory":   change(func(c *ruche.ImportedCertificate) { c.Directory = "acme" }),
		"of the chain cannot be read":   change(func(c *ruche.ImportedCertificate) { c.Chain = [][]byte{c.Chain[0], {1}} }),
		"has ended":                     expired,
		"neither a certificate nor an":  {},
		"is no URL of an account":       {Account: &ruche.ImportedAccount{Directory: ruche.LetsEncrypt, URL: "x", Key: good.Key}},
		"the e-mail address cannot be":  {Account: &ruche.ImportedAccount{Directory: ruche.LetsEncrypt, Email: "a b", Key: good.Key}},
		"\"\" is no URL of an ACME dir": {Account: &ruche.ImportedAccount{Key: good.Key}},
		"key cannot be read":            {Account: &ruche.ImportedAccount{Directory: ruche.LetsEncrypt}},
	} {
		certificates, accounts := k.outcomes(t, c, other)
		refused := append(accounts, certificates...)[0]
		if refused.Outcome != ruche.ImportRefused || !strings.Contains(refused.Reason, says) {
			t.Errorf("%q: %+v", says, refused)
		}
		if last := certificates[len(certificates)-1]; last.Outcome == ruche.ImportRefused {
			t.Errorf("%q kept another from being imported: %+v", says, last)
		}
	}
}

func TestStoreReplacesNoAccount(t *testing.T) {
	k := open(t)
	account := func(key []byte) ruche.ImportedCertificate {
		return ruche.ImportedCertificate{Account: &ruche.ImportedAccount{Directory: ruche.LetsEncrypt, URL: "https://acme.example/1", Email: "ops@example.org", Key: key}}
	}
	first, second := account(importer.IssueForTest(t, 1).Key), account(importer.IssueForTest(t, 1).Key)
	for i, want := range []ruche.ImportOutcome{ruche.ImportDone, ruche.ImportSame, ruche.ImportOlder} {
		_, items := k.outcomes(t, []ruche.ImportedCertificate{first, first, second}[i])
		if items[0].Outcome != want || items[0].ID != vault.AccountKey(ruche.LetsEncrypt, "ops@example.org", "") {
			t.Errorf("try %d: %+v, want %s", i, items[0], want)
		}
		entry, err := k.accounts.Get(t.Context(), items[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		key, err := k.seal.Open(vault.AccountSealedFor(items[0].ID), entry.Value.Key)
		if err != nil || !bytes.Equal(key, first.Account.Key) || entry.Value.URL != first.Account.URL || entry.Value.Contact[0] != "mailto:ops@example.org" {
			t.Errorf("try %d: the account is another one: %v", i, err)
		}
	}
}

// racing is a bucket in which somebody else writes first, once.
type racing struct {
	importer.Bucket[vault.Record]
	first func(ctx context.Context, key string)
}

func (r *racing) CompareAndSet(ctx context.Context, key string, v vault.Record, revision int64) (int64, error) {
	if f := r.first; f != nil {
		r.first = nil
		f(ctx, key)
	}
	return r.Bucket.CompareAndSet(ctx, key, v, revision)
}

func TestStoreLosesARace(t *testing.T) {
	for days, want := range map[int]ruche.ImportOutcome{70: ruche.ImportDone, 90: ruche.ImportOlder} {
		k := open(t)
		theirs := importer.IssueForTest(t, days)
		k.Store.Certificates = &racing{k.certificates, func(ctx context.Context, key string) {
			if _, err := k.certificates.Create(ctx, key, vault.Record{Names: theirs.Names, Chain: theirs.Chain, Issued: time.Now()}); err != nil {
				t.Error(err)
			}
		}}
		if items, _ := k.outcomes(t, importer.IssueForTest(t, 80)); items[0].Outcome != want {
			t.Errorf("against one of %d days: %+v, want %s", days, items[0], want)
		}
	}
}

func TestPlanWritesNothing(t *testing.T) {
	c := importer.IssueForTest(t, 80)
	plan := importer.Plan([]ruche.ImportedCertificate{c, {Account: &ruche.ImportedAccount{Directory: ruche.LetsEncrypt, Email: "a@b"}}})
	leaf, _ := x509.ParseCertificate(c.Chain[0])
	if plan.Certificates[0].Outcome != ruche.ImportReady || !plan.Certificates[0].NotAfter.Equal(leaf.NotAfter) || plan.Accounts[0].Names[0] != "a@b" {
		t.Errorf("the plan is %+v", plan)
	}
}
