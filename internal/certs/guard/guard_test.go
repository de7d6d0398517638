package guard_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/certs/guard"
)

func TestCheck(t *testing.T) {
	for address, want := range map[string]bool{
		"192.0.2.1:443": true, "10.1.2.3:9000": true, "[2001:db8::1]:443": true, "[fd00::1]:443": true,
		"127.0.0.1:443": false, "127.9.9.9:443": false, "[::1]:443": false, "[::ffff:127.0.0.1]:443": false, "169.254.169.254:80": false,
		"[fe80::1%eth0]:443": false, "0.0.0.0:443": false, "[::]:443": false, "224.0.0.1:443": false,
		"[fd00:ec2::254]:80": false, "168.63.129.16:80": false, "100.100.100.200:80": false, "[::ffff:100.100.100.200]:80": false, "nonsense": false,
	} {
		if err := guard.Check(address); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestDialer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost"} {
		conn, err := guard.Dialer(time.Minute).Dial("tcp", net.JoinHostPort(host, port))
		var refused *guard.Refused
		if err == nil {
			_ = conn.Close()
		}
		if !errors.As(err, &refused) || !refused.Address.IsLoopback() {
			t.Errorf("%s: %v", host, err)
		}
	}
}
