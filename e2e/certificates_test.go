//go:build e2e

package e2e

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/e2e/lab"
)

// certified is an installation whose certificates come from Pebble: control nodes on three managers, edges on all but the first, a site that all names lead to.
type certified struct {
	*swarmOfRuche
	ca    *lab.Pebble
	roots *x509.CertPool
	names []string
}

func newCertified(t *testing.T) *certified {
	t.Helper()
	c := &certified{}
	c.swarmOfRuche = newSwarm(t, 1, func(l *lab.Lab) []string {
		c.ca = l.Nodes[0].StartPebble(l.Nodes[1].Address)
		return []string{"--acme-email", "ops@example.test", "--acme-ca", c.ca.Directory, "--acme-ca-bundle", c.ca.Bundle}
	})
	var err error
	if c.roots, err = c.ca.Root(); err != nil {
		t.Fatal(err)
	}
	c.Nodes[3].Run("site", "--publish", "8080:8080", "--env", "SITE_NAME=site")
	return c
}

// publish publishes names, whose addresses are spread over the edges.
func (c *certified) publish(file string, n int) []string {
	var names []string
	var text strings.Builder
	text.WriteString("routes:\n")
	for i := range n {
		name := fmt.Sprintf("%s-%03d.example.test", file, i)
		c.ca.PointTo(name, c.Nodes[1+i%3].Address)
		names = append(names, name)
		fmt.Fprintf(&text, "  - {host: %s, endpoints: [\"http://%s:8080\"], tls: acme}\n", name, c.Nodes[3].Address)
	}
	c.File(c.agents[3].RoutesDir, file+".yaml", text.String())
	c.names = append(c.names, names...)
	return names
}

