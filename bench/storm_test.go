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
	stormRounds = 3
	stormQuiet  = 10 * time.Second
)

// BenchmarkRenewalStorm measures what visitors notice when 1,000 certificates are renewed at once: "ruche up" as a process of its own, with the internal authority as the issuer, and
// three loads at a fixed pace: plain HTTP and HTTPS on kept connections, and HTTPS with a handshake for each request. Figures are medians of the rounds; a ratio is taken within its round.
func BenchmarkRenewalStorm(b *testing.B) {
	s := startStorm(b)
	var quiet, busy, ratios [len(stormLoads)][]float64
	var took []float64
	for range stormRounds {
		q := s.load(func() { _ = pause(b.Context(), stormQuiet) })
		began := time.Now()
		r := s.load(func() {
			s.command("certs", "renew", "--all", "--admin-addr", s.admin)
			s.awaitIssued()
		})
		took = append(took, time.Since(began).Seconds())
		for i := range stormLoads {
			quiet[i], busy[i] = append(quiet[i], q[i]), append(busy[i], r[i])
			ratios[i] = append(ratios[i], r[i]/q[i])
		}
	}
	for i, l := range stormLoads {
		b.Logf("%-10s p99 in ms: quiet %.2f, renewing %.2f, ratios %.2f", l.name, quiet[i], busy[i], ratios[i])
		b.ReportMetric(middle(quiet[i]), l.name+"-quiet-p99-ms")
		b.ReportMetric(middle(busy[i]), l.name+"-renewing-p99-ms")
		b.ReportMetric(middle(ratios[i]), l.name+"-ratio")
	}
	b.ReportMetric(middle(took), "storm-s")
	b.ReportMetric(0, "ns/op")
}

func middle(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

// stormLoads are what is asked for during a storm.
var stormLoads = [...]struct {
	name      string
	tls, once bool
	rate      int
}{
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
	for deadline := time.Now().Add(2 * time.Minute); !condition(); {
		if err := s.up.ended(); err != nil {
			s.b.Fatal(err)
		}
		if time.Now().After(deadline) {
			s.b.Fatalf("waited two minutes for %s", what)
		}
		_ = pause(s.b.Context(), 100*time.Millisecond)
	}
}

// load sends requests while something is done, and gives the p99 of each load in milliseconds.
func (s *storm) load(do func()) (p99 [len(stormLoads)]float64) {
	tallies := make([][]tally, len(stormLoads))
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(s.b.Context())
	defer stop()
	begin := time.Now()
	for k, l := range stormLoads {
		tallies[k] = make([]tally, stormClients)
		every := stormClients * time.Second / time.Duration(l.rate)
		for i := range stormClients {
			host, extra := stormPlain, ""
			c := &client{address: s.http, once: l.once}
			if l.tls {
				host = stormName(i * 97 % stormNames)
				c.address, c.tls = s.https, &tls.Config{ServerName: host, InsecureSkipVerify: true}
			}
			if l.once {
				extra = "Connection: close\r\n"
			}
			first := begin.Add(every * time.Duration(i) / stormClients)
			wg.Go(func() { tallies[k][i].run(ctx, c, get(host, "/small", extra), first, every) })
		}
	}
	do()
	stop()
	wg.Wait()
	for k, l := range stormLoads {
		o := summarize(tallies[k], time.Since(begin))
		if o.errors() > 0 {
			s.b.Errorf("%s: requests without an answer: %v", l.name, o.losses)
		}
		p99[k] = millis(o.p99)
	}
	return p99
}
