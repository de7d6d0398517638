package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/acme"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
	"github.com/ruche-project/ruche/internal/mesh"
)

// stands gives a warning of a node.
func (n *node) stands(code ruche.Code) (ruche.Warning, bool) {
	for _, w := range n.health.List() {
		if w.Code == code {
			return w, true
		}
	}
	return ruche.Warning{}, false
}

// A certificate that is stored and cannot be served is told of, until another one is served.
func TestWhatIsStoredAndNotServedIsTold(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	shop := site(t, "shop")
	shop.Env = append(shop.Env, "ACME_HOST=shop.example", "ACME_CA_URI=https://127.0.0.1:1/directory")
	engine.Run(shop)
	d := prepare(t, t.TempDir(), engine.Host())
	d.certificates.every = 20 * time.Millisecond
	n := serve(t, d)
	id := vault.ID([]string{"shop.example"}, "https://127.0.0.1:1/directory", ruche.KeyP256)
	good, _ := certificate(t, n, "elsewhere", "shop.example")
	if err := cluster.NewBucket[vault.Record](n.cluster, vault.BucketCertificates).Delete(t.Context(), "elsewhere"); err != nil {
		t.Fatal(err)
	}
	bad := good
	bad.Directory, bad.KeyType, bad.Issued = "https://127.0.0.1:1/directory", ruche.KeyP256, time.Now().Add(-2*time.Minute)
	commit(t, n, id, bad) // its key is sealed for another ID
	until(t, "the warning", func() error {
		if _, ok := n.stands(ruche.CodeCertNotServed); !ok {
			list, err := n.certificates.Certificates(t.Context())
			return fmt.Errorf("it does not stand: %+v, %w", list.Certificates, err)
		}
		return nil
	})
	if err := cluster.NewBucket[vault.Record](n.cluster, vault.BucketCertificates).Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	until(t, "its end", func() error {
		if w, ok := n.stands(ruche.CodeCertNotServed); ok {
			return fmt.Errorf("it stands: %+v", w)
		}
		return nil
	})
	n.stop(t)
}

// twoCertificates runs a node with a certificate that nobody wants, and names that want one that cannot be had.
func twoCertificates(t *testing.T, names string) *node {
	t.Helper()
	engine := fakeengine.New(t)
	shop := site(t, "shop")
	shop.Env = append(shop.Env, "ACME_HOST="+names, "ACME_CA_URI=https://127.0.0.1:1/directory")
	engine.Run(shop)
	n := start(t, t.TempDir(), engine.Host())
	certificate(t, n, "elsewhere", "elsewhere.example")
	until(t, "both to be known", func() error {
		list, err := n.certificates.Certificates(t.Context())
		if err == nil && len(list.Certificates) != 2 {
			err = fmt.Errorf("there are %+v", list.Certificates)
		}
		return err
	})
	return n
}

// Of all certificates those are revoked that are there.
func TestOfAllThoseAreRevokedThatAreThere(t *testing.T) {
	t.Parallel()
	n := twoCertificates(t, "shop.example")
	for _, tc := range []struct {
		selection ruche.CertificateSelection
		want      string
	}{{ruche.CertificateSelection{All: true}, "elsewhere"}, {ruche.CertificateSelection{IDs: []string{"shop.example"}}, vault.ID([]string{"shop.example"}, "https://127.0.0.1:1/directory", ruche.KeyP256)}} {
		tasks, err := n.certificates.Revoke(t.Context(), ruche.RevokeRequest{CertificateSelection: tc.selection, Reason: 1})
		if err != nil || len(tasks) != 1 || tasks[0].ID != tc.want {
			t.Errorf("%+v: %+v, %v", tc.selection, tasks, err)
		}
	}
	n.stop(t)
}

// What will not be renewed is not said to be.
func TestWhatNobodyOrdersIsNotSaidToBeRenewed(t *testing.T) {
	t.Parallel()
	n := twoCertificates(t, "shop.example,*.shop.example")
	for name, why := range map[string]string{"elsewhere.example": "nobody", "shop.example": "wildcard"} {
		tasks, err := n.certificates.Renew(t.Context(), ruche.RenewRequest{CertificateSelection: ruche.CertificateSelection{IDs: []string{name}}})
		if err != nil || len(tasks) != 1 || !strings.Contains(tasks[0].Error, why) || !tasks[0].At.IsZero() {
			t.Errorf("%s: %+v, %v, want it refused with %q", name, tasks, err, why)
			continue
		}
		st, err := cluster.NewBucket[vault.State](n.cluster, vault.BucketStates).Get(t.Context(), tasks[0].ID)
		if err == nil && !st.Value.Asked.IsZero() {
			t.Errorf("%s: the wish was written all the same: %+v", name, st.Value)
		}
	}
	n.stop(t)
}

