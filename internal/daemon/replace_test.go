package daemon

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// withAuthority runs a node whose internal authority issues for services, and gives a container that wants a certificate of it, and does not run yet.
func withAuthority(t *testing.T) (*fakeengine.Engine, *node, *api.Client, fakeengine.Container) {
	t.Helper()
	engine := fakeengine.New(t)
	n := start(t, t.TempDir(), engine.Host())
	admin := api.NewClient(n.AdminAddr())
	if _, err := admin.BeginAuthorities(t.Context(), ruche.AuthorityRequest{Names: []string{"services"}, Permit: []string{"example"}}); err != nil {
		t.Fatal(err)
	}
	c := site(t, "shop")
	c.Labels = map[string]string{"ruche.tls.mode": "internal"}
	return engine, n, admin, c
}

// A route's certificate of the internal authority is replaced when the authority is told to have it replaced; and "revoke everything of an issuer" replaces it and then has it revoked.
func TestInternalCertificatesAreReplaced(t *testing.T) {
	t.Parallel()
	engine, n, admin, c := withAuthority(t)
	defer n.stop(t)
	engine.Run(c)
	served := ""
	other := func(why string) (before string) {
		t.Helper()
		before = served
		until(t, "a certificate "+why, func() error {
			der, _ := n.shows(t, "shop.example", nil)
			leaf, err := x509.ParseCertificate(der)
			if err != nil {
				return err
			}
			serial := fmt.Sprintf("%032x", leaf.SerialNumber)
			list, err := admin.IssuedCertificates(t.Context(), serial)
			if err != nil || len(list.Certificates) != 1 || serial == before {
				return errors.Join(fmt.Errorf("served is %s of %v", serial, leaf.Issuer), err)
			}
			served = serial
			return nil
		})
		return before
	}
	other("of the authority")
	list, err := admin.ReplaceIssued(t.Context(), ruche.ReplacementRequest{All: true})
	if err != nil || len(list.Certificates) != 1 || list.Certificates[0].Serial != served {
		t.Fatalf("to be replaced are %+v, %v", list, err)
	}
	if before := other("after the first was to be replaced"); revokedIn(t, admin, before) {
		t.Error("what was replaced is revoked")
	}
	tasks, err := admin.RevokeCertificates(t.Context(), ruche.RevokeRequest{CertificateSelection: ruche.CertificateSelection{Issuer: ruche.IssuerInternal}, Reason: 4})
	if err != nil || len(tasks) != 1 || tasks[0].Error != "" {
		t.Fatalf("to be revoked are %+v, %v", tasks, err)
	}
	before := other("after the second was revoked")
	until(t, "the revocation", func() error {
		if !revokedIn(t, admin, before) {
			return errors.New("it is good")
		}
		return nil
	})
	if revokedIn(t, admin, served) {
		t.Error("what is served is revoked")
	}
	if _, err := admin.RevokeIssued(t.Context(), ruche.RevocationRequest{What: served, Reason: "keyCompromise"}); err != nil {
		t.Fatal(err)
	}
	if before := other("after the third was revoked in the authority"); !revokedIn(t, admin, before) {
		t.Error("what the authority was told to revoke is good")
	}
	until(t, "the list without what was revoked", func() error {
		return stateOf(t, admin, "shop.example", ruche.CertificateValid)
	})
}

// A certificate that the authority revokes that nobody wants any more is listed as revoked, without a warning that stays.
func TestRevokedByTheAuthority(t *testing.T) {
	t.Parallel()
	engine, n, admin, c := withAuthority(t)
	defer n.stop(t)
	id := engine.Run(c)
	until(t, "a certificate", func() error { return stateOf(t, admin, "shop.example", ruche.CertificateValid) })
	engine.Remove(id)
	until(t, "nobody wants it", func() error {
		s, err := n.issuing.Snapshot(t.Context())
		if err == nil && len(s.Wants) > 0 {
			err = errors.New("it is wanted")
		}
		return err
	})
	if _, err := admin.RevokeIssued(t.Context(), ruche.RevocationRequest{What: "shop.example", All: true}); err != nil {
		t.Fatal(err)
	}
	until(t, "the list says that it is revoked", func() error {
		for _, info := range listed(t, admin) {
			if info.State != ruche.CertificateRevoked || !info.Withdrawn.IsZero() { // the latter is a standing warning
				return fmt.Errorf("listed is %+v", info)
			}
		}
		return nil
	})
}

// Who trusts the root of an authority that was begun anew is served at once with its certificates.
func TestAuthorityBegunAnew(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	n := start(t, t.TempDir(), engine.Host())
	defer n.stop(t)
	admin := api.NewClient(n.AdminAddr())
	c := site(t, "shop")
	c.Labels = map[string]string{"ruche.tls.mode": "internal"}
	engine.Run(c)
	for _, again := range []bool{false, true} {
		if _, err := admin.BeginAuthorities(t.Context(), ruche.AuthorityRequest{Names: []string{"services"}, Permit: []string{"example"}, Again: again}); err != nil {
			t.Fatal(err)
		}
		awaitTrusted(t, n)
	}
}

// stateOf gives an error while the one certificate with a name is not in a state.
func stateOf(t *testing.T, admin *api.Client, name string, want ruche.CertificateState) error {
	t.Helper()
	all := listed(t, admin)
	if slices.ContainsFunc(all, func(c ruche.CertificateInfo) bool { return slices.Contains(c.Names, name) && c.State == want }) {
		return nil
	}
	return fmt.Errorf("listed are %+v", all)
}

func listed(t *testing.T, admin *api.Client) []ruche.CertificateInfo {
	t.Helper()
	list, err := admin.Certificates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list.Certificates
}

func revokedIn(t *testing.T, admin *api.Client, serial string) bool {
	t.Helper()
	list, err := admin.IssuedCertificates(t.Context(), serial)
	if err != nil || len(list.Certificates) != 1 {
		t.Fatalf("the log has of %s: %+v, %v", serial, list, err)
	}
	return list.Certificates[0].Revoked != nil
}

// A route gets no certificate that opens more than a server's.
func TestProfilesOfRoutes(t *testing.T) {
	n := start(t, t.TempDir(), fakeengine.New(t).Host())
	defer n.stop(t)
	if _, err := n.ca.Begin(t.Context(), ruche.AuthorityRequest{Names: []string{"services", "clients", "docker"}}); err != nil {
		t.Fatal(err)
	}
	for profile, ok := range map[string]bool{"": true, "server": true, "short": true, "peer": true, "client": false, "docker-read": false, "docker-full": false, "docker-server": false, "none": false} {
		request := &x509.CertificateRequest{PublicKey: newKey(t).Public()}
		_, err := n.issueInternally(t.Context(), ruche.CertificateSpec{Names: []string{"shop.example"}, Profile: profile}, request)
		if (err == nil) != ok {
			t.Errorf("the profile %q: %v", profile, err)
		}
	}
}
