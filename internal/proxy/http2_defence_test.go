package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	wire2 "golang.org/x/net/http2"
	hpack2 "golang.org/x/net/http2/hpack"
)

// event is a frame that a client has got, in the words of tests: its content is gone when the next frame is read.
type event struct {
	stream uint32
	what   string // such as "HEADERS 200", "DATA 5 end", "RST_STREAM CANCEL", "GOAWAY NO_ERROR", "closed"
	bytes  int
}

// event reads the next frame.
func (p *h2Peer) event() event {
	f, err := p.frames.ReadFrame()
	if err != nil {
		return event{what: "closed"}
	}
	e := event{stream: f.Header().StreamID}
	end := ""
	if t := f.Header().Type; (t == wire2.FrameData || t == wire2.FrameHeaders) && f.Header().Flags.Has(wire2.FlagDataEndStream) {
		end = " end"
	}
	switch f := f.(type) {
	case *wire2.MetaHeadersFrame:
		e.what = "HEADERS " + f.PseudoValue("status") + end
	case *wire2.DataFrame:
		e.bytes = len(f.Data())
		e.what = fmt.Sprintf("DATA %d%s", e.bytes, end)
	case *wire2.RSTStreamFrame:
		e.what = "RST_STREAM " + f.ErrCode.String()
	case *wire2.GoAwayFrame:
		e.what = "GOAWAY " + f.ErrCode.String()
	default:
		e.what = f.Header().Type.String()
	}
	return e
}

// until reads frames until one is as wanted, and returns it.
func (p *h2Peer) until(what string) event {
	p.t.Helper()
	var seen []string
	for {
		e := p.event()
		if e.what == what || strings.HasPrefix(e.what, what+" ") {
			return e
		}
		if seen = append(seen, e.what); e.what == "closed" {
			p.t.Fatalf("no %s, but %s", what, strings.Join(seen[max(0, len(seen)-20):], ", "))
		}
	}
}

// Clients that send again and again what is no request are sent away, and counted.
func TestHTTP2Floods(t *testing.T) {
	held := make(chan struct{})
	up := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-held:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(held) })
	block := func(p *h2Peer, fields ...string) []byte {
		p.head.Reset()
		for i := 0; i < len(fields); i += 2 {
			_ = p.codec.WriteField(hpack2.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return p.head.Bytes()
	}
	begin := func(p *h2Peer, fields ...string) error {
		id := p.next
		p.next += 2
		return p.frames.WriteHeaders(wire2.HeadersFrameParam{StreamID: id, BlockFragment: block(p, fields...), EndHeaders: true, EndStream: true})
	}
	for name, send := range map[string]func(p *h2Peer, open uint32) error{
		"PING":              func(p *h2Peer, _ uint32) error { return p.frames.WritePing(false, [8]byte{}) },
		"SETTINGS":          func(p *h2Peer, _ uint32) error { return p.frames.WriteSettings() },
		"PRIORITY":          func(p *h2Peer, _ uint32) error { return p.frames.WritePriority(9, wire2.PriorityParam{Weight: 1}) },
		"empty DATA":        func(p *h2Peer, open uint32) error { return p.frames.WriteData(open, false, nil) },
		"WINDOW_UPDATE":     func(p *h2Peer, open uint32) error { return p.frames.WriteWindowUpdate(open, 1) },
		"of the connection": func(p *h2Peer, _ uint32) error { return p.frames.WriteWindowUpdate(0, 1) },
		"unknown frames":    func(p *h2Peer, _ uint32) error { return p.frames.WriteRawFrame(99, 0, 0, nil) },
		"GOAWAY":            func(p *h2Peer, _ uint32) error { return p.frames.WriteGoAway(0, wire2.ErrCodeNo, nil) },
		"malformed heads":   func(p *h2Peer, _ uint32) error { return begin(p, ":method", "GET") },
		"empty heads":       func(p *h2Peer, _ uint32) error { return begin(p) },
		"streams that are reset (CVE-2023-44487)": func(p *h2Peer, _ uint32) error {
			id, err := p.ask("GET", true)
			if err != nil {
				return err
			}
			return p.frames.WriteRSTStream(id, wire2.ErrCodeCancel)
		},
		"streams that have to be reset (CVE-2025-8671)": func(p *h2Peer, _ uint32) error {
			id, err := p.ask("POST", false)
			if err != nil {
				return err
			}
			return p.frames.WriteRawFrame(wire2.FrameWindowUpdate, 0, id, make([]byte, 4))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, Config{}, site("a.test", up), site("good.test", says(t, "fine")))
			p := r.h2(t)
			open, err := p.ask("POST", false)
			p.must(err)
			gone := make(chan string, 1)
			go func() {
				for {
					if e := p.event(); e.what == "closed" || strings.HasPrefix(e.what, "GOAWAY") {
						gone <- e.what
						return
					}
				}
			}()
			for n := 0; err == nil && n < 100_000; n++ {
				err = send(p, open)
			}
			if got := <-gone; got != "GOAWAY ENHANCE_YOUR_CALM" && (err == nil || got != "closed") { // what was on its way may have the system drop the GOAWAY
				t.Errorf("got %s, want it to be sent away", got)
			}
			until(t, "it is counted", func() bool { return r.Connections().Refused["http2"] == 1 })
			unharmed(t, r)
		})
	}
}

