package loop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// carry moves what comes from a connection to another one, by pipes alone, until it ends.
func carry(to, from *Conn) (n int64, err error) {
	for {
		k, err := carryOnce(to, from)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
}

func carryOnce(to, from *Conn) (int, error) {
	p, err := from.Fill(1 << 62)
	if err != nil {
		return 0, err
	}
	defer p.GiveBack()
	return to.Pour(p)
}

func TestPipesCarryEveryByte(t *testing.T) {
	for _, size := range []int{1, 4095, 4097, pipeSize - 1, pipeSize + 1, 9<<20 + 7} {
		for _, slow := range []bool{false, true} {
			l := start(t, 1).Loops()[0]
			from, sender := connect(t, l)
			to, receiver := connect(t, l)
			want := make([]byte, size)
			for i := range want {
				want[i] = byte(i ^ i>>8 ^ i>>16)
			}
			carried := spawn(l, func() {
				n, err := carry(to, from)
				if n != int64(size) || !errors.Is(err, io.EOF) {
					t.Errorf("%d bytes: carried %d: %v", size, n, err)
				}
				_ = to.CloseWrite()
			})
			go func() {
				_, _ = sender.Write(want)
				_ = sender.CloseWrite()
			}()
			if slow {
				on(t, l, func() { until(l, func() bool { return to.writer != nil || to.ending || from.gone }) })
			}
			got, err := io.ReadAll(receiver)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes: the receiver got %d, or others: %v", size, len(got), err)
			}
			await(t, "carry", carried)
		}
	}
}

func TestFillTakesNoMoreThanAskedFor(t *testing.T) {
	l := start(t, 1).Loops()[0]
	from, sender := connect(t, l)
	to, receiver := connect(t, l)
	_, _ = io.WriteString(sender, "content, and more")
	on(t, l, func() {
		p, err := from.Fill(7)
		if err != nil || p.Held() != 7 {
			t.Errorf("Fill: %v", err)
			return
		}
		defer p.GiveBack()
		if n, err := to.Pour(p); n != 7 || err != nil {
			t.Errorf("poured %d: %v", n, err)
		}
		rest := make([]byte, 20)
		if n, err := from.Read(rest); string(rest[:n]) != ", and more" {
			t.Errorf("left is %q: %v", rest[:n], err)
		}
		_ = to.Close()
	})
	if got, _ := io.ReadAll(receiver); string(got) != "content" {
		t.Errorf("the receiver got %q", got)
	}
}

// Both waits end as those of Read and Write do.
func TestWaitsForPipesEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(c *Conn, peer *net.TCPConn)
		want error
		// Where both directions wait, only one of them is told the reason.
		fill, pour error
	}{
		{"a bound", func(c *Conn, _ *net.TCPConn) {
			c.SetTimeouts(time.Millisecond, time.Millisecond)
			_ = c.SetDeadline(time.Now()) // for the wait that has begun
		}, os.ErrDeadlineExceeded, nil, nil},
		{"Close", func(c *Conn, _ *net.TCPConn) { _ = c.Close() }, net.ErrClosed, nil, nil},
		{"the group's Close", func(c *Conn, _ *net.TCPConn) { go c.loop.group.Close() }, net.ErrClosed, nil, nil},
		{"a reset", func(_ *Conn, peer *net.TCPConn) { _ = peer.SetLinger(0); _ = peer.Close() }, syscall.ECONNRESET, io.EOF, syscall.EPIPE},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.fill == nil {
				tt.fill, tt.pour = tt.want, tt.want
			}
			l := start(t, 1).Loops()[0]
			c, peer := connect(t, l)
			source, sender := connect(t, l)
			go func() { _, _ = sender.Write(make([]byte, 64<<20)) }()
			filled := spawn(l, func() {
				_, err := c.Fill(1)
				if !errors.Is(err, tt.want) && !errors.Is(err, tt.fill) {
					t.Errorf("Fill: error %v, want %v", err, tt.want)
				}
			})
			poured := spawn(l, func() {
				_, err := carry(c, source)
				if !errors.Is(err, tt.want) && !errors.Is(err, tt.pour) {
					t.Errorf("Pour: error %v, want %v", err, tt.want)
				}
				_ = source.Close()
			})
			await(t, "end", spawn(l, func() {
				until(l, func() bool { return c.reader != nil && c.writer != nil })
				tt.end(c, peer)
			}))
			await(t, "Fill", filled)
			await(t, "Pour", poured)
		})
	}
}

