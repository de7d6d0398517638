package h1

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// FuzzRequest reads anything as requests: at once, in two pieces, and what was understood once more after it was written.
func FuzzRequest(f *testing.F) {
	for i, m := range allMessages() {
		if m.method == "" {
			f.Add([]byte(m.wire), uint16(i))
		}
	}
	f.Add([]byte(browserRequest), uint16(100))
	f.Fuzz(func(t *testing.T, wire []byte, at uint16) {
		checkPieces(t, wire, "", at)
		var r, again Request
		n, err := r.Parse(wire, Limits{})
		if !checkHead(t, wire, "\r\n\r\n", n, err) {
			return
		}
		want := describeRequest(&r)
		out := AppendRequestLine(nil, r.Method, r.Target)
		if r.Minor == 0 {
			out = bytes.Replace(out, []byte(" HTTP/1.1\r\n"), []byte(" HTTP/1.0\r\n"), 1)
		}
		out = appendFields(out, r.Fields)
		if n, err := again.Parse(out, Limits{HeadBytes: len(out)}); err != nil || n != len(out) {
			t.Fatalf("%q was written as %q, and is refused: %d, %v", wire, out, n, err)
		}
		if got := describeRequest(&again); got != want {
			t.Fatalf("%q was written as %q:\n%s\nbefore:\n%s", wire, out, got, want)
		}
		checkRequest(t, &r)
	})
}

// checkRequest checks what a parsed request promises.
func checkRequest(t *testing.T, r *Request) {
	t.Helper()
	_, ok := validAuthority(r.Host)
	switch {
	case !ValidFieldName(r.Method):
		t.Fatalf("method %q", r.Method)
	case !solid(r.Target) || !ValidFieldValue(r.Target):
		t.Fatalf("target %q", r.Target)
	case !ok && (r.Minor == 1 || r.Host != nil):
		t.Fatalf("host %q", r.Host)
	case string(r.Method) == "CONNECT" != (len(r.Path) == 0):
		t.Fatalf("path %q of %s", r.Path, r.Method)
	case len(r.Path) > 0 && r.Path[0] != '/' && string(r.Path) != "*":
		t.Fatalf("path %q", r.Path)
	case r.Framing == UntilClose || r.Framing == Chunked && r.Minor == 0 || r.ContentLength < 0 || r.Framing != Length && r.ContentLength != 0:
		t.Fatalf("framing %v, %d", r.Framing, r.ContentLength)
	}
}

// FuzzResponse does with responses what FuzzRequest does with requests.
func FuzzResponse(f *testing.F) {
	methods := []string{"GET", "HEAD", "CONNECT"}
	for i, m := range allMessages() {
		if m.method != "" {
			f.Add([]byte(m.wire), uint16(i), uint8(i))
		}
	}
	f.Add([]byte(typicalResponse), uint16(100), uint8(0))
	f.Fuzz(func(t *testing.T, wire []byte, at uint16, which uint8) {
		method := methods[int(which)%len(methods)]
		checkPieces(t, wire, method, at)
		var r, again Response
		n, err := r.Parse(wire, []byte(method), Limits{})
		if !checkHead(t, wire, "\n", n, err) {
			return
		}
		want := describeResponse(&r)
		out := AppendStatusLine(nil, r.Status, append([]byte{}, r.Reason...))
		if r.Minor == 0 {
			out = bytes.Replace(out, []byte("HTTP/1.1"), []byte("HTTP/1.0"), 1)
		}
		out = appendFields(out, r.Fields)
		if n, err := again.Parse(out, []byte(method), Limits{HeadBytes: len(out)}); err != nil || n != len(out) {
			t.Fatalf("%q was written as %q, and is refused: %d, %v", wire, out, n, err)
		}
		if got := describeResponse(&again); got != want {
			t.Fatalf("%q was written as %q:\n%s\nbefore:\n%s", wire, out, got, want)
		}
		if r.Status < 100 || r.Status > 999 || r.Framing == UntilClose && !r.Close || r.Framing == Chunked && r.Minor == 0 {
			t.Fatalf("%q gives %s", wire, want)
		}
	})
}

// FuzzBody reads anything as chunks: at once, in two pieces, and the content once more after it was written.
func FuzzBody(f *testing.F) {
	for i, m := range allMessages() {
		if _, body, ok := strings.Cut(m.wire, "\r\n\r\n"); ok && strings.Contains(m.wire, "chunked") {
			f.Add([]byte(body), uint16(i))
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte, at uint16) {
		cut := int(at) % (len(wire) + 1)
		want, content, trailer := readBody(t, wire)
		if got, _, _ := readBody(t, wire[:cut], wire[cut:]); got != want {
			t.Fatalf("%q cut at %d:\n%s\nat once:\n%s", wire, cut, got, want)
		}
		if trailer == nil {
			return
		}
		var out []byte
		for rest := content; len(rest) > 0; {
			n := min(len(rest), cut+1)
			out = append(append(AppendChunkSize(out, n), rest[:n]...), CRLF...)
			rest = rest[n:]
		}
		out = AppendTrailer(out, trailer)
		_, again, trailerAgain := readBody(t, out)
		if !bytes.Equal(again, content) || describeFields(trailerAgain) != describeFields(trailer) {
			t.Fatalf("%q was written as %q", wire, out)
		}
	})
}

// readBody reads chunks that come in pieces and describes what it found. The trailer is not nil when the body is complete.
func readBody(t *testing.T, pieces ...[]byte) (found string, content []byte, trailer []Field) {
	t.Helper()
	var d Body
	d.Reset(Chunked, 0)
	used := 0
	for _, b := range pieces {
		for len(b) > 0 {
			data, n, done, err := d.Next(b)
			content = append(content, data...)
			if used += n; err != nil {
				return fmt.Sprintf("%q, then %v", content, err), content, nil
			}
			if done {
				trailer = append([]Field{}, d.Trailer()...)
				return fmt.Sprintf("%q and trailer%s in %d bytes", content, describeFields(trailer), used), content, trailer
			}
			if n == 0 || n > len(b) {
				t.Fatalf("%d of %d bytes are used", n, len(b))
			}
			b = b[n:]
		}
	}
	return fmt.Sprintf("%q, and more needed", content), content, nil
}

// checkPieces reads a connection's bytes at once and in two pieces.
func checkPieces(t *testing.T, wire []byte, method string, at uint16) {
	t.Helper()
	cut := int(at) % (len(wire) + 1)
	want := readAll(string(wire), method, Limits{}, false)
	for _, moves := range []bool{false, true} {
		if got := readAll(string(wire), method, Limits{}, moves, cut); got != want {
			t.Fatalf("%q cut at %d, buffers that move %v:\n%s\nat once:\n%s", wire, cut, moves, got, want)
		}
	}
}

// checkHead checks what Parse returns, and reports whether there is a head.
func checkHead(t *testing.T, wire []byte, end string, n int, err error) bool {
	t.Helper()
	if n < 0 || n > len(wire) || err != nil && n != 0 || n > 0 && !bytes.HasSuffix(wire[:n], []byte(end)) {
		t.Fatalf("%q: %d of %d bytes are used, %v", wire, n, len(wire), err)
	}
	return n > 0
}

func appendFields(out []byte, fields []Field) []byte {
	for _, f := range fields {
		out = AppendField(out, f.Name, f.Value)
	}
	return append(out, CRLF...)
}
