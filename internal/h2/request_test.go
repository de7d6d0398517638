package h2

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/ruche-project/ruche/internal/h1"
)

// block encodes fields, given as lines "name: value", as clients do.
func block(t testing.TB, lines string) []byte {
	t.Helper()
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for line := range strings.SplitSeq(lines, "\n") {
		if line == "" {
			continue
		}
		i := strings.Index(line[1:], ":") + 1
		if i < 1 {
			t.Fatalf("no field: %q", line)
		}
		if err := e.WriteField(hpack.HeaderField{Name: line[:i], Value: strings.TrimPrefix(line[i+1:], " ")}); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func limits() h1.Limits { return h1.Limits{HeadBytes: 8 << 10, Fields: 20} }

// told is what a head says.
func told(q *h1.Request) string {
	s := fmt.Sprintf("%s %s %s", q.Method, q.Path, q.Host)
	switch q.Framing {
	case h1.Length:
		s += fmt.Sprintf(" length %d", q.ContentLength)
	case h1.Chunked:
		s += " content"
	}
	if q.Expect100 {
		s += " expects"
	}
	if q.TETrailers {
		s += " trailers"
	}
	for _, f := range q.Fields {
		s += fmt.Sprintf("|%s: %s", f.Name, f.Value)
	}
	return s
}

const usual = ":method: GET\n:scheme: https\n:authority: a.test\n:path: /\n"

func TestHeads(t *testing.T) {
	malformed := "stream 1 PROTOCOL_ERROR"
	tests := []struct {
		name, head string
		more       bool // content follows
		want       string
	}{
		{"8.3.1 usual", usual, false, "GET / a.test"},
		{"8.3.1 in another order", ":path: /x?y\n:authority: a.test:8443\n:scheme: http\n:method: HEAD\n", false, "HEAD /x?y a.test:8443"},
		{"8.3.1 Host instead of the authority", ":method: GET\n:scheme: https\n:path: /\nhost: b.test\n", false, "GET / b.test|host: b.test"},
		{"8.3.1 both", usual + "host: A.test\n", false, "GET / a.test|host: A.test"},
		{"8.3.1 both, and they differ", usual + "host: b.test\n", false, malformed},
		{"8.3.1 several Host", usual + "host: a.test\nhost: a.test\n", false, malformed},
		{"8.3.1 no authority", ":method: GET\n:scheme: https\n:path: /\n", false, malformed},
		{"8.3.1 an empty authority", ":method: GET\n:scheme: https\n:authority: \n:path: /\n", false, malformed},
		{"8.3.1 no method", ":scheme: https\n:authority: a.test\n:path: /\n", false, malformed},
		{"8.3.1 no scheme", ":method: GET\n:authority: a.test\n:path: /\n", false, malformed},
		{"8.3.1 no path", ":method: GET\n:scheme: https\n:authority: a.test\n", false, malformed},
		{"8.3.1 an empty path", ":method: GET\n:scheme: https\n:authority: a.test\n:path: \n", false, malformed},
		{"8.3.1 a path without a slash", ":method: GET\n:scheme: https\n:authority: a.test\n:path: x\n", false, malformed},
		{"8.3.1 a URI as path", ":method: GET\n:scheme: https\n:authority: a.test\n:path: https://b.test/\n", false, malformed},
		{"8.3.1 an asterisk", ":method: OPTIONS\n:scheme: https\n:authority: a.test\n:path: *\n", false, "OPTIONS * a.test"},
		{"8.3.1 an asterisk of GET", ":method: GET\n:scheme: https\n:authority: a.test\n:path: *\n", false, malformed},
		{"8.3 the method twice", usual + ":method: GET\n", false, malformed},
		{"8.3 the path twice", ":path: /a\n" + usual, false, malformed},
		{"8.3 the scheme twice", ":scheme: https\n" + usual, false, malformed},
		{"8.3 the authority twice", ":authority: a.test\n" + usual, false, malformed},
		{"8.3 behind others", ":method: GET\n:scheme: https\nx: y\n:authority: a.test\n:path: /\n", false, malformed},
		{"8.3 unknown", usual + ":x: y\n", false, malformed},
		{"8.3.2 that of an answer", usual + ":status: 200\n", false, malformed},
		{"RFC 8441 one that nobody has announced", usual + ":protocol: websocket\n", false, malformed},
		{"8.5 CONNECT", ":method: CONNECT\n:authority: a.test:443\n", true, "CONNECT  a.test:443 content"},
		{"8.5 CONNECT with a path", ":method: CONNECT\n:scheme: https\n:authority: a.test:443\n:path: /\n", true, malformed},
		{"8.5 CONNECT without an authority", ":method: CONNECT\n", true, malformed},
		{"8.2.1 a capital letter", usual + "X-y: z\n", false, malformed},
		{"8.2.1 a space in a name", usual + "x y: z\n", false, malformed},
		{"8.2.1 a colon in a name", usual + "x\x00: z\n", false, malformed},
		{"8.2.1 a byte beyond ASCII in a name", usual + "\xc3\xa4: z\n", false, malformed},
		{"8.2.1 NUL in a value", usual + "x: a\x00b\n", false, malformed},
		{"8.2.1 CR in a value", usual + "x: a\rb\n", false, malformed},
		{"8.2.1 a value that begins with a space", usual + "x:  a\n", false, malformed},
		{"8.2.1 a value that ends with a space", usual + "x: a \n", false, malformed},
		{"8.2.1 a value that ends with a tab", usual + "x: a\t\n", false, malformed},
		{"8.2.1 spaces within", usual + "x: a \t b\n", false, "GET / a.test|x: a \t b"},
		{"8.2.1 bytes beyond ASCII", usual + "x: \xc3\xa4\xff\n", false, "GET / a.test|x: \xc3\xa4\xff"},
		{"8.2.1 no value", usual + "x:\n", false, "GET / a.test|x: "},
		{"8.2.1 CR in a pseudo-header field", ":method: GET\n:scheme: https\n:authority: a.test\n:path: /\r\n", false, malformed},
		{"8.2.1 a space around a pseudo-header field", ":method: GET \n:scheme: https\n:authority: a.test\n:path: /\n", false, malformed},
		{"8.2.2 Connection", usual + "connection: close\n", false, malformed},
		{"8.2.2 Keep-Alive", usual + "keep-alive: 5\n", false, malformed},
		{"8.2.2 Proxy-Connection", usual + "proxy-connection: close\n", false, malformed},
		{"8.2.2 Transfer-Encoding", usual + "transfer-encoding: chunked\n", true, malformed},
		{"8.2.2 Upgrade", usual + "upgrade: websocket\n", false, malformed},
		{"8.2.2 TE: trailers", usual + "te: trailers\n", false, "GET / a.test trailers|te: trailers"},
		{"8.2.2 TE: gzip", usual + "te: gzip\n", false, malformed},
		{"8.2.2 TE: trailers, gzip", usual + "te: trailers, gzip\n", false, malformed},
		{"8.2.3 a cookie", usual + "cookie: a=b\n", false, "GET / a.test|cookie: a=b"},
		{"8.2.3 crumbs", usual + "cookie: a=b\nx: y\ncookie: c=d\ncookie: e=f\n", false, "GET / a.test|cookie: a=b; c=d; e=f|x: y"},
		{"8.1.1 a length", usual + "content-length: 5\n", true, "GET / a.test length 5|content-length: 5"},
		{"8.1.1 the length 0 of what may come", usual + "content-length: 0\n", true, "GET / a.test length 0|content-length: 0"},
		{"8.1.1 the length 0 of nothing", usual + "content-length: 0\n", false, "GET / a.test|content-length: 0"},
		{"8.1.1 a length without content", usual + "content-length: 5\n", false, malformed},
		{"8.1.1 no length", usual, true, "GET / a.test content"},
		{"RFC 9110 8.6 several lengths", usual + "content-length: 5\ncontent-length: 5\n", true, malformed},
		{"RFC 9110 8.6 a list of lengths", usual + "content-length: 5, 5\n", true, malformed},
		{"RFC 9110 8.6 a negative length", usual + "content-length: -5\n", true, malformed},
		{"RFC 9110 8.6 a length with a sign", usual + "content-length: +5\n", true, malformed},
		{"RFC 9110 8.6 an empty length", usual + "content-length:\n", true, malformed},
		{"RFC 9110 8.6 a length of 19 digits", usual + "content-length: 1000000000000000000\n", true, malformed},
		{"RFC 9110 10.1.1 Expect", usual + "expect: 100-Continue\n", true, "GET / a.test content expects|expect: 100-Continue"},
		{"RFC 9110 10.1.1 Expect without content", usual + "expect: 100-continue\n", false, "GET / a.test|expect: 100-continue"},
		{"RFC 9110 10.1.1 another Expect", usual + "expect: more\n", true, "417"},
		{"RFC 6585 5 a field that is long", usual + "x: " + strings.Repeat("{", 8000) + "\n", false, "431"},
		{"RFC 6585 5 as many fields as may be", usual + strings.Repeat("x: y\n", 16), false, "GET / a.test" + strings.Repeat("|x: y", 16)},
		{"RFC 6585 5 more", usual + strings.Repeat("x: y\n", 17), false, "431"},
		{"RFC 6585 5 many crumbs", usual + strings.Repeat("cookie: a=b\n", 40), false, "GET / a.test|cookie: a=b" + strings.Repeat("; a=b", 39)},
		{"RFC 6585 5 too many crumbs", usual + strings.Repeat("cookie: a=b\n", 400), false, "431"},
		{"10.5.1 a field that is longer than all may be", usual + "x: " + strings.Repeat("{", 9000) + "\n", false, "ENHANCE_YOUR_CALM"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, piece := range []int{1 << 20, 400} {
				d := NewDecoder(limits())
				h := Head{Request: &h1.Request{}}
				for range 2 { // once more, when nothing of the one before may be left
					got := decode(d, &h, block(t, tt.head), piece, !tt.more)
					if got != tt.want {
						t.Errorf("in pieces of %d: %s, want %s", piece, got, tt.want)
					}
					if tt.want == "ENHANCE_YOUR_CALM" {
						break
					}
				}
			}
		})
	}
	if len(tests) < 60 {
		t.Errorf("only %d rows", len(tests))
	}
}

// decode decodes a head in pieces and returns what it says, or what is wrong with it.
func decode(d *Decoder, h *Head, b []byte, piece int, whole bool) string {
	d.Begin(h, false)
	for p := range slices.Chunk(b, piece) {
		if err := d.Write(p); err != nil {
			return outcome(err)
		}
	}
	var refused h1.Error
	switch err := d.End(1, whole); {
	case errors.As(err, &refused):
		return fmt.Sprint(refused.Status)
	case err != nil:
		return outcome(err)
	}
	return told(h.Request)
}

func TestTrailers(t *testing.T) {
	for _, tt := range []struct{ name, trailer, want string }{
		{"8.1 fields", "x: y\ngrpc-status: 0\n", "x: y|grpc-status: 0"},
		{"8.1 nothing", "", ""},
		{"8.1 a pseudo-header field", ":path: /\n", "stream 1 PROTOCOL_ERROR"},
		{"8.2.1 a capital letter", "X: y\n", "stream 1 PROTOCOL_ERROR"},
		{"8.2.2 Connection", "connection: close\n", "stream 1 PROTOCOL_ERROR"},
		{"RFC 9110 6.5.1 what may not come there", "content-length: 5\nhost: b.test\nx-forwarded-for: 1.2.3.4\nx: y\n", "x: y"},
		{"10.5.1 too many", strings.Repeat("x: y\n", 21), "stream 1 ENHANCE_YOUR_CALM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDecoder(limits())
			h := Head{Request: &h1.Request{}}
			if got := decode(d, &h, block(t, usual), 1<<20, false); got != "GET / a.test content" {
				t.Fatal(got)
			}
			d.Begin(&h, true)
			err := d.Write(block(t, tt.trailer))
			if err == nil {
				err = d.End(1, true)
			}
			got := outcome(err)
			if err == nil {
				var all []string
				for _, f := range h.Trailer {
					all = append(all, fmt.Sprintf("%s: %s", f.Name, f.Value))
				}
				got = strings.Join(all, "|")
			}
			if got != tt.want || string(h.Request.Path) != "/" {
				t.Errorf("%s of %s, want %s", got, h.Request.Path, tt.want)
			}
		})
	}
}