func TestHTTP2HeadersThatDoNotEnd(t *testing.T) {
	for _, tt := range []struct {
		name  string
		piece string
		limit time.Duration
		want  string
	}{
		{"in frames without content", "", time.Minute, "GOAWAY ENHANCE_YOUR_CALM"},
		{"in large frames", strings.Repeat("\x00\x01x\x01y", 3000), time.Minute, "GOAWAY ENHANCE_YOUR_CALM"},
		{"in time", "stop", time.Second, "GOAWAY NO_ERROR"}, // a second is enough for the handshake, which it bounds too
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, Config{Timeouts: Timeouts{ReadHeader: tt.limit}}, site("a.test", says(t, "x")))
			p := r.h2(t)
			p.must(p.frames.WriteHeaders(wire2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}, EndStream: true}))
			for n := 0; tt.piece != "stop" && n < 100; n++ {
				if p.frames.WriteContinuation(1, false, []byte(tt.piece)) != nil {
					break
				}
			}
			p.until(tt.want)
		})
	}
}

// A client may have so many streams at a time; those beyond are refused, which tells it that it can ask again.
func TestHTTP2StreamsAboveTheLimit(t *testing.T) {
	release := make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, _ *http.Request) { <-release })
	r := start(t, Config{}, site("a.test", up))
	p := r.h2(t)
	for range maxOpenStreams + 3 {
		_, err := p.ask("GET", true)
		p.must(err)
	}
	for range 3 {
		if e := p.until("RST_STREAM REFUSED_STREAM"); e.stream <= 2*maxOpenStreams {
			t.Errorf("stream %d was refused", e.stream)
		}
	}
	close(release)
	for range maxOpenStreams {
		p.until("HEADERS 200")
	}
	id, err := p.ask("GET", true)
	p.must(err)
	if e := p.until("HEADERS 200"); e.stream != id {
		t.Errorf("got an answer on stream %d, want %d", e.stream, id)
	}
}

