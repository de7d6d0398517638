package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// succeed3 starts a proxy that takes over from another one, whose listener for HTTPS it shares.
func succeed3(t *testing.T, before *rig, routes ...ruche.Route) *rig {
	t.Helper()
	listen := func(name, address string) (*net.TCPListener, error) {
		if name != "https" {
			return listenTCP(name, address)
		}
		file, err := before.secure.(*net.TCPListener).File()
		if err != nil {
			return nil, err
		}
		defer file.Close()
		l, err := net.FileListener(file)
		if err != nil {
			return nil, err
		}
		return l.(*net.TCPListener), nil
	}
	r := start(t, Config{HTTP3: true, Successor: true, HTTPAddr: "off", HTTPSAddr: before.HTTPSAddr().String(), Listen: listen}, routes...)
	before.Succeeded()
	return r
}

func TestHTTP3GoesOnWhileTheNextProcessBegins(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	slow := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(entered)
			<-release
		}
		_, _ = io.WriteString(w, "one")
	})
	first := startHTTP3(t, Config{Timeouts: Timeouts{Drain: time.Minute}}, site("a.test", slow))
	client := first.client3()
	ask := func(c *http.Client, path, want string) {
		t.Helper()
		resp, err := c.Get("https://a.test" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != want {
			t.Errorf("%s: %q, %v, want it from %s", path, body, err, want)
		}
	}
	ask(client, "/", "one")
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		ask(client, "/slow", "one")
	}()
	<-entered

	second := succeed3(t, first, site("a.test", says(t, "two")))
	for range 20 { // each with a port of its own, by which the kernel would choose
		ask(second.client3(), "/", "two")
		ask(client, "/", "one")
	}
	first.stop()
	until(t, "the old process advertises HTTP/3 no more", func() bool { return first.altSvc.Load() == nil })
	for range 20 {
		ask(second.client3(), "/", "two")
	}
	kept := second.client3()
	ask(kept, "/", "two")
	third := succeed3(t, second, site("a.test", says(t, "three")))
	if third.altSvc.Load() != nil {
		t.Error("three processes share the port")
	}
	ask(kept, "/", "two")
	close(release)
	<-answered
	until(t, "the third process serves when the first one has left", func() bool { return third.altSvc.Load() != nil })
	<-first.stopped
	for range 20 {
		ask(third.client3(), "/", "three")
		ask(kept, "/", "two")
	}
	second.stop()
	<-second.stopped
	for range 20 {
		ask(third.client3(), "/", "three")
	}
}

func TestHTTP3SharesNothingWithStrangers(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	one, err := listenUDP(tcp.Addr(), newConnectionIDs(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	if two, err := listenUDP(tcp.Addr(), newConnectionIDs(), false); !errors.Is(err, syscall.EADDRINUSE) {
		_ = two.Close()
		t.Errorf("a second socket: %v, want %v", err, syscall.EADDRINUSE)
	}
	two, err := listenUDP(tcp.Addr(), newConnectionIDs(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	if three, err := listenUDP(tcp.Addr(), newConnectionIDs(), true); !errors.Is(err, syscall.EADDRINUSE) {
		_ = three.Close()
		t.Errorf("a third socket: %v, want %v", err, syscall.EADDRINUSE)
	}
}

func TestPacketsGoToTheirProcess(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	ids := connectionIDs{mark: 0xabcd}
	before, err := listenUDP(tcp.Addr(), connectionIDs{}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	now, err := listenUDP(tcp.Addr(), ids, true)
	if err != nil {
		t.Fatal(err)
	}
	defer now.Close()
	for _, tt := range []struct {
		name, packet string
		now          bool
	}{
		{"short, ours", "\x40\xab\xcd12345678", true},
		{"short, of the other", "\x40\x00\x0112345678", false},
		{"Initial of a new connection", "\xc0\x00\x00\x00\x01\x08\x00\x01345678", true},
		{"0-RTT of a new connection", "\xd0\x00\x00\x00\x01\x08\x00\x01345678", true},
		{"Handshake, ours", "\xe0\x00\x00\x00\x01\x08\xab\xcd345678", true},
		{"Handshake, of the other", "\xe0\x00\x00\x00\x01\x08\x00\x01345678", false},
		{"Initial of version 2", "\xd0\x6b\x33\x43\xcf\x08\x00\x01345678", true},
		{"Handshake of version 2, ours", "\xf0\x6b\x33\x43\xcf\x08\xab\xcd345678", true},
		{"Handshake of version 2, of the other", "\xf0\x6b\x33\x43\xcf\x08\x00\x01345678", false},
		{"too short", "\x40\xab", false},
		{"empty", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want, other := before, now
			if tt.now {
				want, other = now, before
			}
			for range 10 {
				c, err := net.Dial("udp", before.LocalAddr().String())
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(c, tt.packet)
				_ = c.Close()
				buffer := make([]byte, 100)
				_ = want.SetReadDeadline(time.Now().Add(10 * time.Second))
				if n, _, err := want.ReadFrom(buffer); err != nil || string(buffer[:n]) != tt.packet {
					t.Fatalf("got %q, %v", buffer[:n], err)
				}
				_ = other.SetReadDeadline(time.Unix(1, 0))
				if n, _, err := other.ReadFrom(buffer); err == nil {
					t.Fatalf("the other one got %q", buffer[:n])
				}
			}
		})
	}
}

func TestCountBeside(t *testing.T) {
	const table = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  100: 0200007F:01BB 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 11 2 0000000000000000 0
  100: 0200007F:01BB 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12 2 0000000000000000 0
  101: 0200007F:01BC 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 13 2 0000000000000000 0
  cut off
`
	for inode, want := range map[string]int{"11": 1, "12": 1, "13": 0} {
		if n, found := countBeside(bufio.NewScanner(strings.NewReader(table)), inode); n != want || !found {
			t.Errorf("%s: %d, %t, want %d", inode, n, found, want)
		}
	}
	if _, found := countBeside(bufio.NewScanner(strings.NewReader(table)), "14"); found {
		t.Error("a socket is found that is not there")
	}
}
