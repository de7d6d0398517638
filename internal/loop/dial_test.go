package loop

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDial(t *testing.T) {
	l := start(t, 1).Loops()[0]
	ln := listen(t)
	unused := listen(t)
	_ = unused.Close()
	for _, tt := range []struct {
		name string
		to   netip.AddrPort
		want error
	}{
		{"listens", addr(ln), nil},
		{"an IPv4 address in IPv6 form", netip.AddrPortFrom(netip.MustParseAddr("::ffff:127.0.0.1"), addr(ln).Port()), nil},
		{"refused", addr(unused), syscall.ECONNREFUSED},
		{"unreachable", netip.MustParseAddrPort("255.255.255.255:80"), syscall.ENETUNREACH},
		{"too late", full(t), os.ErrDeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			on(t, l, func() {
				before := l.attached.Load()
				limit := 10 * time.Second
				if errors.Is(tt.want, os.ErrDeadlineExceeded) {
					limit = 5 * time.Millisecond
				}
				c, err := l.Dial(tt.to, limit)
				is(t, "Dial", err, tt.want)
				if err == nil {
					if c.Local().Port() == 0 || c.Local().Addr() != netip.MustParseAddr("127.0.0.1") || c.Remote() != addr(ln) {
						t.Errorf("it leads from %v to %v", c.Local(), c.Remote())
					}
					if c.writeTimeout != 0 || c.timer.when != 0 && c.timer.when < l.now {
						t.Error("Dial's time is left")
					}
					_ = c.Close()
				}
				if n := l.attached.Load() - before; n != 0 || len(l.timers) != 0 {
					t.Errorf("%d connections and %d timers are left", n, len(l.timers))
				}
			})
		})
	}
}

func TestAConnectIsGivenUp(t *testing.T) {
	l := start(t, 1).Loops()[0]
	to := full(t)
	for name, closeSoon := range map[string]func(c *Conn){
		"before the wait": func(c *Conn) { _ = c.Close() },
		"within the wait": func(c *Conn) { l.After(time.Millisecond, func() { _ = c.Close() }) },
	} {
		on(t, l, func() {
			before := l.attached.Load()
			c, err := l.Connect(to)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			closeSoon(c)
			is(t, name, c.Connected(time.Hour), net.ErrClosed)
			if n := l.attached.Load() - before; n != 0 {
				t.Errorf("%s: %d connections are left", name, n)
			}
		})
	}
}

func TestDialRefusesAddresses(t *testing.T) {
	l := start(t, 1).Loops()[0]
	for to, want := range map[netip.AddrPort]string{
		{}: "cannot connect to an invalid address",
		netip.MustParseAddrPort("[fe80::1%nowhere]:80"): `cannot find the network interface "nowhere": `,
	} {
		on(t, l, func() {
			if _, err := l.Dial(to, time.Second); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%v: error %v, want %s", to, err, want)
			}
		})
	}
}

// An ephemeral port may be the very one that is connected to.
func TestAConnectionToItselfIsNone(t *testing.T) {
	l := start(t, 1).Loops()[0]
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	self := localAddr(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: self.Addr().As4(), Port: int(self.Port())}); err != nil && err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	on(t, l, func() {
		c := &Conn{remote: self}
		if err := l.adopt(fd, c); err != nil {
			t.Error(err)
			return
		}
		l.attached.Add(1)
		is(t, "connecting", c.connecting(), syscall.ECONNREFUSED)
		_ = c.Close()
	})
}

func TestZones(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skipf("no loopback interface: %v", err)
	}
	for zone, want := range map[string]uint32{"": 0, "lo": uint32(lo.Index), "7": 7, "4294967295": 1<<32 - 1} {
		if got, err := zoneID(zone); got != want || err != nil {
			t.Errorf("zone %q is %d, want %d: %v", zone, got, want, err)
		}
	}
	for _, zone := range []string{"nowhere", "-1", "4294967296"} {
		if got, err := zoneID(zone); err == nil {
			t.Errorf("zone %q is %d", zone, got)
		}
	}
}
