package proxy

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	wire2 "golang.org/x/net/http2"
	hpack2 "golang.org/x/net/http2/hpack"
)

func TestHTTP2DrainTellsClients(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "finished")
	})
	r := start(t, Config{}, site("a.test", up))
	fresh, used, busy := r.h2(t), r.h2(t), r.h2(t)
	_, err := used.ask("GET", true, hpack2.HeaderField{Name: "host", Value: "a.test"}, hpack2.HeaderField{Name: "expect", Value: "x"})
	used.must(err)
	used.until("HEADERS 417")
	_, err = busy.ask("GET", true)
	busy.must(err)
	<-entered
	until(t, "the first connection is there", func() bool { return r.limiter.open.Load() == 3 })
	r.stop()
	for _, p := range []*h2Peer{fresh, used} {
		p.until("GOAWAY NO_ERROR")
		p.until("closed")
	}
	busy.until("GOAWAY NO_ERROR")
	close(release)
	busy.until("HEADERS 200")
	busy.until("DATA 8")
	busy.until("GOAWAY NO_ERROR") // which names the last stream
	busy.until("closed")
	_ = busy.conn.Close()
	<-r.stopped
	if r.err != nil {
		t.Errorf("Run returned %v", r.err)
	}
}

func TestHTTP2DrainEndsWhatDoesNotEnd(t *testing.T) {
	release := make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		_ = control.Flush()
		<-release
	})
	t.Cleanup(func() { close(release) })
	r := start(t, Config{Timeouts: Timeouts{Drain: 50 * time.Millisecond}}, site("a.test", up))
	p := r.h2(t)
	_, err := p.ask("GET", true)
	p.must(err)
	_, err = p.ask("POST", false)
	p.must(err)
	p.until("HEADERS 200")
	p.until("HEADERS 200")
	r.stop()
	p.until("closed")
	<-r.stopped
	if n := strings.Count(r.log.String(), "\n"); n != 2 {
		t.Errorf("%d lines in the access log, want both exchanges:\n%s", n, r.log)
	}
}

// Whoever says nothing is sent away: at once after the handshake, within a frame, between requests, and while an answer is awaited.
func TestHTTP2SilentClients(t *testing.T) {
	const head = 2 * time.Second // the handshake has to be done within it as well, however busy the machine is
	short, long := 150*time.Millisecond, time.Minute
	hold := make(chan struct{})
	up := backend(t, func(http.ResponseWriter, *http.Request) { <-hold })
	t.Cleanup(func() { close(hold) })
	for _, tt := range []struct {
		name     string
		timeouts Timeouts
		send     func(p *h2Peer)
		want     string
	}{
		{"from the beginning", Timeouts{ReadHeader: head, Idle: long}, func(*h2Peer) {}, "GOAWAY NO_ERROR"},
		{"within a frame", Timeouts{ReadHeader: head, Idle: long}, func(p *h2Peer) { _, _ = p.conn.Write([]byte{0, 0, 8, 6}) }, "GOAWAY NO_ERROR"},
		{"between requests", Timeouts{ReadHeader: long, Idle: short}, func(p *h2Peer) {
			_, _ = p.ask("GET", true, hpack2.HeaderField{Name: "expect", Value: "x"})
			p.until("HEADERS 417")
		}, "GOAWAY NO_ERROR"},
		{"while an answer is awaited", Timeouts{ReadHeader: head, Idle: long, Body: short}, func(p *h2Peer) {
			_, _ = p.ask("GET", true)
			p.until("PING")
		}, "closed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, Config{Timeouts: tt.timeouts}, site("a.test", up))
			p := r.h2(t)
			tt.send(p)
			p.until(tt.want)
			_ = p.conn.Close()
			until(t, "its place is free", func() bool { return r.limiter.open.Load() == 0 })
		})
	}
}

// A client that answers PING may wait for as long as it likes, as far as it is concerned.
func TestHTTP2PatientClients(t *testing.T) {
	release := make(chan struct{})
	up := backend(t, func(http.ResponseWriter, *http.Request) { <-release })
	r := start(t, Config{Timeouts: Timeouts{ReadHeader: time.Minute, Body: 100 * time.Millisecond}}, site("a.test", up))
	p := r.h2(t)
	_, err := p.ask("GET", true)
	p.must(err)
	for range 5 {
		p.until("PING")
		p.must(p.frames.WritePing(true, [8]byte{}))
	}
	close(release)
	p.until("HEADERS 200")
}

