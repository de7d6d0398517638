package loop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Thousands of connections that come and go, with every way to end one at random moments: a proxy of two loops between clients and an echo.
func TestStress(t *testing.T) {
	listen(t) // Go's own poller keeps what it opens
	descriptorsBefore := descriptors(t)
	t.Run("run", stress)
	if after := descriptors(t); after > descriptorsBefore {
		t.Errorf("%d descriptors are left", after-descriptorsBefore)
	}
}

func stress(t *testing.T) {
	g := start(t, 2)
	back, front := listen(t), listen(t)
	echoes := serve(t, g, back, Acceptor{Accepted: func(c *Conn) {
		c.SetTimeouts(time.Second, time.Second)
		(&stressEcho{c}).Ready()
	}})
	pools := make([]stressPool, len(g.Loops()))
	proxies := serve(t, g, front, Acceptor{Accepted: func(c *Conn) {
		c.SetTimeouts(time.Second, time.Second)
		p := &stressProxy{c: c, pool: &pools[c.Loop().Index()], to: back}
		p.Ready()
	}})

	var rounds, answers atomic.Int64
	deadline := time.Now().Add(stressTime())
	var clients sync.WaitGroup
	for i := range 32 {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(i)))
			for time.Now().Before(deadline) {
				if err := stressClient(random, addr(front).String(), &answers); err != nil {
					t.Error(err)
					return
				}
				rounds.Add(1)
			}
		})
	}
	clients.Wait()
	t.Logf("%d connections, %d answers", rounds.Load(), answers.Load())
	if answers.Load() == 0 {
		t.Error("nobody got an answer")
	}
	within(t, "Open.Close", proxies.Close)
	within(t, "Group.Close", g.Close) // with everything that is still under way
	for _, l := range g.Loops() {
		if n := l.attached.Load(); n != 0 || l.busy != 0 || len(l.timers) != 0 {
			t.Errorf("loop %d: %d connections, %d fibers and %d timers are left", l.Index(), n, l.busy, len(l.timers))
		}
	}
	if n := proxies.Connected() + echoes.Connected(); n != 0 {
		t.Errorf("%d connections are counted as open", n)
	}
}

func stressTime() time.Duration {
	if testing.Short() {
		return 200 * time.Millisecond
	}
	return time.Second
}

// stressEcho echoes, keeps its connection without a fiber in between, and now and then ends it in one way or another.
type stressEcho struct{ c *Conn }

func (e *stressEcho) Ready() {
	buf := make([]byte, 32<<10)
	n, err := e.c.Read(buf)
	if err != nil {
		_ = e.c.Close()
		return
	}
	switch rand.IntN(200) {
	case 0:
		_ = e.c.Close() // with an answer owed
		return
	case 1:
		e.c.Loop().After(time.Microsecond, func() { _ = e.c.Close() })
	case 2:
		e.c.WatchGone(func() { _ = e.c.Close() })
		e.c.Loop().Sleep(&Sleeper{}, time.Microsecond)
	}
	if _, err := e.c.Write(buf[:n]); err != nil {
		_ = e.c.Close()
		return
	}
	e.c.Idle(time.Duration(1+rand.IntN(50))*time.Millisecond, e)
}

func (e *stressEcho) Expired() { _ = e.c.Close() }

// stressPool keeps connections to the echo that nobody uses.
type stressPool struct{ idle []*pooled }

type pooled struct {
	c    *Conn
	pool *stressPool
}

func (p *pooled) Ready()   { p.leave(); _ = p.c.Close() }
func (p *pooled) Expired() { p.leave(); _ = p.c.Close() }

func (p *pooled) leave() {
	for i, other := range p.pool.idle {
		if other == p {
			p.pool.idle = append(p.pool.idle[:i], p.pool.idle[i+1:]...)
			return
		}
	}
}

// stressProxy passes what it reads to the echo and the answer back.
type stressProxy struct {
	c    *Conn
	pool *stressPool
	to   net.Listener
}

func (p *stressProxy) Ready() {
	buf := make([]byte, 32<<10)
	n, err := p.c.Read(buf)
	if err != nil {
		_ = p.c.Close()
		return
	}
	echo := p.echo()
	if echo == nil {
		_ = p.c.Close()
		return
	}
	// When the client goes while the answer is awaited, so does the other connection.
	p.c.WatchGone(func() { _ = echo.Close() })
	ok := p.pass(echo, buf, n)
	p.c.WatchGone(nil)
	if ok {
		kept := &pooled{echo, p.pool}
		p.pool.idle = append(p.pool.idle, kept)
		echo.Idle(20*time.Millisecond, kept)
		p.c.Idle(time.Second, p)
		return
	}
	_ = echo.Close()
	_ = p.c.Close()
}

func (p *stressProxy) pass(echo *Conn, buf []byte, n int) bool {
	if _, err := echo.Write(buf[:n]); err != nil {
		return false
	}
	if _, err := io.ReadFull(echo, buf[:n]); err != nil {
		return false
	}
	_, err := p.c.Write(buf[:n])
	return err == nil
}

func (p *stressProxy) Expired() { _ = p.c.Close() }

func (p *stressProxy) echo() *Conn {
	for n := len(p.pool.idle); n > 0; n = len(p.pool.idle) {
		kept := p.pool.idle[n-1]
		p.pool.idle = p.pool.idle[:n-1]
		if kept.c.Take() {
			return kept.c
		}
		_ = kept.c.Close()
	}
	c, err := p.c.Loop().Dial(addr(p.to), time.Second)
	if err != nil {
		return nil
	}
	c.SetTimeouts(time.Second, time.Second)
	return c
}

// stressClient asks some times and ends at a random moment in a random way. An answer is right or none at all.
func stressClient(random *rand.Rand, to string, answers *atomic.Int64) error {
	c, err := net.Dial("tcp", to)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	for i := range random.IntN(20) {
		what := bytes.Repeat([]byte(fmt.Sprintf("%d of %v. ", i, c.LocalAddr())), 1+random.IntN(1<<random.IntN(10)))
		if _, err = c.Write(what); err != nil {
			break
		}
		switch random.IntN(50) {
		case 0:
			return nil
		case 1:
			return c.(*net.TCPConn).SetLinger(0)
		case 2:
			_ = c.(*net.TCPConn).CloseWrite()
		}
		got := make([]byte, len(what))
		if _, err = io.ReadFull(c, got); err != nil {
			break
		}
		if !bytes.Equal(got, what) {
			return errors.New("the answer is another one")
		}
		answers.Add(1)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) { // 10 s, though every wait in between is bounded by 1 s
		return err
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	return nil
}
