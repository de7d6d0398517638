package proxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ruche-project/ruche"
)

func TestMain(m *testing.M) {
	if to := os.Getenv(crowdTo); to != "" {
		beCrowd(to)
		return
	}
	if code := m.Run(); code != 0 {
		os.Exit(code)
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "after the tests:", err)
		os.Exit(1)
	}
}

// rig is a running proxy with what it serves.
type rig struct {
	*Proxy
	t       testing.TB
	log     *lockedBuffer
	stop    context.CancelFunc
	stopped chan struct{} // closed when run has returned; err is what it returned
	err     error
}

// lockedBuffer is a buffer that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs a proxy on loopback ports until the test ends.
func start(t testing.TB, cfg Config, routes ...ruche.Route) *rig {
	t.Helper()
	r := &rig{t: t, log: &lockedBuffer{}, stopped: make(chan struct{})}
	if cfg.HTTPAddr == "" {
		cfg.HTTPAddr = "127.0.0.1:0"
	}
	if cfg.HTTPSAddr == "" {
		cfg.HTTPSAddr = "127.0.0.1:0"
	}
	if cfg.AccessLog == nil {
		cfg.AccessLog = r.log
	}
	if cfg.Timeouts.Hold == 0 {
		cfg.Timeouts.Hold = time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Certificates == nil {
		cfg.Certificates = newTestCertificates(t)
	}
	var err error
	if r.Proxy, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	r.serve(routes...)
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() {
		defer close(r.stopped)
		r.err = r.run(ctx, noWatch)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.stopped
	})
	select {
	case <-r.Ready():
	case <-r.stopped:
		t.Fatalf("the proxy did not start: %v", r.err)
	}
	return r
}

// noWatch stands for the buckets where the test feeds the proxy itself.
func noWatch(context.Context, *sync.WaitGroup) {}

// serve makes these routes the only ones; each gets a workload of its own.
func (r *rig) serve(routes ...ruche.Route) {
	declarations := map[string]ruche.Declaration{}
	endpoints := map[string]ruche.Endpoint{}
	for i, route := range routes {
		w := ruche.Workload{ID: fmt.Sprintf("container/%03d", i), Kind: ruche.KindContainer, Name: fmt.Sprintf("web-%d", i), Created: time.Unix(int64(i), 0)}
		declarations[w.ID] = ruche.Declaration{Workload: w, Routes: []ruche.Route{route}}
	}
	r.feed.applyDeclarations(ruche.Update[ruche.Declaration]{Reset: true, Puts: declarations})
	r.feed.applyEndpoints(ruche.Update[ruche.Endpoint]{Reset: true, Puts: endpoints})
	if r.current.Load() != nil {
		r.refresh()
	}
}

// site is a route for a host, to these endpoints.
func site(host string, urls ...string) ruche.Route {
	return ruche.Route{
		Name: host, Vocabulary: ruche.VocabularyNginxProxy, Source: "env VIRTUAL_HOST", Match: ruche.Match{Host: host},
		Endpoints: urls, HTTPSMethod: ruche.HTTPSNoRedirect,
	}
}

// nowhere is a route without endpoints.
func nowhere(host string) ruche.Route {
	r := site(host)
	r.Port = 80
	return r
}

// request makes a request to the proxy for a host by name.
func (r *rig) request(method, url string, body io.Reader) *http.Request {
	r.t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		r.t.Fatal(err)
	}
	return req
}

// client sends every request to the proxy, whatever its host.
func (r *rig) client() *http.Client {
	dial := func(ctx context.Context, addr net.Addr) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr.String())
	}
	transport := &http.Transport{
		DisableCompression: true,
		ForceAttemptHTTP2:  true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			if strings.HasSuffix(address, ":443") {
				return dial(ctx, r.HTTPSAddr())
			}
			return dial(ctx, r.HTTPAddr())
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get fetches a URL and returns the answer with its body.
func (r *rig) get(url string) (*http.Response, string) {
	r.t.Helper()
	return r.do(r.request("GET", url, nil))
}

func (r *rig) do(req *http.Request) (*http.Response, string) {
	r.t.Helper()
	c := r.client()
	defer c.CloseIdleConnections()
	resp, err := c.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s %s: cannot read the body: %v", req.Method, req.URL, err)
	}
	return resp, string(body)
}

