package proxy

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/testpki"
)

// peersOf accepts certificates of an authority, but for some.
func peersOf(a *testpki.Authority, revoked ...tls.Certificate) *ruche.PeerCheck {
	return &ruche.PeerCheck{Source: "peers.ca.crt", CAs: a.Pool(), Check: func(chain []*x509.Certificate, use x509.ExtKeyUsage) error {
		if slices.ContainsFunc(revoked, func(c tls.Certificate) bool { return c.Leaf.Equal(chain[0]) }) {
			return &ruche.CertificateRefused{Brief: "it was revoked", Err: errors.New("serial number 1")}
		}
		intermediates := x509.NewCertPool()
		for _, c := range chain[1:] {
			intermediates.AddCert(c)
		}
		_, err := chain[0].Verify(x509.VerifyOptions{Roots: a.Pool(), Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{use}})
		var foreign x509.UnknownAuthorityError
		if err != nil {
			return &ruche.CertificateRefused{Foreign: errors.As(err, &foreign), Brief: "it is not valid", Err: err}
		}
		return nil
	}}
}

// wants is a route that wants client certificates.
func wants(r ruche.Route, mode ruche.ClientAuthMode, ca string) ruche.Route {
	r.ClientAuth = &ruche.ClientAuth{Mode: mode, CA: ca}
	return r
}

// guests is a proxy with sites for clients with certificates, and what clients may show.
type guests struct {
	*rig
	certificates *testCertificates
	shown        map[string]*tls.Certificate
	authority    *testpki.Authority
}

func startGuests(t *testing.T, cfg Config) *guests {
	t.Helper()
	a, other := testpki.New(t, "partners"), testpki.New(t, "others")
	g := &guests{certificates: newTestCertificates(t), authority: a, shown: map[string]*tls.Certificate{"none": nil}}
	for name, c := range map[string]tls.Certificate{
		"good": a.Issue(testpki.Leaf{Name: "alice"}), "expired": a.Issue(testpki.Leaf{Life: -1}), "revoked": a.Issue(testpki.Leaf{Name: "mallory"}),
		"foreign": other.Issue(testpki.Leaf{}), "by an intermediate": a.Intermediate("below").Issue(testpki.Leaf{}),
	} {
		g.shown[name] = &c
	}
	g.certificates.peers.Store(peersOf(a, *g.shown["revoked"]))
	cfg.Certificates = g.certificates
	up := says(t, "inside")
	byRule := ruche.Route{Name: "r", Vocabulary: ruche.VocabularyTraefik, Match: ruche.Match{Rule: "Host(`rule.test`)"}, Endpoints: []string{up}, HTTPSMethod: ruche.HTTPSNoRedirect}
	path := wants(site("mixed.test", up), ruche.ClientAuthRequire, "peers")
	path.Match.Path = "/closed/"
	redirected := wants(site("r.trusted.test", up), ruche.ClientAuthRequire, "peers")
	redirected.HTTPSMethod = ruche.HTTPSRedirect
	g.rig = startHTTP3(t, cfg,
		site("files.clients.test", up), site("*.clients.test", up), wants(site("off.clients.test", up), ruche.ClientAuthOff, ""),
		wants(site("optional.test", up), ruche.ClientAuthOptional, "peers"), wants(site("request.test", up), ruche.ClientAuthRequest, "peers"),
		wants(site("gone.test", up), ruche.ClientAuthOptional, "gone"), wants(byRule, ruche.ClientAuthRequire, "peers"),
		site("open.test", up), site("mixed.test", up), path, redirected,
	)
	return g
}

// protocols are the ways that clients come.
func (g *guests) protocols() map[string]func(*tls.Config) http.RoundTripper {
	over := func(version uint16, protocol string) func(*tls.Config) http.RoundTripper {
		return func(c *tls.Config) http.RoundTripper {
			c.MaxVersion = version
			t := g.client().Transport.(*http.Transport)
			t.TLSClientConfig, t.Protocols = c, new(http.Protocols)
			t.Protocols.SetHTTP1(protocol == "http/1.1")
			t.Protocols.SetHTTP2(protocol == "h2")
			return t
		}
	}
	return map[string]func(*tls.Config) http.RoundTripper{
		"HTTP/1.1 over TLS 1.2": over(tls.VersionTLS12, "http/1.1"), "HTTP/1.1 over TLS 1.3": over(0, "http/1.1"),
		"HTTP/2 over TLS 1.2": over(tls.VersionTLS12, "h2"), "HTTP/2 over TLS 1.3": over(0, "h2"),
		"HTTP/3": func(c *tls.Config) http.RoundTripper {
			t := g.client3().Transport.(*http3.Transport)
			t.TLSClientConfig = c
			return t
		},
	}
}

