package daemon

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/vault"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/config"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
	"github.com/ruche-project/ruche/internal/mesh"
)

// stage is an installation of a control node, an agent and two edges, each with a data directory of its own and its secrets elsewhere.
type stage struct {
	control, agent *node
	edges          []*node
	dirs           map[string]string
	startEdge      func(name string) *node
	startAgent     func() *node
}

func newStage(t *testing.T, engine *fakeengine.Engine) *stage {
	t.Helper()
	return newStageWith(t, engine, func(*config.Config) {})
}

// newStageWith changes the settings of the control node.
func newStageWith(t *testing.T, engine *fakeengine.Engine, change func(*config.Config)) *stage {
	t.Helper()
	s := &stage{dirs: map[string]string{}}
	for _, name := range []string{"c1", "a1", "e1", "e2"} {
		s.dirs[name] = t.TempDir()
	}
	host, sealFile := ownHost(), filepath.Join(t.TempDir(), "seal")
	if _, err := mesh.MakeSeal(sealFile); err != nil {
		t.Fatal(err)
	}
	s.control = apart(t, config.Control, s.dirs["c1"], "c1", func(c *config.Config) {
		c.NoDocker, c.AdvertiseAddr, c.MeshAddr, c.PeerAddr, c.Bootstrap, c.SealKeyFile, c.ECHPublicName = true, host, host+":0", host+":0", true, sealFile, publicName
		change(c)
	})
	address := s.control.control.listener.Addr().String()
	token := joinToken(t, s.control, ruche.TokenRequest{Roles: []string{"edge", "agent"}, Uses: -1})
	s.startAgent = func() *node {
		return apart(t, config.Agent, s.dirs["a1"], "a1", func(c *config.Config) {
			c.Control, c.JoinTokenFile, c.DockerHost = []string{address}, token, engine.Host()
		})
	}
	s.agent = s.startAgent()
	s.startEdge = func(name string) *node {
		return apart(t, config.Edge, s.dirs[name], name, func(c *config.Config) { c.Control, c.JoinTokenFile = []string{address}, token })
	}
	s.edges = []*node{s.startEdge("e1"), s.startEdge("e2")}
	return s
}

func (s *stage) stop(t *testing.T) {
	t.Helper()
	for _, n := range append(s.edges, s.agent, s.control) {
		n.stop(t)
	}
}

// certificate makes a certificate and commits it, sealed.
func certificate(t testing.TB, n *node, id string, names ...string) (r vault.Record, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: id}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	r = vault.Record{Names: names, Origin: vault.OriginACME, Chain: [][]byte{der}, Key: n.seal.Close(vault.SealedFor(id), secret), Issued: time.Now()}
	commit(t, n, id, r)
	return r, key
}

func commit(t testing.TB, n *node, id string, r vault.Record) {
	t.Helper()
	if _, err := cluster.NewBucket[vault.Record](n.cluster, vault.BucketCertificates).Put(t.Context(), id, r); err != nil {
		t.Fatal(err)
	}
}

// shows does a handshake and gives the certificate, as DER, and whether a session of the cache went on.
func (n *node) shows(t testing.TB, host string, cache tls.ClientSessionCache) (der []byte, resumed bool) {
	t.Helper()
	raw, err := net.DialTimeout("tcp", n.proxy.HTTPSAddr().String(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, &tls.Config{ServerName: host, InsecureSkipVerify: true, ClientSessionCache: cache})
	defer func() { _ = c.Close() }()
	if err := c.Handshake(); err != nil {
		return nil, false
	}
	if cache != nil { // tickets come with what is read
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	}
	state := c.ConnectionState()
	return state.PeerCertificates[0].Raw, state.DidResume
}

// awaitCertificate waits until a node shows a certificate, and gives how long that took since a time.
func (n *node) awaitCertificate(t testing.TB, host string, want []byte, since time.Time) time.Duration {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		der, _ := n.shows(t, host, nil)
		if bytes.Equal(der, want) {
			return time.Since(since)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not show the certificate for %s; warnings %v", n.node, host, n.health.List())
		}
		<-time.After(2 * time.Millisecond)
	}
}

