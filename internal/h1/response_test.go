package h1

import "testing"

func TestResponse(t *testing.T) { checkRows(t, responseRows(), 60) }

func responseRows() []row {
	to := func(method, name, wire, want string) row {
		return row{message{name: name, wire: wire, method: method}, want}
	}
	get := func(name, wire, want string) row { return to("GET", name, wire, want) }
	const ok, status, control = "HTTP/1.1 200 OK\r\n", "error 502 a status that", "error 502 a control byte in a header"
	all := []row{
		get("RFC 9112 4: a response", ok+"Content-Length: 2\r\n\r\nabHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 200 \"OK\" length=2\ncontent \"ab\"\nHTTP/1.1 404 \"Not Found\" length=0"),
		get("RFC 9112 4: no reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 \"\" length=0"),
		get("RFC 9112 4: no reason and no space", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 \"\" length=0"),
		get("RFC 9112 4: a reason of anything", "HTTP/1.1 299 \t\u00e4 ~\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 299 \"\\tä ~\" length=0"),
		get("RFC 9112 4: a status of two digits", "HTTP/1.1 20\r\n\r\n", "error 502 no status line"),
		get("RFC 9112 4: a status of two digits and a reason", "HTTP/1.1 20 OK\r\n\r\n", status),
		get("RFC 9112 4: a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", status),
		get("RFC 9112 4: a status with letters", "HTTP/1.1 2OO OK\r\n\r\n", status),
		get("RFC 9112 4: a status with a sign", "HTTP/1.1 +20 OK\r\n\r\n", status),
		get("RFC 9112 4: a reason without a space", "HTTP/1.1 200OK\r\n\r\n", status),
		get("RFC 9112 4: two spaces", "HTTP/1.1  200 OK\r\n\r\n", status),
		get("RFC 9110 15: a status below 100", "HTTP/1.1 099 OK\r\n\r\n", "error 502 a status below 100"),
		get("RFC 9110 15: a status of 999", "HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 999 \"No\" length=0"),
		get("RFC 9112 2.3: HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", "error 502 a version"),
		get("RFC 9112 2.3: HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", "error 502 a version"),
		get("RFC 9112 2.3: small letters", "http/1.1 200 OK\r\n\r\n", "error 502 a version"),
		get("RFC 9112 2.3: another protocol", "RTSP/1.0 200 OK\r\n\r\n", "error 502 a version"),
		get("RFC 9112 2.3: ICY", "ICY 200 OK\r\n\r\n", "error 502 no status line"),
		get("RFC 9112 2.2: HTTP/0.9", "<html>hello</html>\r\n", "error 502 no status line"),
		get("RFC 9112 2.2: an empty line before the response", "\r\nHTTP/1.1 200 OK\r\n\r\n", "error 502 no status line"),
		get("RFC 9112 2.2: LF alone, as old programs send it", "HTTP/1.1 200 OK\nX: y\r\nContent-Length: 1\n\nz", "HTTP/1.1 200 \"OK\" length=1 [(other) X: y]\ncontent \"z\""),
		get("RFC 9112 2.2: a CR within a value", ok+"X: a\rb\r\n\r\n", "error 502 a CR without LF"),
		get("RFC 9112 8: cut off", ok+"Content-Le", "more needed"),
		get("RFC 9112 5.1: whitespace before the colon is removed", ok+"Content-Length \t: 1\r\nX : y\r\n\r\nz", "HTTP/1.1 200 \"OK\" length=1 [(other) X: y]\ncontent \"z\""),
		get("RFC 9112 5.1: whitespace within a name is not", ok+"X Y: z\r\n\r\n", "error 502 whitespace in a header's name"),
		get("RFC 9112 5.2: a folded value", ok+"X: y\r\n z\r\n\r\n", "error 502 a header folded"),
		get("RFC 9112 2.2: whitespace before the first field", ok+" X: y\r\n\r\n", "error 502 whitespace before"),
		get("RFC 9110 5.5: NUL", ok+"X: \x00\r\n\r\n", control),
		get("RFC 9110 5.5: a control byte", ok+"X: \x01\r\n\r\n", control),
		get("RFC 9110 5.1: a name that is not ASCII", ok+"\u00e4: y\r\n\r\n", "error 502 a byte in a header's name"),
		get("RFC 9112 11.2: Content-Length with an underscore", ok+"Content_Length: 1\r\n\r\n", "error 502 a Content-Length or"),
		{message{"RFC 6585 5: a head that is too long", ok + "X: aaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n", "GET", Limits{HeadBytes: 30}}, "error 502 headers that are too long"},
		{message{"RFC 6585 5: a status line that is too long", ok, "GET", Limits{HeadBytes: 10}}, "error 502 headers that are too long"},
		{message{"RFC 6585 5: too many fields", ok + "A: b\r\nC: d\r\n\r\n", "GET", Limits{Fields: 1}}, "error 502 too many headers"},
	}
	return append(all, responseBodyRows()...)
}

