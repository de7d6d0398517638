package proxy

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"

	"github.com/ruche-project/ruche"
)

// ends has the TLS of a TCP route end here.
func ends(r ruche.Route, mode ruche.TLSMode) ruche.Route {
	r.TLS = mode
	return r
}

// byRule is a TCP router of Traefik.
func byRule(name, entryPoint, rule string, mode ruche.TLSMode, address string) ruche.Route {
	r := carries(entryPoint, "", address)
	r.Name, r.Vocabulary, r.Match.Rule, r.TLS = name, ruche.VocabularyTraefik, rule, mode
	return r
}

// askSecurely does the handshake, sends a text, ends that direction and returns all that comes, and the protocol that was agreed on.
func askSecurely(t testing.TB, raw net.Conn, text, name string, protocols ...string) (answer, protocol string, err error) {
	t.Helper()
	c := tls.Client(raw, &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		return "", "", err
	}
	_, _ = io.WriteString(c, text)
	_ = c.CloseWrite()
	got, err := io.ReadAll(c)
	_ = c.Close()
	return string(got), c.ConnectionState().NegotiatedProtocol, err
}

func TestTLSEndsHere(t *testing.T) {
	where := listening{}
	r := start(t, Config{EntryPoints: entryPoints("mqtts", "db", "locked"), Listen: where.listen},
		ends(carries("mqtts", "", echoes(t, "any ")), ruche.TLSAuto), ends(carries("mqtts", "*.trusted.test", echoes(t, "trusted ")), ruche.TLSFile),
		byRule("p", "db", "HostSNI(`a.test`) && (ALPN(`postgresql`) || ALPN(`mqtt`))", ruche.TLSAuto, echoes(t, "by protocol ")),
		byRule("n", "db", "HostSNIRegexp(`^[a-c]\\.test$`)", ruche.TLSAuto, echoes(t, "by pattern ")),
		byRule("f", "db", "HostSNI(`file.test`)", ruche.TLSFile, echoes(t, "never ")),
		byRule("c", "db", "ClientIP(`127.0.0.0/8`)", "", echoes(t, "plain ")),
		byRule("l", "locked", "HostSNI(`locked.trusted.test`)", ruche.TLSAuto, echoes(t, "never ")),
	)
	big := strings.Repeat("0123456789abcdef", 1<<16)
	tests := []struct {
		entryPoint, name string
		protocols        []string
		want, protocol   string
		refused          bool
	}{
		{"mqtts", "a.trusted.test", nil, "trusted ", "", false},
		{"mqtts", "a.test", []string{"h2"}, "any ", "", false},
		{"mqtts", "", nil, "any ", "", false},
		{"db", "a.test", []string{"h2", "mqtt"}, "by protocol ", "mqtt", false},
		{"db", "a.test", []string{"mqtt", "postgresql"}, "by protocol ", "postgresql", false},
		{"db", "a.test", []string{"h2"}, "by pattern ", "", false},
		{"db", "B.test", nil, "by pattern ", "", false},
		{"db", "file.test", nil, "", "", true},
		{"locked", "locked.trusted.test", nil, "", "", false},
	}
	for _, tt := range tests {
		for _, text := range []string{"hello", big} {
			got, protocol, err := askSecurely(t, where.dial(t, tt.entryPoint), text, tt.name, tt.protocols...)
			want := tt.want
			if want != "" {
				want += text
			}
			if got != want || protocol != tt.protocol || want != "" && err != nil || tt.refused && err == nil {
				t.Errorf("%s at %s got %d bytes (%.20q), protocol %q, %v", tt.name, tt.entryPoint, len(got), got, protocol, err)
			}
		}
	}
	if got := ask(t, where.dial(t, "db"), "hello"); got != "plain hello" {
		t.Errorf("a connection without TLS got %q", got)
	}
	until(t, "all connections have ended", func() bool { return r.Connections().Open == 0 })
}