func TestCertificatesReachEdges(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	engine.Run(site(t, "shop"))
	s := newStage(t, engine)
	for _, e := range s.edges {
		e.eventually(t, "https", "shop.example", 200, "I am shop")
	}
	var last vault.Record
	for range 3 { // the first one, and renewals
		since := time.Now()
		last, _ = certificate(t, s.control, "shop", "shop.example")
		for _, e := range s.edges {
			took := e.awaitCertificate(t, "shop.example", last.Chain[0], since)
			t.Logf("a new certificate is served by %s after %v", e.node, took.Round(time.Millisecond)) // docs/performance.md has the figure
		}
	}
	t.Run("a name that nobody publishes gets nothing", func(t *testing.T) {
		if der, _ := s.edges[0].shows(t, "nobody.example", nil); der != nil {
			t.Error("there is a certificate")
		}
	})
	t.Run("plain HTTP redirects", func(t *testing.T) {
		if e, err := s.edges[0].proxy.Explain("http://shop.example/"); err != nil || e.Status != http.StatusMovedPermanently {
			t.Errorf("Explain() = %+v, %v", e, err)
		}
	})
	t.Run("it is explained", func(t *testing.T) {
		e, err := s.edges[0].proxy.Explain("https://shop.example/")
		if err != nil || e.Certificate.Kind != ruche.CertificateACME || e.Certificate.Fingerprint != vault.Fingerprint(last.Chain[0]) || !strings.Contains(e.Certificate.Reason, "by ACME shop is for shop.example") {
			t.Errorf("Explain() = %+v, %v", e.Certificate, err)
		}
	})
	t.Run("sessions go on at another edge", func(t *testing.T) { sessionsGoOn(t, s) })
	t.Run("challenges are answered once they are published", func(t *testing.T) { challengesArePublished(t, s) })
	t.Run("edges tell what they serve", func(t *testing.T) { edgesTellWhatTheyServe(t, s, last) })
	t.Run("an edge alone starts with what it knew", func(t *testing.T) {
		s.edges[1].stop(t)
		s.control.stop(t)
		s.edges[1] = s.startEdge("e2")
		if der, _ := s.edges[1].shows(t, "shop.example", nil); !bytes.Equal(der, last.Chain[0]) {
			t.Error("the first handshake after a start without control nodes gets another certificate")
		}
	})
	s.edges[0].stop(t)
	s.edges[1].stop(t)
	s.agent.stop(t)
}

// TestWhatARemovedEdgeServed is forgotten with it.
func TestWhatARemovedEdgeServed(t *testing.T) {
	t.Parallel()
	s := newStage(t, fakeengine.New(t))
	bucket := cluster.NewBucket[vault.Served](s.control.cluster, vault.BucketServed)
	nodes := func() (names []string) {
		rows, err := bucket.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(rows))
	}
	until(t, "the edges say what they serve", func() error {
		if got := nodes(); len(got) != 2 {
			return fmt.Errorf("there are rows of %v", got)
		}
		return nil
	})
	if err := applyServed(t.Context(), s.control.cluster, []ruche.Change{{Bucket: vault.BucketServed, Key: "e2/1", Value: []byte(`{"node":"e2","names":{}}`)}}); err != nil {
		t.Fatal(err)
	}
	s.edges[1].stop(t)
	if err := s.control.control.Remove(t.Context(), "e2"); err != nil {
		t.Fatal(err)
	}
	if got := nodes(); !slices.Equal(got, []string{"e1"}) {
		t.Errorf("there are rows of %v, want those of e1", got)
	}
	s.edges[0].stop(t)
	s.agent.stop(t)
	s.control.stop(t)
}

func sessionsGoOn(t *testing.T, s *stage) {
	cache := tls.NewLRUClientSessionCache(8)
	until(t, "a session that goes on", func() error { // the keys come by themselves
		s.edges[0].shows(t, "shop.example", cache)
		if _, resumed := s.edges[1].shows(t, "shop.example", cache); !resumed {
			return fmt.Errorf("the handshake was whole")
		}
		return nil
	})
}