func TestHTTP2Windows(t *testing.T) {
	r := start(t, Config{}, site("a.test", says(t, strings.Repeat("x", 100_000))))
	t.Run("of a stream", func(t *testing.T) {
		p := r.h2(t)
		p.must(p.frames.WriteSettings(wire2.Setting{ID: wire2.SettingInitialWindowSize, Val: 10}))
		id, err := p.ask("GET", true)
		p.must(err)
		if e := p.until("DATA"); e.bytes != 10 {
			t.Errorf("got %s into a window of 10", e.what)
		}
		p.must(p.frames.WriteSettings(wire2.Setting{ID: wire2.SettingInitialWindowSize, Val: 5})) // now it is -5
		p.must(p.frames.WriteWindowUpdate(id, 5))
		p.must(p.frames.WritePing(false, [8]byte{}))
		for e := p.event(); e.what != "PING"; e = p.event() {
			if e.bytes > 0 {
				t.Errorf("got %s into an empty window", e.what)
			}
		}
		p.must(p.frames.WriteSettings(wire2.Setting{ID: wire2.SettingInitialWindowSize, Val: 12}))
		if e := p.until("DATA"); e.bytes != 7 {
			t.Errorf("got %s into a window of 7", e.what)
		}
		p.must(p.frames.WriteWindowUpdate(id, 1<<20))
		p.must(p.frames.WriteWindowUpdate(0, 1<<20))
		for n := 17; n < 100_000; {
			n += p.until("DATA").bytes
		}
	})
	t.Run("of the connection, and heads that need none", func(t *testing.T) {
		p := r.h2(t)
		for range 2 {
			_, err := p.ask("GET", true)
			p.must(err)
		}
		for n := 0; n < 65535; {
			n += p.until("DATA").bytes
		}
		id, err := p.ask("HEAD", true)
		p.must(err)
		if e := p.until("HEADERS 200 end"); e.stream != id {
			t.Errorf("stream %d has ended", e.stream)
		}
		p.must(p.frames.WriteWindowUpdate(0, 1<<20))
		for n := 65535; n < 131070; {
			n += p.until("DATA").bytes
		}
	})
	for _, tt := range []struct {
		name string
		send func(p *h2Peer, id uint32) error
		want string
	}{
		{"of a stream, too large", func(p *h2Peer, id uint32) error { return p.frames.WriteWindowUpdate(id, 1<<31-1) }, "RST_STREAM FLOW_CONTROL_ERROR"},
		{"of the connection, too large", func(p *h2Peer, _ uint32) error { return p.frames.WriteWindowUpdate(0, 1<<31-1) }, "GOAWAY FLOW_CONTROL_ERROR"},
		{"of all streams, too large", func(p *h2Peer, id uint32) error {
			_ = p.frames.WriteWindowUpdate(id, 1<<20)
			return p.frames.WriteSettings(wire2.Setting{ID: wire2.SettingInitialWindowSize, Val: 1<<31 - 1})
		}, "GOAWAY FLOW_CONTROL_ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			deaf := rude(t, func(_ int, c net.Conn) { _, _ = io.Copy(io.Discard, io.LimitReader(c, 100)); <-t.Context().Done() })
			r := start(t, Config{}, site("a.test", deaf))
			p := r.h2(t)
			id, err := p.ask("POST", false)
			p.must(err)
			p.must(tt.send(p, id))
			p.until(tt.want)
			_ = p.conn.Close()
		})
	}
}

// A client that sends more than its windows have room for is stopped, whatever the system takes for an endpoint that does not read.
func TestHTTP2WindowsThatAreExceeded(t *testing.T) {
	up := rude(t, func(_ int, c net.Conn) {
		_ = readHead(bufio.NewReader(c))
		<-t.Context().Done()
	})
	r := start(t, Config{}, site("a.test", up))
	p := r.h2(t)
	id, err := p.ask("POST", false)
	p.must(err)
	wrong := make(chan string, 1)
	go func() {
		for {
			if e := p.event(); e.what == "closed" || strings.HasSuffix(e.what, "FLOW_CONTROL_ERROR") {
				wrong <- e.what
				return
			}
		}
	}()
	for n := 0; err == nil && n < 64<<20; n += 16 << 10 {
		err = p.frames.WriteData(id, false, make([]byte, 16<<10))
	}
	if got := <-wrong; got == "closed" && err == nil {
		t.Error("the client could send 64 MiB")
	}
}

