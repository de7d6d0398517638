package h2

import (
	"bytes"
	"errors"
	"testing"

	"github.com/ruche-project/ruche/internal/h1"
)

// FuzzReader reads the same bytes as a whole and in pieces: what comes out does not depend on that.
func FuzzReader(f *testing.F) {
	f.Add([]byte(hello()+wire(Headers, EndHeaders, 1, "x")+wire(Data, Padded|EndStream, 1, "\x02abc\x00\x00")), 3)
	f.Add([]byte(hello()+wire(Headers, Padded|HasPriority, 1, "\x01\x00\x00\x00\x00\x00xy")+wire(Continuation, EndHeaders, 1, "z")), 1)
	f.Add([]byte(hello()+wire(Priority, 0, 3, "1234")+wire(WindowUpdate, 0, 0, "1234")+wire(99, 1, 2, "z")), 10)
	f.Fuzz(func(t *testing.T, send []byte, piece int) {
		if !bytes.HasPrefix(send, []byte(Preface)) {
			send = append([]byte(hello()), send...)
		}
		frames, content, err := readAll(string(send), len(send))
		inPieces, sameContent, sameErr := readAll(string(send), min(max(piece, 1), 1<<16))
		if outcome(err) != outcome(sameErr) || content != sameContent || len(frames) != len(inPieces) {
			t.Fatalf("%d frames, %q, %v; in pieces %d, %q, %v", len(frames), content, err, len(inPieces), sameContent, sameErr)
		}
		for i, f := range frames {
			g := inPieces[i]
			if f.Type != g.Type || f.Flags != g.Flags || f.Stream != g.Stream || f.Type != Data && !bytes.Equal(f.Payload, g.Payload) {
				t.Fatalf("frame %d is %+v, in pieces %+v", i, f, g)
			}
			if len(f.Payload) > MaxFrame || f.Used > MaxFrame {
				t.Fatalf("a frame of %d bytes", len(f.Payload))
			}
		}
	})
}

// FuzzHead decodes any block: what is taken for a request can be written as one of HTTP/1.1, and is read there as what it was.
func FuzzHead(f *testing.F) {
	for _, head := range []string{usual, usual + "cookie: a=b\ncookie: c=d\nx: y\n", ":method: CONNECT\n:authority: a.test:1\n", usual + "content-length: 5\nexpect: 100-continue\n"} {
		f.Add(block(f, head), 7, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, piece int, whole bool) {
		d := NewDecoder(limits())
		h := Head{Request: &h1.Request{}}
		d.Begin(&h, false)
		piece = max(piece, len(b)/maxPieces+1)
		for rest := b; len(rest) > 0; {
			k := min(piece, len(rest))
			if err := d.Write(rest[:k]); err != nil {
				return
			}
			rest = rest[k:]
		}
		var refused h1.Error
		if err := d.End(1, whole); errors.As(err, &refused) && refused.Status != 417 && refused.Status != 431 {
			t.Fatalf("refused with %d", refused.Status)
		} else if err != nil {
			return
		}
		q := h.Request
		if string(q.Method) == "CONNECT" || !h1.ValidFieldName(q.Method) || !h1.ValidTarget(q.Path) {
			return // which the proxy answers itself
		}
		wire := h1.AppendRequestLine(nil, q.Method, q.Path)
		wire = h1.AppendField(wire, "Host", q.Host)
		n := 1
		for _, f := range q.Fields {
			if f.ID == h1.Host || f.ID == h1.ContentLength || f.ID == h1.Expect || f.ID == h1.Disguised {
				continue
			}
			wire = h1.AppendField(wire, f.Name, f.Value)
			n++
		}
		wire = append(wire, h1.CRLF...)
		var again h1.Request
		k, err := again.Parse(wire, h1.Limits{HeadBytes: 1 << 20, Fields: 1000})
		if errors.As(err, &refused) && refused.Rule == "RFC 9112 3.2" {
			return // a host that is none, which the proxy refuses by the same rule
		}
		if err != nil || k != len(wire) || len(again.Fields) != n || !bytes.Equal(again.Method, q.Method) || !bytes.Equal(again.Path, q.Path) {
			t.Fatalf("%q is read as %d of %d fields and %d of %d bytes, %v", wire, len(again.Fields), n, k, len(wire), err)
		}
	})
}
