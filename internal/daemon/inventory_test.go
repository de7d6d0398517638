package daemon

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
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
			return fmt.Errorf("it does not stand: %+v, %v", list.Certificates, err)
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
		if err == nil && (len(list.Names) != 1 || list.Names[0].Name != "shop.example" || len(list.Names[0].Edges) != 2 || len(list.Silent) != 1 || !list.Silent["gone"].Equal(enrolled)) {
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
