package acme_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/pebbletest"
)

// sealed seals what is secret in a spec, as on its way into the state.
func sealed(t *testing.T, seal vault.Sealer, workload string, s ruche.CertificateSpec) ruche.CertificateSpec {
	t.Helper()
	all, ok := vault.SealSpecs(seal, workload, ruche.CertificateSpecs{Specs: []ruche.CertificateSpec{s}})
	if !ok || s.EAB != nil && all.Specs[0].EAB != nil {
		t.Fatalf("nothing was sealed of %+v", s)
	}
	return all.Specs[0]
}

func TestSealedSpecsAreOrderedByWhatTheyHold(t *testing.T) {
	mac := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	w := newWorld(t, pebbletest.Options{EAB: map[string]string{"kid-1": mac}, NonceReject: -1})
	bound := spec("bound.example")
	bound.EAB = &ruche.ExternalAccount{KeyID: "kid-1", Key: mac}
	e, _ := w.run()
	w.want("container/1", sealed(t, w.seal, "container/1", bound))
	w.certificate(bound)

	lost := sealed(t, sealOf(t, "another key of thirty-two bytes."), "container/2", ruche.CertificateSpec{Names: []string{"lost.example"}, Source: "env ACME_HOST", EAB: bound.EAB})
	foreign := sealed(t, w.seal, "container/1", ruche.CertificateSpec{Names: []string{"foreign.example"}, Source: "env ACME_HOST", EAB: bound.EAB})
	w.want("container/2", lost, foreign)
	snapshot, err := e.Snapshot(t.Context())
	if err != nil || len(snapshot.Wants) != 3 {
		t.Fatalf("Snapshot() = %+v, %v", snapshot.Wants, err)
	}
	for _, want := range snapshot.Wants {
		if want.Spec.EAB != nil || want.Spec.Sealed != nil || want.Terms.EAB != nil {
			t.Errorf("%s: there is a secret in the listing", want)
		}
		if opens := want.String() == "bound.example"; opens != (want.Problem == "") || !opens && !strings.Contains(want.Hint, "--seal-key-file") {
			t.Errorf("%s: problem %q, hint %q", want, want.Problem, want.Hint)
		}
	}
}