// A client that keeps its windows shut, or opens them byte by byte, stops its endpoint, and not for ever.
func TestHTTP2ClientsThatDoNotRead(t *testing.T) {
	for _, name := range []string{"a window of 0", "byte by byte", "without reading the connection"} {
		t.Run(name, func(t *testing.T) {
			const size = 100 << 20
			sent := make(chan int64, 1)
			up := rude(t, func(_ int, c net.Conn) {
				if readHead(bufio.NewReader(c)) != nil {
					return
				}
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
				piece, n := make([]byte, 64<<10), int64(0)
				for n < size {
					k, err := c.Write(piece)
					if n += int64(k); err != nil {
						break
					}
				}
				sent <- n
			})
			r := start(t, Config{Timeouts: Timeouts{Body: 300 * time.Millisecond, ReadHeader: 20 * time.Second}}, site("a.test", up), site("good.test", says(t, "fine")))
			before := memory()
			p := r.h2(t)
			window := uint32(0)
			if strings.HasPrefix(name, "without") {
				window = 1<<31 - 1
				p.must(p.frames.WriteWindowUpdate(0, 1<<30))
			}
			p.must(p.frames.WriteSettings(wire2.Setting{ID: wire2.SettingInitialWindowSize, Val: window}))
			id, err := p.ask("GET", true)
			p.must(err)
			var n int64
			drip := time.NewTicker(20 * time.Millisecond)
			defer drip.Stop()
			for n == 0 {
				select {
				case n = <-sent:
				case <-drip.C:
					if strings.HasPrefix(name, "byte") {
						_ = p.frames.WriteWindowUpdate(id, 1)
					}
				}
			}
			if n == size {
				t.Error("the endpoint got rid of all of its answer, though nobody reads")
			}
			if more := memory() - before; more > 4<<20 {
				t.Errorf("%d bytes are held for a client that does not read", more)
			}
			until(t, "the request is given up", func() bool { return strings.Contains(r.log.String(), `"host":"a.test"`) })
			unharmed(t, r)
		})
	}
}

// What a client sends and its endpoint does not take is bounded, and goes on when the endpoint does.
func TestHTTP2UploadsWait(t *testing.T) {
	const size = 8 << 20
	begin := make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		<-begin
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	})
	r := start(t, Config{}, site("a.test", up))
	sent := atomic.Int64{}
	body := io.TeeReader(io.LimitReader(blanks{}, size), countingWriter{&sent})
	before := memory()
	answer := make(chan string, 1)
	go func() {
		resp, err := r.client().Do(r.request("POST", "https://a.test/", body))
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		answer <- string(text)
	}()
	last := int64(-1)
	until(t, "the client has to wait", func() bool {
		now := sent.Load()
		same := now == last && now > receiveWindow
		last = now
		return same
	})
	if more := memory() - before; more > 8<<20 { // the client's and the endpoint's side are in it
		t.Errorf("%d bytes are held", more)
	}
	close(begin)
	if got := <-answer; got != fmt.Sprint(size) {
		t.Errorf("the endpoint got %s bytes, want %d", got, size)
	}
}

type countingWriter struct{ n *atomic.Int64 }

func (c countingWriter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// Padding uses up the windows, and is given back at once.
func TestHTTP2Padding(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	})
	r := start(t, Config{}, site("a.test", up))
	p := r.h2(t)
	id, err := p.ask("POST", false)
	p.must(err)
	credit := make(chan int, 1000)
	done := make(chan string, 1)
	go func() {
		for {
			f, err := p.frames.ReadFrame()
			if err != nil {
				done <- err.Error()
				return
			}
			switch f := f.(type) {
			case *wire2.WindowUpdateFrame:
				if f.StreamID == id {
					credit <- int(f.Increment)
				}
			case *wire2.DataFrame:
				done <- string(f.Data())
				return
			}
		}
	}()
	const rounds = 3 * receiveWindow / 257
	for window, n := receiveWindow, 0; n < rounds; n++ {
		for window < 257 {
			window += <-credit
		}
		window -= 257
		p.must(p.frames.WriteDataPadded(id, n == rounds-1, []byte("x"), make([]byte, 255)))
	}
	if got := <-done; got != fmt.Sprint(rounds) {
		t.Errorf("got %s, want %d bytes", got, rounds)
	}
}
