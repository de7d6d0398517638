package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

// testChallenges knows one token of each host, and has a validation certificate for names with "checked." in them.
type testChallenges struct{ cert tls.Certificate }

func (testChallenges) KeyAuthorization(host, token string) string {
	if token == "token-of-"+host {
		return token + ".key"
	}
	return ""
}

func (c testChallenges) ChallengeCertificate(name string) (*tls.Certificate, error) {
	if strings.Contains(name, "checked.") {
		return &c.cert, nil
	}
	return nil, nil
}

func TestCAsAreAnsweredByHTTP(t *testing.T) {
	echo := backendURI(t)
	closed := site("closed.test", echo)
	closed.Blocked = "asks for basic auth"
	redirect, nohttp := site("a.trusted.test", echo), site("no.trusted.test", echo)
	redirect.HTTPSMethod, nohttp.HTTPSMethod = ruche.HTTPSRedirect, ruche.HTTPSNoHTTP
	r := startHTTP3(t, Config{Challenges: testChallenges{}}, redirect, nohttp, closed, site("locked.test", echo), site("own.test", echo), site("[::1]", echo))
	for _, tt := range []struct {
		name, url string
		status    int
		body      string
	}{
		{"a site that redirects", "http://a.trusted.test/.well-known/acme-challenge/token-of-a.trusted.test", 200, "token-of-a.trusted.test.key"},
		{"by HTTPS", "https://a.trusted.test/.well-known/acme-challenge/token-of-a.trusted.test", 200, "token-of-a.trusted.test.key"},
		{"a site without HTTP", "http://no.trusted.test/.well-known/acme-challenge/token-of-no.trusted.test", 200, "token-of-no.trusted.test.key"},
		{"a site that is closed", "http://closed.test/.well-known/acme-challenge/token-of-closed.test", 200, "token-of-closed.test.key"},
		{"a site that files close", "http://locked.test/.well-known/acme-challenge/token-of-locked.test", 200, "token-of-locked.test.key"},
		{"an unknown host", "http://nobody.test/.well-known/acme-challenge/token-of-nobody.test", 200, "token-of-nobody.test.key"},
		{"an address", "http://192.0.2.7/.well-known/acme-challenge/token-of-192.0.2.7", 200, "token-of-192.0.2.7.key"},
		{"an IPv6 address", "http://[::1]/.well-known/acme-challenge/token-of-::1", 200, "token-of-::1.key"},
		{"the token of another host", "http://own.test/.well-known/acme-challenge/token-of-a.trusted.test", 200, "GET /.well-known/acme-challenge/token-of-a.trusted.test"},
		{"an unknown token is not redirected", "http://a.trusted.test/.well-known/acme-challenge/x", 200, "GET /.well-known/acme-challenge/x"},
		{"other paths are", "http://a.trusted.test/.well-known/acme-challenges", 301, ""},
		{"an unknown token of an unknown host", "http://nobody.test/.well-known/acme-challenge/x", 503, "No site is published"},
	} {
		resp, body := r.get(tt.url)
		if resp.StatusCode != tt.status || !strings.Contains(body, tt.body) || tt.status == 200 && len(body) != len(tt.body) {
			t.Errorf("%s: %d %q, want %d %q", tt.name, resp.StatusCode, body, tt.status, tt.body)
		}
	}
	if resp, body := r.answer3(r.request("GET", "https://a.trusted.test/.well-known/acme-challenge/token-of-a.trusted.test", nil)); resp.StatusCode != 200 || body != "token-of-a.trusted.test.key" {
		t.Errorf("by HTTP/3: %d %q", resp.StatusCode, body)
	}
	for url, want := range map[string]string{
		"http://a.trusted.test/.well-known/acme-challenge/x": "CAs ask for this path by plain HTTP",
		"http://a.trusted.test/x":                            "so plain HTTP redirects to HTTPS",
	} {
		if e, err := r.Explain(url); err != nil || !strings.Contains(strings.Join(e.Reasons, "\n"), want) {
			t.Errorf("Explain(%s) = %+v, %v, want %q", url, e, err, want)
		}
	}
}

// backendURI is an endpoint that answers with the request's first line.
func backendURI(t *testing.T) string {
	t.Helper()
	return rude(t, func(_ int, c net.Conn) {
		var head [4096]byte
		n, _ := c.Read(head[:])
		line, _, _ := strings.Cut(string(head[:n]), " HTTP/")
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+line)
	})
}