// serve returns an error until each of the edges serves each name with a certificate that clients of the CA take.
func (c *certified) serve(names []string) error {
	errs := make([]error, len(c.Nodes))
	var wait sync.WaitGroup
	for i, n := range c.Nodes[1:] {
		wait.Go(func() {
			for _, name := range names {
				if _, err := n.Certificate(name, c.roots); err != nil {
					errs[i] = fmt.Errorf("%s on %s: %w", name, n.Name, err)
					return
				}
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (c *certified) mustServe(t *testing.T, names []string) {
	t.Helper()
	lab.Eventually(t, 3*time.Minute, func() error { return c.serve(names) })
}

func (c *certified) mustHaveOrdered(t *testing.T, want int) {
	t.Helper()
	if got := c.ca.Orders(); got != want {
		t.Errorf("the CA has taken %d orders, want %d: one for each certificate", got, want)
	}
}

// Two hundred names are published at once: each edge serves all of them, each was ordered once. Control nodes are killed while they order, and nothing is ordered twice. Many are
// replaced at once, and nobody notices; not all, since renewals begin at a steady pace, so more of them would only take longer.
func TestCertificatesOfManyNames(t *testing.T) {
	t.Parallel()
	c := newCertified(t)
	begin := time.Now()
	names := c.publish("many", 200)
	c.mustServe(t, names)
	t.Logf("200 names that were published at once were served with valid certificates by three edges %v later", time.Since(begin).Round(time.Millisecond))
	c.mustHaveOrdered(t, 200)

	more := c.publish("more", 60)
	for i, orders := range []int{5, 25, 45} { // whoever leads dies, among others
		lab.Eventually(t, time.Minute, func() error {
			if got := c.ca.Orders() - 200; got < orders {
				return fmt.Errorf("there were %d orders, want %d", got, orders)
			}
			return nil
		})
		c.killLeader(t)
		t.Logf("death %d of who leads, after %d orders", i+1, c.ca.Orders()-200)
	}
	c.mustServe(t, more)
	c.mustHaveOrdered(t, 260)

	renewed := names[:60]
	before := c.fingerprints(t, renewed)
	stop := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		failed <- func() error {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return nil
				default:
				}
				if _, err := c.Nodes[1+n%3].Certificate(renewed[n%len(renewed)], c.roots); err != nil {
					return err
				}
			}
		}()
	}()
	out, err := c.control[0].Verb(append([]string{"certs", "renew", "--output", "json"}, renewed...)...)
	var tasks []ruche.CertificateTask
	if err == nil {
		err = json.Unmarshal([]byte(out), &tasks)
	}
	if err != nil || len(tasks) != len(renewed) {
		t.Fatalf("%d certificates are to be renewed, want %d: %v: %.300s", len(tasks), len(renewed), err, out)
	}
	lab.Eventually(t, 3*time.Minute, func() error {
		for name, old := range before {
			for _, n := range c.Nodes[1:] {
				now, err := n.Certificate(name, c.roots)
				if err != nil {
					return err
				}
				if bytes.Equal(now.Raw, old) {
					return fmt.Errorf("%s has the old certificate of %s", n.Name, name)
				}
			}
		}
		return nil
	})
	close(stop)
	if err := <-failed; err != nil {
		t.Errorf("a handshake failed while certificates were renewed: %v", err)
	}
	c.mustHaveOrdered(t, 260+len(renewed))
	c.mustBeWell(t, 260)
}

// mustBeWell waits until all certificates are as they are planned.
func (c *certified) mustBeWell(t *testing.T, want int) {
	t.Helper()
	lab.Eventually(t, aMinute, func() error {
		out, err := c.control[0].Verb("certs", "list", "--output", "json")
		var list ruche.CertificateList
		if err == nil {
			err = json.Unmarshal([]byte(out), &list)
		}
		if err != nil {
			return err
		}
		for _, info := range list.Certificates {
			if info.State != ruche.CertificateValid || len(info.Problems) > 0 || len(info.ServedBy) != 3 {
				return fmt.Errorf("%s is %s, served by %v: %s %v", info.ID, info.State, info.ServedBy, info.LastError, info.Problems)
			}
		}
		if len(list.Certificates) != want {
			return fmt.Errorf("there are %d certificates, want %d", len(list.Certificates), want)
		}
		return nil
	})
}

// fingerprints gives the certificates of names.
func (c *certified) fingerprints(t *testing.T, names []string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, name := range names {
		cert, err := c.Nodes[1].Certificate(name, c.roots)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = cert.Raw
	}
	return all
}

// killLeader kills the control node that has certificates issued, and starts it again.
func (c *certified) killLeader(t *testing.T) {
	t.Helper()
	lab.Eventually(t, time.Minute, func() error {
		for _, r := range c.control {
			if r.LeadsCertificates() {
				r.Kill()
				r.Start()
				return nil
			}
		}
		return errors.New("nobody leads")
	})
}

// A control node alone is stopped with its disk: whoever has that has no key of a certificate. And what an edge has on its disk serves while all control nodes are gone.
func TestCertificatesOutliveControlNodes(t *testing.T) {
	t.Parallel()
	c := newCertified(t)
	names := c.publish("some", 5)
	c.mustServe(t, names)
	for _, e := range c.edges { // what comes is written to the disk a moment later
		lab.Eventually(t, aMinute, func() error {
			data, err := os.ReadFile(filepath.Join(e.DataDir(), "mesh", "certificates.json"))
			for _, name := range names {
				if err == nil && !bytes.Contains(data, []byte(name)) {
					err = fmt.Errorf("%s is not on the disk of %s", name, e.DataDir())
				}
			}
			return err
		})
	}
	for _, r := range c.control {
		r.Kill()
	}
	for _, e := range c.edges {
		e.Kill()
		e.Start()
	}
	c.mustServe(t, names)
	for _, r := range []*lab.Ruche{c.control[0], c.edges[0]} {
		err := filepath.WalkDir(r.DataDir(), func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err == nil && bytes.Contains(data, []byte("PRIVATE KEY-----")) && !bytes.Contains(data, []byte("SEALED KEY-----")) {
				t.Errorf("%s holds a key in the clear", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