// What nobody wants changes the table all the same.
func TestSkippedBlocksChangeTheTable(t *testing.T) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	write := func(value string) []byte {
		b.Reset()
		for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "a.test"}, {Name: ":path", Value: "/"}, {Name: "x", Value: value}} {
			_ = e.WriteField(f)
		}
		return bytes.Clone(b.Bytes())
	}
	d := NewDecoder(limits())
	first, second, third, fourth := write("one"), write("two"), write("two"), write("one")
	d.Skip()
	if err := errors.Join(d.Write(first), d.End(1, true)); err != nil {
		t.Fatal(err)
	}
	h := Head{Request: &h1.Request{}}
	d.Begin(&h, false)
	if err := d.Write(second[:3]); err != nil {
		t.Fatal(err)
	}
	d.Drop()
	if err := errors.Join(d.Write(second[3:]), d.End(3, true)); err != nil {
		t.Fatal(err)
	}
	for i, block := range [][]byte{third, fourth} {
		want := []string{"GET / a.test|x: two", "GET / a.test|x: one"}[i]
		if got := decode(d, &h, block, 1<<20, true); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestBlocks(t *testing.T) {
	fine := block(t, usual)
	for _, tt := range []struct {
		name   string
		pieces [][]byte
		want   string
	}{
		{"RFC 7541 2.3.3 an index that is none", [][]byte{{0xff, 0x80, 0x01}}, "COMPRESSION_ERROR"},
		{"RFC 7541 6.1 the index 0", [][]byte{{0x80}}, "COMPRESSION_ERROR"},
		{"RFC 7541 5.1 an integer that does not end", [][]byte{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, "COMPRESSION_ERROR"},
		{"RFC 7541 5.2 Huffman's code with EOS", [][]byte{{0x40, 0x84, 0xff, 0xff, 0xff, 0xff, 0x01, 'x'}}, "COMPRESSION_ERROR"},
		{"RFC 7541 6.3 a table that is too large", [][]byte{{0x3f, 0xe2, 0x1f}}, "COMPRESSION_ERROR"},
		{"RFC 7541 6.3 a table of 0", [][]byte{{0x20}, fine}, "fine"},
		{"4.3 a block that is cut off", [][]byte{fine, {0x00, 0x01, 'x', 0x05, 'y'}}, "COMPRESSION_ERROR"},
		{"4.3 in two pieces", [][]byte{fine[:5], fine[5:]}, "fine"},
		{"10.5.1 pieces of nothing", slices.Repeat([][]byte{nil}, maxPieces+1), "ENHANCE_YOUR_CALM"},
		{"10.5.1 more and more", slices.Repeat([][]byte{bytes.Repeat([]byte{0x90}, 4<<10)}, 5), "ENHANCE_YOUR_CALM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDecoder(limits())
			d.Begin(&Head{Request: &h1.Request{}}, false)
			var err error
			for _, p := range tt.pieces {
				if err = d.Write(p); err != nil {
					break
				}
			}
			if err == nil {
				err = d.End(1, true)
			}
			if outcome(err) != tt.want {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

func TestDecodingAllocatesNothing(t *testing.T) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	head := func() []byte {
		b.Reset()
		for _, f := range []hpack.HeaderField{
			{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "a.test"}, {Name: ":path", Value: "/index.html"},
			{Name: "user-agent", Value: "test"}, {Name: "cookie", Value: "a=b"}, {Name: "cookie", Value: "c=d"},
		} {
			_ = e.WriteField(f)
		}
		return bytes.Clone(b.Bytes())
	}
	d := NewDecoder(limits())
	h := Head{Request: &h1.Request{}}
	decode(d, &h, head(), 1<<20, true)
	again := head()
	if n := testing.AllocsPerRun(100, func() {
		d.Begin(&h, false)
		if err := d.Write(again); err != nil {
			t.Fatal(err)
		}
		if err := d.End(1, true); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a head that the table has", n)
	}
	if got, want := told(h.Request), "GET /index.html a.test|user-agent: test|cookie: a=b; c=d"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