// raw sends bytes on a new connection to the HTTP port and returns the connection.
func (r *rig) raw(text string) net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.HTTPAddr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// backend is an endpoint.
func backend(t testing.TB, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// says is an endpoint that answers with a text.
func says(t testing.TB, text string) string {
	return backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}

// deaf is the URL of a port that nobody listens on.
func deaf(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// rude is an endpoint that does as told with each connection.
func rude(t testing.TB, handle func(n int, c net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				handle(n, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	return "http://" + l.Addr().String()
}

// until waits for a condition and fails the test when it does not come true.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not so after 10 s: %s", what)
		}
	}
}

// testCertificates has a file for every host that ends in "trusted.test", none for "bare.test", and is
// self-signed for the rest.
type testCertificates struct {
	cert  tls.Certificate
	peers atomic.Pointer[ruche.PeerCheck]
	own   *tls.Certificate // for endpoints
}

func newTestCertificates(t testing.TB) *testCertificates {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"*.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &testCertificates{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

func (c *testCertificates) Certificate(q ruche.CertificateQuery) (*tls.Certificate, ruche.CertificateStatus) {
	none := ruche.CertificateStatus{Kind: ruche.CertificateNone, Reason: "there is no file for it"}
	switch {
	case q.Host == "" && strings.HasSuffix(q.ServerName, ".internal"): // that somebody asked for without a route
		return &c.cert, ruche.CertificateStatus{Kind: ruche.CertificateInternal, Reason: "there is one"}
	case q.Host == "":
		return nil, none
	case strings.HasSuffix(q.Host, "trusted.test"):
		return &c.cert, ruche.CertificateStatus{Kind: ruche.CertificateFile, Reason: q.Host + ".crt is the host's own"}
	case q.Mode == ruche.TLSFile || q.Host == "bare.test":
		return nil, none
	}
	return &c.cert, ruche.CertificateStatus{Kind: ruche.CertificateSelfSigned, Reason: "there is no file for it"}
}

func (c *testCertificates) Status(q ruche.CertificateQuery) ruche.CertificateStatus {
	q.Mode = ruche.TLSFile
	_, st := c.Certificate(q)
	return st
}

func (c *testCertificates) Trusted(q ruche.CertificateQuery) bool {
	return strings.HasSuffix(q.Host, "trusted.test")
}

// Restriction closes the host patterns that have the label "locked".
func (c *testCertificates) Restriction(host string) string {
	if strings.Contains(host, "locked.") {
		return host + ".ca.crt asks for client certificates"
	}
	return ""
}

// ClientCheck has the authority peers for host patterns that have the label "clients", and where it is declared.
func (c *testCertificates) ClientCheck(declared *ruche.ClientAuth, named, pattern string) (*ruche.PeerCheck, error) {
	switch {
	case declared != nil && declared.Mode == ruche.ClientAuthOff:
	case declared != nil && declared.CA == "gone":
		return nil, errors.New("there is no gone.ca.crt")
	case declared != nil && declared.CA != "", strings.Contains(named, "clients."), strings.Contains(pattern, "clients."):
		return c.peers.Load(), nil
	}
	return nil, nil
}

// EndpointCheck has the same authority, and the client's certificate as its own.
func (c *testCertificates) EndpointCheck(e ruche.EndpointTLS) (*ruche.PeerCheck, *tls.Certificate, error) {
	switch e.CA {
	case "":
		return nil, c.own, nil
	case "peers":
		return c.peers.Load(), c.own, nil
	}
	return nil, nil, errors.New("there is no " + e.CA + ".ca.crt")
}

func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