// visit has a client ask for a URL, which it may do under another name than that of its connection.
func (g *guests) visit(t *testing.T, transport http.RoundTripper, url, host string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(content)
}

func TestClientCertificates(t *testing.T) {
	g := startGuests(t, Config{})
	const none, bad = "No required SSL certificate was sent", "The SSL certificate error"
	closed := map[string]string{"none": none, "good": "inside", "by an intermediate": "inside", "expired": bad, "revoked": bad + ": it was revoked", "foreign": bad}
	optional := map[string]string{"none": "inside", "good": "inside", "by an intermediate": "inside", "expired": bad, "revoked": bad, "foreign": bad}
	request := map[string]string{"none": "inside", "good": "inside", "by an intermediate": "inside", "expired": bad, "revoked": bad, "foreign": "inside"}
	open := map[string]string{"none": "inside", "foreign": "inside"}
	gone := map[string]string{"none": "not supported", "good": "not supported"}
	sites := map[string]map[string]string{
		"files.clients.test/": closed, "any.clients.test/": closed, "rule.test/": closed, "mixed.test/closed/x": closed, "mixed.test/closed": closed, "r.trusted.test/": closed,
		"optional.test/": optional, "request.test/": request, "off.clients.test/": open, "open.test/": open, "mixed.test/": open, "gone.test/": gone,
	}
	for protocol, dial := range g.protocols() {
		t.Run(protocol, func(t *testing.T) {
			for url, answers := range sites {
				for shown, want := range answers {
					c := &tls.Config{InsecureSkipVerify: true}
					if certificate := g.shown[shown]; certificate != nil {
						c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
					}
					transport := dial(c)
					status, body := g.visit(t, transport, "https://"+url, "")
					expected := map[bool]int{true: 200, false: 400}[want == "inside"]
					if want == "not supported" {
						expected = 503
					}
					if url == "mixed.test/closed" && want == "inside" {
						expected, want = 301, ""
					}
					if status != expected || !strings.Contains(body, want) {
						t.Errorf("%s with %s got %d %q, want %d %q", url, shown, status, body, expected, want)
					}
				}
			}
		})
	}
}

// A connection that was made for one site must not lead into another one that asks for certificates.
func TestClientCertificatesAreForOneName(t *testing.T) {
	g := startGuests(t, Config{})
	cases := []struct {
		connected, host, shown string
		want                   int
	}{
		{"open.test", "files.clients.test", "none", 421},
		{"open.test", "files.clients.test", "good", 421},
		{"optional.test", "files.clients.test", "good", 421},
		{"x.clients.test", "files.clients.test", "good", 421},
		{"open.test", "optional.test", "none", 421},
		{"open.test", "FILES.clients.test:443", "none", 421},
		{"files.clients.test", "FILES.clients.test.:8443", "good", 200},
		{"files.clients.test", "open.test", "none", 200},
		{"files.clients.test", "off.clients.test", "none", 200},
	}
	for protocol, dial := range g.protocols() {
		t.Run(protocol, func(t *testing.T) {
			for _, tc := range cases {
				c := &tls.Config{InsecureSkipVerify: true}
				if shown := g.shown[tc.shown]; shown != nil {
					c.Certificates = []tls.Certificate{*shown}
				}
				if got, body := g.visit(t, dial(c), "https://"+tc.connected+"/", tc.host); got != tc.want {
					t.Errorf("%s on a connection for %s with %s got %d %q, want %d", tc.host, tc.connected, tc.shown, got, body, tc.want)
				}
			}
		})
	}
	t.Run("one connection of HTTP/2 for both", func(t *testing.T) {
		transport := g.client().Transport.(*http.Transport)
		transport.TLSClientConfig.ServerName = "open.test"
		conn, err := transport.NewClientConn(t.Context(), "https", "open.test:443")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for i, host := range []string{"open.test", "files.clients.test", "open.test"} {
			if got, _ := g.visit(t, conn, "https://"+host+"/", ""); got != [...]int{200, 421, 200}[i] {
				t.Errorf("request %d, to %s, got %d", i, host, got)
			}
		}
	})
	t.Run("no server name", func(t *testing.T) {
		route := g.client().Transport.(*http.Transport)
		route.DialTLS = func(string, string) (net.Conn, error) { //nolint:staticcheck // the simplest one will do
			return tls.Dial("tcp", g.HTTPSAddr().String(), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*g.shown["good"]}})
		}
		if _, err := route.RoundTrip(g.request("GET", "https://files.clients.test/", nil)); err == nil {
			t.Error("a client without a server name was served")
		}
	})
}

