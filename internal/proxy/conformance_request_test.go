package proxy

import "strings"

// with is a GET with more fields.
func with(fields string) string { return "GET / HTTP/1.1\nHost: a.test\n" + fields + "\n" }

// asks is a rule about what the endpoint gets of a GET's fields.
func asks(name, fields, sees string) rule {
	return rule{name: name, send: with(fields), reply: []string{ok}, sees: with(sees), gets: answer2}
}

// hopByHopRules are about fields that concern one connection.
func hopByHopRules() []rule {
	var all []rule
	for _, f := range []struct{ name, section string }{
		{"Keep-Alive: timeout=5", "9110 7.6.1"}, {"Proxy-Connection: keep-alive", "9110 7.6.1"}, {"Proxy-Authorization: Basic eA==", "9110 11.7.2"},
		{"Proxy-Authenticate: Basic", "9110 11.7.1"}, {"Upgrade: websocket", "9110 7.8"}, {"TE: gzip", "9110 10.1.4"}, {"Trailer: X", "9110 7.6.1"},
		{"Proxy: http://evil.test", "3875 4.1.18"},
	} {
		name, _, _ := strings.Cut(f.name, ":")
		all = append(all, asks("RFC "+f.section+": "+name+" ends here", "A: 1\n"+f.name+"\nB: 2\n", "A: 1\nB: 2\n"))
	}
	return append(all,
		asks("RFC 9110 7.6.1: a field that Connection names ends here", "Connection: X-Foo\nX-Foo: 1\nX-Bar: 2\n", "X-Bar: 2\n"),
		asks("RFC 9110 7.6.1: names in Connection have letters of any case", "Connection: x-fOO\nX-Foo: 1\n", ""),
		asks("RFC 9110 7.6.1: Connection is a list", "Connection: X-Foo , ,X-Bar\nX-Foo: 1\nX-Bar: 2\nX-Baz: 3\n", "X-Baz: 3\n"),
		asks("RFC 9110 7.6.1: several Connection are one list", "Connection: X-Foo\nX-Foo: 1\nConnection: X-Bar\nX-Bar: 2\n", ""),
		asks("RFC 9110 7.6.1: a name in Connection that is no field is nothing", "Connection: X-Foo\nX-Fooo: 1\n", "X-Fooo: 1\n"),
		asks("RFC 9110 7.6.1: Connection cannot take Host away", "Connection: Host\n", ""),
		asks("RFC 9110 7.6.1: Connection cannot take away what Ruche says of the client", "Connection: X-Forwarded-For, X-Real-IP, X-Request-Id, Ruche-Hop\n", ""),
		asks("RFC 9110 7.6.1: Connection may take Cookie away", "Connection: Cookie\nCookie: a=1\n", ""),
		rule{name: "RFC 9110 7.6.1: Connection cannot take Content-Length away",
			send:  "POST / HTTP/1.1\nHost: a.test\nConnection: Content-Length\nContent-Length: 2\n\nhi",
			reply: []string{ok}, sees: "POST / HTTP/1.1\nHost: a.test\nContent-Length: 2\n\nhi", gets: answer2},
		rule{name: "RFC 9110 7.6.1: Connection cannot take Transfer-Encoding away",
			send:  "POST / HTTP/1.1\nHost: a.test\nConnection: Transfer-Encoding\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n",
			reply: []string{ok}, sees: "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n", gets: answer2},
		rule{name: "RFC 9110 7.6.1: close beside a name counts, and so does the name",
			send: with("Connection: close, X-Foo\nX-Foo: 1\n"), reply: []string{ok}, sees: get,
			gets: "HTTP/1.1 200 OK\nDate: now\nContent-Length: 2\nConnection: close\n\nok<end>"},
		asks("RFC 9110 10.1.4: TE with trailers is passed on as such", "TE: gzip;q=0.5, trailers\nConnection: TE\n", "TE: trailers\n"),
		asks("RFC 9110 7.6.1: a name in TE is no reason to keep it without trailers", "TE: chunked\nConnection: TE\n", ""),
	)
}

