package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
)

// proxyHeader is a PROXY header about a client.
func proxyHeader(t testing.TB, version byte, client string) string {
	t.Helper()
	source := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(client))
	target := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}
	if source.IP.To4() == nil {
		target.IP = net.ParseIP("2001:db8::1")
	}
	b, err := proxyproto.HeaderProxyFromAddrs(version, source, target).Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tells is an endpoint that answers with the client's address as it was told.
func tells(t testing.TB) string {
	return backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-For"))
	})
}

const plainRequest = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"

func TestProxyHeaders(t *testing.T) {
	const v2 = "\r\n\r\n\x00\r\nQUIT\n"
	r := start(t, Config{ProxyProtocol: loopback()}, site("a.test", tells(t)))
	tests := []struct{ name, header, want string }{
		{"version 1", "PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n", "203.0.113.7"},
		{"version 1, IPv6", proxyHeader(t, 1, "[2001:db8::7]:4711"), "2001:db8::7"},
		{"version 1, unknown", "PROXY UNKNOWN\r\n", "127.0.0.1"},
		{"version 1, unknown with more", "PROXY UNKNOWN ffff:: ffff:: 65535 65535\r\n", "127.0.0.1"},
		{"version 2", proxyHeader(t, 2, "203.0.113.7:4711"), "203.0.113.7"},
		{"version 2, IPv6", proxyHeader(t, 2, "[2001:db8::7]:4711"), "2001:db8::7"},
		{"version 2, IPv4 in IPv6", v2 + "\x21\x21\x00\x24" + strings.Repeat("\x00", 10) + "\xff\xff\xcb\x00\x71\x07" + strings.Repeat("\x00", 16) + "\x12\x67\x00\x50", "203.0.113.7"},
		{"version 2 with a TLV", v2 + "\x21\x11\x00\x11\xcb\x00\x71\x07\xc0\x00\x02\x01\x12\x67\x00\x50\x04\x00\x02ab", "203.0.113.7"},
		{"version 2, local", v2 + "\x20\x00\x00\x00", "127.0.0.1"},
		{"version 2, local with addresses", v2 + "\x20\x11\x00\x0c\xcb\x00\x71\x07\xc0\x00\x02\x01\x12\x67\x00\x50", "127.0.0.1"},
		{"none", "", ""},
		{"version 1 without addresses", "PROXY TCP4\r\n", ""},
		{"version 1 without an end", "PROXY TCP4 " + strings.Repeat("1", 200), ""},
		{"version 1, not an address", "PROXY TCP4 203.0.113.777 192.0.2.1 4711 80\r\n", ""},
		{"version 2, unknown command", v2 + "\x2f\x11\x00\x0c\xcb\x00\x71\x07\xc0\x00\x02\x01\x12\x67\x00\x50", ""},
		{"version 2, too short for its addresses", v2 + "\x21\x11\x00\x04\xcb\x00\x71\x07", ""},
		{"version 2, longer than may be", v2 + "\x21\x11\xff\xff", ""},
	}
	for _, tt := range tests {
		for _, pieces := range []string{"whole", "byte by byte"} {
			t.Run(tt.name+"/"+pieces, func(t *testing.T) {
				c := r.raw("")
				text := tt.header + plainRequest
				if pieces == "whole" {
					_, _ = io.WriteString(c, text)
				} else {
					for i := range text {
						if _, err := io.WriteString(c, text[i:i+1]); err != nil {
							break // it was refused
						}
					}
				}
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if tt.want == "" {
					if err == nil {
						t.Errorf("got %s, want the connection closed", resp.Status)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if body, _ := io.ReadAll(resp.Body); string(body) != tt.want {
					t.Errorf("the client is %q, want %q", body, tt.want)
				}
			})
		}
	}
	if n := r.Connections().Refused["proxy-protocol"]; n != 14 {
		t.Errorf("%d connections are counted as refused, want 14", n)
	}
	until(t, "every connection's place is given back", func() bool { return r.Connections().Open == 0 })
}

func TestProxyHeaderBeforeTLS(t *testing.T) {
	r := start(t, Config{ProxyProtocol: loopback()}, site("a.test", tells(t)))
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			raw, err := net.Dial("tcp", r.HTTPSAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			// The header comes in one piece with the beginning of the handshake.
			c := tls.Client(&headed{Conn: raw, header: proxyHeader(t, 2, "203.0.113.7:4711")}, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true, NextProtos: []string{protocol}})
			req := r.request("GET", "https://a.test/", nil)
			var resp *http.Response
			if protocol == "h2" {
				if err := c.Handshake(); err != nil {
					t.Fatal(err)
				}
				// The transport is given the one connection that there is.
				h2 := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}
				defer h2.CloseIdleConnections()
				if resp, err = h2.RoundTrip(req); err != nil {
					t.Fatal(err)
				}
			} else {
				if err := req.Write(c); err != nil {
					t.Fatal(err)
				}
				if resp, err = http.ReadResponse(bufio.NewReader(c), req); err != nil {
					t.Fatal(err)
				}
			}
			if body, _ := io.ReadAll(resp.Body); string(body) != "203.0.113.7" {
				t.Errorf("the client is %q", body)
			}
		})
	}
	r.stop()
	<-r.stopped
	for line := range strings.Lines(r.log.String()) {
		var got struct{ Peer string }
		if err := json.Unmarshal([]byte(line), &got); err != nil || got.Peer != "203.0.113.7:4711" {
			t.Errorf("the access log says %s", line)
		}
	}
	if n := r.Connections().Open; n != 0 {
		t.Errorf("%d places are not given back", n)
	}
}