func TestHTTP2RequestsThatGoWrong(t *testing.T) {
	up := backend(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	length := func(n string) hpack2.HeaderField { return hpack2.HeaderField{Name: "content-length", Value: n} }
	for _, tt := range []struct {
		name   string
		send   func(p *h2Peer) error
		want   []string
		logged string
	}{
		{"content that stops", func(p *h2Peer) error {
			id, _ := p.ask("POST", false, length("100"))
			return p.frames.WriteData(id, false, []byte("some"))
		}, []string{"HEADERS 408", "RST_STREAM NO_ERROR"}, `"status":408`},
		{"more content than its length", func(p *h2Peer) error {
			id, _ := p.ask("POST", false, length("3"))
			return p.frames.WriteData(id, false, []byte("some"))
		}, []string{"RST_STREAM PROTOCOL_ERROR"}, `"status":400`},
		{"less content than its length", func(p *h2Peer) error {
			id, _ := p.ask("POST", false, length("5"))
			return p.frames.WriteData(id, true, []byte("some"))
		}, []string{"RST_STREAM PROTOCOL_ERROR"}, `"status":400`},
		{"an answer before the content", func(p *h2Peer) error {
			_, err := p.ask("POST", false, length("100"))
			return err
		}, []string{"HEADERS 413", "DATA", "RST_STREAM NO_ERROR"}, `"status":413`},
		{"a head that is too long", func(p *h2Peer) error {
			_, err := p.ask("GET", true, hpack2.HeaderField{Name: "x", Value: strings.Repeat("{", 60_000)}, hpack2.HeaderField{Name: "y", Value: strings.Repeat("{", 6_000)})
			return err
		}, []string{"HEADERS 431"}, `"status":431`},
		{"another Expect", func(p *h2Peer) error {
			_, err := p.ask("GET", true, hpack2.HeaderField{Name: "expect", Value: "more"})
			return err
		}, []string{"HEADERS 417"}, `"status":417`},
		{"a tunnel", func(p *h2Peer) error {
			p.head.Reset()
			_ = p.codec.WriteField(hpack2.HeaderField{Name: ":method", Value: "CONNECT"})
			_ = p.codec.WriteField(hpack2.HeaderField{Name: ":authority", Value: "a.test:443"})
			return p.frames.WriteHeaders(wire2.HeadersFrameParam{StreamID: 1, BlockFragment: p.head.Bytes(), EndHeaders: true})
		}, []string{"HEADERS 400", "DATA", "RST_STREAM NO_ERROR"}, `"status":400`},
		{"a space in the method", func(p *h2Peer) error {
			_, err := p.ask("GET /admin", true)
			return err
		}, []string{"HEADERS 400"}, `"status":400`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{}
			switch tt.name {
			case "an answer before the content":
				cfg.MaxBodyBytes = 50
			case "content that stops":
				cfg.Timeouts.Body = 200 * time.Millisecond
			}
			r := start(t, cfg, site("a.test", up))
			p := r.h2(t)
			p.must(tt.send(p))
			for _, want := range tt.want {
				p.until(want)
			}
			until(t, "it is logged", func() bool { return strings.Contains(r.log.String(), tt.logged) })
		})
	}
}

func TestHTTP2Expect(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	r := start(t, Config{}, site("a.test", up))
	p := r.h2(t)
	id, err := p.ask("POST", false, hpack2.HeaderField{Name: "expect", Value: "100-continue"})
	p.must(err)
	p.until("HEADERS 100")
	p.must(p.frames.WriteData(id, true, []byte("hello")))
	p.until("HEADERS 200")
	if e := p.until("DATA"); e.what != "DATA 5 end" {
		t.Errorf("got %s, want the end with the content", e.what)
	}
}

// The endpoint learns that its client has gone, with the connection or the stream.
func TestHTTP2ClientsThatGo(t *testing.T) {
	for name, leave := range map[string]func(p *h2Peer, id uint32) error{
		"the connection": func(p *h2Peer, _ uint32) error { return p.conn.Close() },
		"the stream":     func(p *h2Peer, id uint32) error { return p.frames.WriteRSTStream(id, wire2.ErrCodeCancel) },
		"by an error":    func(p *h2Peer, _ uint32) error { return p.frames.WriteRawFrame(wire2.FramePushPromise, 0, 1, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			entered, gone := make(chan struct{}), make(chan struct{})
			up := backend(t, func(_ http.ResponseWriter, r *http.Request) {
				close(entered)
				<-r.Context().Done()
				close(gone)
			})
			r := start(t, Config{}, site("a.test", up))
			p := r.h2(t)
			id, err := p.ask("GET", true)
			p.must(err)
			<-entered
			p.must(leave(p, id))
			<-gone
			until(t, "it is logged", func() bool { return strings.Contains(r.log.String(), `"status":499`) })
		})
	}
}