// forwardedRules are about fields that tell who the client is.
func forwardedRules() []rule {
	return []rule{
		asks("RFC 7239 8.1: X-Forwarded-* of a client that nobody trusts is dropped", "X-Forwarded-For: 6.6.6.6\nX-Forwarded-Proto: https\nX-Forwarded-Host: evil\nX-Forwarded-Prefix: /x\n", ""),
		asks("RFC 7239 8.1: Forwarded of a client that nobody trusts is dropped", "Forwarded: for=6.6.6.6\n", ""),
		asks("RFC 7239 8.1: X-Real-IP of a client that nobody trusts is dropped", "X-Real-IP: 6.6.6.6\nx-real-ip: 6.6.6.7\n", ""),
		asks("RFC 3875 4.1.18: names that become others in CGI are dropped", "X_Forwarded_For: 6.6.6.6\nX-Real_IP: 6.6.6.6\nX_Own: 1\n", "X_Own: 1\n"),
		asks("RFC 9110 7.6.3: Via is left as it is", "Via: 1.1 other\n", "Via: 1.1 other\n"),
	}
}

// hostRules are about Host.
func hostRules() []rule {
	refused := func(name, send string) rule { return rule{name: name, send: send, gets: "[400 close]<end>"} }
	return []rule{
		refused("RFC 9112 3.2: HTTP/1.1 without Host", "GET / HTTP/1.1\n\n"),
		refused("RFC 9112 3.2: two Hosts", "GET / HTTP/1.1\nHost: a.test\nHost: a.test\n\n"),
		refused("RFC 9112 3.2: a Host that is none", "GET / HTTP/1.1\nHost: a test\n\n"),
		refused("RFC 9112 3.2: a Host with user information", "GET / HTTP/1.1\nHost: x@a.test\n\n"),
		refused("RFC 9112 3.2: a Host with a path", "GET / HTTP/1.1\nHost: a.test/x\n\n"),
		refused("RFC 9112 3.2: a list of Hosts", "GET / HTTP/1.1\nHost: a.test, b.test\n\n"),
		{name: "RFC 9110 7.2: Host is passed on with its port", send: "GET / HTTP/1.1\nHost: a.test:8080\n\n", reply: []string{ok},
			sees: "GET / HTTP/1.1\nHost: a.test:8080\n\n", gets: answer2},
		{name: "RFC 9110 4.2.3: Host has letters of any case", send: "GET / HTTP/1.1\nhOST: A.TesT\n\n", reply: []string{ok},
			sees: "GET / HTTP/1.1\nHost: A.TesT\n\n", gets: answer2},
		{name: "RFC 9110 7.4: a host that is not here", send: "GET / HTTP/1.1\nHost: b.test\n\n", gets: "[503]"},
		{name: "RFC 9112 3.2: Host goes first", send: "GET / HTTP/1.1\nA: 1\nHost: a.test\n\n", reply: []string{ok},
			sees: with("A: 1\n"), gets: answer2},
	}
}

