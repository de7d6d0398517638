package mesh

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// certOf makes a certificate of a node by an authority.
func certOf(t *testing.T, a *Authority, name string, roles ...Role) tls.Certificate {
	t.Helper()
	key := newKey(t)
	der, err := a.nodeCertificate(key.Public(), name, roles)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestPeersThatAreRefusedAtTheDoor(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1", func(s *Server) { s.timing.handshake = 2 * time.Second }) // enough for those that do one
	ours, others := h.reg().authority, newHouse(t).reg().authority
	at := h.clock.now()
	h.clock.forward(-certificateLifetime - time.Minute)
	expired := certOf(t, ours, "edge-1", RoleEdge)
	h.clock.forward(at.Sub(h.clock.now()))
	key := newKey(t)
	der, err := ours.peerCertificate(key.Public(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	member := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}

	tlsClient := func(change func(*tls.Config)) func(net.Conn) {
		return func(conn net.Conn) {
			conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
			change(conf)
			_ = tls.Client(conn, conf).Handshake() // what counts is what the server says
			_, _ = conn.Read(make([]byte, 1))
		}
	}
	with := func(cert tls.Certificate) func(net.Conn) {
		return tlsClient(func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} })
	}
	for _, tc := range []struct {
		name string
		do   func(net.Conn)
		want Reason
	}{
		{"plain text", func(conn net.Conn) { _, _ = io.WriteString(conn, "GET /v1/follow HTTP/1.1\r\nHost: a\r\n\r\n") }, ReasonPlainText},
		{"TLS 1.2", tlsClient(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), ReasonTLSVersion},
		{"no HTTP/2", tlsClient(func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }), ReasonHandshake},
		{"says nothing", func(net.Conn) {}, ReasonHandshake},
		{"another authority's certificate with the same names", with(certOf(t, others, "edge-1", RoleEdge, RoleControl)), ReasonForged},
		{"expired", with(expired), ReasonExpired},
		{"a member of the state", with(member), ReasonNotANode},
	} {
		before := c.Refused()[tc.want]
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		tc.do(conn)
		eventually(t, tc.name+" is refused", func() bool { return c.Refused()[tc.want] > before })
		c.refused(t, tc.name, tc.want)
		_ = conn.Close()
	}
	// All that did no harm.
	h.enrolled("edge-1", c, h.token(1, RoleEdge))
}

// Whoever knocks again and again is counted each time, and does not fill the log.
func TestRefusalsAreLoggedOnceInAWhile(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	forged := certOf(t, newHouse(t).reg().authority, "edge-1", RoleEdge)
	knocks := map[Reason]func(net.Conn){
		ReasonPlainText: func(conn net.Conn) { _, _ = io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n") },
		ReasonForged: func(conn net.Conn) {
			_ = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{forged}}).Handshake()
		},
	}
	for round, lines := range []int{1, 2} {
		for reason, knock := range knocks {
			for range 5 {
				before := c.Refused()[reason]
				conn, err := net.Dial("tcp", c.addr)
				if err != nil {
					t.Fatal(err)
				}
				knock(conn)
				eventually(t, string(reason)+" is counted", func() bool { return c.Refused()[reason] == before+1 })
				_ = conn.Close()
			}
			if got := strings.Count(c.log.String(), "reason="+string(reason)+" "); got != lines {
				t.Errorf("round %d: %q was logged %d times, want %d:\n%s", round, reason, got, lines, c.log)
			}
		}
		h.clock.forward(logEvery)
	}
	if !strings.Contains(c.log.String(), "since_last_logged=5") {
		t.Errorf("the log does not tell how many there were meanwhile:\n%s", c.log)
	}
}

func TestStrangersAreFew(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1", func(s *Server) { s.timing.stranger = 2 * time.Second }) // enough for who enrols, and for all to be there at once
	edge := h.enrolled("edge-1", c, h.token(1, RoleEdge))
	var open []net.Conn
	for range maxStrangersPerAddress {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	eventually(t, "one too many is refused", func() bool {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
		return c.Refused()[ReasonTooMany] > 0
	})
	c.refused(t, "too many", ReasonTooMany)
	for _, conn := range open {
		_ = conn.Close()
	}
	// Whoever has shown a certificate is no stranger; whoever has none is sent away in any case.
	stranger, err := tls.Dial("tcp", c.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	for err != nil { // the places of those that have gone may not be free yet
		stranger, err = tls.Dial("tcp", c.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	}
	defer func() { _ = stranger.Close() }()
	if _, err := io.Copy(io.Discard, stranger); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("a stranger that stays: %v", err)
	}
	if err := edge.keeper.obtain(t.Context(), true); err != nil {
		t.Errorf("the edge: %v", err)
	}
}

func TestStrangersCanOnlyEnrol(t *testing.T) {
	h := newHouse(t)
	c := h.control("c1")
	node := h.client("nobody", c, h.token(1, RoleEdge))
	hc := node.client(nil)
	for _, path := range []string{"/v1/renew", "/v1/report", "/v1/load", "/v1/apply"} {
		resp, err := hc.Post("https://"+c.addr+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s without a certificate: status %d, want 403", path, resp.StatusCode)
		}
	}
	c.refused(t, "no certificate", ReasonUnknownNode)
	for name, body := range map[string]string{
		"too long": `{"token":"` + strings.Repeat("A", maxStrangerBody) + `"}`,
		"no JSON":  "token",
		"empty":    "",
	} {
		resp, err := hc.Post("https://"+c.addr+"/v1/enrol", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("an enrolment that is %s: status %d, want 400", name, resp.StatusCode)
		}
	}
}

func TestAnEdgeIsNoControlNode(t *testing.T) {
	h := newHouse(t)
	cert := certOf(t, h.reg().authority, "edge-1", RoleEdge)
	cert.Certificate = append(cert.Certificate, h.reg().authority.root.Raw)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()
	defer func() { _ = l.Close(); <-done }()
	node := h.client("edge-2", &control{addr: l.Addr().String()}, h.token(1, RoleEdge))
	if err := node.keeper.obtain(t.Context(), false); !errors.Is(err, errNotControl) {
		t.Errorf("asking an edge gives %v, want %v", err, errNotControl)
	}
}
