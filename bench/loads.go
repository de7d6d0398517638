package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// target is a proxy that runs, as a load sees it.
type target struct {
	peer    peer
	setup   setup
	process *process
}

// host is the one that loads ask for which need a single one.
func (t *target) host() string { return t.setup.Hosts[0] }

// clients makes n of them, without a connection yet.
func (t *target) clients(n int) []*client {
	all := make([]*client, n)
	for i := range all {
		all[i] = &client{address: t.setup.address()}
		if t.setup.TLS {
			all[i].tls = &tls.Config{
				ServerName: t.host(), MinVersion: tls.VersionTLS13,
				// One key exchange for all: some proxies know a costlier one, others do not.
				CurvePreferences: []tls.CurveID{tls.X25519},
				// The certificate is made for the run and signed by itself.
				InsecureSkipVerify: true,
			}
		}
	}
	return all
}

func get(host, path, extra string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n%s\r\n", path, host, extra)
}

// warmUp lets pools and heaps grow before anything is measured.
func warmUp(ctx context.Context, t *target) {
	drive(ctx, t.clients(64), get(t.host(), "/small", ""), 200*time.Millisecond, 0)
}

func upload(ctx context.Context, t *target) (outcome, error) {
	head := fmt.Sprintf("POST /small HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\nContent-Length: %d\r\n\r\n", t.host(), largeBody)
	request := append([]byte(head), bytes.Repeat([]byte{'x'}, largeBody)...)
	return drive(ctx, t.clients(16), request, length, 0), ctx.Err()
}

func handshakes(ctx context.Context, t *target) (outcome, error) {
	clients := t.clients(32)
	for _, c := range clients {
		c.once = true
	}
	return drive(ctx, clients, get(t.host(), "/small", "Connection: close\r\n"), length, 0), ctx.Err()
}

// idle opens many connections, sends a request on each, and tells what the proxy's memory has grown by while they stay.
func idle(ctx context.Context, t *target) (outcome, error) {
	const openers, settle = 64, 2 * time.Second
	before := t.process.memory()
	clients := t.clients(many)
	defer func() {
		for _, c := range clients {
			c.close()
		}
	}()
	o := ask(ctx, clients, openers, get(t.host(), "/small", ""))
	for _, c := range clients {
		if c.conn == nil {
			o.losses["not kept"]++
		}
	}
	if err := pause(ctx, settle); err != nil {
		return o, err
	}
	o.perConnection = float64(t.process.memory()-before) / many
	// Those that the proxy has closed to save memory are losses: each client finds out when it asks again.
	again := ask(ctx, clients, openers, get(t.host(), "/small", ""))
	o.requests += again.requests
	o.elapsed += again.elapsed
	for what, n := range again.losses {
		o.losses[what] += n
	}
	return o, ctx.Err()
}

// ask sends a request with each of the clients, some of them at once.
func ask(ctx context.Context, clients []*client, atOnce int, request []byte) outcome {
	tallies := make([]tally, atOnce)
	begin := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	for i := range tallies {
		wg.Go(func() {
			for n := next.Add(1) - 1; n < int64(len(clients)) && ctx.Err() == nil; n = next.Add(1) - 1 {
				sent := time.Now()
				if err := clients[n].do(request); err != nil {
					tallies[i].lose(err)
					continue
				}
				tallies[i].took = append(tallies[i].took, time.Since(sent))
			}
		})
	}
	wg.Wait()
	return summarize(tallies, time.Since(begin))
}

// swaps changes the table while requests come in. A change is a new host, and it is in force when that host is served; the
// next one comes 100 ms after the last, or later when that one took longer.
func swaps(ctx context.Context, t *target) (outcome, error) {
	const clients, perSecond, every = 32, 2000, 100 * time.Millisecond
	senders := t.clients(clients)
	for _, c := range senders {
		c.notices = true
	}
	loaded := make(chan outcome, 1)
	go func() {
		loaded <- drive(ctx, senders, get(t.host(), "/small", ""), length, clients*time.Second/perSecond)
	}()
	var took []time.Duration
	var failed error
	end := time.Now().Add(length)
	for n := 0; failed == nil && time.Now().Before(end); n++ {
		begin := time.Now()
		if failed = t.swap(ctx, n); failed == nil {
			took = append(took, time.Since(begin))
			failed = pause(ctx, time.Until(begin.Add(every)))
		}
	}
	o := <-loaded
	slices.Sort(took)
	o.swaps, o.swapTime = len(took), percentile(took, 50)
	return o, failed
}

// swap adds a host in the place of the last one and waits until it is served.
func (t *target) swap(ctx context.Context, n int) error {
	t.setup.Added = fmt.Sprintf("swap%d.bench.example", n)
	if err := t.peer.reload(ctx, t.setup, t.process); err != nil {
		return err
	}
	return t.wait(ctx, t.setup.Added)
}

// wait asks for a host until it is served. Each question has a connection of its own, for a kept one may belong to
// a worker with the former table.
func (t *target) wait(ctx context.Context, host string) error {
	const bound, every = 30 * time.Second, 2 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	c := t.clients(1)[0]
	c.once = true
	request := get(host, "/close", "Connection: close\r\n")
	for {
		err := c.do(request)
		if err == nil {
			return nil
		}
		if ended := t.process.ended(); ended != nil {
			return ended
		}
		if pause(ctx, every) != nil {
			return fmt.Errorf("%s does not serve %s: %w", t.process.name, host, err)
		}
	}
}
