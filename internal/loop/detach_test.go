package loop

import (
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

func TestDetach(t *testing.T) {
	l := start(t, 1).Loops()[0]
	c, peer := connect(t, l)
	i := &idler{}
	_, _ = io.WriteString(peer, "hello")
	var left net.Conn
	on(t, l, func() {
		c.SetTimeouts(time.Millisecond, time.Millisecond)
		if _, err := c.Read(make([]byte, 1)); err != nil { // part of it
			t.Error(err)
		}
		_ = c.SetDeadline(time.Unix(1, 0))
		c.Idle(time.Hour, i)
		var err error
		if left, err = c.Detach(); err != nil {
			t.Error(err)
		}
	})
	if left == nil {
		return
	}
	again, err := c.Detach()
	if again != left || err != nil {
		t.Errorf("Detach again returns %v, %v", again, err)
	}
	before := turns(t, l)
	_, _ = io.WriteString(peer, " there")
	buf := make([]byte, 10)
	if _, err := io.ReadFull(c, buf); string(buf) != "ello there" || err != nil {
		t.Errorf("read %q: %v", buf, err)
	}
	ended := make(chan struct{})
	go func() { // both directions, by the connection and by what Detach returned
		defer close(ended)
		_, _ = io.Copy(left, struct{ io.Reader }{c})
		is(t, "CloseWrite", c.CloseWrite(), nil)
	}()
	for range 100 {
		if err := ask(peer, "something"); err != nil {
			t.Fatal(err)
		}
	}
	_ = peer.CloseWrite()
	if _, err := peer.Read(buf); err != io.EOF { //nolint:errorlint // as it is
		t.Errorf("the end is %v", err)
	}
	await(t, "the copy", ended)
	is(t, "SetReadDeadline", c.SetReadDeadline(time.Unix(1, 0)), nil)
	is(t, "SetWriteDeadline", c.SetWriteDeadline(time.Unix(1, 0)), nil)
	is(t, "Close", c.Close(), nil)
	if n := turns(t, l) - before; n > 3 {
		t.Errorf("the loop turned %d times for a connection that it has not", n)
	}
	if i.ready+i.expired != 0 {
		t.Errorf("Ready was called %d times, Expired %d times", i.ready, i.expired)
	}
	call(t, l, func() {
		if l.attached.Load() != 0 || len(l.timers) != 0 {
			t.Errorf("%d connections and %d timers are left", l.attached.Load(), len(l.timers))
		}
	})
}

func TestDetachWakesWhoWaits(t *testing.T) {
	l := start(t, 1).Loops()[0]
	c, peer := connect(t, l)
	read := spawn(l, func() {
		_, err := c.Read(make([]byte, 1))
		is(t, "Read", err, net.ErrClosed)
	})
	wrote := spawn(l, func() {
		_, err := c.Write(make([]byte, 64<<20))
		is(t, "Write", err, net.ErrClosed)
	})
	on(t, l, func() {
		until(l, func() bool { return c.reader != nil && c.writer != nil })
		if _, err := c.Detach(); err != nil {
			t.Error(err)
		}
	})
	await(t, "Read", read)
	await(t, "Write", wrote)
	_ = c.Close()
	_, _ = io.Copy(io.Discard, peer)
}

func TestDetachWithoutDescriptors(t *testing.T) {
	l := start(t, 1).Loops()[0]
	c, peer := connect(t, l)
	restore := setLimit(t, 3)
	var err error
	on(t, l, func() { _, err = c.Detach() })
	restore()
	is(t, "Detach", err, syscall.EMFILE)
	is(t, "Close", c.Close(), net.ErrClosed)
	if _, err := peer.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // as it is
		t.Errorf("the connection was not closed: %v", err)
	}
}

// A TLS connection in the middle of its life keeps its keys and what it has buffered.
func TestDetachUnderTLS(t *testing.T) {
	g := start(t, 1)
	server, clientConfig := tlsConfigs(t)
	ln := listen(t)
	ended := make(chan error, 1)
	serve(t, g, ln, Acceptor{Accepted: func(c *Conn) {
		s := tls.Server(c, server)
		buf := make([]byte, 3)
		if _, err := io.ReadFull(s, buf); err != nil { // the handshake, and half of a record
			t.Errorf("read %q: %v", buf, err)
		}
		if _, err := s.Write(buf); err != nil {
			t.Error(err)
		}
		if _, err := c.Detach(); err != nil {
			t.Error(err)
			return
		}
		go func() {
			_, err := io.Copy(s, struct{ io.Reader }{s})
			_ = s.Close()
			ended <- err
		}()
	}})
	peer := tls.Client(dial(t, addr(ln)), clientConfig)
	for range 100 {
		if err := ask(peer, "a record"); err != nil {
			t.Fatal(err)
		}
	}
	_ = peer.CloseWrite()
	if _, err := peer.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // as it is
		t.Errorf("the end is %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
