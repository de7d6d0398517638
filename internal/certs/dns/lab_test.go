package dns_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/certs/dns"
)

const (
	tsigName   = "ruche-key"
	tsigSecret = "c2VjcmV0LW9mLXRoZS1sYWItMDEyMzQ1Njc4OWFiY2Q="
	otherKey   = "YW5vdGhlci1rZXktb2YtdGhlLWxhYi0wMTIzNDU2Nzg="
)

// lab is a BIND with dynamic zones at 127.0.0.1, and a second one that is their secondary, at 127.0.0.2, both on one port. BIND listens on addresses of interfaces alone, so
// that the second one is behind a relay.
//
//	example.test        ns1 and ns2; _acme-challenge.* may be updated
//	child.example.test  delegated to ns1; may be updated
//	acme.test           ns1; may be updated, for CNAMEs to it
//	slow.test           ns1, and whatever a test puts at 127.0.0.3; may be updated
type lab struct {
	port      string
	secondary string // where the second BIND is itself
}

func (l lab) primary() string { return "127.0.0.1:" + l.port }

const labZones = `
example.test/primary/update-policy { grant ruche-key zonesub TXT; grant weak-key name _acme-challenge.weak.example.test TXT; };
child.example.test/primary/update-policy { grant ruche-key zonesub TXT; };
acme.test/primary/update-policy { grant ruche-key zonesub TXT; };
slow.test/primary/update-policy { grant ruche-key zonesub TXT; };
`

const labRecords = `$TTL 60
@ SOA ns1.example.test. admin.example.test. 1 60 10 600 1
`

func labFiles() map[string]string {
	return map[string]string{
		"example.test": labRecords + `@ NS ns1
@ NS ns2
ns1 A 127.0.0.1
ns2 A 127.0.0.2
ns3 A 127.0.0.3
child NS ns1
www A 192.0.2.1
www AAAA 2001:db8::1
alias CNAME www
hidden HTTPS 1 . alpn="h2" ech="AEX+DQBB"
hides CNAME hidden
www HTTPS 1 . alpn="h2"
_acme-challenge.www TXT "somebody else's"
_acme-challenge.shop CNAME shop.acme.test.
_acme-challenge.far CNAME hop.example.test.
hop CNAME deep.sub.child.example.test.
_acme-challenge.ring CNAME ring.example.test.
ring CNAME _acme-challenge.ring
_acme-challenge.joohoi CNAME d420c923.acme.test.
*.wild A 192.0.2.9
own.wild A 192.0.2.9
*.cn CNAME www
*.both A 192.0.2.9
*.double.both A 192.0.2.10
@ CAA 0 issue "ca.test"
@ CAA 0 issuewild ";"
strict CAA 0 issue "ca.test; accounturi=https://ca.test/acct/1; validationmethods=dns-01,http-01"
nobody CAA 0 issue ";"
odd CAA 128 future "x"
_validation-persist.www TXT "ca.test; accounturi=https://ca.test/acct/1; policy=wildcard; persistUntil=4102444800"
`,
		"child.example.test": labRecords + "@ NS ns1.example.test.\n",
		"acme.test":          labRecords + "@ NS ns1.example.test.\nopen CAA 0 issue \"open.test\"\n",
		"slow.test":          labRecords + "@ NS ns1.example.test.\n@ NS ns3.example.test.\n",
	}
}

// findBIND gives the path of named.
func findBIND(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"named", "/usr/sbin/named"} { // sbin is not on everybody's PATH
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("BIND is not installed: run scripts/setup")
	}
	t.Skip("BIND is not installed: scripts/setup does that")
	return ""
}

func newLab(t *testing.T) lab {
	t.Helper()
	named := findBIND(t)
	for range 5 { // another process may take a port in between
		l, second := lab{port: freePort(t)}, freePort(t)
		l.secondary = "127.0.0.1:" + second
		if startBIND(t, named, l.port, second, true) && startBIND(t, named, l.port, second, false) {
			l.answers(t, "127.0.0.2", func(w wire.ResponseWriter, m *wire.Msg) { relay(t, w, m, l.secondary) })
			for zone := range labFiles() {
				l.await(t, l.secondary, zone)
			}
			return l
		}
	}
	t.Fatal("cannot start BIND: no port was free")
	return lab{}
}

// relay answers with what a server says.
func relay(t *testing.T, w wire.ResponseWriter, m *wire.Msg, server string) {
	answer, err := wire.Exchange(m, server)
	if err != nil {
		t.Logf("%s does not answer: %v", server, err)
		return
	}
	if err := w.WriteMsg(answer); err != nil {
		t.Error(err)
	}
}

// answers is a name server that a test has in hand.
func (l lab) answers(t *testing.T, host string, answer func(wire.ResponseWriter, *wire.Msg)) {
	t.Helper()
	started := make(chan struct{})
	server := &wire.Server{Addr: host + ":" + l.port, Net: "udp", Handler: wire.HandlerFunc(answer), NotifyStartedFunc: func() { close(started) }}
	done := make(chan error, 1)
	go func() { done <- server.ListenAndServe() }()
	select {
	case <-started:
	case err := <-done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
		<-done
	})
}

