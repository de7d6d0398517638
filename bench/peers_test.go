//go:build peers

package bench

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	connections = 64
	host        = "bench.example"
)

// peer is a reverse proxy that can be started in front of an endpoint.
type peer struct {
	name string
	// command writes what the proxy needs into dir and returns its command line.
	command func(dir, listen, endpoint string) ([]string, error)
}

// BenchmarkPeers reports for each proxy the requests per second and the proxy's own CPU time per request, with 64
// keep-alive connections and answers of 1 KiB over plain HTTP/1.1. One worker each: GOMAXPROCS, worker_processes and nbthread are 1.
func BenchmarkPeers(b *testing.B) {
	body := strings.Repeat("x", 1024)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, body)
	}))
	b.Cleanup(endpoint.Close)
	for _, p := range []peer{{"nginx", nginx}, {"haproxy", haproxy}, {"ruche", ruche}} {
		b.Run(p.name, func(b *testing.B) { p.run(b, endpoint.Listener.Addr().String()) })
	}
}

func (p peer) run(b *testing.B, endpoint string) {
	listen := freeAddress(b)
	command, err := p.command(b.TempDir(), listen, endpoint)
	if err != nil {
		b.Skipf("%s: %v", p.name, err)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if b.Failed() {
			b.Log(log.String())
		}
	})
	conns := make([]*client, connections)
	for i := range conns {
		if conns[i], err = dial(listen); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conns[i].conn.Close() })
	}

	pids := family(cmd.Process.Pid)
	before := cpuTime(b, pids)
	b.ResetTimer()
	load(b, conns)
	b.StopTimer()
	used := cpuTime(b, pids) - before
	b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(b.N), "proxy-cpu-us/req")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// load sends b.N requests over the connections.
func load(b *testing.B, conns []*client) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := c.roundTrip(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// client is one keep-alive connection; it does as little as it can, so that what is measured is the proxy.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

// dial waits until the proxy answers 200.
func dial(addr string) (*client, error) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			c := &client{conn, bufio.NewReader(conn)}
			if err = c.roundTrip(); err == nil {
				return c, nil
			}
			_ = conn.Close()
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("cannot reach the proxy: %w", err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (c *client) roundTrip() error {
	if _, err := io.WriteString(c.conn, "GET /x HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"); err != nil {
		return err
	}
	status, err := c.r.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(status, "HTTP/1.1 200 ") {
		return fmt.Errorf("the proxy answers %q", status)
	}
	length := -1
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, _ := strings.Cut(string(line), ":"); strings.EqualFold(name, "Content-Length") {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
	}
	if length < 0 {
		return fmt.Errorf("the proxy's answer has no length")
	}
	_, err = c.r.Discard(length)
	return err
}

func nginx(dir, listen, endpoint string) ([]string, error) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`daemon off; master_process off; worker_processes 1; error_log %[1]s/error.log; pid %[1]s/pid;
events { worker_connections 1024; }
http {
  access_log %[1]s/access.log; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  keepalive_requests 100000000;
  upstream e { server %[3]s; keepalive 128; keepalive_requests 100000000; }
  server {
    listen %[2]s; server_name %[4]s;
    location / {
      proxy_pass http://e; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
    }
  }
}`, dir, listen, endpoint, host)
	file := filepath.Join(dir, "nginx.conf")
	return []string{path, "-c", file, "-p", dir, "-e", dir + "/error.log"}, os.WriteFile(file, []byte(conf), 0o644)
}

func haproxy(dir, listen, endpoint string) ([]string, error) {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
frontend f
  bind %s
  default_backend e
backend e
  http-reuse always
  server e %s
`, listen, endpoint)
	file := filepath.Join(dir, "haproxy.cfg")
	return []string{path, "-db", "-f", file}, os.WriteFile(file, []byte(conf), 0o644)
}

func ruche(dir, listen, endpoint string) ([]string, error) {
	path, err := filepath.Abs("../bin/ruche")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%w (run make build)", err)
	}
	routes := fmt.Sprintf("routes:\n  - host: %s\n    endpoints: [http://%s]\n", host, endpoint)
	if err := os.Mkdir(filepath.Join(dir, "routes"), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "routes", "bench.yaml"), []byte(routes), 0o644); err != nil {
		return nil, err
	}
	return []string{path, "up", "--no-docker", "--http-addr", listen, "--https-addr", "off", "--admin-addr", "127.0.0.1:0",
		"--data-dir", filepath.Join(dir, "data"), "--routes-dir", filepath.Join(dir, "routes"), "--certs-dir", dir,
		"--access-log", filepath.Join(dir, "access.log")}, nil
}

func freeAddress(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// family is a process and its children, which is where the work of some proxies is done.
func family(pid int) []int {
	pids := []int{pid}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, f := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

// cpuTime is the user and system time of the processes so far, from /proc/PID/schedstat of every thread: nanoseconds, where
// /proc/PID/stat has ticks of 10 ms only.
func cpuTime(b *testing.B, pids []int) time.Duration {
	var sum time.Duration
	for _, pid := range pids {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil {
			b.Fatal(err)
		}
		for _, task := range tasks {
			content, err := os.ReadFile(task)
			if err != nil {
				continue // the thread has ended
			}
			ns, err := strconv.ParseInt(strings.Fields(string(content))[0], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(ns)
		}
	}
	return sum
}
