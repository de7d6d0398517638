package loop

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// measure runs f, which counts b.N itself, on a fiber.
func measure(b *testing.B, l *Loop, f func()) {
	b.Helper()
	b.ReportAllocs()
	done := make(chan struct{})
	l.Post(func() {
		l.Go(func() {
			defer close(done)
			b.ResetTimer()
			f()
			b.StopTimer()
		})
	})
	<-done
}

// A fiber is resumed and waits again.
func BenchmarkSwitch(b *testing.B) {
	l := start(b, 1).Loops()[0]
	b.ReportAllocs()
	done := make(chan struct{})
	l.Post(func() {
		defer close(done)
		f := l.fiber()
		end := false
		f.task = func() {
			for !end {
				f.park()
			}
		}
		for b.Loop() {
			l.resume(f)
		}
		end = true
		l.resume(f)
	})
	<-done
}

// A turn of the loop: epoll_wait and two looks at the clock, and a fiber that is resumed.
func BenchmarkTurn(b *testing.B) {
	l := start(b, 1).Loops()[0]
	measure(b, l, func() {
		for range b.N {
			l.yieldTurn()
		}
	})
}

func BenchmarkGo(b *testing.B) {
	l := start(b, 1).Loops()[0]
	measure(b, l, func() {
		f := func() {}
		for i := range b.N {
			l.Go(f)
			if i%64 == 63 {
				l.yieldTurn()
			}
		}
	})
}

// Both ends are on one loop: what it costs without the waiting of threads for one another. An operation is a round trip: four calls that move bytes,
// and two fibers that wait.
func BenchmarkPingPong(b *testing.B) {
	g := start(b, 1)
	l := g.Loops()[0]
	ping, pong := join(b, g, l)
	l.Post(func() { l.Go(func() { echo(pong) }) })
	measure(b, l, func() {
		buf := make([]byte, 64)
		for range b.N {
			if _, err := ping.Write(buf); err != nil {
				b.Error(err)
			}
			if _, err := ping.Read(buf); err != nil {
				b.Error(err)
			}
		}
	})
}

// The other end answers on a new fiber each time and waits without one.
func BenchmarkPingPongIdle(b *testing.B) {
	g := start(b, 1)
	l := g.Loops()[0]
	ping, pong := join(b, g, l)
	call(b, l, func() { pong.Idle(time.Hour, &keeper{c: pong, limit: time.Hour, ended: make(chan string, 1)}) })
	measure(b, l, func() {
		buf := make([]byte, 64)
		for range b.N {
			if _, err := ping.Write(buf); err != nil {
				b.Error(err)
			}
			if _, err := ping.Read(buf); err != nil {
				b.Error(err)
			}
		}
	})
}

// The same with goroutines and package net, to compare.
func BenchmarkPingPongGoroutines(b *testing.B) {
	ln := listen(b)
	ping := dial(b, addr(ln))
	pong, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(struct{ io.Writer }{pong}, struct{ io.Reader }{pong})
		_ = pong.Close()
	}()
	_ = ping.SetDeadline(time.Time{})
	b.ReportAllocs()
	buf := make([]byte, 64)
	for b.Loop() {
		if _, err := ping.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := ping.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// A client outside of the loop, as clients are.
func BenchmarkRequest(b *testing.B) {
	g := start(b, 1)
	ln := listen(b)
	serve(b, g, ln, Acceptor{Accepted: echo})
	var peer net.Conn = dial(b, addr(ln))
	_ = peer.SetDeadline(time.Time{})
	b.ReportAllocs()
	buf := make([]byte, 64)
	for b.Loop() {
		if _, err := peer.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := peer.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// A connection that comes, asks once and goes.
func BenchmarkConnection(b *testing.B) {
	g := start(b, 1)
	l := g.Loops()[0]
	ln := listen(b)
	serve(b, g, ln, Acceptor{Accepted: echo})
	measure(b, l, func() {
		buf := make([]byte, 64)
		for range b.N {
			c, err := l.Dial(addr(ln), time.Second)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = c.Write(buf)
			_, _ = c.Read(buf)
			_ = c.Close()
		}
	})
}

func BenchmarkOffload(b *testing.B) {
	l := start(b, 1).Loops()[0]
	measure(b, l, func() {
		for range b.N {
			l.Offload(context.Background(), func(context.Context) {})
		}
	})
}

func BenchmarkPost(b *testing.B) {
	l := start(b, 1).Loops()[0]
	b.ReportAllocs()
	done := make(chan struct{}, 1)
	f := func() { done <- struct{}{} }
	for b.Loop() {
		l.Post(f)
		<-done
	}
}
