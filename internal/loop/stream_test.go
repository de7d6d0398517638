package loop

import (
	"bytes"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestReadDeliversWhatCameBeforeTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		send func(peer *net.TCPConn)
	}{
		{"closed", func(p *net.TCPConn) { _, _ = io.WriteString(p, "hello"); _ = p.Close() }},
		{"half closed", func(p *net.TCPConn) { _, _ = io.WriteString(p, "hello"); _ = p.CloseWrite() }},
	} {
		for _, size := range []int{1, 2, 5, 6, 4096} { // buffers that are filled, and that are not
			t.Run(tt.name, func(t *testing.T) {
				l := start(t, 1).Loops()[0]
				c, peer := connect(t, l)
				on(t, l, func() {
					defer func() { _ = c.Close() }()
					tt.send(peer)
					until(l, c.Gone) // data and end are told in one event
					var got []byte
					buf := make([]byte, size)
					for {
						n, err := c.Read(buf)
						got = append(got, buf[:n]...)
						if err != nil {
							is(t, "Read", err, io.EOF)
							break
						}
					}
					if string(got) != "hello" {
						t.Errorf("buffer of %d: read %q", size, got)
					}
					_, err := c.Read(buf)
					is(t, "Read again", err, io.EOF)
				})
			})
		}
	}
}

func TestReadWaitsForTheEnd(t *testing.T) {
	l := start(t, 1).Loops()[0]
	c, peer := connect(t, l)
	read := spawn(l, func() {
		n, err := c.Read(make([]byte, 10))
		if n != 0 {
			t.Errorf("read %d bytes", n)
		}
		is(t, "Read", err, io.EOF)
	})
	call(t, l, func() {}) // it waits by now
	_ = peer.CloseWrite()
	await(t, "Read", read)
}

func TestWriteGoesOnAfterTheClientHasClosedItsSide(t *testing.T) {
	l := start(t, 1).Loops()[0]
	c, peer := connect(t, l)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB: more than socket buffers hold
	_ = peer.CloseWrite()
	wrote := spawn(l, func() {
		until(l, c.Gone)
		n, err := c.Write(want)
		if n != len(want) || err != nil {
			t.Errorf("wrote %d of %d: %v", n, len(want), err)
		}
		_ = c.Close()
	})
	call(t, l, func() {})
	got, err := io.ReadAll(peer)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the peer got %d bytes of %d: %v", len(got), len(want), err)
	}
	await(t, "Write", wrote)
}

func TestWriteWaitsForASlowReader(t *testing.T) {
	l := start(t, 1).Loops()[0]
	c, peer := connect(t, l)
	want := make([]byte, 8<<20)
	for i := range want {
		want[i] = byte(i * 7)
	}
	wrote := spawn(l, func() {
		if n, err := c.Write(want); n != len(want) || err != nil {
			t.Errorf("wrote %d of %d: %v", n, len(want), err)
		}
		_ = c.CloseWrite()
	})
	var got bytes.Buffer
	buf := make([]byte, 3000)
	for {
		call(t, l, func() {}) // the loop is never kept
		n, err := peer.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			break
		}
		if got.Len() > 1<<20 {
			buf = buf[:cap(buf)]
			rest, _ := io.ReadAll(peer)
			got.Write(rest)
		}
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("the peer got %d bytes of %d, or others", got.Len(), len(want))
	}
	await(t, "Write", wrote)
}

func TestBothDirectionsAtOnce(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	a, b := join(t, g, l)
	const size = 4 << 20
	var ends []<-chan struct{}
	for _, c := range []*Conn{a, b} {
		ends = append(ends, spawn(l, func() {
			if n, err := c.Write(make([]byte, size)); err != nil {
				t.Errorf("wrote %d: %v", n, err)
			}
			_ = c.CloseWrite()
		}), spawn(l, func() {
			if n, err := io.Copy(io.Discard, struct{ io.Reader }{c}); n != size || err != nil {
				t.Errorf("read %d: %v", n, err)
			}
		}))
	}
	for _, end := range ends {
		await(t, "a direction", end)
	}
}

