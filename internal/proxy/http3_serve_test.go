package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/ruche-project/ruche"
)

func TestHTTP3DrainEndsWhatDoesNotEnd(t *testing.T) {
	release := make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-release
	})
	t.Cleanup(func() { close(release) })
	r := startHTTP3(t, Config{Timeouts: Timeouts{Drain: 50 * time.Millisecond}}, site("a.test", up))
	resp, err := r.client3().Get("https://a.test/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r.stop()
	<-r.stopped
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the cut-off answer looks whole")
	}
	if n := strings.Count(r.log.String(), "\n"); n != 1 {
		t.Errorf("%d lines in the access log:\n%s", n, r.log)
	}
}

func TestHTTP3ListenErrors(t *testing.T) {
	if _, err := New(Config{HTTP3: true, HTTPSAddr: "off"}); err == nil || !strings.Contains(err.Error(), "--http3 off") {
		t.Errorf("without HTTPS: %v", err)
	}
	cfg, taken := takenUDP(t)
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.feed.applyDeclarations(ruche.Update[ruche.Declaration]{Reset: true})
	p.feed.applyEndpoints(ruche.Update[ruche.Endpoint]{Reset: true})
	err = p.run(t.Context(), noWatch)
	for _, want := range []string{taken.LocalAddr().String(), "ss -lunp", "--http3 off"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error that tells %q", err, want)
		}
	}
}

// takenUDP is the configuration of a proxy that finds the UDP port taken, with what has it.
func takenUDP(t *testing.T) (Config, *net.UDPConn) {
	tcp, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tcp.Close() })
	at := tcp.Addr().(*net.TCPAddr)
	taken, err := net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Port: at.Port}) // which shares it with nobody
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	listen := func(name, address string) (*net.TCPListener, error) {
		if name == "https" {
			return tcp.(*net.TCPListener), nil
		}
		return listenTCP(name, address)
	}
	return Config{HTTPAddr: "off", HTTPSAddr: tcp.Addr().String(), HTTP3: true, Listen: listen}, taken
}

func TestHTTP3BeginsWhenThePredecessorHasLeft(t *testing.T) {
	cfg, taken := takenUDP(t)
	cfg.Successor = true
	r := start(t, cfg, site("a.test", says(t, "ok")))
	if resp, _ := r.get("https://a.test/"); resp.Header.Get("Alt-Svc") != "" {
		t.Errorf("HTTP/3 is advertised while another process has the port: %q", resp.Header.Get("Alt-Svc"))
	}
	_ = taken.Close()
	until(t, "HTTP/3 is advertised", func() bool { return r.altSvc.Load() != nil })
	if resp, body := r.answer3(r.request("GET", "https://a.test/", nil)); resp.StatusCode != 200 || body != "ok" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
}

func TestHTTP3StopsWhileItWaitsForThePort(t *testing.T) {
	cfg, _ := takenUDP(t)
	cfg.Successor = true
	r := start(t, cfg)
	r.stop()
	<-r.stopped
	if r.err != nil {
		t.Error(r.err)
	}
}

func TestHTTP3Limits(t *testing.T) {
	t.Run("head too large", func(t *testing.T) {
		r := startHTTP3(t, Config{}, site("a.test", says(t, "ok")))
		req := r.request("GET", "https://a.test/", nil)
		req.Header.Set("X-Large", strings.Repeat("x", maxHeaderBytes))
		if resp, _ := r.answer3(req); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("got %d", resp.StatusCode)
		}
	})
	t.Run("body too large", func(t *testing.T) {
		r := startHTTP3(t, Config{MaxBodyBytes: 10}, site("a.test", says(t, "ok")))
		resp, _ := r.answer3(r.request("POST", "https://a.test/", strings.NewReader("more than ten")))
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("got %d", resp.StatusCode)
		}
	})
	t.Run("too many connections", func(t *testing.T) {
		r := startHTTP3(t, Config{MaxConnections: 1}, site("a.test", says(t, "ok")))
		r.answer3(r.request("GET", "https://a.test/", nil)) // whose connection stays
		resp, err := r.client3().Get("https://a.test/")
		if err == nil {
			_ = resp.Body.Close()
			t.Fatalf("got %d, want the connection refused", resp.StatusCode)
		}
		if n := r.Connections(); n.Open != 1 || n.Refused["all"] != 1 {
			t.Errorf("%+v", n)
		}
	})
	t.Run("balancers that speak the PROXY protocol", func(t *testing.T) {
		r := startHTTP3(t, Config{ProxyProtocol: loopback()}, site("a.test", says(t, "ok")))
		resp, err := r.client3().Get("https://a.test/")
		if err == nil {
			_ = resp.Body.Close()
			t.Fatalf("got %d, want the connection refused", resp.StatusCode)
		}
	})
	t.Run("idle", func(t *testing.T) {
		r := startHTTP3(t, Config{Timeouts: Timeouts{Idle: time.Millisecond}}, site("a.test", says(t, "ok")))
		if resp, err := r.client3().Get("https://a.test/"); err == nil { // the end may overtake the answer
			_ = resp.Body.Close()
		}
		until(t, "the connection is closed after its request", func() bool { return r.log.String() != "" && r.Connections().Open == 0 })
	})
}

