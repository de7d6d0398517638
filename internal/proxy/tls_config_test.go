package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/ruche-project/ruche"
)

func TestVersionsOfTLS(t *testing.T) {
	modern := site("modern.test", says(t, "x"))
	modern.MinTLS = ruche.MinTLS13
	path := site("paths.test", says(t, "x"))
	path.Match.Path, path.MinTLS = "/modern/", ruche.MinTLS13
	old := site("old.test", says(t, "x"))
	old.MinTLS = ruche.MinTLS12
	routes := []ruche.Route{modern, path, site("paths.test", says(t, "x")), old, site("a.test", says(t, "x"))}
	for _, tc := range []struct {
		process  uint16
		name     string
		from, to uint16 // what the client offers
		want     string // the version, or the alert
	}{
		{0, "a.test", tls.VersionTLS10, tls.VersionTLS10, "protocol version not supported"},
		{0, "a.test", tls.VersionTLS11, tls.VersionTLS11, "protocol version not supported"},
		{0, "a.test", tls.VersionTLS10, tls.VersionTLS12, "TLS 1.2"},
		{0, "a.test", tls.VersionTLS10, tls.VersionTLS13, "TLS 1.3"},
		{0, "modern.test", tls.VersionTLS12, tls.VersionTLS12, "protocol version not supported"},
		{0, "modern.test", tls.VersionTLS12, tls.VersionTLS13, "TLS 1.3"},
		{0, "paths.test", tls.VersionTLS12, tls.VersionTLS12, "protocol version not supported"},
		{0, "unknown.test", tls.VersionTLS12, tls.VersionTLS12, "unrecognized name"},
		{0, "unknown.test", tls.VersionTLS13, tls.VersionTLS13, "unrecognized name"},
		{tls.VersionTLS13, "a.test", tls.VersionTLS12, tls.VersionTLS12, "protocol version not supported"},
		{tls.VersionTLS13, "old.test", tls.VersionTLS12, tls.VersionTLS12, "protocol version not supported"},
		{tls.VersionTLS13, "old.test", tls.VersionTLS12, tls.VersionTLS13, "TLS 1.3"},
	} {
		r := start(t, Config{MinTLS: tc.process}, routes...)
		c, err := tls.Dial("tcp", r.HTTPSAddr().String(), &tls.Config{ServerName: tc.name, InsecureSkipVerify: true, MinVersion: tc.from, MaxVersion: tc.to})
		var got string
		if err != nil {
			got = err.Error()
		} else {
			got = tls.VersionName(c.ConnectionState().Version)
			_ = c.Close()
		}
		if !strings.Contains(got, tc.want) {
			t.Errorf("%s from %x to %x with the process's %x: %s, want %s", tc.name, tc.from, tc.to, tc.process, got, tc.want)
		}
	}
}

// Who asks for one name by an old version must not be led to another that does not permit it.
func TestVersionsHoldForRequestsToo(t *testing.T) {
	modern := site("modern.test", says(t, "x"))
	modern.MinTLS = ruche.MinTLS13
	r := start(t, Config{}, modern, site("a.test", says(t, "x")))
	for version, want := range map[uint16]int{tls.VersionTLS12: 421, tls.VersionTLS13: 200} {
		transport := r.client().Transport.(*http.Transport)
		transport.TLSClientConfig.MaxVersion = version
		req := r.request("GET", "https://a.test/", nil)
		req.Host = "modern.test"
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s got %d, want %d", tls.VersionName(version), resp.StatusCode, want)
		}
	}
}