// freePort gives one that is free on the addresses of the lab, by UDP and TCP, and that the kernel does not give to others.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		first, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.N(18000)))
		if err != nil {
			continue
		}
		_, port, _ := net.SplitHostPort(first.Addr().String())
		open, ok := []io.Closer{first}, true
		for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
			if host != "127.0.0.1" {
				l, err := net.Listen("tcp", host+":"+port)
				if ok = ok && err == nil; err == nil {
					open = append(open, l)
				}
			}
			p, err := net.ListenPacket("udp", host+":"+port)
			if ok = ok && err == nil; err == nil {
				open = append(open, p)
			}
		}
		for _, c := range open {
			c.Close()
		}
		if ok {
			return port
		}
	}
	t.Fatal("no port is free on 127.0.0.1 to 127.0.0.3")
	return ""
}

func startBIND(t *testing.T, named, first, second string, primary bool) bool {
	t.Helper()
	dir, port := t.TempDir(), second
	if primary {
		port = first
	}
	var config strings.Builder
	fmt.Fprintf(&config, `options {
	directory %q; listen-on port %s { 127.0.0.1; }; listen-on-v6 { none; }; pid-file none; session-keyfile none; lock-file none;
	recursion no; dnssec-validation no; empty-zones-enable no; notify explicit; notify-delay 0; also-notify { 127.0.0.1 port %s; };
	allow-transfer { any; }; serial-query-rate 100;
};
controls { };
key "ruche-key" { algorithm hmac-sha256; secret %q; };
key "weak-key" { algorithm hmac-sha512; secret %q; };
`, dir, port, second, tsigSecret, otherKey)
	for zone, records := range labFiles() {
		if !primary {
			fmt.Fprintf(&config, "zone %q { type secondary; file \"%s.db\"; notify no; primaries { 127.0.0.1 port %s; }; };\n", zone, zone, first)
			continue
		}
		write(t, filepath.Join(dir, zone+".db"), records)
		_, policy, _ := strings.Cut(labZones, "\n"+zone+"/primary/")
		policy, _, _ = strings.Cut(policy, "\n")
		fmt.Fprintf(&config, "zone %q { type primary; file \"%s.db\"; %s };\n", zone, zone, policy)
	}
	file := filepath.Join(dir, "named.conf")
	write(t, file, config.String())
	return runBIND(t, named, file)
}

// runBIND starts one and waits until it serves.
func runBIND(t *testing.T, named, file string) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, named, "-g", "-n", "1", "-c", file)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	running := make(chan bool, 2)
	var mu sync.Mutex
	var log strings.Builder
	var reads sync.WaitGroup
	reads.Go(func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			mu.Lock()
			log.WriteString(lines.Text() + "\n")
			mu.Unlock()
			if strings.HasSuffix(lines.Text(), " running") {
				running <- true
			}
		}
		running <- false
	})
	t.Cleanup(func() {
		cancel()
		reads.Wait()
		if err := cmd.Wait(); t.Failed() {
			t.Logf("named: %v\n%s", err, log.String())
		}
	})
	if !<-running {
		mu.Lock()
		defer mu.Unlock()
		if !strings.Contains(log.String(), "address in use") {
			t.Fatalf("named does not start:\n%s", log.String())
		}
		return false
	}
	mu.Lock()
	defer mu.Unlock()
	return !strings.Contains(log.String(), "address in use")
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// await waits until a server serves a zone.
func (l lab) await(t *testing.T, server, zone string) {
	t.Helper()
	eventually(t, server+" serves "+zone, func() bool {
		m := new(wire.Msg)
		m.SetQuestion(zone+".", wire.TypeSOA)
		answer, err := wire.Exchange(m, server)
		return err == nil && answer.Rcode == wire.RcodeSuccess && len(answer.Answer) == 1
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("in 10 s it did not become true that %s", what)
		}
	}
}

// texts gives the TXT values that a server has under a name.
func texts(t *testing.T, server, name string) []string {
	t.Helper()
	m := new(wire.Msg)
	m.SetQuestion(name+".", wire.TypeTXT)
	answer, err := wire.Exchange(m, server)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, rr := range answer.Answer {
		if txt, ok := rr.(*wire.TXT); ok {
			found = append(found, strings.Join(txt.Txt, ""))
		}
	}
	return found
}

func (l lab) solver(t *testing.T, change ...func(*dns.Options)) *dns.Solver {
	t.Helper()
	o := dns.Options{Resolvers: []string{l.primary()}, NameServerPort: l.port, Timeout: 20 * time.Second}
	for _, c := range change {
		c(&o)
	}
	s, err := dns.New(slog.New(slog.DiscardHandler), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// provider is the one that the lab lets write.
func (l lab) provider() ruche.DNSProvider {
	return ruche.DNSProvider{Name: "rfc2136", Settings: map[string]string{"server": l.primary(), "key_name": tsigName, "key": tsigSecret}}
}
