package h1

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestChunked(t *testing.T) { checkRows(t, bodyRows(), 50) }

func bodyRows() []row {
	chunked := func(name, body, want string) row {
		return ask(name, "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+body, "GET chunked\n"+want)
	}
	failed := func(name, body, content, want string) row {
		return chunked(name, body, "content "+content+"\nerror 400 "+want)
	}
	const end = "0\r\n\r\n"
	const digits, none, many = "a chunk size that is not hexadecimal (RFC 9112 7.1)", "a chunk without a size (RFC 9112 7.1)", "a chunk size of too many digits (RFC 9112 7.1)"
	const lf, beyond = "a chunk size that ends with LF alone instead of CRLF (RFC 9112 7.1)", "content beyond the chunk's size (RFC 9112 7.1)"
	const cr, control, long = "a CR without LF behind a chunk size (RFC 9112 7.1)", "a control byte in a chunk extension (RFC 9112 7.1.1)", "chunk extensions that are too long (RFC 9112 7.1.1)"
	all := []row{
		chunked("RFC 9112 7.1: two chunks", "3\r\nabc\r\n1\r\nd\r\n"+end, "content \"abcd\""),
		chunked("RFC 9112 7.1: hexadecimal in any case", "a\r\n0123456789\r\nA\r\n0123456789\r\n"+end, "content \"01234567890123456789\""),
		chunked("RFC 9112 7.1: two digits", "10\r\n0123456789abcdef\r\n"+end, "content \"0123456789abcdef\""),
		chunked("RFC 9112 7.1: zeros in front", "003\r\nabc\r\n"+end, "content \"abc\""),
		chunked("RFC 9112 7.1: a last chunk of several zeros", "3\r\nabc\r\n0000\r\n\r\n", "content \"abc\""),
		chunked("RFC 9112 7.1: content that looks like chunks", "5\r\n0\r\n\r\n\r\n"+end, "content \"0\\r\\n\\r\\n\""),
		chunked("RFC 9112 7.1: the next request comes at once", "1\r\na\r\n"+end+"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "content \"a\"\nGET"),
		chunked("RFC 9112 8: cut off before the size", "", "content \"\"\ncut off"),
		chunked("RFC 9112 8: cut off within the size", "3", "content \"\"\ncut off"),
		chunked("RFC 9112 8: cut off within the content", "3\r\nab", "content \"ab\"\ncut off"),
		chunked("RFC 9112 8: cut off behind the content", "3\r\nabc", "content \"abc\"\ncut off"),
		chunked("RFC 9112 8: cut off before the last chunk", "3\r\nabc\r\n", "content \"abc\"\ncut off"),
		chunked("RFC 9112 8: cut off within the last line", "3\r\nabc\r\n0\r\n\r", "content \"abc\"\ncut off"),
		chunked("RFC 9112 8: cut off within the trailer", "0\r\nX: y\r\n", "content \"\"\ncut off"),
		failed("RFC 9112 7.1: no size", "\r\n"+end, `""`, none),
		failed("RFC 9112 7.1: a sign", "+3\r\nabc\r\n"+end, `""`, none),
		failed("RFC 9112 7.1: a negative size", "-3\r\nabc\r\n"+end, `""`, none),
		failed("RFC 9112 7.1: a space before the size", " 3\r\nabc\r\n"+end, `""`, none),
		failed("RFC 9112 7.1: an underscore before the size", "_3\r\nabc\r\n"+end, `""`, none),
		failed("RFC 9112 7.1: 0x", "0x3\r\nabc\r\n"+end, `""`, digits),
		failed("RFC 9112 7.1: an underscore within the size", "0_3\r\nabc\r\n"+end, `""`, digits),
		failed("RFC 9112 7.1: letters beyond f", "3g\r\nabc\r\n"+end, `""`, digits),
		failed("RFC 9112 7.1: a NUL behind the size", "3\x00\r\nabc\r\n"+end, `""`, digits),
		failed("RFC 9112 7.1: 16 digits", "0000000000000003\r\nabc\r\n"+end, `""`, many),
		chunked("RFC 9112 7.1: 15 digits", "000000000000003\r\nabc\r\n"+end, "content \"abc\""),
		chunked("RFC 9112 7.1: the greatest size", "fffffffffffffff\r\nabc", "content \"abc\"\ncut off"),
		failed("RFC 9112 7.1: a size that ends with LF", "3\nabc\r\n"+end, `""`, lf),
		failed("RFC 9112 7.1: a size that ends with CR", "3\rabc\r\n"+end, `""`, cr),
		failed("RFC 9112 7.1: more content than the size", "3\r\nabcd\r\n"+end, `"abc"`, beyond),
		failed("RFC 9112 7.1: content that ends with LF", "3\r\nabc\n"+end, `"abc"`, beyond),
		failed("RFC 9112 7.1: content that ends with CR", "3\r\nabc\r"+end, `"abc"`, beyond),
		failed("RFC 9112 7.1: a chunk behind an empty line", "3\r\nabc\r\n\r\n"+end, `"abc"`, none),
		chunked("RFC 9112 7.1.1: an extension", "3;a\r\nabc\r\n0;b=c\r\n\r\n", "content \"abc\""),
		chunked("RFC 9112 7.1.1: several extensions", "3;a=\"b;\t\u00e4\";c\r\nabc\r\n"+end, "content \"abc\""),
		chunked("RFC 9112 7.1.1: whitespace around the semicolon", "3 \t; a = b\r\nabc\r\n"+end, "content \"abc\""),
		failed("RFC 9112 7.1.1: whitespace and no semicolon", "3 \r\nabc\r\n"+end, `""`, "whitespace behind a chunk size (RFC 9112 7.1.1)"),
		failed("RFC 9112 7.1.1: LF within an extension", "3;a\nb\r\nabc\r\n"+end, `""`, control),
		failed("RFC 9112 7.1.1: CR within an extension", "3;a\rb\r\nabc\r\n"+end, `""`, cr),
		failed("RFC 9112 7.1.1: NUL within an extension", "3;a\x00\r\nabc\r\n"+end, `""`, control),
		failed("RFC 9112 7.1.1: an extension that is too long", "3;"+strings.Repeat("a", extensionBytes+1)+"\r\nabc\r\n"+end, `""`, long),
		chunked("RFC 9112 7.1.1: an extension as long as it may be", "3;"+strings.Repeat("a", extensionBytes-1)+"\r\nabc\r\n"+end, "content \"abc\""),
		failed("RFC 9112 7.1.1: many small chunks with extensions", strings.Repeat("1;aaa\r\nx\r\n", extensionBytes), `"`+strings.Repeat("x", 682)+`"`, long),
		chunked("RFC 9112 7.1.1: extensions that are shorter than the content", strings.Repeat("2;a\r\nxx\r\n", extensionBytes)+end, `content "`+strings.Repeat("x", 2*extensionBytes)+`"`),
	}
	for i := range all {
		all[i].want = strings.TrimSuffix(all[i].want, "\n")
	}
	return append(all, trailerRows()...)
}

func trailerRows() []row {
	trailer := func(name, lines, want string) row {
		return ask(name, "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"+lines+"\r\nGET / HTTP/1.1\r\n", "GET chunked\ncontent \"a\"\n"+want)
	}
	const more = "\nmore needed"
	return []row{
		trailer("RFC 9112 7.1.2: no trailer", "", "more needed"),
		trailer("RFC 9112 7.1.2: a trailer", "X-Sum: y \r\nEmpty:\r\n", "trailer [(other) X-Sum: y] [(other) Empty: ]"+more),
		trailer("RFC 9110 6.5.1: framing is dropped", "Content-Length: 5\r\nX: y\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n", "trailer [(other) X: y]"+more),
		trailer("RFC 9110 6.5.1: malformed framing is dropped too", "Content-Length: x\r\n", "more needed"),
		trailer("RFC 9110 6.5.1: routing is dropped", "Host: b\r\nX: y\r\nConnection: close\r\nUpgrade: x\r\n", "trailer [(other) X: y]"+more),
		trailer("RFC 9110 6.5.1: who the client is is dropped", "X-Forwarded-For: b\r\nX_Forwarded_For: b\r\nX-Forwarded-X: b\r\nForwarded: b\r\nX-Real-IP: b\r\nX-Request-ID: b\r\nRuche-Hop: b\r\n", "more needed"),
		trailer("RFC 9110 6.5.1: credentials are dropped", "Authorization: b\r\nCookie: c\r\nSet-Cookie: d\r\nProxy-Authorization: e\r\n", "more needed"),
		trailer("RFC 9112 5.2: a folded trailer", "X: y\r\n z\r\n", "error 400 a header folded over several lines (RFC 9112 5.2)"),
		trailer("RFC 9112 2.2: whitespace before the first trailer", " X: y\r\n", "error 400 whitespace before the first header (RFC 9112 2.2)"),
		trailer("RFC 9112 5.1: a space before the colon", "X : y\r\n", "error 400 whitespace between a header's name and the colon (RFC 9112 5.1)"),
		trailer("RFC 9112 5: no colon", "X\r\n", "error 400 a header without a colon (RFC 9112 5)"),
		trailer("RFC 9112 2.2: LF", "X: y\n", "error 400 a line that ends with LF alone instead of CRLF (RFC 9112 2.2)"),
		trailer("RFC 9112 2.2: LF and an empty line", "\n", "error 400 a line that ends with LF alone instead of CRLF (RFC 9112 2.2)"),
		trailer("RFC 9112 2.2: CR", "X: y\rz\r\n", "error 400 a CR without LF (RFC 9112 2.2)"),
		trailer("RFC 9112 2.2: CR for the empty line", "\rX", "error 400 a CR without LF (RFC 9112 2.2)"),
		trailer("RFC 9110 5.5: NUL", "X: \x00\r\n", "error 400 a control byte in a header (RFC 9110 5.5)"),
		trailer("RFC 9112 11.2: Content-Length with an underscore", "Content_Length: 1\r\n", "error 400 a Content-Length or Transfer-Encoding written with an underscore (RFC 9112 11.2)"),
		trailer("RFC 9112 7.1.2: too long", strings.Repeat("X: yyyyyyyyyyy\r\n", trailerBytes/16)+"X: y\r\n", "error 400 a trailer that is too long (RFC 9112 7.1.2)"),
		trailer("RFC 9112 7.1.2: too many fields", strings.Repeat("X: y\r\n", trailerFields+1), "error 431 too many headers (RFC 6585 5)"),
	}
}

func TestBodyEOF(t *testing.T) {
	for _, tc := range []struct {
		name    string
		framing Framing
		length  int64
		bytes   string
		want    error
	}{
		{"no body", NoBody, 0, "", nil},
		{"an empty body", Length, 0, "", nil},
		{"a whole body", Length, 2, "ab", nil},
		{"half a body", Length, 2, "a", io.ErrUnexpectedEOF},
		{"whole chunks", Chunked, 0, "1\r\na\r\n0\r\n\r\n", nil},
		{"chunks without an end", Chunked, 0, "1\r\na\r\n", io.ErrUnexpectedEOF},
		{"until the end", UntilClose, 0, "a", nil},
	} {
		var d Body
		d.Reset(tc.framing, tc.length)
		for b := []byte(tc.bytes); len(b) > 0; {
			_, n, _, err := d.Next(b)
			if err != nil || n == 0 {
				t.Fatalf("%s: %d, %v", tc.name, n, err)
			}
			b = b[n:]
		}
		if err := d.EOF(); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}

// TestBodyKeepsAnError asks again after an error.
func TestBodyKeepsAnError(t *testing.T) {
	var d Body
	d.Reset(Chunked, 0)
	b := []byte("1\r\na\r\n0\r\nX y\r\nX: y\r\n\r\n")
	data, n, _, err := d.Next(b)
	if string(data) != "a" || err != nil {
		t.Fatalf("%q, %v", data, err)
	}
	for range 3 {
		if _, _, _, err := d.Next(b[n:]); err == nil {
			t.Fatal("a trailer was refused, and then was not")
		}
	}
}

func TestSkip(t *testing.T) {
	var b Body
	b.Reset(Length, 10)
	if data, _, done, err := b.Next([]byte("abc")); string(data) != "abc" || done || err != nil {
		t.Errorf("Next: %q, %t, %v", data, done, err)
	}
	if left := b.Left(); left != 7 {
		t.Errorf("%d bytes are left, want 7", left)
	}
	if b.Skip(6) {
		t.Error("the body is done before its last byte")
	}
	if data, n, done, err := b.Next([]byte("jGET")); string(data) != "j" || n != 1 || !done || err != nil {
		t.Errorf("Next behind Skip: %q, %d, %t, %v", data, n, done, err)
	}
	b.Reset(Length, 5)
	if !b.Skip(5) || b.Left() != 0 {
		t.Error("a body that was skipped as a whole is not done")
	}
	for _, f := range []Framing{Chunked, UntilClose, NoBody} {
		if b.Reset(f, 5); b.Left() != 0 {
			t.Errorf("framing %v: %d bytes are left, want none that is known", f, b.Left())
		}
	}
}