func TestKeyExchangeAndSuites(t *testing.T) {
	r := start(t, Config{}, site("a.test", says(t, "x")))
	dial := func(c *tls.Config) (tls.ConnectionState, error) {
		c.ServerName, c.InsecureSkipVerify = "a.test", true
		conn, err := tls.Dial("tcp", r.HTTPSAddr().String(), c)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close()
		return conn.ConnectionState(), nil
	}
	if s, err := dial(&tls.Config{}); err != nil || s.CurveID != tls.X25519MLKEM768 {
		t.Errorf("agreed on %v, %v; want X25519MLKEM768", s.CurveID, err)
	}
	for _, group := range []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384} {
		if s, err := dial(&tls.Config{CurvePreferences: []tls.CurveID{group}}); err != nil || s.CurveID != group {
			t.Errorf("%v: agreed on %v, %v", group, s.CurveID, err)
		}
	}
	all := append(tls.CipherSuites(), tls.InsecureCipherSuites()...)
	for _, suite := range all {
		if suite.SupportedVersions[0] == tls.VersionTLS13 || !strings.Contains(suite.Name, "ECDSA") && strings.Contains(suite.Name, "ECDHE") {
			continue // it cannot be chosen, or not with this certificate
		}
		_, err := dial(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}})
		good := strings.HasPrefix(suite.Name, "TLS_ECDHE_ECDSA_") && (strings.Contains(suite.Name, "_GCM_") || strings.Contains(suite.Name, "_CHACHA20_"))
		if good != (err == nil) {
			t.Errorf("%s: %v, want it agreed on: %v", suite.Name, err, good)
		}
	}
}

func TestPlainHTTPOnTheHTTPSPort(t *testing.T) {
	carried := map[string][]ruche.Route{
		"sites":                      {site("a.test", says(t, "x"))},
		"sites beside a stream":      {site("a.test", says(t, "x")), byRule("m", "https", "HostSNI(`mqtt.test`)", ruche.TLSAuto, echoes(t, ""))},
		"sites beside a passthrough": {site("a.test", says(t, "x")), byRule("m", "https", "HostSNI(`mqtt.test`)", ruche.TLSPassthrough, echoes(t, ""))},
	}
	for name, routes := range carried {
		r := start(t, Config{}, routes...)
		for _, tc := range []struct {
			sent string
			want bool // an answer
		}{
			{"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", true}, {"POST /x HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", true}, {"OPTIONS * HTTP/1.1\r\n\r\n", true},
			{"SSH-2.0-x\r\n", false}, {"\x16\x03\x01\x00\x05hello", false},
		} {
			c, err := net.Dial("tcp", r.HTTPSAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, tc.sent)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			switch {
			case tc.want && err != nil:
				t.Errorf("%s: %.10q got %v, want an answer", name, tc.sent, err)
			case tc.want:
				body, err := io.ReadAll(resp.Body)
				if resp.StatusCode != 400 || err != nil || !strings.Contains(string(body), "plain HTTP request was sent to HTTPS port") {
					t.Errorf("%s: %.10q got %d %q, %v", name, tc.sent, resp.StatusCode, body, err)
				}
			case err == nil:
				t.Errorf("%s: %.10q got the answer %d", name, tc.sent, resp.StatusCode)
			}
			_ = c.Close()
		}
		until(t, "all connections have ended", func() bool { return r.Connections().Open == 0 })
	}
}

// Strangers get the alert on every path that a handshake can take.
func TestStrangersAreNotRecognized(t *testing.T) {
	closed := site("a.clients.test", says(t, "x"))
	modern := site("modern.test", says(t, "x"))
	modern.MinTLS = ruche.MinTLS13
	for name, routes := range map[string][]ruche.Route{
		"sites": {site("a.test", says(t, "x"))}, "client certificates": {closed}, "a minimum": {modern},
		"streams": {site("a.test", says(t, "x")), byRule("m", "https", "HostSNI(`mqtt.test`)", ruche.TLSAuto, echoes(t, ""))},
	} {
		r := startHTTP3(t, Config{}, routes...)
		for _, asked := range []string{"stranger.test", ""} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				_, err := tls.Dial("tcp", r.HTTPSAddr().String(), &tls.Config{ServerName: asked, InsecureSkipVerify: true, MaxVersion: version})
				if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
					t.Errorf("%s: %q by %s got %v", name, asked, tls.VersionName(version), err)
				}
			}
		}
		_, err := r.client3().Do(r.request("GET", "https://stranger.test/", nil))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("0x1%x", 112)) {
			t.Errorf("%s: by HTTP/3 got %v, want the alert 112", name, errors.Unwrap(err))
		}
	}
}
