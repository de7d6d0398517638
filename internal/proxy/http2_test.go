package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
	wire2 "golang.org/x/net/http2"
	hpack2 "golang.org/x/net/http2/hpack"
)

// The HTTPS listener speaks HTTP/2 as h2spec asks for, but for some cases.
func TestH2Spec(t *testing.T) {
	t.Parallel()
	differs := []string{}
	r := start(t, Config{HTTPAddr: "off"}, site("localhost", says(t, "hello")))
	_, port, _ := net.SplitHostPort(r.HTTPSAddr().String())
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{Host: "localhost", Port: number, Path: "/", TLS: true, Insecure: true, Timeout: 3 * time.Second, MaxHeaderLen: 4000}
	passed := 0
	for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		group.Test(cfg)
		passed += group.PassedCount
		eachCase(group, func(group *spec.TestGroup, c *spec.TestCase) {
			if c.Result != nil && c.Result.Failed && !slices.Contains(differs, c.Desc) {
				t.Errorf("section %s of %s: %s: %v", group.Section, group.ID(), c.Desc, c.Result.Error)
			}
		})
	}
	if passed < 140 {
		t.Errorf("only %d cases passed", passed)
	}
}

func eachCase(g *spec.TestGroup, f func(*spec.TestGroup, *spec.TestCase)) {
	for _, c := range g.Tests {
		f(g, c)
	}
	for _, inner := range g.Groups {
		eachCase(inner, f)
	}
}

// h2Peer is a client that speaks HTTP/2 frame by frame.
type h2Peer struct {
	t      testing.TB
	conn   net.Conn
	frames *wire2.Framer
	head   bytes.Buffer
	codec  *hpack2.Encoder
	next   uint32
}

func (r *rig) h2(t testing.TB) *h2Peer {
	t.Helper()
	return dialH2(t, r.HTTPSAddr().String())
}

func dialH2(t testing.TB, address string) *h2Peer {
	t.Helper()
	plain, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	conn := agreeOnH2(t, plain)
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	p := &h2Peer{t: t, conn: conn, frames: wire2.NewFramer(conn, conn), next: 1}
	p.frames.ReadMetaHeaders = hpack2.NewDecoder(4096, nil)
	p.codec = hpack2.NewEncoder(&p.head)
	if _, err := io.WriteString(conn, wire2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	p.must(p.frames.WriteSettings())
	return p
}

// agreeOnH2 does a handshake in which HTTP/2 is agreed on.
func agreeOnH2(t testing.TB, c net.Conn) net.Conn {
	t.Helper()
	secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "a.test", NextProtos: []string{"h2"}})
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	return secure
}

func (p *h2Peer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// ask begins a stream and returns its ID.
func (p *h2Peer) ask(method string, end bool, more ...hpack2.HeaderField) (uint32, error) {
	p.head.Reset()
	for _, f := range append([]hpack2.HeaderField{{Name: ":method", Value: method}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "a.test"}, {Name: ":path", Value: "/"}}, more...) {
		_ = p.codec.WriteField(f)
	}
	id, block := p.next, p.head.Bytes()
	p.next += 2
	first := block[:min(len(block), 16<<10)]
	err := p.frames.WriteHeaders(wire2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(first) == len(block)})
	for block = block[len(first):]; err == nil && len(block) > 0; {
		piece := block[:min(len(block), 16<<10)]
		block = block[len(piece):]
		err = p.frames.WriteContinuation(id, len(block) == 0, piece)
	}
	return id, err
}

// Streams that are reset as fast as they are begun (CVE-2023-44487) do not pile up behind the proxy.
func TestRapidReset(t *testing.T) {
	var now, most atomic.Int64
	up := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-r.Context().Done()
		now.Add(-1)
	})
	r := start(t, Config{}, site("a.test", up), site("good.test", says(t, "fine")))
	unharmed(t, r)
	before := memory()
	p := r.h2(t)
	go func() { _, _ = io.Copy(io.Discard, p.conn) }()
	for range 5000 {
		id, err := p.ask("GET", true)
		if err == nil {
			err = p.frames.WriteRSTStream(id, wire2.ErrCodeCancel)
		}
		if err != nil {
			break // it was sent away, which is as good
		}
	}
	unharmed(t, r)
	if more := memory() - before; more > 64<<20 { // the endpoint's side is in it, with its goroutines
		t.Errorf("%d bytes more are held than before", more)
	}
	_ = p.conn.Close()
	until(t, "the endpoint is rid of all requests", func() bool { return now.Load() == 0 })
	if most.Load() > 500 {
		t.Errorf("the endpoint had %d requests at a time, though a client may have 250", most.Load())
	}
}

