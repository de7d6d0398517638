package acmeserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// portOf is where a test's server listens.
func portOf(addr net.Addr) int { return addr.(*net.TCPAddr).Port }

func TestHTTP01(t *testing.T) {
	t.Parallel()
	dns := startNamed(t)
	const token, right = "token", "token.thumbprint"
	mux := http.NewServeMux()
	plain := httptest.NewServer(mux)
	defer plain.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, right) }))
	defer secure.Close()
	p := newProver(Config{Resolver: ResolverAt(dns.addr), HTTPPort: portOf(plain.Listener.Addr()), TLSPort: portOf(secure.Listener.Addr()), Loopback: true})
	release := make(chan struct{})
	defer close(release)
	to := func(url string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, url, http.StatusFound) }
	}
	write := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	}
	for name, h := range map[string]http.HandlerFunc{
		"right": write(right + " \r\n"), "wrong": write("other"), "long": write(right + strings.Repeat(" ", maxAnswer)), "missing": http.NotFound,
		"elsewhere": to("http://right.dept.example:" + fmt.Sprint(p.httpPort) + "/.well-known/acme-challenge/" + token),
		"secure":    to("https://right.dept.example:" + fmt.Sprint(p.tlsPort) + "/x"), "loop": to("/.well-known/acme-challenge/" + token),
		"port": to("http://right.dept.example:1/"), "scheme": to("ftp://right.dept.example/"), "user": to(fmt.Sprintf("http://a:b@right.dept.example:%d/", p.httpPort)),
		"slow": func(http.ResponseWriter, *http.Request) { <-release },
	} {
		mux.Handle(fmt.Sprintf("%s.dept.example/.well-known/acme-challenge/%s", name, token), h)
	}
	mux.Handle(fmt.Sprintf("127.0.0.1/.well-known/acme-challenge/%s", token), write(right))
	for name, want := range map[string]problemType{
		"right.dept.example": "", "127.0.0.1": "", "elsewhere.dept.example": "", "secure.dept.example": "",
		"wrong.dept.example": unauthorized, "long.dept.example": unauthorized, "missing.dept.example": unauthorized,
		"loop.dept.example": unauthorized, "port.dept.example": unauthorized, "scheme.dept.example": unauthorized, "user.dept.example": unauthorized,
		"slow.dept.example": connectionFailed, "nowhere.dept.example": dnsFailed, "::1": connectionFailed,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
			defer stop()
			if strings.HasPrefix(name, "slow") {
				ctx, stop = context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer stop()
			}
			got := p.once(ctx, proof{by: ruche.ChallengeHTTP01, name: name, token: token, authorization: right})
			if (got == nil) != (want == "") || got != nil && !got.is(want) {
				t.Errorf("%+v, want %q", got, want)
			}
			if got != nil && strings.Contains(got.Detail, "other") {
				t.Errorf("it tells what it has read: %s", got.Detail)
			}
		})
	}
}

// Addresses of the node itself prove nothing about a client.
func TestLoopbackIsRefused(t *testing.T) {
	t.Parallel()
	dns := startNamed(t)
	p := newProver(Config{Resolver: ResolverAt(dns.addr)})
	if p.httpPort != 80 || p.tlsPort != 443 {
		t.Errorf("ports %d and %d", p.httpPort, p.tlsPort)
	}
	for _, what := range []proof{
		{by: ruche.ChallengeHTTP01, name: "a.dept.example"}, {by: ruche.ChallengeTLSALPN01, name: "a.dept.example"},
		{by: ruche.ChallengeHTTP01, name: "127.0.0.1"}, {by: ruche.ChallengeHTTP01, name: "169.254.169.254"}, {by: ruche.ChallengeTLSALPN01, name: "::1"},
	} {
		if got := p.once(t.Context(), what); got == nil || !got.is(dnsFailed) {
			t.Errorf("%s %s: %+v", what.by, what.name, got)
		}
	}
}

// An answer may take its time to spread.
func TestTriesAgain(t *testing.T) {
	t.Parallel()
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked < 3 {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "right")
	}))
	defer server.Close()
	p := newProver(Config{HTTPPort: portOf(server.Listener.Addr()), Loopback: true})
	if got := p.try(t.Context(), quick(), proof{by: ruche.ChallengeHTTP01, name: "127.0.0.1", authorization: "right"}); got != nil || asked != 3 {
		t.Errorf("%+v after %d looks", got, asked)
	}
}