// By plain HTTP nobody can show anything, whatever a proxy in front says.
func TestClientCertificatesByHTTP(t *testing.T) {
	g := startGuests(t, Config{TrustedProxies: loopback()})
	for _, tc := range []struct {
		url, proto string
		want       int
	}{
		{"http://files.clients.test/", "", 403}, {"http://files.clients.test/", "https", 403}, {"http://rule.test/", "", 403}, {"http://mixed.test/closed", "", 403},
		{"http://r.trusted.test/", "", 301}, {"http://r.trusted.test/", "https", 403},
		{"http://optional.test/", "", 200}, {"http://request.test/", "", 200}, {"http://off.clients.test/", "", 200}, {"http://mixed.test/", "", 200}, {"http://gone.test/", "", 503},
	} {
		req := g.request("GET", tc.url, nil)
		if tc.proto != "" {
			req.Header.Set("X-Forwarded-Proto", tc.proto)
		}
		if resp, body := g.do(req); resp.StatusCode != tc.want {
			t.Errorf("%s (X-Forwarded-Proto %q) got %d %q, want %d", tc.url, tc.proto, resp.StatusCode, body, tc.want)
		}
		if tc.proto == "" && tc.want != 301 && tc.want != 200 {
			if ex, err := g.Explain(tc.url); err != nil || ex.Status != tc.want {
				t.Errorf("%s is explained by %+v, %v; want %d", tc.url, ex, err, tc.want)
			}
		}
	}
}

// sameSession resumes a session whatever the name.
type sameSession struct{ state *tls.ClientSessionState }

func (s *sameSession) Get(string) (*tls.ClientSessionState, bool)    { return s.state, s.state != nil }
func (s *sameSession) Put(_ string, session *tls.ClientSessionState) { s.state = session }

func TestSessionsDoNotBypassClientCertificates(t *testing.T) {
	g := startGuests(t, Config{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := &sameSession{}
		ask := func(name string, shown *tls.Certificate) (status int, resumed bool) {
			t.Helper()
			c := &tls.Config{ServerName: name, InsecureSkipVerify: true, ClientSessionCache: cache, MaxVersion: version}
			if shown != nil {
				c.Certificates = []tls.Certificate{*shown}
			}
			conn, err := tls.Dial("tcp", g.HTTPSAddr().String(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", name)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode, conn.ConnectionState().DidResume
		}
		steps := []struct {
			name    string
			shown   *tls.Certificate
			status  int
			resumed bool
		}{
			{"open.test", nil, 200, false}, {"open.test", nil, 200, true},
			{"files.clients.test", nil, 400, false}, {"files.clients.test", g.shown["good"], 200, false}, {"files.clients.test", nil, 400, false},
			{"open.test", nil, 200, true},
		}
		for i, s := range steps {
			if status, resumed := ask(s.name, s.shown); status != s.status || resumed != s.resumed {
				t.Errorf("%s, step %d, %s: %d, resumed %v; want %d, %v", tls.VersionName(version), i, s.name, status, resumed, s.status, s.resumed)
			}
		}
	}
}

// A revocation counts on connections that are open, too.
func TestRevocationEndsConnections(t *testing.T) {
	g := startGuests(t, Config{})
	good := g.shown["good"]
	for protocol, dial := range g.protocols() {
		g.certificates.peers.Store(peersOf(g.authority))
		transport := dial(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*good}})
		for _, want := range []int{200, 200, 400} {
			if want == 400 {
				g.certificates.peers.Store(peersOf(g.authority, *good))
			}
			if got, body := g.visit(t, transport, "https://files.clients.test/", ""); got != want {
				t.Errorf("%s: got %d %q, want %d", protocol, got, body, want)
			}
		}
	}
}

func TestClientCertificatesAreLoggedAndExplained(t *testing.T) {
	g := startGuests(t, Config{})
	for shown, want := range map[string]string{"good": "CN=alice, serial number ", "revoked": "CN=mallory, serial number "} {
		g.visit(t, g.protocols()["HTTP/2 over TLS 1.3"](&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*g.shown[shown]}}), "https://files.clients.test/"+shown, "")
		until(t, "it is in the log", func() bool { return strings.Contains(g.log.String(), `"path":"/`+shown) })
		for line := range strings.Lines(g.log.String()) {
			var l struct {
				Path, Error       string
				ClientCertificate string `json:"client_certificate"`
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			if l.Path == "/"+shown && (!strings.HasPrefix(l.ClientCertificate, want) || (shown == "revoked") != strings.Contains(l.Error, "revoked")) {
				t.Errorf("logged %s, want the certificate %q", line, want)
			}
		}
	}
	for url, want := range map[string]string{
		"https://files.clients.test/": "clients must show a certificate, which is verified by peers.ca.crt",
		"https://optional.test/":      "clients may show a certificate, which is verified by peers.ca.crt",
		"https://request.test/":       "one that peers.ca.crt does not know counts as none",
	} {
		ex, err := g.Explain(url)
		if err != nil || ex.Answer != "forwarded to 1 endpoint" || !slices.ContainsFunc(ex.Reasons, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("%s is explained by %+v, %v; want the reason %q", url, ex, err, want)
		}
	}
	for _, st := range g.Routes().Routes {
		if want := st.ID == "nginx-proxy:gone.test/"; (st.Blocked != "") != want {
			t.Errorf("%s is blocked because %q, want it blocked: %v", st.ID, st.Blocked, want)
		}
	}
}