func TestHTTP3HandshakesTakePlaces(t *testing.T) {
	r := startHTTP3(t, Config{MaxConnections: 3, MaxConnectionsPerAddress: 2}, site("a.test", says(t, "ok")))
	var end []context.CancelFunc
	for _, tt := range []struct {
		name, client string
		proven       bool
		refused      bool
	}{
		{"first", "203.0.113.7", true, false},
		{"second", "203.0.113.7", true, false},
		{"third of an address", "203.0.113.7", true, true},
		{"who may be anybody", "203.0.113.7", false, false},
		{"another client", "203.0.113.8", true, false},
		{"fourth of all", "203.0.113.9", true, true},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		end = append(end, cancel)
		_, err := r.http3.handshakeBegins(ctx, &quic.ClientInfo{RemoteAddr: &net.UDPAddr{IP: net.ParseIP(tt.client), Port: 1}, AddrVerified: tt.proven})
		if refused := err != nil; refused != tt.refused {
			t.Errorf("%s: %v, want it refused: %t", tt.name, err, tt.refused)
		}
	}
	if n := r.Connections(); n.Open != 3 || r.http3.handshakes.Load() != 4 {
		t.Errorf("%+v and %d handshakes", n, r.http3.handshakes.Load())
	}
	for _, cancel := range end {
		cancel()
	}
	until(t, "all places are free", func() bool { return r.Connections().Open == 0 && r.http3.handshakes.Load() == 0 })
}

// dial3 opens a connection of QUIC and says nothing on it.
func (r *rig) dial3() *quic.Conn {
	r.t.Helper()
	transport := r.client3().Transport.(*http3.Transport)
	var conn *quic.Conn
	until(r.t, "the handshake is done in time", func() (done bool) {
		var err error
		conn, err = transport.Dial(r.t.Context(), "", &tls.Config{InsecureSkipVerify: true, ServerName: "a.test", NextProtos: []string{"h3"}}, nil)
		return err == nil
	})
	return conn
}

func TestHTTP3ConnectionWithoutARequest(t *testing.T) {
	t.Parallel()
	r := startHTTP3(t, Config{Timeouts: Timeouts{ReadHeader: 500 * time.Millisecond}}, site("a.test", says(t, "ok")))
	<-r.dial3().Context().Done()
	until(t, "its place is free again", func() bool { return r.Connections().Open == 0 })
}

func TestHTTP3DrainWaitsForSilentClientsForAMomentOnly(t *testing.T) {
	t.Parallel()
	r := startHTTP3(t, Config{Timeouts: Timeouts{Drain: time.Hour}}, site("a.test", says(t, "ok")))
	conn := r.dial3()
	r.stop()
	select {
	case <-r.stopped:
	case <-time.After(20 * time.Second):
		t.Fatal("a client that says nothing holds the stop")
	}
	<-conn.Context().Done()
}

func TestHTTP3WithoutCertificate(t *testing.T) {
	r := startHTTP3(t, Config{}, site("a.test", says(t, "ok")), site("bare.test", says(t, "ok")))
	_, err := r.client3().Get("https://bare.test/")
	if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("got %v, want the alert unrecognized_name", err)
	}
}

func TestSmallUDPBuffersAreOneClearLine(t *testing.T) {
	var lines lockedBuffer
	r := startHTTP3(t, Config{Logger: slog.New(slog.NewTextHandler(&lines, nil))}, site("a.test", says(t, "ok")))
	warnings := func() int { return strings.Count(lines.String(), "sysctl -w net.core.rmem_max") }
	receive, send, err := bufferSizes(r.http3.socket)
	if err != nil {
		t.Fatal(err)
	}
	if large := receive >= udpBuffer && send >= udpBuffer; large != (warnings() == 0) || strings.Contains(lines.String(), "quic-go") {
		t.Errorf("%d warnings about %d and %d bytes:\n%s", warnings(), receive, send, &lines)
	}
	before := warnings()
	if err := r.http3.socket.SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	if r.http3.warnOfSmallBuffers(); warnings() != before+1 {
		t.Errorf("%d warnings about a buffer of 64 KiB:\n%s", warnings()-before, &lines)
	}
}
