package acmeserver

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/ca"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/health"
	"github.com/ruche-project/ruche/internal/mesh"
)

// Tests wait for other people's clients most of the time, so more of them run at once than there are processors. certmagic keeps some goroutines for good.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"))
}

// rig is an installation: a state, an authority, and the servers of several nodes behind one URL, each request at the next node.
type rig struct {
	t         *testing.T
	url       string // of the directory
	state     *cluster.Cluster
	authority *ca.Authority
	keys      *Keys
	nodes     []*Server
	front     atomic.Pointer[[]*Server] // those that requests come to
	writes    atomic.Int64              // into orders, accounts and the authority's log
	log       *record
	health    *health.Registry
	caFile    string // PEM of the root that the front's certificate is of
	client    *http.Client
	httpPort  int
	tlsPort   int
	dns       *named
	skew      atomic.Int64 // by which the clock is ahead
	stops     []context.CancelFunc
}

func (r *rig) now() time.Time { return time.Now().Add(time.Duration(r.skew.Load())) }

// counted counts writes.
type counted[T any] struct {
	*cluster.Bucket[T]
	n *atomic.Int64
}

func (c counted[T]) Create(ctx context.Context, key string, v T) (int64, error) {
	c.n.Add(1)
	return c.Bucket.Create(ctx, key, v)
}

func (c counted[T]) CompareAndSet(ctx context.Context, key string, v T, revision int64) (int64, error) {
	c.n.Add(1)
	return c.Bucket.CompareAndSet(ctx, key, v, revision)
}

// newRig starts an installation of three nodes. change may change what all of them are given.
func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	return newRigAt(t, httptest.NewTLSServer, change)
}

// newRigAt starts an installation behind a server that listen starts.
func newRigAt(t *testing.T, listen func(http.Handler) *httptest.Server, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, log: &record{}, health: &health.Registry{}, httpPort: freePort(t), tlsPort: freePort(t)}
	var err error
	r.state, err = cluster.Open(t.Context(), cluster.Config{Dir: t.TempDir(), Name: "n1", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.state.Close() })
	_, seal, err := mesh.NewSeal()
	if err != nil {
		t.Fatal(err)
	}
	r.authority = ca.New(ca.Config{
		Authorities: cluster.NewBucket[ca.Record](r.state, ca.BucketAuthorities), Issued: counted[ca.Entry]{cluster.NewBucket[ca.Entry](r.state, ca.BucketIssued), &r.writes},
		CRLs: cluster.NewBucket[ca.CRL](r.state, ca.BucketCRLs), Sealer: seal, URL: "http://ca.dept.example", Now: r.now,
		Logger: slog.New(slog.DiscardHandler), Health: &health.Registry{},
	})
	permit := []string{"dept.example", "other.example", "127.0.0.0/8"}
	if _, err := r.authority.Begin(t.Context(), ruche.AuthorityRequest{Names: []string{ruche.AuthorityServices}, Permit: permit}); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewJSONHandler(r.log, nil))
	r.keys = NewKeys(cluster.NewBucket[Key](r.state, BucketKeys), seal, logger, r.now)
	r.dns = startNamed(t)
	var next atomic.Uint32
	front := listen(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		nodes := *r.front.Load()
		nodes[int(next.Add(1))%len(nodes)].ServeHTTP(w, q)
	}))
	t.Cleanup(front.Close)
	r.client = front.Client()
	if cert := front.Certificate(); cert != nil {
		r.caFile = filepath.Join(t.TempDir(), "front.pem")
		if err := os.WriteFile(r.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{
		URL: front.URL + "/acme", Website: "https://dept.example/ca", Authority: r.authority, Keys: r.keys, Now: r.now,
		Accounts: counted[Account]{cluster.NewBucket[Account](r.state, BucketAccounts), &r.writes},
		Orders:   counted[Order]{cluster.NewBucket[Order](r.state, BucketOrders), &r.writes},
		Resolver: ResolverAt(r.dns.addr), HTTPPort: r.httpPort, TLSPort: r.tlsPort, Loopback: true, Logger: logger, Health: r.health,
	}
	if change != nil {
		change(&cfg)
	}
	r.url = cfg.URL
	for range 3 {
		r.start(cfg)
	}
	r.behind(r.nodes...)
	return r
}

// behind says which nodes requests come to from now on.
func (r *rig) behind(nodes ...*Server) { r.front.Store(&nodes) }

// quick is a timing for tests.
func quick() timing {
	t := usual()
	t.again, t.look, t.prune, t.tries = 5*time.Millisecond, 20*time.Millisecond, time.Second, []time.Duration{0, 50 * time.Millisecond, 100 * time.Millisecond}
	return t
}

// start starts one more node.
func (r *rig) start(cfg Config) {
	r.t.Helper()
	s, err := New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	s.timing = quick()
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- s.Run(ctx) }()
	var once sync.Once
	end := func() {
		once.Do(func() {
			stop()
			if err := <-over; err != nil {
				r.t.Error(err)
			}
		})
	}
	r.t.Cleanup(end)
	r.stops = append(r.stops, end)
	r.nodes = append(r.nodes, s)
	wait(r.t, "a node reads the state", func() bool { return s.ready() })
}

