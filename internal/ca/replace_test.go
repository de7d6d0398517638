package ca_test

import (
	"errors"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
)

// TestReplace has certificates marked by what they are chosen by: those that are good, spread over a time, the newest first.
func TestReplace(t *testing.T) {
	r := newRig(t).begin(t)
	old, bad, client := r.issue(t, "server"), r.issue(t, "server"), r.issue(t, "client")
	r.clock.add(time.Minute)
	young := r.issue(t, "server")
	if err := r.Revoke(t.Context(), bad.Serial, 0, "test"); err != nil {
		t.Fatal(err)
	}
	e, err := r.Lookup(t.Context(), old.Serial)
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.Replace(t.Context(), ruche.ReplacementRequest{Issuer: e.Issuer, Spread: 2 * time.Hour})
	if err != nil || len(list.Certificates) != 2 || list.Certificates[0].Serial != young.Serial || list.Certificates[1].Serial != old.Serial {
		t.Fatalf("Replace() = %+v, %v", list, err)
	}
	for serial, want := range map[string]time.Time{young.Serial: r.clock.Now(), old.Serial: r.clock.Now().Add(time.Hour), bad.Serial: {}, client.Serial: {}} {
		if e, err := r.Lookup(t.Context(), serial); err != nil || !e.Replace.Equal(want) {
			t.Errorf("%s is to be replaced at %v, want %v: %v", serial, e.Replace, want, err)
		}
	}
	for name, q := range map[string]ruche.ReplacementRequest{
		"all": {All: true}, "a name": {What: "www.corp.example"}, "a serial": {What: old.Serial},
	} {
		want := map[string]int{"all": 3, "a name": 2, "a serial": 1}[name]
		if list, err := r.Replace(t.Context(), q); err != nil || len(list.Certificates) != want {
			t.Errorf("%s: %d certificates, want %d: %v", name, len(list.Certificates), want, err)
		}
	}
	for name, tc := range map[string]struct {
		q    ruche.ReplacementRequest
		want error
	}{
		"nothing named":     {ruche.ReplacementRequest{}, ca.ErrRefused},
		"two things named":  {ruche.ReplacementRequest{What: "x", All: true}, ca.ErrRefused},
		"back in time":      {ruche.ReplacementRequest{All: true, Spread: -1}, ca.ErrRefused},
		"no such issuer":    {ruche.ReplacementRequest{Issuer: "services-i99"}, ruche.ErrNotFound},
		"no such name":      {ruche.ReplacementRequest{What: "other.corp.example"}, ruche.ErrNotFound},
		"a revoked one":     {ruche.ReplacementRequest{What: bad.Serial}, ruche.ErrNotFound},
		"a part of a name":  {ruche.ReplacementRequest{What: "corp.example"}, ruche.ErrNotFound},
		"an issuer's start": {ruche.ReplacementRequest{Issuer: "services"}, ruche.ErrNotFound},
	} {
		if _, err := r.Replace(t.Context(), tc.q); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

// TestBegunAnew forgets an authority: what it has issued is to be replaced at once, and is no longer counted as good. The other authorities' stays.
func TestBegunAnew(t *testing.T) {
	r := newRig(t).begin(t)
	old, bad, client := r.issue(t, "server"), r.issue(t, "server"), r.issue(t, "client")
	if err := r.Revoke(t.Context(), bad.Serial, 0, "test"); err != nil {
		t.Fatal(err)
	}
	r.clock.add(time.Minute)
	if _, err := r.Begin(t.Context(), ruche.AuthorityRequest{Names: []string{"services"}, Again: true}); err != nil {
		t.Fatal(err)
	}
	for serial, want := range map[string]time.Time{old.Serial: r.clock.Now(), bad.Serial: {}, client.Serial: {}} {
		if e, err := r.Lookup(t.Context(), serial); err != nil || !e.Replace.Equal(want) {
			t.Errorf("%s is to be replaced at %v, want %v: %v", serial, e.Replace, want, err)
		}
	}
	young := r.issue(t, "server")
	if e, err := r.Lookup(t.Context(), young.Serial); err != nil || !e.Replace.IsZero() {
		t.Errorf("the new one is to be replaced at %v: %v", e.Replace, err)
	}
	status, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][2]int{"clients": {1, 0}, "services": {1, 0}}
	for _, a := range status.Authorities {
		if got := [2]int{a.Live, a.Revoked}; got != want[a.Name] && a.Name != "docker" {
			t.Errorf("%s has %v certificates that are good and revoked, want %v", a.Name, got, want[a.Name])
		}
	}
}