func TestWaitsThatMustNotBe(t *testing.T) {
	var r reports
	g := startWith(t, Config{Loops: 1, Panicked: r.panicked})
	l := g.Loops()[0]
	c, _ := connect(t, l)
	buf := make([]byte, 1)
	read := spawn(l, func() {
		_, err := c.Read(buf)
		is(t, "the first reader", err, net.ErrClosed)
	})
	on(t, l, func() { _, _ = c.Read(buf) })
	r.want(t, l, "two fibers")
	call(t, l, func() { _ = c.Close() })
	await(t, "the first reader", read)

	d, _ := connect(t, l)
	for _, tt := range []struct {
		name string
		wait func()
	}{
		{"Read", func() { _, _ = d.Read(buf) }},
		{"WaitReadable", func() { _ = d.WaitReadable() }},
		{"Write", func() { _, _ = d.Write(make([]byte, 64<<20)) }},
		{"Dial", func() { _, _ = l.Dial(d.Remote(), 0) }},
		{"Sleep", func() { l.Sleep(&Sleeper{}, time.Hour) }},
		{"Offload", func() { l.Offload(t.Context(), nil) }},
	} {
		call(t, l, tt.wait)
		r.want(t, l, "only a fiber may wait", "loop.TestWaitsThatMustNotBe")
	}
}

func TestAfterClose(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	c, _ := connect(t, l)
	on(t, l, func() {
		is(t, "Close", c.Close(), nil)
		buf := make([]byte, 1)
		_, err := c.Read(buf)
		is(t, "Read", err, net.ErrClosed)
		_, err = c.Read(nil)
		is(t, "Read of nothing", err, net.ErrClosed)
		_, err = c.Write(buf)
		is(t, "Write", err, net.ErrClosed)
		is(t, "Close", c.Close(), net.ErrClosed)
		is(t, "CloseWrite", c.CloseWrite(), net.ErrClosed)
		is(t, "WaitReadable", c.WaitReadable(), nil)
		is(t, "SetDeadline", c.SetDeadline(time.Now()), nil)
		if !c.Ready() || !c.Gone() || c.Quiet() || c.Take() {
			t.Errorf("Ready %v, Gone %v, Quiet %v, Take %v", c.Ready(), c.Gone(), c.Quiet(), c.Take())
		}
		if len(l.timers) != 0 || l.attached.Load() != 0 {
			t.Errorf("%d timers and %d connections are left", len(l.timers), l.attached.Load())
		}
	})
}

func TestAPeerThatResets(t *testing.T) {
	l := start(t, 1).Loops()[0]
	for _, waits := range []bool{true, false} {
		c, peer := connect(t, l)
		_ = peer.SetLinger(0)
		read := spawn(l, func() {
			if !waits {
				until(l, c.Gone)
			}
			_, err := c.Read(make([]byte, 1))
			is(t, "Read", err, syscall.ECONNRESET)
			if c.Quiet() || !c.Gone() {
				t.Error("the connection looks fit to be used")
			}
			_, err = c.Write(make([]byte, 1))
			is(t, "Write", err, syscall.EPIPE)
			_ = c.Close()
		})
		if waits {
			call(t, l, func() {})
		}
		_ = peer.Close()
		await(t, "Read", read)
	}
}

func TestAPeerThatResetsAWriter(t *testing.T) {
	l := start(t, 1).Loops()[0]
	c, peer := connect(t, l)
	wrote := spawn(l, func() {
		_, err := c.Write(make([]byte, 64<<20))
		is(t, "Write", err, syscall.ECONNRESET)
	})
	on(t, l, func() { until(l, func() bool { return c.writer != nil }) })
	_ = peer.SetLinger(0)
	_ = peer.Close()
	await(t, "Write", wrote)
}

