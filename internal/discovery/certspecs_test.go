package discovery

import (
	"context"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

// awaitSpecs waits until a workload wants certificates with these first names, and gives them; none means that the row is away.
func (h *house) awaitSpecs(key string, names ...string) ruche.CertificateSpecs {
	h.t.Helper()
	bucket := cluster.NewBucket[ruche.CertificateSpecs](h.cluster, BucketCertSpecs)
	var specs ruche.CertificateSpecs
	poll(h.t, "the certificates of "+key, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		all, err := bucket.List(ctx)
		if err != nil {
			return false
		}
		specs = all[key].Value
		same := len(specs.Specs) == len(names)
		for i := 0; same && i < len(names); i++ {
			same = specs.Specs[i].Names[0] == names[i]
		}
		return same
	})
	return specs
}

// wisher is a site that wants a certificate.
func wisher(name, host string) fakeengine.Container {
	c := site(name, host)
	c.Env = append(c.Env, "ACME_HOST="+host, "ACME_EMAIL=a@"+host)
	return c
}

func TestCertificatesLiveAndDieWithTheirDeclaration(t *testing.T) {
	h := start(t)
	first := h.engine.Run(wisher("shop", "shop.example"))
	h.awaitState(first, ruche.EndpointReady)
	specs := h.awaitSpecs(containerKey(first), "shop.example")
	if specs.Workload.Node != "n1" || specs.Workload.ID != containerKey(first) || specs.Specs[0].Email != "a@shop.example" || specs.Specs[0].Source != "env ACME_HOST" {
		t.Errorf("certificates %+v", specs)
	}
	h.engine.Remove(first)
	h.awaitGone(first, true)
	h.awaitSpecs(containerKey(first), "shop.example")

	h.stopRun() // they are kept across a restart
	h.run()
	h.awaitSpecs(containerKey(first), "shop.example")
	second := h.engine.Run(wisher("shop", "www.example"))
	h.awaitSpecs(containerKey(second), "www.example")
	h.awaitSpecs(containerKey(first))

	third := h.engine.Run(fakeengine.Container{Name: "mail", Env: []string{"ACME_HOST=mail.example"}})
	h.awaitSpecs(containerKey(third), "mail.example")
	h.engine.Remove(third)
	h.awaitGone(third, true)
	h.awaitSpecs(containerKey(third), "mail.example")
	h.stopRun()
	h.timing.gone = time.Millisecond
	h.run()
	h.awaitSpecs(containerKey(third))
	h.stopRun()
	h.cfg.NoDocker = true
	h.run()
	h.awaitSpecs(containerKey(second))
}

func TestCertificatesOfFilesAreFollowed(t *testing.T) {
	h := build(t)
	h.cfg.RoutesDir = t.TempDir()
	h.write("a.yaml", certificatesFile)
	h.run()
	h.awaitSpecs("file/a.yaml", "mail.example", "db.example")
	h.write("a.yaml", "certificates: [")
	h.awaitFile("a.yaml", "", 1)
	h.awaitSpecs("file/a.yaml", "mail.example", "db.example")
	h.stopRun() // the last good version survives a restart
	h.run()
	h.awaitFile("a.yaml", "", 1)
	h.awaitSpecs("file/a.yaml", "mail.example", "db.example")
	h.write("a.yaml", "certificates: []\n")
	h.awaitSpecs("file/a.yaml")
}

func TestCertificatesOfServicesAreFollowed(t *testing.T) {
	h := startSwarm(t)
	s := shop("shop", "shop.example")
	s.Env = append(s.Env, "LETSENCRYPT_HOST=shop.example")
	id := h.engine.CreateService(s)
	key := servicePrefix + id
	if specs := h.awaitSpecs(key, "shop.example"); specs.Workload.Kind != ruche.KindService || specs.Workload.Node != "" {
		t.Errorf("certificates %+v", specs)
	}
	h.engine.UpdateService(id, func(s *fakeengine.Service) { s.Env = append(s.Env, "ACME_HOST=www.example") })
	h.awaitSpecs(key, "www.example")
	h.engine.RemoveService(id)
	h.await("the end of the service", func() bool { return !h.decls[key].GoneSince.IsZero() })
	h.awaitSpecs(key, "www.example")
	h.stopSwarm()
	if err := DropSwarm(t.Context(), SwarmState(h.cluster)); err != nil {
		t.Fatal(err)
	}
	h.awaitSpecs(key)
}