// targetRules are about request lines.
func targetRules() []rule {
	line := func(name, line, sees string) rule {
		return rule{name: name, send: line + "\nHost: a.test\n\n", reply: []string{ok}, sees: sees + "\nHost: a.test\n\n", gets: answer2}
	}
	return []rule{
		line("RFC 9112 3.2.1: path and query are passed on byte by byte", "GET /a%2Fb;c=%e9/?q=%20&r=%%x HTTP/1.1", "GET /a%2Fb;c=%e9/?q=%20&r=%%x HTTP/1.1"),
		line("RFC 9112 3.2.1: double slashes stay", "GET //a//b HTTP/1.1", "GET //a//b HTTP/1.1"),
		line("RFC 9112 3.2.2: an absolute target becomes a path", "GET http://a.test/x?y HTTP/1.1", "GET /x?y HTTP/1.1"),
		line("RFC 9112 3.2.2: an absolute target without a path becomes a slash", "GET http://a.test HTTP/1.1", "GET / HTTP/1.1"),
		line("RFC 9112 3.2.2: an absolute target with a query alone gets a slash", "GET http://a.test?y HTTP/1.1", "GET /?y HTTP/1.1"),
		{name: "RFC 9112 3.2.2: the authority of an absolute target replaces Host", send: "GET http://a.test/ HTTP/1.1\nHost: b.test\n\n", reply: []string{ok},
			sees: get, gets: answer2},
		line("RFC 9112 3.2.4: OPTIONS of the whole server", "OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"),
		line("RFC 9112 3.2.4: OPTIONS of an absolute target without a path", "OPTIONS http://a.test HTTP/1.1", "OPTIONS * HTTP/1.1"),
		{name: "RFC 9112 3.2.4: an asterisk with another method", send: "GET * HTTP/1.1\nHost: a.test\n\n", gets: "[400 close]<end>"},
		{name: "RFC 9110 9.3.6: CONNECT is refused", send: "CONNECT a.test:80 HTTP/1.1\nHost: a.test:80\n\n", gets: "[400]"},
		{name: "RFC 9110 9.3.8: TRACE is refused", send: "TRACE / HTTP/1.1\nHost: a.test\n\n", gets: "[405]"},
		line("RFC 9110 9.1: a method that nobody knows is passed on", "FROB /x HTTP/1.1", "FROB /x HTTP/1.1"),
		line("RFC 9110 9.1: methods have large and small letters", "get /x HTTP/1.1", "get /x HTTP/1.1"),
		{name: "RFC 9112 2.2: an empty line before the request is skipped", send: "\n" + get, reply: []string{ok}, sees: get, gets: answer2},
		{name: "RFC 9110 2.5: HTTP/1.2 is refused", send: "GET / HTTP/1.2\nHost: a.test\n\n", gets: "[505 close]<end>"},
		{name: "RFC 9113 3.4: the preface of HTTP/2 is refused", send: "PRI * HTTP/2.0\n\nSM\n\n", gets: "[505 close]<end>"},
		asks("RFC 9110 5.3: the order of fields and the case of names stay", "B: 1\na: 2\nB: 3\naccept-ENCODING: x\n", "B: 1\na: 2\nB: 3\naccept-ENCODING: x\n"),
		asks("RFC 9110 5.5: empty values stay", "X:\nY: \n", "X: \nY: \n"),
		asks("RFC 9110 5.5: whitespace around values goes, within them it stays", "X: \t a  b\t \n", "X: a  b\n"),
		asks("RFC 9110 5.5: bytes that are not ASCII stay", "X: \xe9\xff\n", "X: \xe9\xff\n"),
		asks("RFC 9110 5.4: a big head passes", "X: "+strings.Repeat("x", 40_000)+"\n", "X: "+strings.Repeat("x", 40_000)+"\n"),
	}
}

// lengthRules are about content whose length is told.
func lengthRules() []rule {
	post := "POST / HTTP/1.1\nHost: a.test\nContent-Length: 5\n\nhello"
	return []rule{
		{name: "RFC 9112 6.2: content of a length", send: post, reply: []string{ok}, sees: post, gets: answer2},
		{name: "RFC 9112 6.2: content that comes later", send: post[:len(post)-3] + "<>llo", reply: []string{ok}, sees: post, gets: answer2},
		{name: "RFC 9110 8.6: a length of 0 is passed on", send: "POST / HTTP/1.1\nHost: a.test\nContent-Length: 0\n\n", reply: []string{ok},
			sees: "POST / HTTP/1.1\nHost: a.test\nContent-Length: 0\n\n", gets: answer2},
		{name: "RFC 9110 8.6: a POST without content gets no length", send: "POST / HTTP/1.1\nHost: a.test\n\n", reply: []string{ok},
			sees: "POST / HTTP/1.1\nHost: a.test\n\n", gets: answer2},
		{name: "RFC 9110 9.3.1: a GET may have content", send: with("Content-Length: 2\n") + "hi", reply: []string{ok}, sees: with("Content-Length: 2\n") + "hi", gets: answer2},
		{name: "RFC 9112 6.3: zeros before the length do not go through", send: with("Content-Length: 002\n") + "hi", reply: []string{ok},
			sees: with("Content-Length: 2\n") + "hi", gets: answer2},
		{name: "RFC 9112 6.3: both Content-Length and Transfer-Encoding", send: with("Content-Length: 2\nTransfer-Encoding: chunked\n") + "0\n\n", gets: "[400 close]<end>"},
		{name: "RFC 9112 6.3: two lengths", send: with("Content-Length: 2\nContent-Length: 2\n") + "hi", gets: "[400 close]<end>"},
		{name: "RFC 9112 6.1: a coding that nobody knows", send: with("Transfer-Encoding: gzip, chunked\n") + "0\n\n", gets: "[501 close]<end>"},
		{name: "RFC 9112 6.1: Transfer-Encoding in HTTP/1.0", send: "POST / HTTP/1.0\nHost: a.test\nTransfer-Encoding: chunked\n\n0\n\n", gets: "[400 close]<end>"},
	}
}