// headed is a connection whose first write begins with a header.
type headed struct {
	net.Conn
	header string
}

func (h *headed) Write(p []byte) (int, error) {
	if h.header == "" {
		return h.Conn.Write(p)
	}
	_, err := h.Conn.Write(append([]byte(h.header), p...))
	h.header = ""
	return len(p), err
}

func TestOthersMaySendNoProxyHeader(t *testing.T) {
	r := start(t, Config{ProxyProtocol: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, site("a.test", tells(t)))
	if resp, body := r.get("http://a.test/"); resp.StatusCode != 200 || body != "127.0.0.1" {
		t.Errorf("a peer that need not send a header got %d %q", resp.StatusCode, body)
	}
	c := r.raw(proxyHeader(t, 1, "203.0.113.7:4711") + plainRequest)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a peer that nobody named got %v, %v, want 400", resp, err)
	}
}

func FuzzProxyHeader(f *testing.F) {
	for _, client := range []string{"203.0.113.7:4711", "[2001:db8::7]:1"} {
		for _, version := range []byte{1, 2} {
			f.Add([]byte(proxyHeader(f, version, client)))
		}
	}
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte("PROXY\r\n"))
	peer := netip.MustParseAddrPort("192.0.2.9:9")
	f.Fuzz(func(t *testing.T, b []byte) {
		size, err := proxyHeaderSize(b)
		if err != nil || size == 0 {
			return
		}
		if size > maxProxyHeader {
			t.Fatalf("size %d", size)
		}
		for n := range min(size, len(b)) { // nothing less is a whole header, and what was told of its size stays
			if s, err := proxyHeaderSize(b[:n]); err != nil || s != 0 && s != size {
				t.Fatalf("the first %d bytes tell %d, %v; all tell %d", n, s, err, size)
			}
		}
		if size > len(b) {
			return
		}
		got, err := parseProxyHeader(b[:size], peer)
		if err != nil {
			return
		}
		if !got.IsValid() {
			t.Fatalf("client %v", got)
		}
		// What the library reads from a stream is no more and no less.
		reader := bufio.NewReader(bytes.NewReader(b))
		if _, err := proxyproto.Read(reader); err == nil && len(b) <= 4096 && len(b)-reader.Buffered() != size {
			t.Fatalf("size %d, the library took %d", size, len(b)-reader.Buffered())
		}
	})
}