// wait waits for a condition.
func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited a minute in vain until %s", what)
		}
	}
}

// settled waits until all nodes know of all that was written.
func (r *rig) settled() {
	r.t.Helper()
	wait(r.t, "the nodes know all orders", func() bool {
		all, err := cluster.NewBucket[Order](r.state, BucketOrders).List(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		for _, n := range r.nodes {
			known := n.orders.all()
			for id, e := range all {
				if o, ok := known[id]; !ok || fmt.Sprint(o) != fmt.Sprint(e.Value) {
					return false
				}
			}
			if len(known) != len(all) {
				return false
			}
		}
		return true
	})
}

// orders reads all orders.
func (r *rig) orders() map[string]Order {
	r.t.Helper()
	all, err := cluster.NewBucket[Order](r.state, BucketOrders).List(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	orders := map[string]Order{}
	for id, e := range all {
		orders[id] = e.Value
	}
	return orders
}

// record is a log that can be read.
type record struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) has(parts ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.text.String()) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return true
		}
	}
	return false
}

// serveHTTP01 answers http-01 at the rig's port, with what there is for a token.
func (r *rig) serveHTTP01(answers func(token string) (string, bool)) {
	r.t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", r.httpPort))
	if err != nil {
		r.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		answer, ok := answers(filepath.Base(q.URL.Path))
		if !ok {
			http.NotFound(w, q)
			return
		}
		fmt.Fprint(w, answer)
	})}
	go func() { _ = server.Serve(l) }()
	r.t.Cleanup(func() { _ = server.Close() })
}

// roots are what trusts the authority's certificates.
func (r *rig) roots() *x509.CertPool {
	r.t.Helper()
	roots, err := r.authority.Roots(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for _, root := range roots {
		pool.AddCert(root)
	}
	return pool
}

// entry is what the authority's log has of a certificate.
func (r *rig) entry(cert *x509.Certificate) ca.Entry {
	r.t.Helper()
	e, err := r.authority.Lookup(r.t.Context(), serialText(cert.SerialNumber))
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

// verify checks that a PEM chain is good for the names.
func (r *rig) verify(chain []byte, names ...string) *x509.Certificate {
	r.t.Helper()
	var certs []*x509.Certificate
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			r.t.Fatal(err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		r.t.Fatalf("there is no certificate in %q", chain)
	}
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	for _, name := range names {
		if _, err := certs[0].Verify(x509.VerifyOptions{DNSName: name, Roots: r.roots(), Intermediates: between, CurrentTime: r.now()}); err != nil {
			r.t.Errorf("%s: %v", name, err)
		}
	}
	return certs[0]
}
