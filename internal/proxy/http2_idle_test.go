package proxy

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	hpack2 "golang.org/x/net/http2/hpack"
)

// idleClients is what tells this program that it is the other process of the test below: the address to connect to.
const idleClients = "RUCHE_TEST_IDLE_CLIENTS"

func TestIdleHTTP2ConnectionsCostLittle(t *testing.T) {
	const n, warm, most = 500, 100, 20 << 10
	if address := os.Getenv(idleClients); address != "" {
		connectIdly(t, address)
		return
	}
	r := start(t, Config{AccessLog: io.Discard, MaxConnectionsPerAddress: -1}, site("a.test", says(t, "x")))
	// The clients are a process of their own, so that their part of TLS is not measured.
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestIdleHTTP2ConnectionsCostLittle$")
	c.Env = append(os.Environ(), idleClients+"="+r.HTTPSAddr().String())
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(out)
	ask := func(n int) {
		if _, err := io.WriteString(in, strconv.Itoa(n)+"\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := answers.ReadString('\n'); err != nil || line != "done\n" {
			t.Fatalf("the clients say %q, %v", line, err)
		}
		until(t, "all connections are idle", func() bool {
			idle := make(chan int, len(r.workers))
			for _, w := range r.workers {
				w.loop.Post(func() { idle <- w.clients.n })
			}
			sum := 0
			for range r.workers {
				sum += <-idle
			}
			return int64(sum) == r.limiter.open.Load()
		})
	}
	ask(warm)
	before := inUse()
	ask(n)
	each := (int64(inUse()) - int64(before)) / n
	t.Logf("%d bytes of heap and stacks for each of %d idle connections", each, n)
	if each > most {
		t.Errorf("want at most %d", most)
	}
	_ = in.Close()
	_ = c.Wait()
}

// connectIdly opens as many connections as it is told by each line, with one request on each.
func connectIdly(t *testing.T, address string) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		n, _ := strconv.Atoi(lines.Text())
		for range n {
			p := dialH2(t, address)
			_, err := p.ask("GET", true, hpack2.HeaderField{Name: "user-agent", Value: strings.Repeat("x", 100)}, hpack2.HeaderField{Name: "accept-language", Value: "de"})
			p.must(err)
			p.until("DATA")
		}
		_, _ = io.WriteString(os.Stdout, "done\n")
	}
}