func TestDeadlines(t *testing.T) {
	past, soon, big := time.Now().Add(-time.Hour), 2*time.Millisecond, make([]byte, 64<<20)
	for _, tt := range []struct {
		name string
		set  func(c *Conn)
	}{
		{"SetDeadline in the past", func(c *Conn) { _ = c.SetDeadline(past) }},
		{"SetDeadline before the process started", func(c *Conn) { _ = c.SetDeadline(time.Unix(1, 0)) }},
		{"SetDeadline soon", func(c *Conn) { _ = c.SetDeadline(time.Now().Add(soon)) }},
		{"SetDeadline soon, bounds later", func(c *Conn) { _ = c.SetDeadline(time.Now().Add(soon)); c.SetTimeouts(time.Hour, time.Hour) }},
		{"SetTimeouts", func(c *Conn) { c.SetTimeouts(soon, soon) }},
		{"SetTimeouts, deadline later", func(c *Conn) { c.SetTimeouts(soon, soon); _ = c.SetDeadline(time.Now().Add(time.Hour)) }},
		{"set while others wait", func(c *Conn) {
			c.SetTimeouts(1<<63-1, 1<<63-1)
			c.loop.Go(func() {
				until(c.loop, func() bool { return c.reader != nil && c.writer != nil })
				_ = c.SetDeadline(past)
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := start(t, 1).Loops()[0]
			c, peer := connect(t, l)
			on(t, l, func() { tt.set(c) })
			read := spawn(l, func() {
				_, err := c.Read(make([]byte, 1))
				is(t, "Read", err, os.ErrDeadlineExceeded)
				is(t, "WaitReadable", c.WaitReadable(), os.ErrDeadlineExceeded)
			})
			wrote := spawn(l, func() {
				_, err := c.Write(big)
				is(t, "Write", err, os.ErrDeadlineExceeded)
			})
			await(t, "Read", read)
			await(t, "Write", wrote)
			on(t, l, func() {
				_ = c.SetDeadline(time.Time{})
				c.SetTimeouts(0, 0)
				_, _ = io.WriteString(peer, "x")
				if _, err := c.Read(make([]byte, 1)); err != nil {
					t.Errorf("Read after that: %v", err)
				}
			})
		})
	}
}

// A deadline that is over ends calls that would not have to wait, as package net has it.
func TestADeadlineThatIsOverComesFirst(t *testing.T) {
	l := start(t, 1).Loops()[0]
	c, peer := connect(t, l)
	_, _ = io.WriteString(peer, "x")
	on(t, l, func() {
		is(t, "WaitReadable", c.WaitReadable(), nil)
		_ = c.SetDeadline(time.Unix(1, 0))
		_, err := c.Read(make([]byte, 1))
		is(t, "Read", err, os.ErrDeadlineExceeded)
		_, err = c.Write(make([]byte, 1))
		is(t, "Write", err, os.ErrDeadlineExceeded)
		_ = c.SetDeadline(time.Time{})
		_, err = c.Read(make([]byte, 1))
		is(t, "Read", err, nil)
	})
}

// The timer stays where an earlier wait has put it, fires for nobody, and is set again.
func TestALaterBoundHolds(t *testing.T) {
	const short, long = time.Millisecond, 10 * time.Millisecond
	for _, tt := range []struct {
		name string
		wait func(c *Conn) error
	}{
		{"Read", func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err }},
		{"Write", func(c *Conn) error { _, err := c.Write(make([]byte, 1)); return err }},
		{"Idle", func(c *Conn) error {
			var s Sleeper
			c.Idle(long, &alarmed{s.Wake})
			if c.loop.Sleep(&s, time.Minute) {
				return nil
			}
			return os.ErrDeadlineExceeded
		}},
	} {
		l := start(t, 1).Loops()[0]
		c, peer := connect(t, l)
		on(t, l, func() {
			_, _ = io.WriteString(peer, "x")
			_, err := c.Read(make([]byte, 10))
			is(t, tt.name+": the first Read", err, nil)
			c.SetTimeouts(short, short)
			_, err = c.Write(make([]byte, 64<<20))
			is(t, tt.name+": the first Write", err, os.ErrDeadlineExceeded)
			c.arm(c.loop.in(short))
			c.SetTimeouts(long, long)
			began := l.Now() // waits count from when the turn began, which may be long ago for who shares the processor
			is(t, tt.name, tt.wait(c), os.ErrDeadlineExceeded)
			if took := l.Now().Sub(began); took < long {
				t.Errorf("%s: it took %v, want %v", tt.name, took, long)
			}
		})
	}
}

// alarmed calls a function when its time is over.
type alarmed struct{ expired func() }

func (*alarmed) Ready()     {}
func (w *alarmed) Expired() { w.expired() }

// Two fibers that always have something to do: without bounds neither would ever let the loop turn.
func TestAFastStreamLeavesTurnsToOthers(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	a, b := join(t, g, l)
	stop, moved := false, 0
	end := spawn(l, func() {
		buf := make([]byte, 64<<10)
		for !stop {
			n, err := a.Write(buf)
			if err == nil {
				_, err = io.ReadFull(b, buf[:n])
			}
			if err != nil {
				t.Error(err)
				return
			}
			moved += 2 * n
		}
	})
	for range 10 {
		before, turn := 0, uint64(0)
		call(t, l, func() { before, turn = moved, l.turn })
		call(t, l, func() {
			// How many turns there are between two posts depends on how busy the machine is. Each has its share, which the last call may exceed.
			turns := int(l.turn - turn)
			if share := moved - before; share > (turns+1)*(maxSpent+maxMove) {
				t.Errorf("%d bytes went by in %d turns", share, turns)
			}
		})
	}
	call(t, l, func() { stop = true })
	await(t, "the stream", end)
}