func TestStreamsThatAreResetWithinTheirContent(t *testing.T) {
	begun, got := make(chan error, 1), make(chan error, 1)
	up := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadFull(r.Body, make([]byte, len("some")))
		begun <- err
		_, err = io.Copy(io.Discard, r.Body)
		got <- err
	})
	r := start(t, Config{}, site("a.test", up))
	p := r.h2(t)
	id, err := p.ask("POST", false, hpack2.HeaderField{Name: "content-length", Value: "100"})
	p.must(err)
	p.must(p.frames.WriteData(id, false, []byte("some")))
	p.must(<-begun)
	p.must(p.frames.WriteRSTStream(id, wire2.ErrCodeCancel))
	if err := <-got; err == nil {
		t.Error("the endpoint took the content for complete")
	}
	until(t, "the request is logged as given up", func() bool { return strings.Contains(r.log.String(), `"status":499`) })
}

func TestHTTP2HeadsAreBounded(t *testing.T) {
	reached := atomic.Int64{}
	r := start(t, Config{}, site("a.test", backend(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })))
	for name, fields := range map[string][]hpack2.HeaderField{
		"one that is long": {{Name: "x", Value: strings.Repeat("{", 200_000)}},
		"many":             slices.Repeat([]hpack2.HeaderField{{Name: "x", Value: "y", Sensitive: true}}, 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			p := r.h2(t)
			if _, err := p.ask("GET", true, fields...); err != nil {
				return // sent away before the end
			}
			for {
				f, err := p.frames.ReadFrame()
				if err != nil {
					return
				}
				if head, ok := f.(*wire2.MetaHeadersFrame); ok {
					if status := head.PseudoValue("status"); status != "431" {
						t.Errorf("got %s, want 431", status)
					}
					return
				}
			}
		})
	}
	if reached.Load() != 0 {
		t.Error("the endpoint got such a request")
	}
}

// A connection may have 250 streams at a time; more wait in the client.
func TestManyStreams(t *testing.T) {
	const streams = 250
	entered, release := make(chan struct{}, 2*streams), make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/first" {
			entered <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, "ok")
	})
	r := start(t, Config{}, site("a.test", up))
	client := r.client()
	first, err := client.Get("https://a.test/first") // so that there is a connection for all
	if err != nil {
		t.Fatal(err)
	}
	_ = first.Body.Close()
	var all sync.WaitGroup
	var failed atomic.Int64
	for range streams {
		all.Go(func() {
			resp, err := client.Get("https://a.test/")
			if err != nil {
				failed.Add(1)
				return
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "ok" || resp.ProtoMajor != 2 {
				failed.Add(1)
			}
		})
	}
	for range streams {
		<-entered
	}
	close(release)
	if all.Wait(); failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), streams)
	}
}

func TestInformationalAnswersOverHTTP2(t *testing.T) {
	up := newScripted(t, []string{strings.Repeat("HTTP/1.1 103 Early Hints\nLink: x.css\n\n", 3) + ok})
	r := start(t, Config{}, site("a.test", up.url))
	var links []string
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		links = append(links, fmt.Sprint(code, h["Link"]))
		return nil
	}})
	resp, body := r.do(r.request("GET", "https://a.test/", nil).WithContext(ctx))
	if want := "103 [x.css]"; len(links) != 3 || links[2] != want || resp.ProtoMajor != 2 || body != "ok" || resp.Header.Get("Link") != "" {
		t.Errorf("got %q, then %v %q; want three times %q, and an answer without them", links, resp.Header, body, want)
	}
}