// What edges said counts while they are heard of, and goes with them when they are removed.
func TestEdgesThatAreGoneServeNothing(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	engine.Run(site(t, "shop"))
	s := newStage(t, engine)
	defer s.stop(t)
	served := cluster.NewBucket[vault.Served](s.control.cluster, vault.BucketServed)
	names := map[string]vault.Serving{"old.example": {Kind: ruche.CertificateSelfSigned}}
	for _, key := range []string{"gone", "gone/1", "stranger"} {
		node, _, _ := strings.Cut(key, "/")
		if _, err := served.Put(t.Context(), key, vault.Served{Node: node, Names: names}); err != nil {
			t.Fatal(err)
		}
	}
	enrolled := time.Now().Add(-time.Hour)
	if _, err := s.control.control.registry.nodes.Put(t.Context(), "gone", mesh.Node{Roles: []mesh.Role{mesh.RoleEdge}, Key: "x", Enrolled: enrolled}); err != nil {
		t.Fatal(err)
	}
	until(t, "the living edges, and the silent one", func() error {
		list, err := s.control.certificates.Certificates(t.Context())
		served := map[string]int{} // edges by name
		for _, n := range list.Names {
			served[n.Name] = len(n.Edges)
		}
		if err == nil && (served["shop.example"] != 2 || served["old.example"] != 0 || len(list.Silent) != 1 || !list.Silent["gone"].Equal(enrolled)) {
			err = fmt.Errorf("the list is %+v", list)
		}
		return err
	})
	if err := s.control.control.Remove(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	rows, err := served.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for key := range rows {
		if node, _, _ := strings.Cut(key, "/"); node == "gone" {
			t.Errorf("the row %s is left", key)
		}
	}
	if err := s.control.control.Remove(t.Context(), "gone"); !errors.Is(err, ruche.ErrNotFound) {
		t.Errorf("Remove() of a node that is gone = %v", err)
	}
}

// encrypted is an endpoint that speaks TLS itself, and its certificate.
func encrypted(t *testing.T) (address string, fingerprint string) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), vault.Fingerprint(s.Certificate().Raw)
}

// What others look after is looked at: by edges where it is passed through, by the leader where it is watched.
func TestCertificatesOfOthersAreLookedAt(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	behind, shown := encrypted(t)
	_, port, _ := net.SplitHostPort(behind)
	engine.Run(fakeengine.Container{Name: "db", NetworkMode: "host", Labels: map[string]string{
		"traefik.enable": "true", "traefik.tcp.routers.db.rule": "HostSNI(`db.example`)", "traefik.tcp.routers.db.tls.passthrough": "true", "traefik.tcp.routers.db.entrypoints": "https",
		"traefik.tcp.services.db.loadbalancer.server.port": port,
	}})
	server, watchedShown := encrypted(t)
	cfg := testConfig(t, t.TempDir(), engine.Host())
	cfg.WatchCertificates = []string{server, "127.0.0.1:1"}
	d, err := New(t.Context(), config.All, cfg, "test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	d.certificates.every = 20 * time.Millisecond
	n := serve(t, d)
	until(t, "what was seen", func() error {
		list, err := n.certificates.Certificates(t.Context())
		if err != nil {
			return err
		}
		got := map[string]ruche.ServedName{}
		for _, s := range list.Names {
			got[s.Name] = s
		}
		db, watched, away := got["db.example"], got[server], got["127.0.0.1:1"]
		switch {
		case db.Kind != ruche.CertificateForeign || db.Fingerprint != shown || !slices.Equal(db.Edges, []string{"n1"}) || db.Problem == "":
			return fmt.Errorf("of the name that is passed through: %+v", db)
		case watched.Fingerprint != watchedShown || watched.Seen.IsZero() || !strings.Contains(watched.Problem, "self-signed"):
			return fmt.Errorf("of the server that is watched: %+v", watched)
		case away.Kind != ruche.CertificateNone || away.Problem == "":
			return fmt.Errorf("of the server that is away: %+v", away)
		}
		var warned []string
		for _, w := range n.health.List() {
			if w.Code == ruche.CodeCertElsewhere {
				warned = append(warned, w.Subject)
			}
		}
		if len(warned) != 2 { // of those that are watched
			return fmt.Errorf("warnings stand of %v", warned)
		}
		return nil
	})
	n.stop(t)
}

// A name that a route merely may have a certificate for is nobody's failure, but a wildcard is: it wants a setting.
func TestWhatMayFailIsOptional(t *testing.T) {
	for _, tc := range []struct {
		name     string
		mode     ruche.TLSMode
		optional bool
	}{
		{"intranet", ruche.TLSAuto, true},
		{"*.shop.example", ruche.TLSAuto, false},
		{"intranet", ruche.TLSACME, false},
		{"shop.example", "", false}, // by a spec
	} {
		w := acme.Want{ID: "id", Spec: ruche.CertificateSpec{Names: []string{tc.name}}, Mode: tc.mode, Problem: "no"}
		if got := wants([]acme.Want{w})["id"]; got.Optional != tc.optional || got.Problem != "no" {
			t.Errorf("%s with the mode %q: %+v, want optional %v", tc.name, tc.mode, got, tc.optional)
		}
	}
}
