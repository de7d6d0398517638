package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// bench is one run.
type bench struct {
	rows   []row
	peers  []peer
	rounds int
	out    io.Writer

	dir      string
	endpoint *process
	answers  string // the address of the endpoint
	port     int    // the last one given out
	steps    int    // done
}

func newBench(rows []row, peers []peer, rounds int, out io.Writer) (*bench, error) {
	// Children get the limit that this process has set for itself.
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	for _, r := range rows {
		if uint64(r.connections) > limit.Max {
			return nil, fmt.Errorf("cannot run %s: it needs %d open files, and %d are allowed (ulimit -Hn)", r.name, r.connections, limit.Max)
		}
	}
	return &bench{rows: rows, peers: peers, rounds: rounds, out: out, port: 18000}, nil
}

// runAndReport runs all steps, prints the table, and writes a run that is whole to a directory.
func (b *bench) runAndReport(ctx context.Context, whole bool, results string) error {
	begin := time.Now()
	measured, err := b.run(ctx)
	if err != nil {
		return err
	}
	r := report{Date: begin.Format(time.DateOnly), Machine: describeMachine(), Versions: b.versions(ctx), Rounds: b.rounds, Rows: measured}
	fmt.Fprintln(b.out)
	if err := r.writeTable(b.out); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\nbench: %d steps in %s\n", b.steps, time.Since(begin).Round(time.Second))
	if whole {
		path, err := r.save(results)
		if err != nil {
			return err
		}
		fmt.Fprintf(b.out, "bench: written to %s.md and .json\n", path)
	}
	return r.failed()
}

// run measures each row with each proxy in turn, round after round.
func (b *bench) run(ctx context.Context) ([]rowResult, error) {
	dir, err := makeDir()
	if err != nil {
		return nil, err
	}
	b.dir = dir
	defer func() { _ = os.RemoveAll(dir) }()
	if err := makeCertificate(dir); err != nil {
		return nil, err
	}
	if b.endpoint, err = b.startEndpoint(ctx); err != nil {
		return nil, err
	}
	defer b.endpoint.stop()

	total := 0
	for _, r := range b.rows {
		total += b.roundsOf(r) * len(b.peers)
	}
	var measured []rowResult
	for _, r := range b.rows {
		result := newRowResult(r, b.peers)
		for round := range b.roundsOf(r) {
			for i, p := range b.peers {
				s, err := b.step(ctx, r, p)
				if ctx.Err() != nil {
					return nil, errors.New("interrupted: everything that was started is stopped")
				}
				result.add(i, s, err)
				b.steps++
				b.progress(total, r, p, round, s, err)
			}
		}
		measured = append(measured, result)
	}
	return measured, b.endpoint.ended()
}

func (b *bench) roundsOf(r row) int {
	if r.once {
		return 1
	}
	return b.rounds
}

func (b *bench) progress(total int, r row, p peer, round int, s sample, err error) {
	what := fmt.Sprintf("%8.1f us/request %8.0f requests/s", s.CPU, s.Rate)
	if s.Errors > 0 {
		what += fmt.Sprintf(" %d errors", s.Errors)
	}
	if err != nil {
		what = err.Error()
	}
	fmt.Fprintf(b.out, "bench: %3d of %d  %-9s %-8s round %d  %s\n", b.steps, total, r.name, p.name, round+1, what)
}

// step starts a proxy, gives it a row's load, and stops it.
func (b *bench) step(ctx context.Context, r row, p peer) (sample, error) {
	t := &target{peer: p, setup: b.setup(r)}
	t.setup.Dir = filepath.Join(b.dir, fmt.Sprintf("%s-%d", p.name, b.steps))
	t.setup.Log = t.setup.Dir + "/access.log"
	if err := os.Mkdir(t.setup.Dir, 0o755); err != nil {
		return sample{}, err
	}
	// It is in memory: the access logs of a whole run would be gigabytes.
	defer func() { _ = os.RemoveAll(t.setup.Dir) }()
	if err := p.configure(t.setup); err != nil {
		return sample{}, err
	}
	var err error
	if t.process, err = start(p.name, t.setup.Dir+"/output.log", append([]string{p.program}, p.command(t.setup)...)); err != nil {
		return sample{}, err
	}
	defer t.process.stop()
	if err := t.wait(ctx, t.setup.Hosts[len(t.setup.Hosts)-1]); err != nil {
		return sample{}, err
	}
	warmUp(ctx, t)
	before, all := t.process.cpu(), usageWith(t.process, b.endpoint)
	o, err := r.load(ctx, t)
	used, foreign := t.process.cpu()-before, usageWith(t.process, b.endpoint).foreignSince(all)
	if err == nil {
		err = t.process.ended()
	}
	if err != nil {
		return sample{}, err
	}
	return newSample(o, used, t.process.memory(), foreign), nil
}

func (b *bench) setup(r row) setup {
	return setup{
		HTTP: b.address(), HTTPS: b.address(), Admin: b.address(), Endpoint: b.answers, Hosts: hostNames(r.hosts), TLS: r.tls,
		Cert: b.dir + "/bench.pem", Key: b.dir + "/bench.key", Connections: r.connections,
	}
}

// address gives a free one that was not given before, below the ports that outgoing connections take.
func (b *bench) address() string {
	for {
		b.port++
		address := fmt.Sprintf("127.0.0.1:%d", b.port)
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
}

// startEndpoint starts this program again, as the endpoint: its time must not be that of a proxy, nor of the load.
func (b *bench) startEndpoint(ctx context.Context) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b.answers = b.address()
	p, err := start("endpoint", b.dir+"/endpoint.log", []string{program, "endpoint", b.answers})
	if err != nil {
		return nil, err
	}
	t := &target{process: p, setup: setup{HTTP: b.answers}}
	if err := t.wait(ctx, "endpoint"); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// makeDir makes a directory in memory where that is possible, so that no disk takes part.
func makeDir() (string, error) {
	parent := "/dev/shm"
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "ruche-bench-")
	if err != nil {
		return "", err
	}
	// Workers of some proxies have another user.
	return dir, os.Chmod(dir, 0o755)
}

// makeCertificate writes an ECDSA P-256 certificate for all hosts: bench.pem has the key too, as HAProxy wants it.
func makeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench.example"}, DNSNames: []string{"*.bench.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	if err := os.WriteFile(dir+"/bench.key", keyPEM, 0o600); err != nil {
		return err
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM...)
	return os.WriteFile(dir+"/bench.pem", both, 0o600)
}
