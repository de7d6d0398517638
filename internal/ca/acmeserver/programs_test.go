package acmeserver

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// Ports are given in turn, from one that is another in each process: two tests at once must not be told of the same one before either listens.
var (
	firstPort  = rand.N(ports)
	portsGiven atomic.Int32
)

const ports = 18000

// freePort gives a port that nobody listens at, that no other test is given, and that the kernel does not give to others.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 12000 + (firstPort+int(portsGiven.Add(1)))%ports
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("there is no free port")
	return 0
}

// named is a name server, Debian's BIND, with the zones dept.example, other.example and acme.example in which every name is at 127.0.0.1.
type named struct{ addr string }

const zone = `$TTL 1
@ SOA ns hostmaster 1 3600 600 86400 1
@ NS ns
@ A 127.0.0.1
ns A 127.0.0.1
gone.nowhere A 192.0.2.1
* A 127.0.0.1
`

func startNamed(t *testing.T) *named {
	t.Helper()
	dir := t.TempDir()
	port := freePort(t)
	conf := fmt.Sprintf(`options { directory "%s"; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; pid-file none; session-keyfile none; dnssec-validation no; };
controls { };
`, dir, port)
	for _, name := range []string{"dept.example", "other.example"} {
		conf += fmt.Sprintf("zone %q { type primary; file %q; allow-update { 127.0.0.1; }; };\n", name, name+".zone")
		if err := os.WriteFile(filepath.Join(dir, name+".zone"), []byte(zone), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "named.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, dir, "named", "-g", "-n", "1", "-c", file)
	n := &named{addr: fmt.Sprintf("127.0.0.1:%d", port)}
	wait(t, "named answers", func() bool {
		_, err := ResolverAt(n.addr).LookupNetIP(t.Context(), "ip4", "www.dept.example.")
		return err == nil
	})
	return n
}

// port of the name server.
func (n *named) port() string {
	_, port, _ := net.SplitHostPort(n.addr)
	return port
}

// start runs a program until the test ends.
func start(t *testing.T, dir, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name
	}
	c := exec.Command(path, args...)
	c.Dir = dir
	var out record
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatalf("cannot start %s: %v (scripts/setup installs it)", name, err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, out.text.String())
		}
	})
	return c
}