func TestTLSEndsHereOnTheHTTPSPort(t *testing.T) {
	r := start(t, Config{}, site("web.test", says(t, "web")), byRule("m", "https", "HostSNI(`mqtt.test`)", ruche.TLSAuto, echoes(t, "mqtt ")),
		byRule("r", "https", "HostSNIRegexp(`^.`)", ruche.TLSAuto, echoes(t, "rest ")))
	for name, want := range map[string]string{"mqtt.test": "mqtt hello", "other.test": "rest hello"} {
		c, err := net.Dial("tcp", r.HTTPSAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		if got, protocol, err := askSecurely(t, c, "hello", name, "h2", "http/1.1"); got != want || protocol != "" || err != nil {
			t.Errorf("%s got %q, protocol %q, %v", name, got, protocol, err)
		}
	}
	if resp, body := r.get("https://web.test/"); resp.StatusCode != 200 || body != "web" {
		t.Errorf("the site got %s %q", resp.Status, body)
	}
	ex, err := r.Explain("https://mqtt.test/")
	if err != nil || ex.Answer != "the connection is carried to 1 endpoint" || ex.Certificate.Kind != ruche.CertificateSelfSigned {
		t.Errorf("explained as %+v, %v", ex, err)
	}
	if st := r.Routes().Routes[1]; st.ID != "traefik:tcp:m@https" || st.Certificates["mqtt.test"].Kind != ruche.CertificateSelfSigned {
		t.Errorf("listed as %+v", st)
	}
}

func TestTLSEndsHereAndTheEndpointIsToldTheClient(t *testing.T) {
	got := make(chan string, 1)
	route := ends(carries("db", "", listens(t, func(c net.Conn) {
		b := bufio.NewReader(c)
		h, err := proxyproto.Read(b)
		if err != nil {
			got <- err.Error()
			return
		}
		rest, _ := io.ReadAll(b)
		got <- h.SourceAddr.String() + " " + string(rest)
	})), ruche.TLSAuto)
	route.ProxyProtocol = 2
	where := listening{}
	start(t, Config{EntryPoints: entryPoints("db"), Listen: where.listen, ProxyProtocol: loopback()}, route)
	c := where.dial(t, "db")
	_, _ = io.WriteString(c, proxyHeader(t, 2, "203.0.113.7:4711"))
	if _, _, err := askSecurely(t, c, "hello", "a.test"); err != nil {
		t.Fatal(err)
	}
	if got := <-got; got != "203.0.113.7:4711 hello" {
		t.Errorf("the endpoint got %q", got)
	}
}

// beginsPostgres is a client of PostgreSQL until its TLS begins.
func beginsPostgres(t testing.TB, c net.Conn) net.Conn {
	t.Helper()
	for i := range postgresAsks { // in pieces, as a network may deliver it
		_, _ = io.WriteString(c, postgresAsks[i:i+1])
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != postgresAgrees {
		t.Errorf("the client is answered %q, %v", answer, err)
	}
	return c
}

func TestPostgresAsksForTLS(t *testing.T) {
	own := newTestCertificates(t).cert
	database := func(agrees string) string {
		return listens(t, func(c net.Conn) {
			asked := make([]byte, len(postgresAsks))
			if _, err := io.ReadFull(c, asked); err != nil || string(asked) != postgresAsks {
				_, _ = io.WriteString(c, "?")
				return
			}
			_, _ = io.WriteString(c, agrees)
			secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12})
			_, _ = io.WriteString(secure, "database ")
			_, _ = io.Copy(secure, secure)
			_ = secure.Close()
		})
	}
	where := listening{}
	start(t, Config{EntryPoints: entryPoints("db", "plain"), Listen: where.listen}, ends(carries("db", "a.test", echoes(t, "inside ")), ruche.TLSAuto),
		carries("db", "pass.test", database(postgresAgrees)), carries("db", "never.test", database("N")), carries("plain", "", echoes(t, "plain ")))
	for name, want := range map[string]string{"a.test": "inside hello", "pass.test": "database hello", "never.test": "", "unknown.test": ""} {
		got, _, err := askSecurely(t, beginsPostgres(t, where.dial(t, "db")), "hello", name)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s got %q, %v", name, got, err)
		}
	}
	c := beginsPostgres(t, where.dial(t, "db")).(*net.TCPConn)
	if got := ask(t, c, "no TLS after all"); got != "" {
		t.Errorf("who asks for TLS and does not begin it got %q", got)
	}
	if got := ask(t, where.dial(t, "plain"), postgresAsks); got != "plain "+postgresAsks {
		t.Errorf("where nothing is about TLS, the question is answered %q", got)
	}
	if got := ask(t, where.dial(t, "db"), postgresAsks[:4]+"other"); got != "" {
		t.Errorf("another beginning got %q", got)
	}
}

func TestExplainEntryPoints(t *testing.T) {
	r := start(t, Config{EntryPoints: append(entryPoints("db", "empty", "none"), udpPoints(0, "dns", "idle")...)},
		carries("db", "", echoes(t, "x"), echoes(t, "y")), ends(carries("db", "a.test", echoes(t, "x")), ruche.TLSAuto), carries("db", "pass.test", echoes(t, "x")), carries("empty", ""),
		datagrams("dns", answersUDP(t, "up").LocalAddr().String()))
	tests := []struct{ url, answer, reason string }{
		{"tcp://db", "the connection is carried to 2 endpoints", "file:tcp://*@db takes what comes in at db"},
		{"tcp://*@db/", "the connection is carried to 2 endpoints", "round-robin"},
		{"tcp://A.test@db", "the connection is carried to 1 endpoint", `the TLS of server name "a.test" ends here`},
		{"tcp://pass.test@db", "TLS is passed through to 1 endpoint", "is passed through by file:tcp://pass.test@db"},
		{"tcp://none", "the connection is closed: no route takes it", ""},
		{"tcp://mysql", `nothing: there is no entry point "mysql" of TCP`, ""},
		{"udp://db", `nothing: there is no entry point "db" of UDP`, ""},
		{"udp://dns", "datagrams are carried to 1 endpoint", "file:udp://*@dns"},
		{"udp://idle", "datagrams are dropped: no route takes them", ""},
	}
	for _, tt := range tests {
		ex, err := r.Explain(tt.url)
		if err != nil || ex.Answer != tt.answer || !strings.Contains(strings.Join(ex.Reasons, "\n"), tt.reason) {
			t.Errorf("%s is explained as %+v, %v", tt.url, ex, err)
		}
	}
	if _, err := r.Explain("tcp://a b@db"); err == nil {
		t.Error("a host with a blank is explained")
	}
}
