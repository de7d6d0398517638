package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// stormNames is how many certificates are renewed.
	stormNames = 1000
	// stormClients send stormRate requests a second together, of each kind of load.
	stormClients, stormRate = 8, 200
	stormHandshakes         = 50 // a second: connections made anew
	// stormRounds is how often the load is measured without a storm and with one, in turn.
	stormRounds = 2
	// stormQuiet is how long it is measured without one, stormWindow the time that a p99 is of.
	stormQuiet  = 25 * time.Second
	stormWindow = 4 * time.Second
)

// BenchmarkRenewalStorm measures what visitors notice when 1,000 certificates are renewed at once: "ruche up" as a process of its own, with the internal authority as the issuer, and
// three loads at a fixed pace: plain HTTP and HTTPS on kept connections, and HTTPS with a handshake for each request. The p99 is that of four seconds; figures are medians of all such times without
// a storm, and of all with one, which come in turn, so that other work of the machine disturbs both alike.
func BenchmarkRenewalStorm(b *testing.B) {
	s := startStorm(b)
	var quiet, busy [len(stormLoads)][]float64
	var took []float64
	before, quietForeign, busyForeign := usageWith(s.up), 0.0, 0.0
	for range stormRounds {
		s.load(&quiet, func() { _ = pause(b.Context(), stormQuiet) })
		now := usageWith(s.up)
		quietForeign += now.foreignSince(before) / stormRounds
		began := time.Now()
		s.load(&busy, func() {
			s.command("certs", "renew", "--all", "--admin-addr", s.admin)
			s.awaitIssued()
		})
		took = append(took, time.Since(began).Seconds())
		before = usageWith(s.up)
		busyForeign += before.foreignSince(now) / stormRounds
	}
	for i, l := range stormLoads {
		b.ReportMetric(middle(quiet[i]), l.name+"-quiet-p99-ms")
		b.ReportMetric(middle(busy[i]), l.name+"-renewing-p99-ms")
		b.ReportMetric(middle(busy[i])/middle(quiet[i]), l.name+"-ratio")
	}
	b.Logf("other work had %.0f %% of the machine, and %.0f %% during storms", quietForeign, busyForeign)
	b.ReportMetric(middle(took), "storm-s")
	b.ReportMetric(0, "ns/op")
}

