package loop

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// fill makes bytes that are not all the same.
func fill(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i * 7)
	}
	return p
}

func TestBufferedWritesNeverWait(t *testing.T) {
	const size = 8 << 20
	for _, tt := range []struct {
		name string
		end  func(t *testing.T, c *Conn) error
	}{
		{"drained", func(t *testing.T, c *Conn) error {
			is(t, "Drain", c.Drain(), nil)
			if c.pending != nil {
				t.Error("the buffer is kept")
			}
			return c.Close()
		}},
		{"drained, and ended", func(t *testing.T, c *Conn) error { is(t, "Drain", c.Drain(), nil); return c.CloseWrite() }},
		{"ended", func(_ *testing.T, c *Conn) error { return c.CloseWrite() }},
		{"ended, then drained", func(_ *testing.T, c *Conn) error { return errors.Join(c.CloseWrite(), c.Drain()) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := start(t, 1).Loops()[0]
			c, peer := connect(t, l)
			want := fill(size)
			written := make(chan struct{})
			ended := spawn(l, func() {
				c.SetBuffered()
				turn := l.turn
				for _, part := range [][]byte{nil, want[:1], want[1:3], want[3:]} {
					if n, err := c.Write(part); n != len(part) || err != nil {
						t.Errorf("wrote %d of %d: %v", n, len(part), err)
					}
				}
				if l.turn != turn || len(c.pending) == 0 {
					t.Errorf("%d turns passed, %d bytes are kept", l.turn-turn, len(c.pending))
				}
				close(written)
				is(t, "the end", tt.end(t, c), nil)
			})
			await(t, "Write", written)
			got, err := io.ReadAll(peer)
			if !bytes.Equal(got, want) || err != nil {
				t.Errorf("the peer got %d bytes of %d, or others: %v", len(got), len(want), err)
			}
			await(t, "the fiber", ended)
		})
	}
}

func TestDrainFails(t *testing.T) {
	l := start(t, 1).Loops()[0]
	c, peer := connect(t, l)
	on(t, l, func() {
		c.SetBuffered()
		c.SetTimeouts(0, time.Millisecond)
		_, err := c.Write(make([]byte, 64<<20))
		is(t, "Write", err, nil)
		is(t, "Drain", c.Drain(), os.ErrDeadlineExceeded)
		_, err = c.Write([]byte("x"))
		is(t, "Write to a peer that reads nothing", err, errPending)
		c.SetTimeouts(0, 0)
		l.Go(func() {
			_ = peer.SetLinger(0)
			_ = peer.Close()
		})
		is(t, "Drain", c.Drain(), syscall.ECONNRESET)
		is(t, "Drain", c.Drain(), syscall.ECONNRESET)
		_, err = c.Write([]byte("x"))
		is(t, "Write", err, syscall.ECONNRESET)
		if c.pending != nil {
			t.Error("what cannot be sent is kept")
		}
	})
}

// While one fiber waits for a peer that does not read, another writes, as TLS does when it answers what it reads.
func TestTLSAnswersWhileAFiberWrites(t *testing.T) {
	l := start(t, 1).Loops()[0]
	c, peer := connect(t, l)
	server, clientConfig := tlsConfigs(t)
	const size = 8 << 20
	other := make(chan struct{})
	wrote := spawn(l, func() {
		c.SetBuffered()
		s := tls.Server(c, server)
		if err := errors.Join(s.Handshake(), c.Drain()); err != nil {
			t.Error(err)
			return
		}
		l.Go(func() {
			defer close(other)
			until(l, func() bool { return c.writer != nil })
			if _, err := s.Write([]byte("from the other")); err != nil { // it takes the lock that Write holds
				t.Error(err)
			}
		})
		for range 64 {
			if _, err := s.Write(make([]byte, size/64)); err != nil {
				t.Error(err)
			}
			if err := c.Drain(); err != nil {
				t.Error(err)
			}
		}
		is(t, "CloseWrite", s.CloseWrite(), nil)
		is(t, "Drain", c.Drain(), nil)
	})
	client := tls.Client(peer, clientConfig)
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	await(t, "the other fiber", other)
	got, err := io.ReadAll(client)
	if len(got) != size+len("from the other") || err != nil {
		t.Errorf("got %d bytes: %v", len(got), err)
	}
	await(t, "Write", wrote)
}

// A TLS connection that is asked whether it has something goes on after the answer, also in the middle of a record.
func TestNoWait(t *testing.T) {
	l := start(t, 1).Loops()[0]
	c, peer := connect(t, l)
	server, clientConfig := tlsConfigs(t)
	records := &recorder{Conn: peer}
	client := tls.Client(records, clientConfig)
	var s *tls.Conn
	shook := spawn(l, func() {
		s = tls.Server(c, server)
		is(t, "Handshake", s.Handshake(), nil)
	})
	is(t, "Handshake of the client", client.Handshake(), nil)
	await(t, "the handshake", shook)

	records.keep = true
	_, _ = io.WriteString(client, "one ")
	_, _ = io.WriteString(client, "two")
	sent := records.kept.Bytes()
	buf := make([]byte, 100)
	read := func(want string, wantErr error) {
		t.Helper()
		c.SetNoWait(true)
		n, err := s.Read(buf)
		c.SetNoWait(false)
		is(t, "Read of "+want, err, wantErr)
		if string(buf[:n]) != want {
			t.Errorf("read %q, want %q", buf[:n], want)
		}
	}
	on(t, l, func() {
		read("", ErrWouldWait)
		read("", ErrWouldWait)
		_, _ = peer.Write(sent[:3]) // of a record's head
		is(t, "WaitReadable", c.WaitReadable(), nil)
		read("", ErrWouldWait)
		_, _ = peer.Write(sent[3:20])
		is(t, "WaitReadable", c.WaitReadable(), nil)
		read("", ErrWouldWait)
		_, _ = peer.Write(sent[20:])
		is(t, "WaitReadable", c.WaitReadable(), nil)
		read("one ", nil)
		if c.Ready() { // TLS has taken both records, so nothing will tell of the second one
			t.Error("the second record is still there")
		}
		read("two", nil)
		read("", ErrWouldWait)
		_ = peer.CloseWrite()
		is(t, "WaitReadable", c.WaitReadable(), nil)
		read("", io.EOF)
	})
}

// recorder keeps what is written to it.
type recorder struct {
	net.Conn
	keep bool
	kept bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.keep {
		return r.kept.Write(p)
	}
	return r.Conn.Write(p)
}
