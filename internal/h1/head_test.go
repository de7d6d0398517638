package h1

import (
	"strings"
	"testing"
)

func TestHead(t *testing.T) { checkRows(t, headRows(), 70) }

func headRows() []row {
	all := append(fieldRows(), framingRows()...)
	return append(all, connectionRows()...)
}

func fieldRows() []row {
	const control = "error 400 a control byte in a header"
	return []row{
		with("RFC 9112 5: a field", "X: y\r\n", "GET [(other) X: y]"),
		with("RFC 9112 5: whitespace around a value", "X: \t y z \t \r\n", "GET [(other) X: y z]"),
		with("RFC 9112 5: no whitespace before a value", "X:y\r\n", "GET [(other) X: y]"),
		with("RFC 9112 5: an empty value", "X:\r\nY: \r\nZ:\t\r\n", "GET [(other) X: ] [(other) Y: ] [(other) Z: ]"),
		with("RFC 9112 5: colons within a value", "X: :a:b\r\n", "GET [(other) X: :a:b]"),
		with("RFC 9112 5: fields stay in order", "B: 1\r\nA: 2\r\nb: 3\r\n", "GET [(other) B: 1] [(other) A: 2] [(other) b: 3]"),
		with("RFC 9112 5: no name", ": y\r\n", "error 400 a header without a name"),
		with("RFC 9112 5: no colon", "X\r\n", "error 400 a header without a colon"),
		with("RFC 9112 5: words without a colon", "X y\r\n", "error 400 whitespace in a header's name"),
		with("RFC 9112 5.1: a space before the colon", "X : y\r\n", "error 400 whitespace between"),
		with("RFC 9112 5.1: a tab before the colon", "X\t: y\r\n", "error 400 whitespace between"),
		with("RFC 9112 5.1: a space within the name", "X Y: z\r\n", "error 400 whitespace in a header's name"),
		with("RFC 9112 5.2: a folded value", "X: y\r\n z\r\n", "error 400 a header folded"),
		with("RFC 9112 5.2: a value folded with a tab", "X: y\r\n\tz\r\n", "error 400 a header folded"),
		with("RFC 9112 5.2: folded onto an empty line", "X: y\r\n \r\n", "error 400 a header folded"),
		ask("RFC 9112 2.2: whitespace before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "error 400 whitespace before the first header"),
		with("RFC 9110 5.1: any token is a name", "!#$%&'*+-.^`|~09azAZ: y\r\n", "GET [(other) !#$%&'*+-.^`|~09azAZ: y]"),
		with("RFC 9110 5.1: a long name with digits", "Sec-WebSocket-Key-0123456789-Abc: y\r\n", "GET [(other) Sec-WebSocket-Key-0123456789-Abc: y]"),
		with("RFC 9110 5.1: a name with an underscore", "A_b: y\r\n", "GET [(other) A_b: y]"),
		with("RFC 9110 5.1: a name that is not ASCII", "\u00c4: y\r\n", "error 400 a byte in a header's name"),
		with("RFC 9110 5.1: a name with a separator", "a(b): y\r\n", "error 400 a byte in a header's name"),
		with("RFC 9110 5.1: a name with a comma behind a dash", "a-,bcdefgh: y\r\n", "error 400 a byte in a header's name"),
		with("RFC 9110 5.5: a value of all that is visible", "X: !\"#~\x80\xff\r\n", "GET [(other) X: !\"#~\x80\xff]"),
		with("RFC 9110 5.5: tabs within a value", "X: a\tb\tc\td\te\tf\r\n", "GET [(other) X: a\tb\tc\td\te\tf]"),
		with("RFC 9110 5.5: NUL", "X: a\x00\r\n", control),
		with("RFC 9110 5.5: a control byte", "X: aaaaaaaaaaaa\x1faaaaaaaaaaaaa\r\n", control),
		with("RFC 9110 5.5: DEL", "X: aaaaaaaaaaaa\x7faaaaaaaaaaaaa\r\n", control),
		with("RFC 9110 5.5: DEL behind a byte that is not ASCII", "X: \xff\x7faaaaaaaaaaaaa\r\n", control),
		with("RFC 9110 5.5: a byte below DEL behind one that is not ASCII", "X: \xff~aaaaaaaaaaaaa\r\n", "GET [(other) X: \xff~aaaaaaaaaaaaa]"),
		with("RFC 9112 2.2: a CR within a value", "X: a\rb\r\n", "error 400 a CR without LF"),
		with("RFC 9112 2.2: a CR before CRLF", "X: a\r\r\n", "error 400 a CR without LF"),
		with("RFC 9112 2.2: a LF within a value", "X: a\nb\r\n", "error 400 a line that ends with LF alone"),
		ask("RFC 9112 2.2: an empty line that is LF", "GET / HTTP/1.1\r\nHost: a\r\n\n", "error 400 a line that ends with LF alone"),
		with("RFC 9112 11.2: Content-Length with an underscore", "Content_Length: 1\r\n", "error 400 a Content-Length or"),
		with("RFC 9112 11.2: Transfer-Encoding with an underscore", "transfer_encoding: chunked\r\n", "error 400 a Content-Length or"),
		with("RFC 3875 4.1.18: names that CGI programs take for others", "X_Forwarded_For: y\r\nX-Real_IP: y\r\nX_FORWARDED_WHATEVER_THAT_IS_LONGER: y\r\nHo_st: y\r\n",
			"GET [(disguised) X_Forwarded_For: y] [(disguised) X-Real_IP: y] [(disguised) X_FORWARDED_WHATEVER_THAT_IS_LONGER: y] [(other) Ho_st: y]"),
	}
}

func framingRows() []row {
	const (
		length, several    = "error 400 a Content-Length that", "error 400 several Content-Length"
		malformed, unknown = "error 400 a malformed Transfer-Encoding", "error 501 a Transfer-Encoding other"
	)
	body := func(name, fields, body, want string) row {
		return ask(name, "GET / HTTP/1.1\r\nHost: a\r\n"+fields+"\r\n"+body, want)
	}
	return []row{
		with("RFC 9112 6.3: neither", "", "GET"),
		body("RFC 9112 6.3: neither, and more bytes are the next request", "", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET\nGET"),
		body("RFC 9112 6.3: a length", "Content-Length: 3\r\n", "abc", "GET length=3\ncontent \"abc\""),
		body("RFC 9112 6.3: a length of 0", "Content-Length: 0\r\n", "", "GET length=0"),
		body("RFC 9112 6.3: a length and less content", "Content-Length: 4\r\n", "abc", "GET length=4\ncontent \"abc\"\ncut off"),
		body("RFC 9112 6.3: chunked", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n", "GET chunked\ncontent \"abc\""),
		body("RFC 9112 6.1: chunked in any case", "transfer-encoding: CHUNked\r\n", "0\r\n\r\n", "GET chunked"),
		with("RFC 9112 6.3: both", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "error 400 both"),
		with("RFC 9112 6.3: both, the other way round", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "error 400 both"),
		with("RFC 9112 6.3: both, the length 0", "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "error 400 both"),
		with("RFC 9112 6.3: two lengths that differ", "Content-Length: 3\r\nContent-Length: 4\r\n", several),
		with("RFC 9112 6.3: two lengths that agree", "Content-Length: 3\r\nContent-Length: 3\r\n", several),
		with("RFC 9110 8.6: a list of lengths", "Content-Length: 3, 3\r\n", length),
		with("RFC 9110 8.6: no length", "Content-Length:\r\n", length),
		with("RFC 9110 8.6: a sign", "Content-Length: +3\r\n", length),
		with("RFC 9110 8.6: a negative length", "Content-Length: -3\r\n", length),
		with("RFC 9110 8.6: hexadecimal", "Content-Length: 0x3\r\n", length),
		with("RFC 9110 8.6: a fraction", "Content-Length: 3.0\r\n", length),
		with("RFC 9110 8.6: a space within", "Content-Length: 3 3\r\n", length),
		with("RFC 9110 8.6: an underscore within", "Content-Length: 3_3\r\n", length),
		body("RFC 9110 8.6: zeros in front", "Content-Length: 003\r\n", "abc", "GET length=3\ncontent \"abc\""),
		body("RFC 9110 8.6: the greatest length", "Content-Length: 999999999999999999\r\n", "", "GET length=999999999999999999\ncontent \"\"\ncut off"),
		with("RFC 9110 8.6: too many digits", "Content-Length: 1000000000000000000\r\n", length),
		with("RFC 9112 6.1: two codings in two fields", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "error 501"),
		with("RFC 9112 6.1: chunked in two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "error 400 several Transfer-Encoding"),
		with("RFC 9112 6.1: chunked twice", "Transfer-Encoding: chunked, chunked\r\n", "error 400 a Transfer-Encoding after chunked"),
		with("RFC 9112 6.1: chunked is not the last", "Transfer-Encoding: chunked, gzip\r\n", "error 400 a Transfer-Encoding after chunked"),
		with("RFC 9112 6.1: another coding before chunked", "Transfer-Encoding: gzip, chunked\r\n", unknown),
		with("RFC 9112 6.1: gzip", "Transfer-Encoding: gzip\r\n", unknown),
		with("RFC 9112 6.1: identity", "Transfer-Encoding: identity\r\n", unknown),
		with("RFC 9112 6.1: something like chunked", "Transfer-Encoding: xchunked\r\n", unknown),
		with("RFC 9112 7: nothing", "Transfer-Encoding:\r\n", malformed),
		with("RFC 9112 7: a parameter", "Transfer-Encoding: chunked;a=b\r\n", malformed),
		with("RFC 9112 7: quotes", "Transfer-Encoding: \"chunked\"\r\n", malformed),
		with("RFC 9112 7: an empty element in front", "Transfer-Encoding: , chunked\r\n", malformed),
		with("RFC 9112 7: an empty element behind", "Transfer-Encoding: chunked,\r\n", "error 400 a Transfer-Encoding after chunked"),
		with("RFC 9112 7: not ASCII", "Transfer-Encoding: \u00a0chunked\r\n", malformed),
		ask("RFC 9112 6.1: chunked in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "error 400 Transfer-Encoding in HTTP/1.0"),
		ask("RFC 9112 6.3: a length in HTTP/1.0", "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "POST / HTTP/1.0 host= length=3 close\ncontent \"abc\""),
	}
}

func connectionRows() []row {
	const old = "GET / HTTP/1.0\r\nHost: a\r\n"
	return []row{
		with("RFC 9112 9.3: HTTP/1.1 stays", "Connection: keep-alive\r\n", "GET"),
		with("RFC 9112 9.6: close", "Connection: close\r\n", "GET close"),
		with("RFC 9112 9.6: close among others", "Connection: x, , CLOSE ,y\r\n", "GET close"),
		with("RFC 9112 9.6: close in a second field", "Connection: keep-alive\r\nConnection: close\r\n", "GET close"),
		with("RFC 6585 5: as many options as may be", "Connection: "+strings.Repeat("x, ", 300)+"close\r\nConnection: "+strings.Repeat("y", 119)+"\r\n", "GET close"),
		with("RFC 6585 5: too many options", "Connection: "+strings.Repeat("x, ", 300)+"close\r\nConnection: "+strings.Repeat("y", 120)+"\r\n", "error 431 a Connection"),
		with("RFC 9112 9.6: something like close", "Connection: closed, xclose, close;a\r\n", "GET"),
		ask("RFC 9112 9.3: HTTP/1.0 ends", old+"\r\n", "GET / HTTP/1.0 host=a close"),
		ask("RFC 9112 9.3: HTTP/1.0 with keep-alive stays", old+"Connection: Keep-Alive\r\n\r\n", "GET / HTTP/1.0 host=a"),
		ask("RFC 9112 9.3: HTTP/1.0 with close and keep-alive ends", old+"Connection: keep-alive, close\r\n\r\n", "GET / HTTP/1.0 host=a close"),
		ask("RFC 9112 C.2.2: Proxy-Connection says nothing", old+"Proxy-Connection: keep-alive\r\n\r\n", "GET / HTTP/1.0 host=a close [Proxy-Connection Proxy-Connection: keep-alive]"),
		with("RFC 9112 9.6: bytes behind the last request are not read", "Connection: close\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n", "GET close"),
		with("RFC 9110 7.8: an upgrade", "Upgrade: websocket, x/2\r\nConnection: keep-alive, Upgrade\r\n", "GET upgrade=websocket, x/2"),
		with("RFC 9110 7.8: an upgrade, Connection first", "Connection: upgrade\r\nUpgrade: websocket\r\n", "GET upgrade=websocket"),
		with("RFC 9110 7.8: an upgrade that Connection does not name", "Upgrade: websocket\r\n", "GET"),
		with("RFC 9110 7.8: an upgrade to nothing", "Connection: upgrade\r\nUpgrade:\r\n", "GET"),
		with("RFC 9110 7.8: Connection names an upgrade that is not there", "Connection: upgrade\r\n", "GET"),
		with("RFC 9110 7.8: of two fields the first counts", "Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n", "GET upgrade=a"),
		ask("RFC 9110 7.8: no upgrade from HTTP/1.0", old+"Connection: upgrade, keep-alive\r\nUpgrade: a\r\n\r\n", "GET / HTTP/1.0 host=a"),
		with("RFC 9110 10.1.1: Expect without a body", "Expect: 100-continue\r\n", "GET"),
		with("RFC 9110 10.1.1: Expect with an empty body", "Expect: 100-continue\r\nContent-Length: 0\r\n", "GET length=0"),
		ask("RFC 9110 10.1.1: Expect with a body", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nx", "POST / HTTP/1.1 host=a expect length=1\ncontent \"x\""),
		ask("RFC 9110 10.1.1: Expect with chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n0\r\n\r\n", "POST / HTTP/1.1 host=a expect chunked"),
		ask("RFC 9110 10.1.1: HTTP/1.0 expects nothing", "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\nExpect: more\r\n\r\nx", "POST / HTTP/1.0 host= length=1 close\ncontent \"x\""),
		with("RFC 9110 10.1.1: Expect of something else", "Expect: 200-ok\r\n", "error 417"),
		with("RFC 9110 10.1.1: Expect of more", "Expect: 100-continue, more\r\n", "error 417"),
		with("RFC 9110 10.1.4: TE", "TE: trailers\r\nConnection: TE\r\n", "GET trailers"),
		with("RFC 9110 10.1.4: trailers among other codings", "TE: gzip;q=0.5, Trailers\r\n", "GET trailers"),
		with("RFC 9110 10.1.4: TE without trailers", "TE: gzip, trailersx\r\n", "GET"),
		ask("RFC 9110 10.1.4: no trailers for HTTP/1.0", old+"TE: trailers\r\n\r\n", "GET / HTTP/1.0 host=a close"),
	}
}

func TestConnectionNames(t *testing.T) {
	for _, tc := range []struct{ fields, name string }{
		{"Connection: X-A\r\n", "x-a"},
		{"Connection: keep-alive, x-a\r\n", "X-A"},
		{"Connection: close\r\nConnection: x-b , X-a\r\n", "X-A"},
		{"Connection: Upgrade\r\n", "upgrade"},
		{"Connection: ,,x_a^\r\n", "X_A^"},
		{"Connection: keep-alive\r\n", ""},
		{"Connection: x-ab, x\r\n", ""},
		{"Connection: x-a;b\r\n", ""},
		{"X: X-A\r\n", ""},
	} {
		for _, name := range []string{"x-a", "X-A", "upgrade", "X_A^", ""} {
			var r Request
			if _, err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: a\r\n"+tc.fields+"\r\n"), Limits{}); err != nil {
				t.Fatal(err)
			}
			if got, want := r.ConnectionNames([]byte(name)), name != "" && strings.EqualFold(tc.name, name); got != want {
				t.Errorf("%q names %s: %v", tc.fields, name, got)
			}
		}
	}
}