func TestTLSALPN01(t *testing.T) {
	t.Parallel()
	dns := startNamed(t)
	key := newECKey(t)
	sum := sha256.Sum256([]byte("right"))
	value, _ := asn1.Marshal(sum[:])
	wrong, _ := asn1.Marshal(make([]byte, 32))
	identifier := pkix.Extension{Id: []int{1, 3, 6, 1, 5, 5, 7, 1, 31}, Critical: true, Value: value}
	certificate := func(change func(*x509.Certificate)) *tls.Certificate {
		c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.dept.example"}, ExtraExtensions: []pkix.Extension{identifier}}
		change(c)
		der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	same := func(*x509.Certificate) {}
	foreign := func() *tls.Certificate {
		parent := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "parent"}}
		c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.dept.example"}, ExtraExtensions: []pkix.Extension{identifier}}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	for name, tc := range map[string]struct {
		name  string
		cert  *tls.Certificate
		proto string
		want  problemType
	}{
		"right":          {"a.dept.example", certificate(same), alpnProtocol, ""},
		"an address":     {"127.0.0.1", certificate(func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, []net.IP{net.IPv4(127, 0, 0, 1)} }), alpnProtocol, ""},
		"another proto":  {"a.dept.example", certificate(same), "h2", tlsFailed},
		"no proto":       {"a.dept.example", certificate(same), "", unauthorized},
		"another name":   {"a.dept.example", certificate(func(c *x509.Certificate) { c.DNSNames = []string{"b.dept.example"} }), alpnProtocol, unauthorized},
		"two names":      {"a.dept.example", certificate(func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "b.dept.example") }), alpnProtocol, unauthorized},
		"another answer": {"a.dept.example", certificate(func(c *x509.Certificate) { c.ExtraExtensions[0].Value = wrong }), alpnProtocol, unauthorized},
		"not critical":   {"a.dept.example", certificate(func(c *x509.Certificate) { c.ExtraExtensions[0].Critical = false }), alpnProtocol, unauthorized},
		"no answer":      {"a.dept.example", certificate(func(c *x509.Certificate) { c.ExtraExtensions = nil }), alpnProtocol, unauthorized},
		"not its own":    {"a.dept.example", foreign(), alpnProtocol, unauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := &tls.Config{Certificates: []tls.Certificate{*tc.cert}}
			if tc.proto != "" {
				cfg.NextProtos = []string{tc.proto}
			}
			l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				c, err := l.Accept()
				if err == nil {
					_ = c.(*tls.Conn).Handshake()
					_ = c.Close()
				}
			}()
			p := newProver(Config{Resolver: ResolverAt(dns.addr), TLSPort: portOf(l.Addr()), Loopback: true})
			got := p.once(t.Context(), proof{by: ruche.ChallengeTLSALPN01, name: tc.name, authorization: "right"})
			if (got == nil) != (tc.want == "") || got != nil && !got.is(tc.want) {
				t.Errorf("%+v, want %q", got, tc.want)
			}
		})
	}
}

func TestReverseNames(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1":   "1.2.0.192.in-addr.arpa",
		"2001:db8::1": "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		if got := reverse(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// A challenge that is not met ends the order, and the client is told why.
func TestFailedChallenge(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.opened()
	r.serveHTTP01(func(string) (string, bool) { return "nonsense", true })
	order := c.order(nil, "a.dept.example", "b.dept.example")
	failed := c.prove(order)
	if e, _ := failed.body["error"].(map[string]any); failed.str("status") != "invalid" || e["type"] != urn+string(unauthorized) || e["identifier"] != nil || e["subproblems"] == nil {
		t.Errorf("the order: %s", failed.text)
	}
	authz := c.post(order.strs("authorizations")[0], nil)
	ch := authz.body["challenges"].([]any)
	if authz.str("status") != "invalid" || len(ch) != 1 || ch[0].(map[string]any)["status"] != "invalid" || ch[0].(map[string]any)["error"] == nil {
		t.Errorf("the authorization: %s", authz.text)
	}
	if a := c.post(order.str("finalize"), map[string]any{"csr": csrFor(t, newECKey(t), "a.dept.example", "b.dept.example")}); a.kind() != string(orderNotReady) {
		t.Errorf("finalized: %s", a.text)
	}
	r.settled()
	if again := c.order(nil, "a.dept.example", "b.dept.example"); again.head.Get("Location") == order.head.Get("Location") || again.str("status") != "pending" {
		t.Errorf("again: %s", again.text)
	}
}
