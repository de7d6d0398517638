package daemon

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

// comers is a listener at which connections from given addresses come.
type comers struct {
	net.Listener
	next chan net.Conn
}

func (c comers) Accept() (net.Conn, error) {
	if conn, ok := <-c.next; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (comers) Close() error { return nil }

// comer is one of them.
type comer struct {
	net.Conn
	from string
}

func (c comer) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from)) }

// TestACMEClientsAreBounded has clients come one after the other, and stay: one has half of the places at most.
func TestACMEClientsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door, warnings := comers{next: make(chan net.Conn, 1)}, &health.Registry{}
		l := &acmeClients{Listener: door, most: 6, health: warnings, logger: slog.New(slog.DiscardHandler), by: map[netip.Addr]int{}}
		in := make(chan net.Conn, 20)
		go func() {
			defer close(in)
			for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
				in <- conn
			}
		}()
		come := func(from string) (served net.Conn) {
			here, there := net.Pipe()
			t.Cleanup(func() { _, _ = here.Close(), there.Close() })
			door.next <- comer{here, from}
			synctest.Wait()
			select {
			case served = <-in:
			default:
				if _, err := there.Read(make([]byte, 1)); err == nil {
					t.Errorf("%s is refused, and its connection is open", from)
				}
			}
			return served
		}
		open := map[string]net.Conn{}
		for i, step := range []struct {
			from string
			want string // in the warning; empty: it is served
		}{
			{"192.0.2.1", ""}, {"192.0.2.1", ""}, {"192.0.2.1", ""},
			{"192.0.2.1", "of the ACME client 192.0.2.1 are refused: it has 3"},
			{"2001:db8::1", ""}, {"2001:db8::2", ""},
			{"2001:db8:0:1::1", ""},
			{"192.0.2.9", "6 are open"},
		} {
			from := netip.AddrPortFrom(netip.MustParseAddr(step.from), uint16(1000+i)).String()
			conn := come(from)
			if (conn != nil) != (step.want == "") {
				t.Errorf("step %d: %s is served: %t", i, from, conn != nil)
			}
			if conn != nil {
				open[fmt.Sprint(i)] = conn
			}
			if list := warnings.List(); step.want != "" && (len(list) != 1 || list[0].Code != ruche.CodeConnectionsLimited || !strings.Contains(list[0].Message, step.want)) {
				t.Errorf("step %d: warnings %+v, want one with %q", i, list, step.want)
			}
		}
		for range 2 { // a second time it gives nothing back
			_ = open["6"].Close()
		}
		if come("[2001:db8::3]:1") == nil || come("192.0.2.9:1") != nil {
			t.Error("a connection that was closed makes room for other than one")
		}
		for _, n := range []string{"0", "1", "4", "5"} {
			_ = open[n].Close()
		}
		if come("192.0.2.1:1") == nil || come("192.0.2.1:2") == nil || come("192.0.2.1:3") != nil {
			t.Error("a client that has closed two connections does not have two others")
		}
		<-time.After(acmeLimited)
		synctest.Wait()
		if list := warnings.List(); len(list) != 0 {
			t.Errorf("warnings stand although nothing is refused any more: %+v", list)
		}
		close(door.next)
	})
}

// TestIdleACMEClientsGo has a client ask once, and keep its connection.
func TestIdleACMEClientsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door, ended := comers{next: make(chan net.Conn, 1)}, make(chan error, 1)
		server := new(acmeServer).over(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
		go func() { ended <- server.Serve(door) }()
		here, there := net.Pipe()
		door.next <- comer{here, "192.0.2.1:1"}
		if _, err := io.WriteString(there, "GET /ca/x HTTP/1.1\r\nHost: ca.example\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		asked := time.Now()
		if answer, err := io.ReadAll(there); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 404") {
			t.Errorf("%q, %v", answer, err)
		}
		if took := time.Since(asked); took != 30*time.Second {
			t.Errorf("an idle connection ends after %v, want 30 s", took)
		}
		close(door.next)
		<-ended
	})
}
