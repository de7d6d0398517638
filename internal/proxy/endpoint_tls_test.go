package proxy

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/testpki"
)

// secureBackend is an endpoint with these settings of TLS, which says who its client is by its certificate, and which name was asked for.
func secureBackend(t *testing.T, scheme string, c *tls.Config) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "name "+r.TLS.ServerName)
		if len(r.TLS.PeerCertificates) > 0 {
			_, _ = io.WriteString(w, " client "+r.TLS.PeerCertificates[0].Subject.CommonName)
		}
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.EnableHTTP2 = scheme == ruche.SchemeGRPCS
	s.TLS = c
	s.StartTLS()
	t.Cleanup(s.Close)
	return scheme + strings.TrimPrefix(s.URL, "https")
}

// verified has the endpoints of a route verified.
func verified(r ruche.Route, e ruche.EndpointTLS) ruche.Route {
	r.Scheme, _, _ = strings.Cut(r.Endpoints[0], "://")
	r.EndpointTLS = &e
	return r
}

func TestEndpointsProveWhoTheyAre(t *testing.T) {
	root, other := testpki.New(t, "root"), testpki.New(t, "other")
	below := root.Intermediate("below")
	host := func(names ...string) testpki.Leaf { return testpki.Leaf{Server: true, Hosts: names} }
	expired, incomplete := host("b.internal"), host("b.internal")
	expired.Life, incomplete.OmitChain = -time.Hour, true
	revoked := root.Issue(host("b.internal"))
	client := root.Issue(testpki.Leaf{Name: "edge"})
	certificates := newTestCertificates(t)
	certificates.own = &client
	certificates.peers.Store(peersOf(root, revoked))
	named := ruche.EndpointTLS{CA: "peers", ServerName: "b.internal"}
	modern := named
	modern.MinTLS = ruche.MinTLS13
	showing := named
	showing.ClientCert = "edge"
	cases := []struct {
		name   string
		shows  tls.Certificate
		server *tls.Config
		asked  ruche.EndpointTLS
		want   string // what the endpoint says, or part of the error
	}{
		{"right name", root.Issue(host("b.internal")), &tls.Config{}, named, "name b.internal"},
		{"right name by an intermediate", below.Issue(host("b.internal")), &tls.Config{}, named, "name b.internal"},
		{"wildcard", root.Issue(host("*.internal")), &tls.Config{}, named, "name b.internal"},
		{"TLS 1.2", root.Issue(host("b.internal")), &tls.Config{MaxVersion: tls.VersionTLS12}, named, "name b.internal"},
		{"by address", root.Issue(host("127.0.0.1")), &tls.Config{}, ruche.EndpointTLS{CA: "peers"}, "name "},
		{"shows a certificate", root.Issue(host("b.internal")), &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: root.Pool()}, showing, "name b.internal client edge"},
		{"any certificate, but a name", other.Issue(host("x")), &tls.Config{}, ruche.EndpointTLS{ServerName: "b.internal"}, "name b.internal"},
		{"expired", root.Issue(expired), &tls.Config{}, named, "certificate is not accepted"},
		{"wrong host", root.Issue(host("c.internal")), &tls.Config{}, named, "valid for c.internal, not b.internal"},
		{"wrong address", root.Issue(host("b.internal")), &tls.Config{}, ruche.EndpointTLS{CA: "peers"}, "127.0.0.1"},
		{"untrusted", other.Issue(host("b.internal")), &tls.Config{}, named, "unknown authority"},
		{"incomplete chain", below.Issue(incomplete), &tls.Config{}, named, "unknown authority"},
		{"revoked", revoked, &tls.Config{}, named, "it was revoked"},
		{"a client's", root.Issue(testpki.Leaf{Hosts: []string{"b.internal"}}), &tls.Config{}, named, "usage"},
		{"too old a version", root.Issue(host("b.internal")), &tls.Config{MaxVersion: tls.VersionTLS12}, modern, "protocol version"},
		{"nothing to verify by", root.Issue(host("b.internal")), &tls.Config{}, ruche.EndpointTLS{CA: "gone"}, "there is no gone.ca.crt"},
	}
	for _, scheme := range []string{ruche.SchemeHTTPS, ruche.SchemeGRPCS} {
		for _, tc := range cases {
			t.Run(scheme+" "+tc.name, func(t *testing.T) {
				tc.server.Certificates = []tls.Certificate{tc.shows}
				r := start(t, Config{Certificates: certificates}, verified(site("a.test", secureBackend(t, scheme, tc.server.Clone())), tc.asked))
				good := strings.HasPrefix(tc.want, "name ")
				for range 2 { // the second one by a connection or a session that is kept
					resp, body := r.get("http://a.test/")
					if good && (resp.StatusCode != 200 || body != tc.want) || !good && resp.StatusCode != 502 {
						t.Errorf("got %d %q, want %q", resp.StatusCode, body, tc.want)
					}
				}
				if good {
					return
				}
				until(t, "the reason is in the log", func() bool { return strings.Contains(r.log.String(), tc.want) })
				ex, err := r.Explain("http://a.test/")
				if err != nil || !slices.ContainsFunc(ex.Reasons, func(s string) bool { return strings.Contains(s, tc.want) }) {
					t.Errorf("explained by %+v, %v; want the reason %q", ex, err, tc.want)
				}
			})
		}
	}
}