func middle(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

type stormLoad struct {
	name      string
	tls, once bool
	rate      int // requests a second
}

// stormLoads are what is asked for during a storm.
var stormLoads = [...]stormLoad{
	{"http", false, false, stormRate},
	{"https", true, false, stormRate},
	{"handshake", true, true, stormHandshakes},
}

type storm struct {
	b                  *testing.B
	program            string
	up                 *process
	http, https, admin string
	issued             int // certificates so far
}

func startStorm(b *testing.B) *storm {
	program, err := filepath.Abs("../bin/ruche")
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		b.Skipf("%v (make bench B=RenewalStorm builds it)", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	go func() { _ = answerAll(l) }()
	dir, free := b.TempDir(), &bench{port: 18200}
	s := &storm{b: b, program: program, http: free.address(), https: free.address(), admin: free.address()}
	var routes bytes.Buffer
	fmt.Fprintf(&routes, "routes:\n  - {host: %s, tls: off, endpoints: [\"http://%s\"]}\n", stormPlain, l.Addr()) // the others redirect to HTTPS
	for i := range stormNames {
		fmt.Fprintf(&routes, "  - {host: %s, tls: internal, endpoints: [\"http://%s\"]}\n", stormName(i), l.Addr())
	}
	if err := os.Mkdir(dir+"/routes", 0o755); err != nil {
		b.Fatal(err)
	}
	s.up, err = start("ruche", dir+"/ruche.log", []string{program, "up", "--no-docker", "--routes-dir", dir + "/routes", "--certs-dir", dir + "/certs", "--data-dir", dir + "/data",
		"--access-log", dir + "/access.log", "--http-addr", s.http, "--https-addr", s.https, "--admin-addr", s.admin})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.up.stop)
	s.until("readiness", func() bool {
		resp, err := http.Get("http://" + s.admin + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
	s.command("ca", "init", "--organization", "Bench", "--permit", "storm.example", "--admin-addr", s.admin)
	if err := os.WriteFile(dir+"/routes/storm.yaml", routes.Bytes(), 0o644); err != nil {
		b.Fatal(err)
	}
	s.awaitIssued()
	return s
}

// stormPlain is the host without a certificate.
const stormPlain = "plain.storm.example"

func stormName(i int) string { return fmt.Sprintf("s%d.storm.example", i) }

func (s *storm) command(args ...string) {
	s.b.Helper()
	if out, err := exec.Command(s.program, args...).CombinedOutput(); err != nil {
		s.b.Fatalf("ruche %s: %v\n%s", strings.Join(args, " "), err, out[:min(len(out), 1000)])
	}
}

// awaitIssued waits until all certificates were issued once more. It goes by the log, since asking for a list would be a load of its own.
func (s *storm) awaitIssued() {
	s.b.Helper()
	s.issued += stormNames
	s.until("certificates", func() bool {
		log, _ := os.ReadFile(s.up.log)
		return bytes.Count(log, []byte("a certificate was issued")) >= s.issued
	})
}

func (s *storm) until(what string, condition func() bool) {
	s.b.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !condition(); {
		if err := s.up.ended(); err != nil {
			s.b.Fatal(err)
		}
		if time.Now().After(deadline) {
			s.b.Fatalf("waited five minutes for %s", what)
		}
		_ = pause(s.b.Context(), 100*time.Millisecond)
	}
}

// load sends requests while something is done, and adds the p99 of each window, in milliseconds.
func (s *storm) load(p99 *[len(stormLoads)][]float64, do func()) {
	s.b.Helper()
	senders := make([]*sender, 0, len(stormLoads)*stormClients)
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(s.b.Context())
	defer stop()
	begin := time.Now()
	for k, l := range stormLoads {
		for i := range stormClients {
			x := &sender{load: k, every: stormClients * time.Second / time.Duration(l.rate), begin: begin}
			x.client, x.request = s.client(l, i)
			senders = append(senders, x)
			first := begin.Add(x.every * time.Duration(i) / stormClients)
			wg.Go(func() { x.run(ctx, first) })
		}
	}
	do()
	stop()
	wg.Wait()
	windows := int((time.Since(begin) - time.Second) / stormWindow)
	for k := range stormLoads {
		for at := range windows {
			var took []time.Duration
			for _, x := range senders {
				if x.load == k && at < len(x.took) {
					took = append(took, x.took[at]...)
				}
			}
			slices.Sort(took)
			p99[k] = append(p99[k], millis(percentile(took, 99)))
		}
	}
	for _, x := range senders {
		if x.failed != nil {
			s.b.Errorf("%s: a request got no answer: %v", stormLoads[x.load].name, x.failed)
		}
	}
}

func (s *storm) client(l stormLoad, i int) (*client, []byte) {
	c, host, extra := &client{address: s.http, once: l.once}, stormPlain, ""
	if l.tls {
		host = stormName(i * 97 % stormNames)
		c.address, c.tls = s.https, &tls.Config{ServerName: host, InsecureSkipVerify: true}
	}
	if l.once {
		extra = "Connection: close\r\n"
	}
	return c, get(host, "/small", extra)
}

// sender sends a request at a pace; a late one counts from when it was due.
type sender struct {
	load    int
	client  *client
	request []byte
	every   time.Duration
	begin   time.Time
	took    [][]time.Duration // by the window in which it was due
	failed  error
}

func (x *sender) run(ctx context.Context, due time.Time) {
	defer x.client.close()
	for ; pause(ctx, time.Until(due)) == nil; due = due.Add(x.every) {
		if err := x.client.do(x.request); err != nil {
			x.failed = err
			continue
		}
		since := due.Sub(x.begin) - time.Second // in the first one connections are made
		if since < 0 {
			continue
		}
		window := int(since / stormWindow)
		for len(x.took) <= window {
			x.took = append(x.took, nil)
		}
		x.took[window] = append(x.took[window], time.Since(due))
	}
}
