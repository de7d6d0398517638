package daemon

import (
	"crypto/rand"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// TestNoWorkloadGetsKeysOfClients asks for certificates as a workload's spec does: edges get the keys, so that none may let its holder in at the Docker Engine, or as a person.
func TestNoWorkloadGetsKeysOfClients(t *testing.T) {
	n := start(t, t.TempDir(), fakeengine.New(t).Host())
	defer n.stop(t)
	if _, err := n.ca.Begin(t.Context(), ruche.AuthorityRequest{Names: []string{ruche.AuthorityServices, ruche.AuthorityClients, ruche.AuthorityDocker}}); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	for profile, good := range map[string]bool{"": true, ca.ProfileServer: true, "short": true, "client": false, ca.ProfileDockerRead: false, ca.ProfileDockerFull: false, "nothing": false} {
		spec := ruche.CertificateSpec{Names: []string{"a.example"}, Source: "test", Issuer: ruche.IssuerInternal, Profile: profile}
		chain, err := n.issueInternally(t.Context(), spec, request)
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), "profile") {
			t.Errorf("profile %q: %d certificates, %v", profile, len(chain), err)
		}
	}
}