func TestCAsAreAnsweredByHandshake(t *testing.T) {
	where := listening{}
	passed := newTestCertificates(t)
	behind, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{passed.cert}, NextProtos: []string{protocolACME}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = behind.Close() }()
	go func() {
		for {
			c, err := behind.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake()
			_ = c.Close()
		}
	}()
	through := carries(ruche.EntryPointHTTPS, "passed.checked.test", behind.Addr().String())
	through.TLS = ruche.TLSPassthrough
	challenge := newTestCertificates(t)
	r := start(t, Config{Challenges: testChallenges{challenge.cert}, EntryPoints: entryPoints("db"), Listen: where.listen},
		site("a.checked.test", says(t, "a")), site("b.test", says(t, "b")), through,
		ends(carries(ruche.EntryPointHTTPS, "tcp.checked.test", echoes(t, "tcp")), ruche.TLSAuto))
	for _, tt := range []struct {
		name      string
		protocols []string
		want      []byte // the certificate; nil: the handshake fails
		protocol  string
	}{
		{"a.checked.test", []string{protocolACME}, challenge.cert.Certificate[0], protocolACME},
		{"unrouted.checked.test", []string{protocolACME}, challenge.cert.Certificate[0], protocolACME},
		{"tcp.checked.test", []string{protocolACME}, challenge.cert.Certificate[0], protocolACME},
		{"passed.checked.test", []string{protocolACME}, passed.cert.Certificate[0], protocolACME},
		{"b.test", []string{protocolACME}, nil, ""},
		{"b.test", []string{"h2"}, r.cfg.Certificates.(*testCertificates).cert.Certificate[0], "h2"},
		{"a.checked.test", []string{"h2", protocolACME}, r.cfg.Certificates.(*testCertificates).cert.Certificate[0], "h2"},
	} {
		raw, err := net.Dial("tcp", r.HTTPSAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := tls.Client(raw, &tls.Config{ServerName: tt.name, NextProtos: tt.protocols, InsecureSkipVerify: true})
		err = c.Handshake()
		if (err == nil) != (tt.want != nil) {
			t.Errorf("%s with %v: %v", tt.name, tt.protocols, err)
		}
		if err == nil {
			state := c.ConnectionState()
			if !slices.Equal(state.PeerCertificates[0].Raw, tt.want) || state.NegotiatedProtocol != tt.protocol {
				t.Errorf("%s with %v: another certificate, or the protocol %q", tt.name, tt.protocols, state.NegotiatedProtocol)
			}
			if tt.protocol == protocolACME {
				if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, net.ErrClosed) {
					t.Errorf("%s: after the handshake came %d bytes, %v, want the end", tt.name, n, err)
				}
			}
		}
		_ = raw.Close()
	}
}

// A session that began at one edge goes on at another, over every way in, for as long as its key is kept.
func TestSessionsGoOnAtAnotherEdge(t *testing.T) {
	key := func(b byte) (k [32]byte) { k[0] = b; return k }
	cert := newTestCertificates(t)
	edge := func(keys ...[32]byte) (*rig, *listening) {
		where := &listening{}
		r := startHTTP3(t, Config{Certificates: cert, EntryPoints: entryPoints("mqtts"), Listen: where.listen},
			site("a.test", says(t, "a")), ends(carries("mqtts", "", echoes(t, "")), ruche.TLSAuto))
		if keys != nil {
			r.SetTicketKeys(keys)
		}
		return r, where
	}
	one, at1 := edge(key(1))
	two, at2 := edge(key(1))
	for _, way := range []string{"https", "mqtts", "http3"} {
		cache := tls.NewLRUClientSessionCache(8)
		resumes := func(r *rig, at *listening) bool {
			switch way {
			case "http3":
				return r.resumes3(cache)
			case "mqtts":
				return resumes(t, at.dial(t, way), cache)
			}
			raw, err := net.Dial("tcp", r.HTTPSAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			return resumes(t, raw, cache)
		}
		two.SetTicketKeys([][32]byte{key(1)})
		if resumes(one, at1) {
			t.Errorf("%s: the first session goes on", way)
		}
		for i, keys := range [][][32]byte{{key(1)}, {key(2), key(1)}, {key(3), key(2), key(1)}} {
			two.SetTicketKeys(keys)
			if !resumes(two, at2) {
				t.Errorf("%s: after %d rotations the session does not go on at another edge", way, i)
			}
			resumes(one, at1) // from there the ticket is of the first key again
		}
		two.SetTicketKeys([][32]byte{key(4), key(3), key(2)})
		if resumes(two, at2) {
			t.Errorf("%s: the session goes on by a key that is not kept", way)
		}
	}
	_, at3 := edge()
	cache := tls.NewLRUClientSessionCache(8)
	resumes(t, at3.dial(t, "mqtts"), cache)
	if !resumes(t, at3.dial(t, "mqtts"), cache) {
		t.Error("an edge without shared keys does not take its own")
	}
}

// resumes reports whether a connection goes on with a session of the cache, and leaves one there.
func resumes(t *testing.T, raw net.Conn, cache tls.ClientSessionCache) bool {
	t.Helper()
	c := tls.Client(raw, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true, ClientSessionCache: cache})
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
	if n, err := c.Read(make([]byte, 1024)); n == 0 { // with what is read come tickets
		t.Fatal(err)
	}
	return c.ConnectionState().DidResume
}
