package dns_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
)

// hook writes a program of the given body, and a provider that calls it.
func hook(t *testing.T, body string, settings ...string) ruche.DNSProvider {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	p := ruche.DNSProvider{Name: "exec", Settings: map[string]string{"program": file}}
	for i := 0; i < len(settings); i += 2 {
		p.Settings[settings[i]] = settings[i+1]
	}
	return p
}

func TestExec(t *testing.T) {
	t.Setenv("RUCHE_OTHER_SECRET", "not its business")
	zone := newFakeZone(t, apiZone, "_acme-challenge.shop.example.test. CNAME shop.acme.example.test.")
	out := filepath.Join(t.TempDir(), "out")
	p := hook(t, `{ echo "$@"; env; } > "$OUT"; test "$1" = cleanup || test "$TOKEN" = s3cret-t0ken`, "OUT", out, "TOKEN", "s3cret-t0ken")
	zone.change("shop.acme.example.test", func([]string) []string { return []string{"-v-"} })
	for verb, do := range map[string]func(context.Context, ruche.DNSProvider, string, string) error{"present": zone.solver(t).Present, "cleanup": zone.solver(t).CleanUp} {
		if err := do(t.Context(), p, "_acme-challenge.shop.example.test", "-v-"); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		said := strings.Split(string(data), "\n")
		if said[0] != verb+" shop.acme.example.test. -v-" {
			t.Errorf("it was called with %q", said[0])
		}
		if !slices.Contains(said, "TOKEN=s3cret-t0ken") || strings.Contains(string(data), "RUCHE_OTHER_SECRET") {
			t.Errorf("its environment is %q", said[1:])
		}
	}
}

func TestExecFails(t *testing.T) {
	zone := newFakeZone(t, apiZone)
	for name, tc := range map[string]struct {
		p    ruche.DNSProvider
		want []string
	}{
		"with words": {hook(t, "echo zone is locked, by $TOKEN; echo really >&2; exit 3", "TOKEN", "s3cret-t0ken"), []string{"present failed", "exit status 3", "zone is locked, by ***", "really"}},
		"silently":   {hook(t, "exit 4"), []string{"exit status 4", "without a word"}},
		"much":       {hook(t, "seq 100000; exit 1"), []string{"99999\n100000"}},
		"too long":   {hook(t, "sleep 60 & sleep 60", "timeout", "100ms"), []string{"it was ended after 100ms"}},
		"no program": {ruche.DNSProvider{Name: "exec", Settings: map[string]string{"program": "/nowhere/hook"}}, []string{"cannot be run", "no such file"}},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			err := zone.solver(t).Present(t.Context(), tc.p, apiName, "v")
			if err == nil || len(err.Error()) > 1500 {
				t.Fatalf("error: %v", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nlacks %q", err, want)
				}
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started, done := filepath.Join(t.TempDir(), "started"), make(chan error, 1)
	s, p := zone.solver(t), hook(t, `: > "$STARTED"; sleep 60`, "STARTED", started, "TOKEN", "canceled")
	go func() { done <- s.Present(ctx, p, apiName, "v") }()
	eventually(t, "the program runs", func() bool { _, err := os.Stat(started); return err == nil })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "canceled") {
		t.Errorf("a scrubbed error of a context: %v", err)
	}
}

// A zone that no resolver knows is the program's own affair.
func TestExecWithoutZone(t *testing.T) {
	if err := newFakeZone(t, apiZone).solver(t).Present(t.Context(), hook(t, "exit 0"), "_acme-challenge.a.invalid", "v"); err != nil {
		t.Error(err)
	}
}

func FuzzParseAccounts(f *testing.F) {
	f.Add([]byte(`{"a.test": {"username": "u", "password": "p", "subdomain": "s", "fulldomain": "s.acme.test", "allowfrom": []}}`))
	f.Add([]byte(`{"a.test": {"username": "u", "password": 1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		domains, err := dns.ParseAccounts(data)
		if err != nil && len(domains) > 0 {
			t.Errorf("an error and %q", domains)
		}
	})
}

// One who waits for another's change of the same zone can be called off, and the next one gets on.
func TestOneAtATimeChangesAZone(t *testing.T) {
	zone, dir := newFakeZone(t, apiZone), t.TempDir()
	s, started, goOn := zone.solver(t), filepath.Join(dir, "started"), filepath.Join(dir, "go-on")
	if err := syscall.Mkfifo(goOn, 0o600); err != nil {
		t.Fatal(err)
	}
	zone.change(apiName, func([]string) []string { return []string{"v"} })
	first := make(chan error, 1)
	blocked := hook(t, `: > "$STARTED"; read x < "$GO_ON"`, "STARTED", started, "GO_ON", goOn)
	go func() { first <- s.Present(t.Context(), blocked, apiName, "v") }()
	eventually(t, "the first program runs", func() bool { _, err := os.Stat(started); return err == nil })
	ran := filepath.Join(dir, "ran")
	second := hook(t, `: > "$RAN"`, "RAN", ran)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Present(ctx, second, apiName, "v"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second: %v", err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the second program ran beside the first")
	}
	write(t, goOn, "\n")
	if err := <-first; err != nil {
		t.Error(err)
	}
	if err := s.Present(t.Context(), second, apiName, "v"); err != nil {
		t.Error(err)
	}
}
