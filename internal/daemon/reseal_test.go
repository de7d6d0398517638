package daemon

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/mesh"
)

// sealLine is a line of a sealing key's file: the key number n.
func sealLine(n byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, 32)) + "\n"
}

func sealWith(t *testing.T, lines string) *mesh.Seal {
	t.Helper()
	file := filepath.Join(t.TempDir(), "seal")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	seal, err := mesh.ReadSeal(file)
	if err != nil {
		t.Fatal(err)
	}
	return seal
}

// nested is a value as an authority's may be: sealed at several depths, with fields that nobody here knows.
const nested = `{"name":"a","number":12345678901234567890,"roots":[{"id":"r1","key":%q},{"id":"r2"}],"wanted":{"id":"w","key":%q}}`

func nestedFields() []sealedField {
	byID := func(_, id string) string { return "key of " + id }
	return append(sealedFields(), sealedField{"nested", "roots.*.key", byID}, sealedField{"nested", "wanted.key", byID})
}

// sealedState is a state in which something is sealed in every bucket.
func sealedState(t *testing.T, seal *mesh.Seal) *cluster.Cluster {
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
	put := func(bucket, key string, v any) {
		t.Helper()
		data, err := json.Marshal(v)
		if err == nil {
			_, err = cluster.NewBucket[json.RawMessage](c, bucket).Put(t.Context(), key, data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range 30 {
		id := fmt.Sprintf("shop-%02d", n)
		put(vault.BucketCertificates, id, vault.Record{Names: []string{"<shop>"}, Key: seal.Close(vault.SealedFor(id), []byte("key of "+id))})
	}
	put(vault.BucketOrders, "o", vault.Order{Key: seal.Close(vault.SealedFor("o"), []byte("order"))})
	put(vault.BucketAccounts, "a", vault.Account{Key: seal.Close(vault.AccountSealedFor("a"), []byte("account"))})
	put(vault.BucketAccounts, "without", vault.Account{})
	put(vault.BucketTickets, "keys", vault.Tickets{Keys: seal.Close(vault.SealedForTickets, []byte("tickets"))})
	put(vault.BucketECH, "keys", vault.ECH{Keys: seal.Close(vault.SealedForECH, []byte("[]"))})
	withSecret := ruche.CertificateSpecs{Specs: []ruche.CertificateSpec{{Names: []string{"a.example"}}, {EAB: &ruche.ExternalAccount{KeyID: "k", Key: "secret"}}}}
	sealed, _ := vault.SealSpecs(seal, "container/1", withSecret)
	put(vault.BucketSpecs, "container/1", sealed)
	text := func(what string) string {
		return base64.StdEncoding.EncodeToString(seal.Close("key of "+what, []byte(what)))
	}
	put("nested", "main", json.RawMessage(fmt.Sprintf(nested, text("r1"), text("w"))))
	if _, err := mesh.OpenAuthority(t.Context(), cluster.NewBucket[mesh.AuthorityRecord](c, "authority"), seal, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

// sealedValues is how many sealedState has.
const sealedValues = 30 + 1 + 1 + 1 + 1 + 1 + 2 + 1

func newResealer(c *cluster.Cluster, seal *mesh.Seal) *resealer {
	return &resealer{cluster: c, seal: seal, fields: nestedFields(), node: "c1", logger: slog.New(slog.DiscardHandler)}
}

// totals are those of a status.
func totals(t *testing.T, r *resealer) string {
	t.Helper()
	s, err := r.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, stale, lost := s.Total()
	return fmt.Sprintf("%d sealed, %d stale, %d lost", all, stale, lost)
}

func TestReseal(t *testing.T) {
	t.Parallel()
	older, newer := sealWith(t, sealLine(1)), sealWith(t, sealLine(2))
	c := sealedState(t, older)
	r := newResealer(c, sealWith(t, sealLine(2)+sealLine(1)))
	if got, want := totals(t, r), fmt.Sprintf("%d sealed, %d stale, 0 lost", sealedValues, sealedValues); got != want {
		t.Errorf("before: %s, want %s", got, want)
	}
	if got, want := totals(t, newResealer(c, newer)), fmt.Sprintf("%d sealed, 0 stale, %d lost", sealedValues, sealedValues); got != want {
		t.Errorf("with the new key alone: %s, want %s", got, want)
	}
	s, err := newResealer(c, newer).Reseal(t.Context())
	if err != nil || s.Resealed != 0 || len(s.Unopened) != maxUnopened {
		t.Errorf("with the wrong key: %+v, %v", s, err)
	}

	s, err = r.Reseal(t.Context())
	if _, stale, _ := s.Total(); err != nil || stale != 0 || s.Resealed != sealedValues {
		t.Errorf("Reseal() = %+v, %v", s, err)
	}
	if s, err := r.Reseal(t.Context()); err != nil || s.Resealed != 0 {
		t.Errorf("once more: %+v, %v", s, err)
	}
	if got, want := totals(t, newResealer(c, newer)), fmt.Sprintf("%d sealed, 0 stale, 0 lost", sealedValues); got != want {
		t.Errorf("with the new key alone, afterwards: %s, want %s", got, want)
	}
	e, err := cluster.NewBucket[vault.Record](c, vault.BucketCertificates).Get(t.Context(), "shop-07")
	key, openErr := newer.Open(vault.SealedFor("shop-07"), e.Value.Key)
	if err != nil || openErr != nil || string(key) != "key of shop-07" || e.Value.Names[0] != "<shop>" {
		t.Errorf("a certificate is %+v, its key %q, %v, %v", e.Value, key, err, openErr)
	}
	raw, err := cluster.NewBucket[json.RawMessage](c, "nested").Get(t.Context(), "main")
	if err != nil || !strings.Contains(string(raw.Value), `"number":12345678901234567890`) || !strings.Contains(string(raw.Value), `"name":"a"`) {
		t.Errorf("a value with fields that nobody knows is %s, %v", raw.Value, err)
	}
	if _, err := mesh.OpenAuthority(t.Context(), cluster.NewBucket[mesh.AuthorityRecord](c, "authority"), newer, nil); err != nil {
		t.Errorf("the mesh's authority: %v", err)
	}
}

// What is broken off anywhere is as good as what was: both keys open all of it, and the next run does the rest.
func TestResealIsBrokenOffAnywhere(t *testing.T) {
	t.Parallel()
	c := sealedState(t, sealWith(t, sealLine(1)))
	both := sealWith(t, sealLine(2)+sealLine(1))
	for stop, before := 1, sealedValues; before > 0; stop += 5 {
		ctx, cancel := context.WithCancel(t.Context())
		left := stop
		_, err := newResealer(c, both).reseal(ctx, func(string) bool { return true }, func() bool {
			if left--; left == 0 {
				cancel()
			}
			return true
		})
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		s, err := newResealer(c, both).Look(t.Context())
		all, stale, lost := s.Total()
		if err != nil || all != sealedValues || lost > 0 || stale > before || stop > 2*sealedValues && stale > 0 {
			t.Fatalf("broken off after %d, of %d stale values: %+v, %v", stop, before, s, err)
		}
		before = stale
	}
}

// Two nodes seal anew at once, while somebody goes on writing: nothing of that is lost, and in the end nothing is stale.
func TestResealWhileOthersWrite(t *testing.T) {
	t.Parallel()
	older, both := sealWith(t, sealLine(1)), sealWith(t, sealLine(2)+sealLine(1))
	c := sealedState(t, older)
	certificates := cluster.NewBucket[vault.Record](c, vault.BucketCertificates)
	errs := make(chan error, 3)
	for range 2 {
		go func() {
			_, err := newResealer(c, both).Reseal(t.Context())
			errs <- err
		}()
	}
	go func() { // a node that has not yet been started with the new file
		for n := range 30 {
			id := fmt.Sprintf("shop-%02d", n)
			if _, err := certificates.Put(t.Context(), id, vault.Record{Names: []string{"renewed"}, Key: older.Close(vault.SealedFor(id), []byte("renewed"))}); err != nil {
				errs <- err
				return
			}
		}
		errs <- nil
	}()
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if _, err := newResealer(c, both).Reseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := totals(t, newResealer(c, sealWith(t, sealLine(2)))), fmt.Sprintf("%d sealed, 0 stale, 0 lost", sealedValues); got != want {
		t.Errorf("in the end: %s, want %s", got, want)
	}
	all, err := certificates.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for id, e := range all {
		if key, err := both.Open(vault.SealedFor(id), e.Value.Key); err != nil || string(key) != "renewed" || e.Value.Names[0] != "renewed" {
			t.Errorf("%s: what was written meanwhile is lost: %+v, %q, %v", id, e.Value.Names, key, err)
		}
	}
}

// The key of two control nodes is replaced in them one after the other, as the update of a service does it.
func TestTheSealingKeyOfControlNodesIsReplaced(t *testing.T) {
	t.Parallel() // most of the time it waits for members to be let in
	base := t.TempDir()
	write := func(content string) {
		if err := os.WriteFile(filepath.Join(base, "seal"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(sealLine(1))
	one, two, three := newSeat(t, "c1"), newSeat(t, "c2"), newSeat(t, "c3")
	for i, s := range []*seat{one, two, three} {
		s.dir, s.control = filepath.Join(base, fmt.Sprint(i)), []string{one.mesh, two.mesh, three.mesh}
	}
	one.bootstrap = true
	up(t, one)
	token := joinToken(t, one.node, ruche.TokenRequest{Roles: []string{"control"}, Uses: -1})
	two.token, three.token = token, token
	up(t, two, three)
	one.members(t, "c1", "c2", "c3")
	store := one.node.importer()
	if _, err := store.Accounts.CompareAndSet(t.Context(), "a", vault.Account{Key: one.node.seal.Close(vault.AccountSealedFor("a"), []byte("x"))}, 0); err != nil {
		t.Fatal(err)
	}

	write(sealLine(2) + sealLine(1))
	one.node.stop(t)
	up(t, one)
	s, err := one.node.resealer().Reseal(t.Context())
	if err != nil || s.Resealed != 0 || !slices.Equal(s.Lacking, []string{"c2", "c3"}) {
		t.Errorf("while the others have the old key alone: %+v, %v", s, err)
	}
	for _, s := range []*seat{two, three} {
		s.node.stop(t)
		up(t, s)
	}
	until(t, "all have said that they have the new key", func() error {
		s, err = two.node.resealer().Reseal(t.Context())
		if err == nil && len(s.Lacking) > 0 {
			err = fmt.Errorf("%v do not have it", s.Lacking)
		}
		return err
	})
	if _, stale, lost := s.Total(); stale+lost > 0 {
		t.Errorf("after sealing anew: %+v", s)
	}
	write(sealLine(2))
	one.node.stop(t)
	up(t, one)
	if s, err = one.node.resealer().Look(t.Context()); err != nil || len(s.Keys) != 1 || len(s.Lacking) > 0 {
		t.Errorf("with the new key alone: %+v, %v", s, err)
	}
	all, stale, lost := s.Total()
	if all < 2 || stale+lost > 0 {
		t.Errorf("with the new key alone: %+v", s)
	}
}

// What "ruche up" sealed with a key of its own is sealed with the installation's when it becomes a control node of several.
func TestTheKeyOfOneHostGivesWay(t *testing.T) {
	t.Parallel()
	s := newSeat(t, "c1")
	s.bootstrap = true
	alone := prepare(t, s.dir, "unix:///nowhere")
	own := alone.seal
	if _, err := alone.importer().Accounts.CompareAndSet(t.Context(), "a", vault.Account{Key: own.Close(vault.AccountSealedFor("a"), []byte("x"))}, 0); err != nil {
		t.Fatal(err)
	}
	serve(t, alone).stop(t)
	if err := os.WriteFile(filepath.Join(s.dir, "..", "seal"), []byte(sealLine(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	up(t, s)
	e, err := cluster.NewBucket[vault.Account](s.node.cluster, vault.BucketAccounts).Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sealWith(t, sealLine(1)).Open(vault.AccountSealedFor("a"), e.Value.Key); err != nil {
		t.Errorf("another node cannot open it: %v", err)
	}
}

func FuzzVisit(f *testing.F) {
	f.Add([]byte(`{"roots":[{"id":"a","key":"AAAA"}]}`), "roots.*.key")
	f.Add([]byte(`[{"key":1}]`), "*.key")
	f.Fuzz(func(t *testing.T, value []byte, path string) {
		got, changed, err := visit(value, path, func(string, []byte) []byte { return []byte("anew") })
		if err == nil && changed && !json.Valid(got) {
			t.Errorf("%s became %s", value, got)
		}
	})
}
