package certs

import (
	"context"
	"crypto/tls"
	"log/slog"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/ech"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/health"
)

// echRow is a bucket for one new row.
type echRow struct{ vault.ECH }

func (r *echRow) Get(context.Context, string) (ruche.Entry[vault.ECH], error) {
	return ruche.Entry[vault.ECH]{}, ruche.ErrNotFound
}

func (r *echRow) CompareAndSet(_ context.Context, _ string, v vault.ECH, _ int64) (int64, error) {
	r.ECH = v
	return 1, nil
}

func (r *echRow) Delete(context.Context, string) error { return nil }

func TestSharedECHKeysAreApplied(t *testing.T) {
	var name string
	var got []tls.EncryptedClientHelloKey
	c := New(Config{
		Dir: t.TempDir(), StateDir: t.TempDir(), Opener: plainSeal{}, Logger: slog.New(slog.DiscardHandler), Health: &health.Registry{},
		ApplyECH: func(publicName string, keys []tls.EncryptedClientHelloKey) { name, got = publicName, keys },
	})
	row := &echRow{}
	if _, err := ech.Renew(t.Context(), row, plainSeal{}, "ech.example", time.Now()); err != nil {
		t.Fatal(err)
	}
	puts := func(v vault.ECH) ruche.Update[vault.ECH] {
		return ruche.Update[vault.ECH]{Puts: map[string]vault.ECH{"keys": v}}
	}
	c.applyECH(puts(row.ECH))
	if name != "ech.example" || len(got) != 1 || !got[0].SendAsRetry {
		t.Fatalf("%q with %d keys is in force", name, len(got))
	}
	bad := row.ECH
	bad.Keys = bad.Keys[1:]
	c.applyECH(puts(bad))
	c.applyECH(ruche.Update[vault.ECH]{})
	if len(got) != 1 {
		t.Error("what was in force is not any more")
	}
	c.applyECH(ruche.Update[vault.ECH]{Deletes: []string{"keys"}})
	if name != "" || len(got) != 0 {
		t.Error("what was switched off is still in force")
	}
}
