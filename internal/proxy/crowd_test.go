package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/health"
)

const (
	// crowdSize is the variable that says how many half-open connections TestSlowLoris makes.
	crowdSize = "RUCHE_TEST_CROWD"
	// crowdTo makes the test's program one of the crowd's processes: "address of the proxy, first own address, connections".
	crowdTo = "RUCHE_TEST_CROWD_TO"
	// perProcess is how many connections each has, perSource how many come from one address.
	perProcess, perSource = 5000, 1000
)

// beCrowd opens connections and sends half a head on each, with a byte more for each line of its input; at the end of its input it completes the
// heads, and tells how many were answered with 200, how many were closed, and for how many it was otherwise.
func beCrowd(arguments string) {
	var to, from string
	var n int
	if _, err := fmt.Sscan(arguments, &to, &from, &n); err != nil {
		panic(err)
	}
	conns := make([]net.Conn, n)
	for i := range conns {
		source := net.ParseIP(from).To4()
		source[3] += byte(i / perSource)
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: source}}
		c, err := d.Dial("tcp", to)
		if err != nil {
			fmt.Println(err)
			return
		}
		conns[i] = c
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nX-")
	}
	fmt.Println("here")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		for _, c := range conns {
			_, _ = io.WriteString(c, "a")
		}
		fmt.Println("dripped")
	}
	answered, closed, otherwise := 0, 0, 0
	for _, c := range conns {
		_, _ = io.WriteString(c, ": b\r\nConnection: close\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		got, err := io.ReadAll(c)
		switch {
		case strings.HasPrefix(string(got), "HTTP/1.1 200 OK\r\n") && err == nil:
			answered++
		case len(got) == 0 && !errors.Is(err, os.ErrDeadlineExceeded):
			closed++
		default:
			otherwise++
		}
		_ = c.Close()
	}
	fmt.Println(answered, closed, otherwise)
}

// crowd is one of the processes.
type crowd struct {
	in  io.WriteCloser
	out *bufio.Scanner
}

func startCrowd(t *testing.T, to string, number, n int) *crowd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s 127.1.%d.1 %d", crowdTo, to, number, n))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &crowd{in, bufio.NewScanner(out)}
}

// says waits for the next line.
func (c *crowd) says(t *testing.T) string {
	t.Helper()
	if !c.out.Scan() {
		t.Fatalf("a process of the crowd has ended: %v", c.out.Err())
	}
	return c.out.Text()
}

// Clients that send half a head and then nothing take the places of one another, cost little, and harm nobody. Their number is twice as many as there are places for.
func TestSlowLoris(t *testing.T) {
	n := 2000
	if many, err := strconv.Atoi(os.Getenv(crowdSize)); err == nil {
		n = many
	}
	most := n * filesForClients / 100 // what a process gets that may open n files
	before := files(t)
	t.Run("crowd", func(t *testing.T) {
		warnings := &health.Registry{}
		r := start(t, Config{MaxConnections: most, Health: warnings, Timeouts: Timeouts{ReadHeader: 10 * time.Minute}},
			site("a.test", says(t, "slow")), site("good.test", says(t, "fine")))
		unharmed(t, r)
		empty := memory()
		quit, asked := make(chan struct{}), 0
		var others sync.WaitGroup
		others.Go(func() {
			for done := false; !done; asked++ {
				unharmed(t, r)
				select {
				case <-quit:
					done = true
				default:
				}
			}
		})
		var crowds []*crowd
		for left := n; left > 0; left -= perProcess {
			crowds = append(crowds, startCrowd(t, r.HTTPAddr().String(), len(crowds), min(left, perProcess)))
		}
		for _, c := range crowds {
			if line := c.says(t); line != "here" {
				t.Fatal(line)
			}
		}
		for _, c := range crowds { // a byte more now and then does not help
			_, _ = io.WriteString(c.in, "\n")
			c.says(t)
		}
		until(t, "connections have made room", func() bool { return r.limiter.open.Load() <= int64(most) })
		held := memory() - empty
		t.Logf("of %d half-open connections %d are held; they take %d bytes each, together %.1f MiB", n, r.limiter.open.Load(), held/int64(most), float64(held)/(1<<20))
		if held/int64(most) > 24<<10 {
			t.Error("want at most 24 KiB for each")
		}
		if list := warnings.List(); len(list) != 1 || list[0].Code != ruche.CodeConnectionsLimited {
			t.Errorf("warnings %+v, want one of too many connections", list)
		}
		close(quit)
		others.Wait()
		t.Logf("meanwhile %d requests of others were answered", asked)
		answered, closed := 0, 0
		for _, c := range crowds {
			_ = c.in.Close()
		}
		for _, c := range crowds {
			var yes, no, otherwise int
			if _, err := fmt.Sscan(c.says(t), &yes, &no, &otherwise); err != nil || otherwise > 0 {
				t.Errorf("%d connections were neither answered nor closed, %v", otherwise, err)
			}
			answered, closed = answered+yes, closed+no
		}
		// Room is made for some connections at once.
		if answered > most || answered < most-8*madeRoom || answered+closed != n {
			t.Errorf("%d of those that go on are answered, %d were closed; want about %d answered", answered, closed, most)
		}
		until(t, "the crowd is gone", func() bool { return r.limiter.open.Load() == 0 })
	})
	until(t, "no file is left open", func() bool { return files(t) <= before })
}
