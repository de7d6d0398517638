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
	// stormPart is how many are renewed in one turn, stormQuiet how long a turn without renewals is.
	stormPart  = 50
	stormQuiet = 10 * time.Second
)

// BenchmarkRenewalStorm measures what visitors notice when 1,000 certificates are renewed out of turn: "ruche up" as a process of its own, with the internal authority as the issuer, and
// three loads at a fixed pace: plain HTTP and HTTPS on kept connections, and HTTPS with a handshake for each request. It goes in turns, without renewals and with them, so that other work of
// the machine disturbs both alike; the ratio is the median of the turns' own.
func BenchmarkRenewalStorm(b *testing.B) {
	s := startStorm(b)
	var quiet, busy, ratios [len(stormLoads)][]float64
	var renewing time.Duration
	before, foreign := usageWith(s.up), [2]float64{}
	for turn := range stormNames / stormPart {
		q := s.load(func() { _ = pause(b.Context(), stormQuiet) })
		now := usageWith(s.up)
		foreign[0] += now.foreignSince(before)
		began := time.Now()
		r := s.load(func() { s.renew(turn * stormPart) })
		renewing += time.Since(began)
		before = usageWith(s.up)
		foreign[1] += before.foreignSince(now)
		for i := range stormLoads {
			quiet[i], busy[i], ratios[i] = append(quiet[i], q[i]), append(busy[i], r[i]), append(ratios[i], r[i]/q[i])
		}
	}
	for i, l := range stormLoads {
		b.ReportMetric(middle(quiet[i]), l.name+"-quiet-p99-ms")
		b.ReportMetric(middle(busy[i]), l.name+"-renewing-p99-ms")
		b.ReportMetric(middle(ratios[i]), l.name+"-ratio")
	}
	const turns = stormNames / stormPart
	b.Logf("other work had %.0f %% of the machine, and %.0f %% during renewals", foreign[0]/turns, foreign[1]/turns)
	b.ReportMetric(renewing.Seconds(), "renewing-s")
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
	s.awaitIssued(stormNames)
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

// renew has the certificates of a turn renewed, and waits until they are.
func (s *storm) renew(from int) {
	s.b.Helper()
	args := []string{"certs", "renew", "--admin-addr", s.admin}
	for i := range stormPart {
		args = append(args, stormName(from+i))
	}
	s.command(args...)
	s.awaitIssued(stormPart)
}

// awaitIssued waits until so many more certificates were issued. It goes by the log, since asking for a list would be a load of its own.
func (s *storm) awaitIssued(n int) {
	s.b.Helper()
	s.issued += n
	s.until("certificates", func() bool {
		log, _ := os.ReadFile(s.up.log)
		return bytes.Count(log, []byte("a certificate was issued")) >= s.issued
	})
}

func (s *storm) until(what string, condition func() bool) {
	s.b.Helper()
	for deadline := time.Now().Add(10 * time.Minute); !condition(); {
		if err := s.up.ended(); err != nil {
			s.b.Fatal(err)
		}
		if time.Now().After(deadline) {
			s.b.Fatalf("waited ten minutes for %s", what)
		}
		_ = pause(s.b.Context(), 100*time.Millisecond)
	}
}

// load sends requests while something is done, and gives the p99 of each load in milliseconds.
func (s *storm) load(do func()) (p99 [len(stormLoads)]float64) {
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
	for k := range stormLoads {
		var took []time.Duration
		for _, x := range senders {
			if x.load == k {
				took = append(took, x.took...)
			}
		}
		slices.Sort(took)
		p99[k] = millis(percentile(took, 99))
	}
	for _, x := range senders {
		if x.failed != nil {
			s.b.Errorf("%s: a request got no answer: %v", stormLoads[x.load].name, x.failed)
		}
	}
	return p99
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
	took    []time.Duration
	failed  error
}

func (x *sender) run(ctx context.Context, due time.Time) {
	defer x.client.close()
	for ; pause(ctx, time.Until(due)) == nil; due = due.Add(x.every) {
		if err := x.client.do(x.request); err != nil {
			x.failed = err
			continue
		}
		if due.Sub(x.begin) > time.Second { // in the first one connections are made
			x.took = append(x.took, time.Since(due))
		}
	}
}
