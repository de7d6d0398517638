package loop

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// packets keeps what a PacketConn tells. What comes is sent back if there is a way.
type packets struct {
	socket *PacketConn
	got    chan string
	from   chan Peer
	failed chan error
}

func newPackets() *packets {
	return &packets{got: make(chan string, 100), from: make(chan Peer, 100), failed: make(chan error, 100)}
}

func (p *packets) Received(b []byte, from Peer) {
	p.got <- string(b)
	p.from <- from
	if p.socket != nil {
		p.socket.Answer(b, from)
	}
}

func (p *packets) Failed(err error) { p.failed <- err }

// receivePackets has the loop answer what comes to a new socket, and returns its port.
func receivePackets(t testing.TB, l *Loop, network, address string) (*packets, *net.UDPConn) {
	t.Helper()
	a, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUDP(network, a)
	if err != nil {
		t.Skipf("no socket for %s: %v", address, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p := newPackets()
	call(t, l, func() { p.socket, err = l.ReceivePackets(c, p) })
	if err != nil {
		t.Fatal(err)
	}
	return p, c
}

func portOf(c *net.UDPConn) uint16 { return c.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

func dialPackets(t testing.TB, host string, port uint16) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// A client takes answers only from the address that it asked.
func TestPacketsAreAnsweredFromTheAddressTheyCameTo(t *testing.T) {
	tests := []struct{ name, network, listen, dial string }{
		{"all addresses", "udp", ":0", "127.0.0.1"},
		{"all addresses, another one", "udp", ":0", "127.0.0.2"},
		{"all addresses, IPv6", "udp", ":0", "::1"},
		{"IPv4 alone", "udp4", ":0", "127.0.0.3"},
		{"one address", "udp", "127.0.0.4:0", "127.0.0.4"},
		{"one of IPv6", "udp", "[::1]:0", "::1"},
	}
	g := start(t, 1)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, c := receivePackets(t, g.Loops()[0], tt.network, tt.listen)
			client := dialPackets(t, tt.dial, portOf(c))
			for _, text := range []string{"hello", "", string(make([]byte, 60_000))} {
				if _, err := client.Write([]byte(text)); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 1<<16)
				n, err := client.Read(b)
				if err != nil || string(b[:n]) != text {
					t.Fatalf("%d bytes came back of %d: %v", n, len(text), err)
				}
				if from := <-p.from; from.Remote != client.LocalAddr().(*net.UDPAddr).AddrPort() {
					t.Errorf("it came from %v, not %v", from, client.LocalAddr())
				}
			}
			call(t, g.Loops()[0], p.socket.Close)
		})
	}
}

func TestConnectedPackets(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	up, c := receivePackets(t, l, "udp", "127.0.0.1:0")
	p := newPackets()
	var socket *PacketConn
	call(t, l, func() {
		var err error
		if socket, err = l.ConnectPackets(netip.MustParseAddrPort(c.LocalAddr().String()), p); err != nil {
			t.Error(err)
			return
		}
		if err := socket.Send([]byte("hello")); err != nil {
			t.Error(err)
		}
	})
	if got := <-p.got; got != "hello" {
		t.Errorf("got %q back", got)
	}
	if from := <-p.from; from != (Peer{}) {
		t.Errorf("it is said to come from %v", from)
	}
	call(t, l, func() {
		up.socket.Close()
		_ = c.Close()
		_ = socket.Send([]byte("anybody?"))
	})
	is(t, "nobody listens", <-p.failed, unix.ECONNREFUSED)
	call(t, l, func() {
		socket.Close()
		socket.Close()
		is(t, "closed", socket.Send(nil), net.ErrClosed)
	})
}

func TestPacketsGoIdle(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	_, c := receivePackets(t, l, "udp", "127.0.0.1:0")
	p := newPackets()
	var begun, ended time.Time // by the loop's clock, which stands still while others have the processor
	call(t, l, func() {
		begun = l.Now()
		socket, err := l.ConnectPackets(netip.MustParseAddrPort(c.LocalAddr().String()), p)
		if err != nil {
			t.Error(err)
			return
		}
		socket.SetIdle(40 * time.Millisecond)
		l.After(30*time.Millisecond, func() { _ = socket.Send([]byte("still here")) })
	})
	is(t, "idle", <-p.failed, os.ErrDeadlineExceeded)
	call(t, l, func() { ended = l.Now() })
	if took := ended.Sub(begun); took < 70*time.Millisecond {
		t.Errorf("idle after %v, though something was said", took)
	}
}

// Another process goes on with the socket: what comes must be left to it.
func TestIgnoredPacketsAreLeft(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	p, c := receivePackets(t, l, "udp", "127.0.0.1:0")
	client := dialPackets(t, "127.0.0.1", portOf(c))
	_, _ = client.Write([]byte("one"))
	from := <-p.from
	call(t, l, p.socket.Ignore)
	_, _ = client.Write([]byte("two"))
	b := make([]byte, 10)
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if n, err := c.Read(b); err != nil || string(b[:n]) != "two" {
		t.Errorf("the other one got %q, %v", b[:n], err)
	}
	_, _ = client.Read(b)
	call(t, l, func() { p.socket.Answer([]byte("late"), from) })
	if n, err := client.Read(b); err != nil || string(b[:n]) != "late" {
		t.Errorf("the client got %q, %v", b[:n], err)
	}
	if got := <-p.got; got != "one" || len(p.got) > 0 {
		t.Errorf("got %q and %d more", got, len(p.got))
	}
}

func TestPacketsEndWithTheGroup(t *testing.T) {
	before := descriptors(t)
	g, err := New(Config{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	l := g.Loops()[0]
	p, c := receivePackets(t, l, "udp", "127.0.0.1:0")
	within(t, "Group.Close", g.Close)
	is(t, "the group is closed", <-p.failed, net.ErrClosed)
	_ = c.Close()
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors are left of %d", n, before)
	}
}

func TestAReceiverThatPanics(t *testing.T) {
	r := &reports{}
	g := startWith(t, Config{Loops: 1, Panicked: r.panicked})
	l := g.Loops()[0]
	p, c := receivePackets(t, l, "udp", "127.0.0.1:0")
	call(t, l, func() { p.socket.receiver = panics{p} })
	client := dialPackets(t, "127.0.0.1", portOf(c))
	for _, text := range []string{"panic", "hello"} {
		_, _ = client.Write([]byte(text))
	}
	if got := <-p.got; got != "hello" {
		t.Errorf("got %q", got)
	}
	r.want(t, l, "the receiver's")
}

type panics struct{ *packets }

func (p panics) Received(b []byte, from Peer) {
	if string(b) == "panic" {
		panic(errors.New("the receiver's"))
	}
	p.packets.Received(b, from)
}

// answers sends back what comes.
type answers struct{ *packets }

func (a answers) Received(b []byte, from Peer) { a.socket.Answer(b, from) }

func BenchmarkPackets(b *testing.B) {
	g := start(b, 1)
	p, c := receivePackets(b, g.Loops()[0], "udp", ":0")
	call(b, g.Loops()[0], func() { p.socket.receiver = answers{p} })
	client := dialPackets(b, "127.0.0.1", portOf(c))
	_ = client.SetDeadline(time.Time{})
	room := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = client.Write(room)
		_, _ = client.Read(room)
	}
}
