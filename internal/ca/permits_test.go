package ca_test

import (
	"context"
	"errors"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
)

func TestPermits(t *testing.T) {
	r := newRig(t)
	if err := r.Permits(t.Context(), "server", "www.corp.example"); !errors.Is(err, ca.ErrNoAuthority) {
		t.Errorf("without an authority: %v", err)
	}
	r.begin(t, "corp.example", "10.0.0.0/8")
	for _, tc := range []struct {
		profile, name string
		ok            bool
	}{
		{"server", "www.corp.example", true}, {"server", "*.corp.example", true}, {"server", "10.1.2.3", true},
		{"server", "www.elsewhere.example", false}, {"server", "192.0.2.1", false}, {"server", "a..corp.example", false},
		{"peer", "*.corp.example", false}, {"nonsense", "www.corp.example", false},
	} {
		if err := r.Permits(t.Context(), tc.profile, tc.name); (err == nil) != tc.ok || err != nil && !errors.Is(err, ca.ErrRefused) {
			t.Errorf("%s %s: %v", tc.profile, tc.name, err)
		}
	}
}

// What may be certified is said by people: no authority for servers is made because something wants to serve with a certificate of it.
func TestHoldMakesNoAuthorityForServers(t *testing.T) {
	r := newRig(t)
	held, err := r.Hold(ca.ProfileServer, []string{"ca.corp.example"}, "test")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := held.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := held.Certificate(); err == nil {
		t.Error("there is a certificate")
	}
	if _, err := r.RootsOf(t.Context(), ruche.AuthorityServices); !errors.Is(err, ca.ErrNoAuthority) {
		t.Errorf("there is an authority: %v", err)
	}
}