// Streams give no answers, so it is the handshake that fails.
func TestClientCertificatesOfStreams(t *testing.T) {
	a, other := testpki.New(t, "partners"), testpki.New(t, "others")
	certificates := newTestCertificates(t)
	certificates.peers.Store(peersOf(a))
	where := listening{}
	r := start(t, Config{EntryPoints: entryPoints("db"), Listen: where.listen, Certificates: certificates},
		wants(byRule("c", "db", "HostSNI(`closed.test`)", ruche.TLSAuto, echoes(t, "closed ")), ruche.ClientAuthRequire, "peers"),
		wants(byRule("o", "db", "HostSNI(`optional.test`)", ruche.TLSAuto, echoes(t, "optional ")), ruche.ClientAuthOptional, "peers"),
		wants(byRule("g", "db", "HostSNI(`gone.test`)", ruche.TLSAuto, echoes(t, "gone ")), ruche.ClientAuthRequire, "gone"),
		byRule("f", "db", "HostSNI(`f.clients.test`)", ruche.TLSAuto, echoes(t, "files ")),
	)
	good, foreign := a.Issue(testpki.Leaf{}), other.Issue(testpki.Leaf{})
	for _, tc := range []struct {
		name  string
		shown *tls.Certificate
		want  string
	}{
		{"closed.test", nil, ""}, {"closed.test", &foreign, ""}, {"closed.test", &good, "closed hello"}, {"f.clients.test", nil, ""}, {"f.clients.test", &good, "files hello"},
		{"optional.test", nil, "optional hello"}, {"optional.test", &foreign, ""}, {"optional.test", &good, "optional hello"}, {"gone.test", &good, ""},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := &tls.Config{ServerName: tc.name, InsecureSkipVerify: true, MaxVersion: version}
			if tc.shown != nil {
				c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tc.shown, nil }
			}
			conn := tls.Client(where.dial(t, "db"), c)
			_, _ = io.WriteString(conn, "hello")
			_ = conn.CloseWrite()
			got, err := io.ReadAll(conn)
			if string(got) != tc.want || tc.want == "" && err == nil {
				t.Errorf("%s by %s got %q, %v; want %q", tc.name, tls.VersionName(version), got, err, tc.want)
			}
			_ = conn.Close()
		}
	}
	for _, st := range r.Routes().Routes {
		if (st.Blocked != "") != (st.ID == "traefik:tcp:g@db") {
			t.Errorf("%s is blocked because %q", st.ID, st.Blocked)
		}
	}
}
