package proxy

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	hpack2 "golang.org/x/net/http2/hpack"

	"github.com/ruche-project/ruche"
)

// plainEndpoint answers requests without bodies with 1 KiB, as cheaply as it can: what is measured is the proxy.
func plainEndpoint(b *testing.B) string {
	text := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024))
	return rude(b, func(_ int, c net.Conn) {
		in := bufio.NewReader(c)
		for skipHead(in) == nil {
			if _, err := c.Write(text); err != nil {
				return
			}
		}
	})
}

func skipHead(in *bufio.Reader) error {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil || len(line) == 2 {
			return err
		}
	}
}

// BenchmarkProxyHTTP1 is one request after the other on one connection, with the access log on. The allocations
// include none of client and endpoint, which make none.
func BenchmarkProxyHTTP1(b *testing.B) {
	r := start(b, Config{AccessLog: io.Discard}, site("a.test", plainEndpoint(b)))
	c, err := net.Dial("tcp", r.HTTPAddr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	request := []byte("GET /index.html HTTP/1.1\r\nHost: a.test\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	in := bufio.NewReader(c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		if err := skipHead(in); err != nil {
			b.Fatal(err)
		}
		if _, err := in.Discard(1024); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdleConnection reports what a client connection costs in memory while nothing happens on it. Its other end
// is in the same process and has no buffers.
func BenchmarkIdleConnection(b *testing.B) {
	r := start(b, Config{AccessLog: io.Discard}, site("a.test", plainEndpoint(b)))
	request := []byte("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	const n = 500
	before := inUse()
	conns := make([]net.Conn, n)
	buffer := make([]byte, 4096)
	for b.Loop() {
		for i := range conns {
			c, err := net.Dial("tcp", r.HTTPAddr().String())
			if err != nil {
				b.Fatal(err)
			}
			conns[i] = c
			if _, err := c.Write(request); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadAtLeast(c, buffer, 1024); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(inUse()-before)/n, "bytes/connection")
		for _, c := range conns {
			_ = c.Close()
		}
	}
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// BenchmarkSwap10000 is from a changed bucket to a snapshot in force, with 10,000 workloads of which one is new or gone.
func BenchmarkSwap10000(b *testing.B) {
	r := start(b, Config{AccessLog: io.Discard})
	sites := make([]ruche.Route, 10_000)
	for i := range sites {
		sites[i] = site(fmt.Sprintf("site-%d.test", i), fmt.Sprintf("http://10.0.%d.%d", i/250, i%250))
	}
	r.serve(sites...)
	w := ruche.Workload{ID: "file/new", Kind: ruche.KindFile, Name: "new"}
	added := map[string]ruche.Declaration{w.ID: {Workload: w, Routes: []ruche.Route{site("new.test", "http://10.1.0.1")}}}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%2 == 0 {
			r.feed.applyDeclarations(ruche.Update[ruche.Declaration]{Puts: added})
		} else {
			r.feed.applyDeclarations(ruche.Update[ruche.Declaration]{Deletes: []string{w.ID}})
		}
		r.refresh()
	}
}

// BenchmarkProxyHTTP2 is one request after the other on one connection, as browsers send them again and again: with fields that the header table has. The
// client's part of TLS is in what is measured.
func BenchmarkProxyHTTP2(b *testing.B) {
	r := start(b, Config{AccessLog: io.Discard}, site("a.test", plainEndpoint(b)))
	p := r.h2(b)
	ask := func() {
		id, err := p.ask("GET", true, hpack2.HeaderField{Name: "user-agent", Value: "bench"}, hpack2.HeaderField{Name: "accept", Value: "*/*"})
		if err != nil {
			b.Fatal(err)
		}
		_ = id
	}
	ask()
	_ = p.conn.SetDeadline(time.Time{})
	in := bufio.NewReaderSize(p.conn, 64<<10)
	header := make([]byte, 9)
	answer := func() {
		for {
			if _, err := io.ReadFull(in, header); err != nil {
				b.Fatal(err)
			}
			if _, err := in.Discard(int(header[0])<<16 | int(header[1])<<8 | int(header[2])); err != nil {
				b.Fatal(err)
			}
			if header[3] == 0 && header[4]&1 != 0 {
				return
			}
		}
	}
	answer()
	p.head.Reset()
	ask() // all of it is in the table now
	answer()
	block := append([]byte(nil), p.head.Bytes()...)
	frame := append([]byte{0, 0, byte(len(block)), 1, 5, 0, 0, 0, 0}, block...)
	update := []byte{0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 4, 0}
	b.ReportAllocs()
	for b.Loop() {
		binary.BigEndian.PutUint32(frame[5:], p.next)
		p.next += 2
		if _, err := p.conn.Write(append(frame, update...)); err != nil {
			b.Fatal(err)
		}
		answer()
	}
}