// chunkRules are about chunks of clients.
func chunkRules() []rule {
	const head = "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n"
	chunked := func(name, body, sees string) rule {
		return rule{name: name, send: head + body, reply: []string{ok}, sees: head + sees, gets: answer2}
	}
	return []rule{
		chunked("RFC 9112 7.1: chunks are passed on", "2\nhi\n3\nyou\n0\n\n", "2\nhi\n3\nyou\n0\n\n"),
		chunked("RFC 9112 7.1: no content", "0\n\n", "0\n\n"),
		chunked("RFC 9112 7.1.1: chunk extensions are dropped", "2;a=b\nhi\n0;c=\"d\"\n\n", "2\nhi\n0\n\n"),
		chunked("RFC 9112 7.1: sizes have letters of any case and zeros in front", "00A\n0123456789\nb\n0123456789a\n000\n\n", "a\n0123456789\nb\n0123456789a\n0\n\n"),
		chunked("RFC 9112 7.1: chunks that come in pieces", "2\n<>hi\n<>0\n<>\n", "2\nhi\n0\n\n"),
		{name: "RFC 9112 7.1: a chunk size that is none", send: head + "x\n", reply: []string{ok}, sees: head, gets: "[400 close]<end>"},
	}
}

// trailerRules are about what follows the content.
func trailerRules() []rule {
	const head = "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n2\nhi\n0\n"
	const answer = "HTTP/1.1 200 OK\nDate: now\nTransfer-Encoding: chunked\n\n2\nhi\n0\n"
	const says = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nhi\n0\n"
	return []rule{
		{name: "RFC 9110 6.5: trailers of clients are passed on", send: head + "X-Sum: 1\nY: 2\n\n", reply: []string{ok}, sees: head + "X-Sum: 1\nY: 2\n\n", gets: answer2},
		{name: "RFC 9110 6.5.1: trailers do not frame, route, authenticate or identify",
			send:  head + "Content-Length: 5\nHost: b\nTransfer-Encoding: chunked\nX-Forwarded-For: 6.6.6.6\nAuthorization: x\nCookie: a\nY: 2\n\n",
			reply: []string{ok}, sees: head + "Y: 2\n\n", gets: answer2},
		{name: "RFC 9110 6.5: trailers of endpoints are passed on", send: with("TE: trailers\nConnection: TE\n"), reply: []string{says + "X-Sum: 1\n\n"},
			sees: with("TE: trailers\n"), gets: answer + "X-Sum: 1\n\n"},
		{name: "RFC 9110 6.6.2: Trailer announces them", send: get, reply: []string{"HTTP/1.1 200 OK\nTrailer: X-Sum\nTransfer-Encoding: chunked\n\n0\nX-Sum: 1\n\n"},
			sees: get, gets: "HTTP/1.1 200 OK\nTrailer: X-Sum\nDate: now\nTransfer-Encoding: chunked\n\n0\nX-Sum: 1\n\n"},
		{name: "RFC 9110 6.5.1: trailers of endpoints do not frame", send: get, reply: []string{says + "Content-Length: 5\nSet-Cookie: a=1\n\n"}, sees: get, gets: answer + "\n"},
	}
}
