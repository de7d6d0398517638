package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

const (
	macKey   = "bWFjLWtleS1vZi1hbi1hY2NvdW50LWF0LWEtQ0E"
	dnsToken = "token-of-the-zone-7d21c0aa"
)

// secretive is a site that has an external account and a DNS provider in its environment.
func secretive(t *testing.T, name, token string) fakeengine.Container {
	c := site(t, name)
	c.Env = append(c.Env, "ACME_HOST="+name+".example", "ACME_EAB_KID=kid-1", "ACME_EAB_HMAC_KEY="+macKey, "ACMESH_DNS_API_CONFIG={DNS_API: dns_cf, CF_Token: "+token+"}", "ACME_CHALLENGE=DNS-01")
	return c
}

// awaitSealed waits until the only row of specs is sealed and holds what is expected, and gives it.
func (n *node) awaitSealed(t *testing.T, token string) (e ruche.Entry[ruche.CertificateSpecs]) {
	t.Helper()
	until(t, "sealed specs", func() error {
		all, err := cluster.NewBucket[ruche.CertificateSpecs](n.cluster, vault.BucketSpecs).List(t.Context())
		if err == nil && len(all) != 1 {
			err = errors.New("it is not one")
		}
		if err != nil {
			return fmt.Errorf("%d rows: %w", len(all), err)
		}
		for key, row := range all {
			if e = row; len(e.Value.Specs) != 1 {
				return fmt.Errorf("%s has %d specs", key, len(e.Value.Specs))
			}
			spec := e.Value.Specs[0]
			if spec.EAB != nil || spec.DNS == nil || len(spec.DNS.Settings) > 0 || len(spec.Sealed) == 0 {
				return errors.New("something is in the clear")
			}
			opened, _ := vault.OpenSpecs(n.Daemon.seal, key, e.Value)
			got := opened.Specs[0]
			if got.EAB == nil || got.EAB.Key != macKey || len(got.DNS.Settings) != 1 {
				return fmt.Errorf("what was sealed is not what was declared: %d settings", len(got.DNS.Settings))
			}
			for _, v := range got.DNS.Settings {
				if v != token {
					return errors.New("it is another token")
				}
			}
		}
		return nil
	})
	return e
}

// searchFor fails the test where a file below a directory holds one of the secrets.
func searchFor(t *testing.T, dir string, secrets ...string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		for i, s := range secrets {
			if holds(data, []byte(s)) {
				t.Errorf("%s holds secret %d", path, i)
			}
		}
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("%d files were looked at: %v", files, err)
	}
}

func TestSecretsThatWorkloadsDeclareAreSealed(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	id := engine.Run(secretive(t, "shop", dnsToken))
	s := newStage(t, engine)
	row := s.control.awaitSealed(t, dnsToken)

	t.Run("a start of the agent writes nothing", func(t *testing.T) {
		s.agent.stop(t)
		s.agent = s.startAgent()
		if again := s.control.awaitSealed(t, dnsToken); again.Revision != row.Revision {
			t.Errorf("the row has revision %d, want %d as before", again.Revision, row.Revision)
		}
	})
	t.Run("what changes is written", func(t *testing.T) {
		engine.Remove(id)
		engine.Run(secretive(t, "shop", "another"))
		s.control.awaitSealed(t, "another")
	})
	t.Run("it is in no backup", func(t *testing.T) {
		var backup bytes.Buffer
		if err := s.control.backup(t.Context(), &backup); err != nil {
			t.Fatal(err)
		}
		if holds(backup.Bytes(), []byte(macKey)) || holds(backup.Bytes(), []byte(dnsToken)) {
			t.Error("a secret is in the clear")
		}
	})
	s.stop(t)
	for _, dir := range s.dirs {
		searchFor(t, dir, macKey, dnsToken)
	}
}

func TestSecretsThatWorkloadsDeclareAreSealedOnOneHost(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	engine.Run(secretive(t, "shop", dnsToken))
	dir := t.TempDir()
	n := start(t, dir, engine.Host())
	row := n.awaitSealed(t, dnsToken)
	n.stop(t)
	n = start(t, dir, engine.Host())
	if again := n.awaitSealed(t, dnsToken); again.Revision != row.Revision {
		t.Errorf("a restart wrote the row: revision %d, before %d", again.Revision, row.Revision)
	}

	// An older release left it in the clear: it counts all the same, is left alone by discovery, and sealed when somebody asks for that.
	bucket := cluster.NewBucket[ruche.CertificateSpecs](n.cluster, vault.BucketSpecs)
	plain, _ := vault.OpenSpecs(n.Daemon.seal, row.Key, row.Value)
	if _, err := bucket.Put(t.Context(), row.Key, plain); err != nil {
		t.Fatal(err)
	}
	n.stop(t)
	n = start(t, dir, engine.Host())
	seals, err := n.resealer().Look(t.Context())
	if _, stale, lost := seals.Total(); err != nil || stale != 1 || lost != 0 {
		t.Errorf("before it is sealed: %+v, %v", seals, err)
	}
	if seals, err = n.resealer().Reseal(t.Context()); err != nil || seals.Resealed != 1 {
		t.Errorf("Reseal() = %+v, %v", seals, err)
	}
	if _, stale, _ := seals.Total(); stale != 0 {
		t.Errorf("after it was sealed: %+v", seals)
	}
	n.awaitSealed(t, dnsToken)
	n.stop(t)
}

// Where the sealing key is lost, what is declared is sealed anew with the one that there is.
func TestDeclaredSecretsComeBackAfterTheSealingKeyWasLost(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	engine.Run(secretive(t, "shop", dnsToken))
	dir := t.TempDir()
	n := start(t, dir, engine.Host())
	row := n.awaitSealed(t, dnsToken)
	row.Value.Specs[0].Sealed = sealWith(t, sealLine(9)).Close(vault.SpecSealedFor(row.Key), []byte("{}"))
	if _, err := cluster.NewBucket[ruche.CertificateSpecs](n.cluster, vault.BucketSpecs).Put(t.Context(), row.Key, row.Value); err != nil {
		t.Fatal(err)
	}
	n.stop(t)
	n = start(t, dir, engine.Host())
	n.awaitSealed(t, dnsToken)
	n.stop(t)
}