// Idle connections of HTTP/2 make room for others, too.
func TestHTTP2ConnectionsMakeRoom(t *testing.T) {
	r := start(t, Config{Loops: 1, MaxConnections: 2}, site("a.test", says(t, "x")))
	first, second := r.h2(t), r.h2(t)
	for _, p := range []*h2Peer{first, second} {
		_, err := p.ask("GET", true)
		p.must(err)
		p.until("DATA")
	}
	third := r.h2(t)
	_, err := third.ask("GET", true)
	third.must(err)
	first.until("GOAWAY NO_ERROR")
	first.until("closed")
	_ = first.conn.Close()
	third.until("HEADERS 200")
}

// A client may shrink the table of answers, of which nobody makes use (RFC 7541 section 4.2).
func TestHTTP2TableOfAnswers(t *testing.T) {
	r := start(t, Config{}, site("a.test", says(t, "x")))
	p := r.h2(t)
	p.must(p.frames.WriteSettings(wire2.Setting{ID: wire2.SettingHeaderTableSize, Val: 0}))
	p.frames.ReadMetaHeaders = nil
	_, err := p.ask("GET", true)
	p.must(err)
	for {
		f, err := p.frames.ReadFrame()
		p.must(err)
		if h, ok := f.(*wire2.HeadersFrame); ok {
			if block := h.HeaderBlockFragment(); block[0] != 0x20 || block[1] != 0x88 {
				t.Errorf("the head begins with %x, want the size of the table", block[:2])
			}
			return
		}
	}
}

// Many streams carry much in both directions at once, and none gets another's bytes.
func TestHTTP2Multiplexed(t *testing.T) {
	const size = 1 << 20
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Trailer", "X-Sum")
		sum := sha256.New()
		_, _ = io.Copy(w, io.TeeReader(r.Body, sum))
		w.Header().Set("X-Sum", fmt.Sprintf("%x", sum.Sum(nil)))
	})
	r := start(t, Config{}, site("a.test", up))
	client := r.client()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			body := make([]byte, size)
			_, _ = rand.Read(body)
			resp, err := client.Do(r.request("POST", "https://a.test/", bytes.NewReader(body)))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			back, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(back, body) || resp.Trailer.Get("X-Sum") != fmt.Sprintf("%x", sha256.Sum256(body)) {
				t.Errorf("got %d bytes, %v, trailer %v", len(back), err, resp.Trailer)
			}
		})
	}
	all.Wait()
}

// A large answer holds up neither another one nor a small one that comes later on the same connection. How much of it comes meanwhile depends on when the
// endpoints of the others get a processor, so the answers do not end.
func TestHTTP2Fairness(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Small") != "" {
			_, _ = io.WriteString(w, "small")
			return
		}
		_, _ = io.Copy(w, blanks{})
	})
	const most = 256 << 20
	r := start(t, Config{}, site("a.test", up))
	p := r.h2(t)
	p.must(p.frames.WriteSettings(wire2.Setting{ID: wire2.SettingInitialWindowSize, Val: 1<<31 - 1}))
	p.must(p.frames.WriteWindowUpdate(0, 1<<30))
	for range 4 {
		_, err := p.ask("GET", true)
		p.must(err)
	}
	share := map[uint32]int{}
	for n := 0; min(share[1], share[3], share[5], share[7]) < 512<<10; {
		e := p.event()
		share[e.stream] += e.bytes
		if n += e.bytes; e.what == "closed" || n > most {
			t.Fatalf("the streams got %v: %s", share, e.what)
		}
	}
	small, err := p.ask("GET", true, hpack2.HeaderField{Name: "x-small", Value: "y"})
	p.must(err)
	n := 0
	for {
		e := p.event()
		n += e.bytes
		if e.what == "closed" || n > most {
			t.Fatalf("no small answer within %d bytes: %s", n, e.what)
		}
		if e.stream == small && e.bytes > 0 {
			break
		}
	}
}

// Connections that have said something else than HTTP/2 where that was agreed on are closed.
func TestHTTP2Preface(t *testing.T) {
	r := start(t, Config{}, site("a.test", says(t, "x")))
	c, err := net.Dial("tcp", r.HTTPSAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw := agreeOnH2(t, c)
	_, _ = io.WriteString(raw, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	q := &h2Peer{t: t, conn: raw, frames: wire2.NewFramer(raw, raw)}
	q.until("GOAWAY PROTOCOL_ERROR")
}
