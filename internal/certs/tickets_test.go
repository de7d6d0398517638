package certs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/rotation/rotationtest"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/health"
)

func TestTicketKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		row := &rotationtest.Row[vault.Tickets]{}
		run := func() (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- RotateTickets(ctx, row, plainSeal{}, slog.New(slog.DiscardHandler)) }()
			synctest.Wait()
			return func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
		}
		keys := func() [][32]byte {
			t.Helper()
			list, err := openTickets(plainSeal{}, row.Value())
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		after := func(d time.Duration) {
			<-time.After(d) // of the test's own clock
			synctest.Wait()
		}
		stop := run()
		first := keys()
		if len(first) != 1 {
			t.Fatalf("there are %d keys at first", len(first))
		}
		after(11 * time.Hour)
		if !slices.Equal(keys(), first) {
			t.Error("the key was rotated before its time")
		}
		stop()
		stop = run() // somebody else leads
		if !slices.Equal(keys(), first) {
			t.Error("a new leader rotates at once")
		}
		after(61 * time.Minute)
		if second := keys(); len(second) != 2 || second[1] != first[0] {
			t.Errorf("after 12 hours there are %d keys", len(second))
		}
		row.Break(errors.New("no quorum"))
		after(13 * time.Hour)
		row.Break(nil)
		after(time.Minute)
		if third := keys(); len(third) != 3 || third[2] != first[0] {
			t.Errorf("after a failure there are %d keys", len(third))
		}
		after(13 * time.Hour)
		if fourth := keys(); len(fourth) != 3 || slices.Contains(fourth, first[0]) {
			t.Errorf("the first key is kept among %d", len(fourth))
		}
		row.Change(func(t *vault.Tickets) { t.Keys = []byte("sealed with another key") })
		after(13 * time.Hour)
		if fresh := keys(); len(fresh) != 1 {
			t.Errorf("after keys that cannot be opened there are %d", len(fresh))
		}
		stop()
	})
}

func TestSharedTicketKeysAreApplied(t *testing.T) {
	var got [][32]byte
	c := New(Config{
		Dir: t.TempDir(), StateDir: t.TempDir(), Opener: plainSeal{}, ApplyTickets: func(keys [][32]byte) { got = keys },
		Logger: slog.New(slog.DiscardHandler), Health: &health.Registry{},
	})
	row := &rotationtest.Row[vault.Tickets]{}
	if _, err := rotate(t.Context(), row, plainSeal{}, c.cfg.Logger, time.Now()); err != nil {
		t.Fatal(err)
	}
	c.applyTickets(ruche.Update[vault.Tickets]{Reset: true, Puts: map[string]vault.Tickets{ticketsKey: row.Value()}})
	if len(got) != 1 || bytes.Equal(got[0][:], make([]byte, 32)) {
		t.Fatalf("%d keys are in force", len(got))
	}
	last := got
	bad := row.Value()
	bad.Keys = bad.Keys[1:]
	c.applyTickets(ruche.Update[vault.Tickets]{Puts: map[string]vault.Tickets{ticketsKey: bad}})
	c.applyTickets(ruche.Update[vault.Tickets]{Deletes: []string{ticketsKey}})
	c.applyTickets(ruche.Update[vault.Tickets]{Reset: true})
	if !slices.Equal(got, last) {
		t.Error("what was in force is not any more")
	}
}
