package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// patience bounds a single request.
const patience = 10 * time.Second

// client sends one request after the other, on one connection while the proxy keeps it. It does as little as it can: what is
// measured is the proxy.
type client struct {
	address string
	tls     *tls.Config // nil for plain HTTP
	once    bool        // a new connection for each request
	notices bool        // look before each request whether the proxy has closed the connection, as clients of people do
	conn    net.Conn
	r       *bufio.Reader
}

// loss is why a request failed, in a word or two that can be counted.
type loss string

func (l loss) Error() string { return string(l) }

const (
	lossConnect loss = "not connected"
	// lossCut is a connection that ended between the request and the end of its answer.
	lossCut     loss = "cut off"
	lossTimeout loss = "timed out"
)

// do sends a request and reads its answer; only one with status 200 is no loss.
func (c *client) do(request []byte) error {
	if c.notices && c.conn != nil && isClosed(c.conn) {
		c.close()
	}
	if c.conn == nil {
		if err := c.dial(); err != nil {
			return lossConnect
		}
	}
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	_, err := c.conn.Write(request)
	status, closes := 0, true
	if err == nil {
		status, closes, err = readAnswer(c.r)
	}
	if err == nil && c.once {
		// The side that closes first keeps the port for a minute: leave that to the proxy, which has one port alone.
		_, _ = c.r.ReadByte()
	}
	if err != nil || closes || c.once {
		c.close()
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return lossTimeout
	case err != nil:
		return lossCut
	case status != 200:
		return loss(fmt.Sprintf("status %d", status))
	}
	return nil
}

func (c *client) dial() error {
	conn, err := net.DialTimeout("tcp", c.address, patience)
	if err != nil {
		return err
	}
	c.conn = conn
	if c.tls != nil {
		c.conn = tls.Client(conn, c.tls)
	}
	if c.r == nil {
		c.r = bufio.NewReader(nil)
	}
	c.r.Reset(c.conn)
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// isClosed says whether the other side has closed a TCP connection that is between two requests.
func isClosed(conn net.Conn) bool {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return true
	}
	var readErr error
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, readErr = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	return err != nil || !errors.Is(readErr, syscall.EAGAIN)
}

// readAnswer reads one answer, which must have a length, and tells whether the connection ends with it.
func readAnswer(r *bufio.Reader) (status int, closes bool, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, true, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, true, fmt.Errorf("%q is no answer", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, true, err
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, true, err
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			length, _ = strconv.Atoi(string(value))
		case bytes.EqualFold(name, []byte("Connection")):
			closes = bytes.EqualFold(value, []byte("close"))
		}
	}
	if length < 0 {
		// Its end is that of the connection; only what proxies answer themselves comes so.
		return status, true, nil
	}
	_, err = r.Discard(length)
	return status, closes, err
}

// drive lets clients send a request at once until the time is over. With every > 0 each of them sends one at that pace, and a
// late one counts from when it was due; with 0 each sends the next when the last is answered.
func drive(ctx context.Context, clients []*client, request []byte, length, every time.Duration) outcome {
	tallies := make([]tally, len(clients))
	begin := time.Now()
	ctx, cancel := context.WithDeadline(ctx, begin.Add(length))
	defer cancel()
	var wg sync.WaitGroup
	for i, c := range clients {
		first := begin.Add(every * time.Duration(i) / time.Duration(len(clients)))
		wg.Go(func() { tallies[i].run(ctx, c, request, first, every) })
	}
	wg.Wait()
	return summarize(tallies, time.Since(begin))
}

// tally is what one client saw.
type tally struct {
	took   []time.Duration
	losses map[string]int
}

func (t *tally) run(ctx context.Context, c *client, request []byte, due time.Time, every time.Duration) {
	defer c.close()
	for ; ctx.Err() == nil; due = due.Add(every) {
		if every == 0 {
			due = time.Now()
		} else if pause(ctx, time.Until(due)) != nil {
			return
		}
		if err := c.do(request); err != nil {
			t.lose(err)
			// A proxy that is down must not make this spin.
			_ = pause(ctx, time.Millisecond)
			continue
		}
		t.took = append(t.took, time.Since(due))
	}
}

func (t *tally) lose(err error) {
	if t.losses == nil {
		t.losses = make(map[string]int)
	}
	t.losses[err.Error()]++
}

func summarize(tallies []tally, elapsed time.Duration) outcome {
	o := outcome{elapsed: elapsed, losses: make(map[string]int)}
	var took []time.Duration
	for _, t := range tallies {
		took = append(took, t.took...)
		for what, n := range t.losses {
			o.losses[what] += n
		}
	}
	o.requests = len(took)
	slices.Sort(took)
	o.p50, o.p99 = percentile(took, 50), percentile(took, 99)
	return o
}

// percentile is the smallest of the sorted values that p percent of them do not exceed.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// pause waits, or returns why ctx has ended.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