func responseBodyRows() []row {
	to := func(method, name, wire, want string) row {
		return row{message{name: name, wire: wire, method: method}, want}
	}
	get := func(name, wire, want string) row { return to("GET", name, wire, want) }
	const ok, next = "HTTP/1.1 200 OK\r\n", "HTTP/1.1 201 \r\nContent-Length: 0\r\n\r\n"
	const length, nextRead = "error 502 a Content-Length that", "\nHTTP/1.1 201 \"\" length=0"
	return []row{
		get("RFC 9112 6.3: chunked", ok+"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n"+next, "HTTP/1.1 200 \"OK\" chunked\ncontent \"a\"\ntrailer [(other) X: y]"+nextRead),
		get("RFC 9112 6.3: neither, so until the end", ok+"\r\nabc", "HTTP/1.1 200 \"OK\" until-close close\ncontent \"abc\" until the end"),
		get("RFC 9112 6.3: neither in spite of keep-alive", ok+"Connection: keep-alive\r\n\r\nabc", "HTTP/1.1 200 \"OK\" until-close close\ncontent \"abc\" until the end"),
		get("RFC 9112 6.3: neither, and nothing comes", ok+"\r\n", "HTTP/1.1 200 \"OK\" until-close close\ncontent \"\" until the end"),
		get("RFC 9112 6.3: cut off by length", ok+"Content-Length: 2\r\n\r\na", "HTTP/1.1 200 \"OK\" length=2\ncontent \"a\"\ncut off"),
		get("RFC 9112 6.3: cut off between chunks", ok+"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", "HTTP/1.1 200 \"OK\" chunked\ncontent \"a\"\ncut off"),
		get("RFC 9112 6.3: both", ok+"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "error 502 both"),
		get("RFC 9112 6.3: two lengths that differ", ok+"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "error 502 several Content-Length"),
		get("RFC 9112 6.3: two lengths that agree", ok+"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", "error 502 several Content-Length"),
		get("RFC 9110 8.6: a list of lengths", ok+"Content-Length: 1, 1\r\n\r\n", length),
		get("RFC 9110 8.6: a negative length", ok+"Content-Length: -1\r\n\r\n", length),
		get("RFC 9112 6.1: another coding", ok+"Transfer-Encoding: gzip, chunked\r\n\r\n", "error 502 a Transfer-Encoding other"),
		get("RFC 9112 6.1: chunked twice", ok+"Transfer-Encoding: chunked, chunked\r\n\r\n", "error 502 a Transfer-Encoding after"),
		get("RFC 9112 6.1: chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "error 502 Transfer-Encoding in HTTP/1.0"),
		to("HEAD", "RFC 9112 6.3: HEAD has no body", ok+"Content-Length: 5\r\n\r\n"+next, "HTTP/1.1 200 \"OK\"\nHTTP/1.1 201 \"\""),
		to("HEAD", "RFC 9112 6.3: HEAD has no body, chunked", ok+"Transfer-Encoding: chunked\r\n\r\n"+next, "HTTP/1.1 200 \"OK\"\nHTTP/1.1 201 \"\""),
		to("HEAD", "RFC 9112 6.3: HEAD has no body, without fields", ok+"\r\n"+next, "HTTP/1.1 200 \"OK\"\nHTTP/1.1 201 \"\""),
		to("HEAD", "RFC 9112 6.3: HEAD with both", ok+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "error 502 both"),
		to("head", "RFC 9110 9.1: methods are case-sensitive", ok+"Content-Length: 1\r\n\r\na", "HTTP/1.1 200 \"OK\" length=1\ncontent \"a\""),
		get("RFC 9110 15.3.5: 204 has no body", "HTTP/1.1 204 \r\n\r\n"+next, "HTTP/1.1 204 \"\""+nextRead),
		get("RFC 9110 15.3.5: 204 with the length 0", "HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n"+next, "HTTP/1.1 204 \"\""+nextRead),
		get("RFC 9110 15.3.5: 204 that declares a body ends the connection", "HTTP/1.1 204 \r\nContent-Length: 5\r\n\r\n"+next, "HTTP/1.1 204 \"\" close"),
		get("RFC 9112 6.1: 204 that declares chunks ends the connection", "HTTP/1.1 204 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 204 \"\" close"),
		get("RFC 9110 15.4.5: 304 has no body", "HTTP/1.1 304 \r\nContent-Length: 5\r\n\r\n"+next, "HTTP/1.1 304 \"\""+nextRead),
		get("RFC 9110 15.4.5: 304 has no body, chunked", "HTTP/1.1 304 \r\nTransfer-Encoding: chunked\r\n\r\n"+next, "HTTP/1.1 304 \"\""+nextRead),
		get("RFC 9110 15.3.6: 205 is framed as usual", "HTTP/1.1 205 \r\nContent-Length: 1\r\n\r\na", "HTTP/1.1 205 \"\" length=1\ncontent \"a\""),
		get("RFC 9110 15.2: 100 and the answer", "HTTP/1.1 100 Continue\r\n\r\n"+next, "HTTP/1.1 100 \"Continue\""+nextRead),
		get("RFC 8297 2: early hints", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 103 \r\n\r\n"+next, "HTTP/1.1 103 \"Early Hints\" [(other) Link: a]\nHTTP/1.1 103 \"\""+nextRead),
		get("RFC 9110 15.2: an informational response with a length", "HTTP/1.1 103 \r\nContent-Length: 1\r\n\r\na", "error 502 an informational response with a body"),
		get("RFC 9110 15.2: an informational response with chunks", "HTTP/1.1 100 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "error 502 an informational response with a body"),
		get("RFC 9110 15.2: an informational response with the length 0", "HTTP/1.1 100 \r\nContent-Length: 0\r\n\r\n"+next, "HTTP/1.1 100 \"\""+nextRead),
		get("RFC 9110 15.2.2: 101 begins another protocol", "HTTP/1.1 101 \r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nanything", "HTTP/1.1 101 \"\" upgrade=websocket"),
		get("RFC 9110 15.2.2: 101 has no body", "HTTP/1.1 101 \r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\nanything", "HTTP/1.1 101 \"\" upgrade=x"),
		get("RFC 9110 7.8: an upgrade that Connection does not name", "HTTP/1.1 101 \r\nUpgrade: x\r\n\r\nanything", "HTTP/1.1 101 \"\""),
		to("CONNECT", "RFC 9110 9.3.6: a successful CONNECT begins a tunnel", ok+"Content-Length: 5\r\n\r\n", "HTTP/1.1 200 \"OK\""),
		to("CONNECT", "RFC 9110 9.3.6: a refused CONNECT is framed as usual", "HTTP/1.1 403 \r\nContent-Length: 1\r\n\r\na", "HTTP/1.1 403 \"\" length=1\ncontent \"a\""),
		get("RFC 9112 9.6: close", ok+"Content-Length: 0\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 \"OK\" length=0 close"),
		get("RFC 9112 9.3: HTTP/1.0 ends", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", "HTTP/1.0 200 \"OK\" length=1 close\ncontent \"a\""),
		get("RFC 9112 9.3: HTTP/1.0 with keep-alive stays", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"+next, "HTTP/1.0 200 \"OK\" length=0"+nextRead),
		get("RFC 9112 9.3: HTTP/1.0 until the end", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\na", "HTTP/1.0 200 \"OK\" until-close close\ncontent \"a\" until the end"),
		get("RFC 9110 7.8: no upgrade to HTTP/1.0", "HTTP/1.0 101 \r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", "HTTP/1.0 101 \"\" close"),
	}
}