func challengesArePublished(t *testing.T, s *stage) {
	bucket := cluster.NewBucket[vault.Challenge](s.control.cluster, vault.BucketChallenges)
	for i := range 5 {
		token := fmt.Sprintf("token-%d", i)
		begin := time.Now()
		c := vault.Challenge{Type: ruche.ChallengeHTTP01, Name: "shop.example", Token: token, KeyAuthorization: token + ".key", Expires: time.Now().Add(time.Hour)}
		revision, err := bucket.Put(t.Context(), vault.ChallengeKey(c.Type, c.Name, c.Token), c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err = s.control.Published(ctx, revision)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("published after %v", time.Since(begin).Round(time.Millisecond))
		for _, e := range s.edges {
			resp, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.proxy.HTTPAddr().String()+"/.well-known/acme-challenge/"+token, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Host = "shop.example"
			got, err := http.DefaultTransport.RoundTrip(resp)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(got.Body)
			_ = got.Body.Close()
			if got.StatusCode != 200 || string(body) != token+".key" {
				t.Errorf("%s answers %d %q although the challenge is published", e.node, got.StatusCode, body)
			}
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	patience := 50 * time.Millisecond // enough to hear of the edges; else it is tried with more
	until(t, "it is said which edges lack a revision that is not there", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		patience *= 2
		err := s.control.Published(ctx, 1<<40)
		if err == nil {
			t.Fatal("a revision that is not there is published")
		}
		if !strings.Contains(err.Error(), "e1, e2 did not take them over") {
			return err
		}
		return nil
	})
}

func edgesTellWhatTheyServe(t *testing.T, s *stage, r vault.Record) {
	bucket := cluster.NewBucket[vault.Served](s.control.cluster, vault.BucketServed)
	for _, e := range s.edges {
		until(t, "what "+e.node+" serves", func() error {
			row, err := bucket.Get(t.Context(), e.node)
			got := row.Value.Names["shop.example"]
			if err == nil && (row.Value.Node != e.node || got.Kind != ruche.CertificateACME || got.Fingerprint != vault.Fingerprint(r.Chain[0]) || got.NotAfter.IsZero()) {
				err = fmt.Errorf("it says %+v", row.Value)
			}
			return err
		})
	}
}

// A data directory that was stolen without the secrets, which lie elsewhere, holds no private key.
func TestAStolenDataDirectoryHoldsNoKey(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	engine.Run(site(t, "shop"))
	engine.Run(site(t, "plain"))
	s := newStage(t, engine)
	record, key := certificate(t, s.control, "shop", "shop.example")
	for _, e := range s.edges {
		e.awaitCertificate(t, "shop.example", record.Chain[0], time.Now())
		e.eventually(t, "https", "plain.example", 200, "I am plain") // with a self-signed one
	}
	s.stop(t)
	secrets := map[string][]byte{}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	secrets["the certificate's key"], secrets["its scalar"] = pkcs8, scalar
	files := 0
	for name, dir := range s.dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files++
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			data = bytes.TrimRight(data, "\x00") // the log of the state is as long as it may become
			for what, secret := range secrets {
				if holds(data, secret) {
					t.Errorf("%s: %s holds %s", name, path, what)
				}
			}
			if k := keyIn(data); k != "" {
				t.Errorf("%s: %s holds a private key (%s)", name, path, k)
			}
			if _, err := mesh.ReadSeal(path); err == nil {
				t.Errorf("%s: %s is a sealing key", name, path)
			}
			if d.Name() == "recipient.key" && !bytes.Contains(data, []byte(`"sealed":true`)) {
				t.Errorf("%s: %s is in the clear", name, path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 10 {
		t.Errorf("only %d files were looked at", files)
	}
	if keyIn(append([]byte("x"), pkcs8...)) == "" || keyIn([]byte(`{"key":"`+b64(pkcs8)+`"}`)) == "" {
		t.Error("the search finds no key where there is one")
	}
}

// On one host all of it is in one process.
func TestCertificatesOnOneHost(t *testing.T) {
	t.Parallel()
	engine := fakeengine.New(t)
	engine.Run(site(t, "shop"))
	dir := t.TempDir()
	n := start(t, dir, engine.Host())
	n.eventually(t, "https", "shop.example", 200, "I am shop")
	since := time.Now()
	record, _ := certificate(t, n, "shop", "shop.example")
	t.Logf("a new certificate is served after %v", n.awaitCertificate(t, "shop.example", record.Chain[0], since).Round(time.Millisecond))
	c := vault.Challenge{Type: ruche.ChallengeTLSALPN01, Name: "shop.example", Token: "t", KeyAuthorization: "t.k"}
	revision, err := cluster.NewBucket[vault.Challenge](n.cluster, vault.BucketChallenges).Put(t.Context(), vault.ChallengeKey(c.Type, c.Name, c.Token), c)
	if err == nil {
		err = n.Published(t.Context(), revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	answer, err := tls.Dial("tcp", n.proxy.HTTPSAddr().String(), &tls.Config{ServerName: "shop.example", NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true})
	if err != nil {
		t.Fatalf("the challenge is published, and not answered: %v", err)
	}
	_ = answer.Close()
	until(t, "what the host serves", func() error {
		row, err := cluster.NewBucket[vault.Served](n.cluster, vault.BucketServed).Get(t.Context(), n.node)
		if err == nil && row.Value.Names["shop.example"].Fingerprint != vault.Fingerprint(record.Chain[0]) {
			err = fmt.Errorf("it says %+v", row.Value)
		}
		return err
	})
	n.stop(t)
	n = start(t, dir, engine.Host())
	if der, _ := n.shows(t, "shop.example", nil); !bytes.Equal(der, record.Chain[0]) {
		t.Error("the first handshake after a start gets another certificate")
	}
	// What nobody wants any more is not served.
	record.Retired = time.Now()
	commit(t, n, "shop", record)
	until(t, "another certificate", func() error {
		if der, _ := n.shows(t, "shop.example", nil); bytes.Equal(der, record.Chain[0]) {
			return fmt.Errorf("it is the one that was retired")
		}
		return nil
	})
	n.stop(t)
}

func TestWhoIsWaitedFor(t *testing.T) {
	now := time.Now()
	statuses := map[string]ruche.NodeStatus{
		"has":    {Challenges: 7, Seen: now},
		"ahead":  {Challenges: 8, Seen: now},
		"behind": {Challenges: 6, Seen: now.Add(-20 * time.Second)},
		"none":   {Seen: now},
		"dead":   {Challenges: 6, Seen: now.Add(-26 * time.Second)},
		"agent":  {Seen: now},
	}
	if got := strings.Join(behind([]string{"ahead", "behind", "dead", "has", "never", "none"}, statuses, 7, now), " "); got != "behind none" {
		t.Errorf("waited for: %q", got)
	}
}