func TestFillMeetsAnEndThatWasThereBefore(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(c *Conn, peer *net.TCPConn)
		want error
	}{
		{"closed by the peer", func(c *Conn, peer *net.TCPConn) { _ = peer.Close(); until(c.loop, c.Gone) }, io.EOF},
		{"closed here", func(c *Conn, _ *net.TCPConn) { _ = c.Close() }, net.ErrClosed},
		{"late", func(c *Conn, peer *net.TCPConn) { _, _ = io.WriteString(peer, "x"); _ = c.SetDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
	} {
		l := start(t, 1).Loops()[0]
		c, peer := connect(t, l)
		on(t, l, func() {
			tt.end(c, peer)
			_, err := c.Fill(1)
			is(t, tt.name, err, tt.want)
			if len(l.pipes) != l.pipesMade {
				t.Errorf("%s: %d of %d pipes are there", tt.name, len(l.pipes), l.pipesMade)
			}
		})
	}
}

func TestPipesAreBounded(t *testing.T) {
	const loops = 4
	g := start(t, loops)
	before := pipeEnds(t)
	l := g.Loops()[0]
	c, peer := connect(t, l)
	_, _ = io.WriteString(peer, strings.Repeat("x", maxPipes))
	on(t, l, func() {
		var lent []*Pipe
		for range maxPipes / loops {
			p, err := c.Fill(1)
			if err != nil {
				t.Errorf("pipe %d: %v", len(lent), err)
				return
			}
			lent = append(lent, p)
		}
		_, err := c.Fill(1)
		is(t, "one more", err, ErrNoPipe)
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("nothing may be lost: read %d, %v", n, err)
		}
		for _, p := range lent {
			p.GiveBack() // with what it holds
		}
		p, err := c.Fill(1)
		if err != nil || p.Held() != 1 {
			t.Errorf("after they were given back: %v", err)
			return
		}
		p.GiveBack()
	})
	if n := pipeEnds(t); n != before {
		t.Errorf("%d ends of pipes are open, want %d: nobody else must get what they held", n, before)
	}
}

func TestPipesEndWithTheirGroup(t *testing.T) {
	before := pipeEnds(t)
	g, err := New(Config{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	l := g.Loops()[0]
	from, sender := connect(t, l)
	to, _ := connect(t, l)
	_, _ = io.WriteString(sender, "x")
	on(t, l, func() {
		if n, err := carryOnce(to, from); n != 1 || err != nil {
			t.Errorf("carried %d: %v", n, err)
		}
	})
	if n := pipeEnds(t); n != before+2 {
		t.Errorf("%d ends of pipes are open, want %d", n, before+2)
	}
	within(t, "Group.Close", g.Close)
	if n := pipeEnds(t); n != before {
		t.Errorf("%d ends of pipes are open, want %d", n, before)
	}
}

// pipeEnds is how many ends of pipes the process has open.
func pipeEnds(t testing.TB) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if link, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(link, "pipe:") {
			n++
		}
	}
	return n
}

func TestFillWithoutDescriptors(t *testing.T) {
	l := start(t, 1).Loops()[0]
	c, peer := connect(t, l)
	_, _ = io.WriteString(peer, "x")
	on(t, l, func() { is(t, "WaitReadable", c.WaitReadable(), nil) })
	restore := setLimit(t, 3)
	var err error
	on(t, l, func() { _, err = c.Fill(1) })
	restore()
	is(t, "Fill", err, ErrNoPipe)
	on(t, l, func() {
		p, err := c.Fill(1)
		if err != nil {
			t.Errorf("with descriptors: %v", err)
			return
		}
		p.GiveBack()
	})
}

// The ends are so fast that nobody ever has to wait.
func TestAFastSpliceLeavesTurnsToOthers(t *testing.T) {
	g := start(t, 1)
	l := g.Loops()[0]
	a, b := join(t, g, l)
	stop := false
	end := spawn(l, func() {
		if _, err := a.Write(make([]byte, 64<<10)); err != nil {
			t.Error(err)
		}
		for !stop { // what comes goes round
			if _, err := carryOnce(a, b); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 10 {
		call(t, l, func() {}) // else it would never be called
	}
	call(t, l, func() { stop = true })
	await(t, "the stream", end)
}

// A message of 256 KiB from one end to the other, both of which are on other loops.
func BenchmarkCarry(b *testing.B) {
	for _, way := range []string{"copied", "spliced"} {
		b.Run(way, func(b *testing.B) {
			l := start(b, 1).Loops()[0]
			from, sender := connect(b, l)
			to, receiver := connect(b, l)
			const size = 256 << 10
			b.SetBytes(size)
			go func() {
				message := make([]byte, size)
				for range b.N {
					_, _ = sender.Write(message)
				}
				_ = sender.CloseWrite()
			}()
			go func() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{receiver}) }()
			measure(b, l, func() {
				if way == "spliced" {
					_, _ = carry(to, from)
					return
				}
				_, _ = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, 64<<10))
			})
		})
	}
}