// Routes that verify otherwise share no connection, and what was revoked since counts for sessions that are resumed.
func TestVerifiedConnectionsAreNotShared(t *testing.T) {
	root := testpki.New(t, "root")
	shows := root.Issue(testpki.Leaf{Server: true, Hosts: []string{"b.internal"}})
	certificates := newTestCertificates(t)
	certificates.peers.Store(peersOf(root))
	up := secureBackend(t, ruche.SchemeHTTPS, &tls.Config{Certificates: []tls.Certificate{shows}})
	anything, strict := site("any.test", up), verified(site("strict.test", up), ruche.EndpointTLS{CA: "peers", ServerName: "b.internal"})
	wrong := verified(site("wrong.test", up), ruche.EndpointTLS{CA: "peers", ServerName: "c.internal"})
	anything.KeepAlive, strict.KeepAlive = ruche.KeepAliveOff, ruche.KeepAliveOff
	r := start(t, Config{Certificates: certificates, Loops: 1}, anything, strict, wrong)
	for range 3 {
		for host, want := range map[string]int{"any.test": 200, "strict.test": 200, "wrong.test": 502} {
			if resp, body := r.get("http://" + host + "/"); resp.StatusCode != want {
				t.Errorf("%s got %d %q, want %d", host, resp.StatusCode, body, want)
			}
		}
	}
	certificates.peers.Store(peersOf(root, shows))
	for host, want := range map[string]int{"any.test": 200, "strict.test": 502} {
		if resp, body := r.get("http://" + host + "/"); resp.StatusCode != want {
			t.Errorf("after the revocation %s got %d %q, want %d", host, resp.StatusCode, body, want)
		}
	}
}

// What was revoked is not used any more, not even on a connection that is kept; what is still good stays on its connection.
func TestKeptConnectionsAreVerifiedAgain(t *testing.T) {
	root := testpki.New(t, "root")
	shows := root.Issue(testpki.Leaf{Server: true, Hosts: []string{"b.internal"}})
	certificates := newTestCertificates(t)
	certificates.peers.Store(peersOf(root))
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) }))
	up.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	up.TLS = &tls.Config{Certificates: []tls.Certificate{shows}}
	up.StartTLS()
	t.Cleanup(up.Close)
	for _, loops := range []int{1, 2} {
		certificates.peers.Store(peersOf(root))
		r := start(t, Config{Certificates: certificates, Loops: loops}, verified(site("a.test", up.URL), ruche.EndpointTLS{CA: "peers", ServerName: "b.internal"}))
		kept := r.client() // its connection stays with one loop
		ask := func() (int, string) {
			t.Helper()
			resp, err := kept.Do(r.request("GET", "http://a.test/", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return resp.StatusCode, string(body)
		}
		_, first := ask()
		certificates.peers.Store(peersOf(root))
		if status, second := ask(); status != 200 || second != first {
			t.Errorf("with other files that say the same: got %d %q, want the connection of before, %q", status, second, first)
		}
		certificates.peers.Store(peersOf(root, shows))
		for range 2 {
			if status, body := ask(); status != 502 {
				t.Errorf("after the revocation: got %d %q, want 502", status, body)
			}
		}
	}
}

// A health check verifies as requests do, and an endpoint that shows a good certificate again is taken back.
func TestEndpointsThatProveThemselvesAgainAreBack(t *testing.T) {
	root := testpki.New(t, "root")
	shows := root.Issue(testpki.Leaf{Server: true, Hosts: []string{"b.internal"}})
	certificates := newTestCertificates(t)
	certificates.peers.Store(peersOf(root, shows))
	route := verified(site("a.test", secureBackend(t, ruche.SchemeHTTPS, &tls.Config{Certificates: []tls.Certificate{shows}})), ruche.EndpointTLS{CA: "peers", ServerName: "b.internal"})
	route.Check = &ruche.Check{Path: "/", Mode: ruche.CheckHTTP, Interval: 20 * time.Millisecond, Timeout: time.Second, Failures: 1, Successes: 1}
	r := start(t, Config{Certificates: certificates}, route)
	status := func() *ruche.CheckStatus { return r.Routes().Routes[0].Endpoints[0].Check }
	until(t, "the check fails by the certificate", func() bool { return !status().Healthy && strings.Contains(status().Error, "revoked") })
	certificates.peers.Store(peersOf(root))
	until(t, "the check succeeds", func() bool { return status().Healthy })
	if resp, body := r.get("http://a.test/"); resp.StatusCode != 200 {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
}
