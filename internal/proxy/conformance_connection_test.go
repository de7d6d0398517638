package proxy

import "strings"

// persistenceRules are about connections that stay, and that do not.
func persistenceRules() []rule {
	const closing = "HTTP/1.1 200 OK\nDate: now\nContent-Length: 2\nConnection: close\n\nok<end>"
	const keeping = "HTTP/1.1 200 OK\nDate: now\nContent-Length: 2\nConnection: keep-alive\n\nok"
	const old = "GET / HTTP/1.0\nHost: a.test\n"
	asked := func(name, send, gets string) rule {
		return rule{name: name, send: send, reply: []string{ok}, sees: get, gets: gets}
	}
	twice := func(name, reply, sees string) rule {
		return rule{name: name, send: get + "<ok>" + get, reply: []string{reply}, sees: sees, gets: answer2 + answer2}
	}
	return []rule{
		asked("RFC 9112 9.3: HTTP/1.1 stays", get, answer2),
		asked("RFC 9112 9.6: close ends the connection", with("Connection: close\n"), closing),
		asked("RFC 9112 9.6: close has letters of any case", with("Connection: CLOSE\n"), closing),
		asked("RFC 9112 9.3: close wins over keep-alive", with("Connection: keep-alive, close\n"), closing),
		asked("RFC 9112 9.3: keep-alive says nothing new in HTTP/1.1", with("Connection: keep-alive\n"), answer2),
		asked("RFC 9112 9.3: HTTP/1.0 ends", old+"\n", closing),
		asked("RFC 9112 C.2.2: HTTP/1.0 stays if it asks for that", old+"Connection: keep-alive\n\n", keeping),
		asked("RFC 9112 C.2.2: Proxy-Connection says nothing", old+"Proxy-Connection: keep-alive\n\n", closing),
		twice("RFC 9112 9.3: a connection to an endpoint is used again", ok, get+get),
		twice("RFC 9112 9.6: an endpoint's close ends its connection alone", strings.Replace(ok, "Content", "Connection: close\nContent", 1), get+"<new>"+get),
		twice("RFC 9112 9.3: an endpoint of HTTP/1.0 ends its connection", strings.Replace(ok, "1.1", "1.0", 1), get+"<new>"+get),
		twice("RFC 9112 C.2.2: an endpoint of HTTP/1.0 may keep it", strings.Replace(ok, "1.1 200 OK\n", "1.0 200 OK\nConnection: keep-alive\n", 1), get+get),
		twice("RFC 9112 9.3: an endpoint that closes without saying so", ok+"<close>", get+"<new>"+get),
		{name: "RFC 9112 6.3: an answer until the end becomes chunks", send: get, reply: []string{"HTTP/1.1 200 OK\n\nhello<close>"}, sees: get,
			gets: "HTTP/1.1 200 OK\nDate: now\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n"},
		{name: "RFC 9112 6.3: an answer until the end that is empty", send: get, reply: []string{"HTTP/1.0 200 OK\n\n<close>"}, sees: get,
			gets: "HTTP/1.1 200 OK\nDate: now\nTransfer-Encoding: chunked\n\n0\n\n"},
		{name: "RFC 9112 6.3: an answer until the end, to HTTP/1.0", send: old + "Connection: keep-alive\n\n", reply: []string{"HTTP/1.1 200 OK\n\nhello<close>"}, sees: get,
			gets: "HTTP/1.1 200 OK\nDate: now\nConnection: close\n\nhello<end>"},
		{name: "RFC 9112 6.1: chunks to HTTP/1.0 lose their frames", send: old + "\n", reply: []string{"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nhi\n3\nyou\n0\n\n"}, sees: get,
			gets: "HTTP/1.1 200 OK\nDate: now\nConnection: close\n\nhiyou<end>"},
		{name: "RFC 9112 9.3: a refusal by the endpoint before all content has come does not mix up what follows",
			send:  "POST / HTTP/1.1\nHost: a.test\nContent-Length: 9\n\nfour<401 >-more" + get,
			reply: []string{"<early>HTTP/1.1 401 Unauthorized\nContent-Length: 0\n\n", ok},
			sees:  "POST / HTTP/1.1\nHost: a.test\nContent-Length: 9\n\nfour<new>" + get,
			gets:  "HTTP/1.1 401 Unauthorized\nDate: now\nContent-Length: 0\n\n" + answer2},
		{name: "RFC 9112 9.3: the same with chunks", send: "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n4\nfour\n<401 >5\n-more\n0\n\n" + get,
			reply: []string{"<early>HTTP/1.1 401 Unauthorized\nContent-Length: 0\n\n", ok},
			sees:  "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n4\nfour\n<new>" + get,
			gets:  "HTTP/1.1 401 Unauthorized\nDate: now\nContent-Length: 0\n\n" + answer2},
		{name: "RFC 9112 9.6: too much content that nobody wants ends the connection",
			send:  "POST / HTTP/1.1\nHost: a.test\nContent-Length: 999999999\n\nfour",
			reply: []string{"<early>HTTP/1.1 401 Unauthorized\nContent-Length: 0\n\n"}, sees: "POST / HTTP/1.1\nHost: a.test\nContent-Length: 999999999\n\nfour",
			gets: "HTTP/1.1 401 Unauthorized\nDate: now\nContent-Length: 0\n\n<end>"},
		{name: "RFC 9112 9.3: the content of a request that Ruche answers is skipped", send: "POST / HTTP/1.1\nHost: b.test\nContent-Length: 5\n\nhello" + get, reply: []string{ok},
			sees: get, gets: "[503]" + answer2},
	}
}

// pipelineRules are about requests that do not wait for answers.
func pipelineRules() []rule {
	three := get + "POST / HTTP/1.1\nHost: a.test\nContent-Length: 2\n\nhi" + with("A: 1\n")
	replies := []string{ok, "HTTP/1.1 201 Created\nTransfer-Encoding: chunked\n\n1\nx\n0\n\n", ok}
	const gets = answer2 + "HTTP/1.1 201 Created\nDate: now\nTransfer-Encoding: chunked\n\n1\nx\n0\n\n" + answer2
	return []rule{
		{name: "RFC 9112 9.3.2: three requests at once are answered in order", send: three, reply: replies, sees: three, gets: gets},
		{name: "RFC 9112 9.3.2: three requests in pieces", send: strings.Replace(strings.Replace(three, "GET", "G<>ET", 2), "hi", "h<>i", 1), reply: replies, sees: three, gets: gets},
		{name: "RFC 9112 9.3.2: chunks, and a request behind them", send: "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n" + get, reply: []string{ok},
			sees: "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n" + get, gets: answer2 + answer2},
		{name: "RFC 9112 9.6: nothing is read behind a close", send: with("Connection: close\n") + get, reply: []string{ok}, sees: get,
			gets: "HTTP/1.1 200 OK\nDate: now\nContent-Length: 2\nConnection: close\n\nok<end>"},
		{name: "RFC 9112 9.3.2: a malformed request behind a good one", send: get + "bad\n\n" + get, reply: []string{ok}, sees: get, gets: answer2 + "[400 close]<end>"},
		{name: "RFC 9112 2.2: an empty line between two requests", send: get + "\n" + get, reply: []string{ok}, sees: get + get, gets: answer2 + answer2},
	}
}

// answerRules are about heads and framing of answers.
func answerRules() []rule {
	answered := func(name, reply, gets string) rule {
		return rule{name: name, send: get, reply: []string{reply}, sees: get, gets: gets}
	}
	const date = "Date: Mon, 01 Jan 2001 00:00:00 GMT\n"
	return []rule{
		answered("RFC 9110 6.6.1: the endpoint's Date stays", "HTTP/1.1 200 OK\n"+date+"Content-Length: 2\n\nok", "HTTP/1.1 200 OK\n"+date+"Content-Length: 2\n\nok"),
		answered("RFC 9112 4: a reason of one's own stays", "HTTP/1.1 299 Rather Odd\nContent-Length: 0\n\n", "HTTP/1.1 299 Rather Odd\nDate: now\nContent-Length: 0\n\n"),
		answered("RFC 9112 4: no reason", "HTTP/1.1 200 \nContent-Length: 0\n\n", "HTTP/1.1 200 \nDate: now\nContent-Length: 0\n\n"),
		answered("RFC 9110 5.3: the order of an answer's fields and the case of names stay", "HTTP/1.1 200 OK\nb: 1\nA: 2\nSet-Cookie: x=1\nSET-COOKIE: y=2\nE:\nContent-Length: 0\n\n",
			"HTTP/1.1 200 OK\nb: 1\nA: 2\nSet-Cookie: x=1\nSET-COOKIE: y=2\nE: \nDate: now\nContent-Length: 0\n\n"),
		answered("RFC 9110 7.6.1: an answer's hop-by-hop fields end here",
			"HTTP/1.1 200 OK\nConnection: X-A, keep-alive\nX-A: 1\nKeep-Alive: timeout=5\nProxy-Authenticate: Basic\nUpgrade: h2c\nContent-Length: 2\n\nok", answer2),
		answered("RFC 9112 7.1: an answer in chunks", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2;x=y\nhi\n3\nyou\n0\n\n",
			"HTTP/1.1 200 OK\nDate: now\nTransfer-Encoding: chunked\n\n2\nhi\n3\nyou\n0\n\n"),
		answered("RFC 9112 5.1: whitespace before the colon goes", "HTTP/1.1 200 OK\nX : 1\nContent-Length: 0\n\n", "HTTP/1.1 200 OK\nX: 1\nDate: now\nContent-Length: 0\n\n"),
		answered("RFC 9110 5.4: an answer's head of 100 KB passes", "HTTP/1.1 200 OK\nX: "+strings.Repeat("x", 100_000)+"\nContent-Length: 0\n\n",
			"HTTP/1.1 200 OK\nX: "+strings.Repeat("x", 100_000)+"\nDate: now\nContent-Length: 0\n\n"),
		answered("RFC 9112 6.3: an answer with Content-Length and Transfer-Encoding", "HTTP/1.1 200 OK\nContent-Length: 2\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n", "[502]"),
		answered("RFC 9112 6.3: an answer with two lengths", "HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 3\n\nhi", "[502]"),
		answered("RFC 9112 6.1: an answer in a coding that nobody knows", "HTTP/1.1 200 OK\nTransfer-Encoding: gzip\n\nhi", "[502]"),
		answered("RFC 9112 5.2: an answer with a folded field", "HTTP/1.1 200 OK\nX: a\n b\nContent-Length: 0\n\n", "[502]"),
		answered("RFC 9112 4: an answer that is none", "SSH-2.0-OpenSSH_9\n", "[502]"),
		answered("RFC 9112 2.3: an answer of HTTP/2", "HTTP/2.0 200 OK\nContent-Length: 0\n\n", "[502]"),
		answered("RFC 9110 15: a status beyond 599", "HTTP/1.1 999 Odd\nContent-Length: 0\n\n", "[502]"),
	}
}

// refusalRules are about requests that are refused before anybody gets them.
func refusalRules() []rule {
	refused := func(name, send, status string) rule {
		return rule{name: name, send: send, gets: "[" + status + " close]<end>"}
	}
	return []rule{
		refused("RFC 6585 5: a head that is too long", with("X: "+strings.Repeat("x", maxHeaderBytes)+"\n"), "431"),
		refused("RFC 6585 5: too many fields", with(strings.Repeat("X: 1\n", maxHeaderFields+1)), "431"),
		refused("RFC 9110 15.5.15: a request line that is too long", "GET /"+strings.Repeat("x", maxHeaderBytes)+" HTTP/1.1\nHost: a.test\n\n", "414"),
		refused("RFC 9112 3: a request line that is none", "hello\n\n", "400"),
		refused("RFC 9112 2.2: a bare CR", with("X: 1\rY: 2\n"), "400"),
		refused("RFC 9112 5.1: whitespace before the colon", with("X : 1\n"), "400"),
		refused("RFC 9112 5.2: a folded field", with("X: 1\n 2\n"), "400"),
		refused("RFC 9110 5.5: a NUL", with("X: \x00\n"), "400"),
		refused("RFC 9110 5.1: a name that is none", with("X(: 1\n"), "400"),
		refused("RFC 9112 3: TLS on the plain port", "\x16\x03\x01\x02\x00\x01\n\n", "400"),
	}
}

// brokenRules are about peers that leave early.
func brokenRules() []rule {
	answered := func(name, reply, gets string) rule {
		return rule{name: name, send: get, reply: []string{reply}, sees: get, gets: gets}
	}
	return []rule{
		answered("RFC 9112 8: content that ends before its length breaks the connection off", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhel<close>",
			"HTTP/1.1 200 OK\nDate: now\nContent-Length: 5\n\nhel<end>"),
		answered("RFC 9112 8: chunks that end early break the connection off", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n<close>",
			"HTTP/1.1 200 OK\nDate: now\nTransfer-Encoding: chunked\n\n5\nhello\n<end>"),
		answered("RFC 9112 8: a chunk that ends early", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhel<close>", "HTTP/1.1 200 OK\nDate: now\nTransfer-Encoding: chunked\n\n3\nhel\n<end>"),
		answered("RFC 9112 7.1: chunks that are none break the connection off", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\nxyz\n",
			"HTTP/1.1 200 OK\nDate: now\nTransfer-Encoding: chunked\n\n5\nhello\n<end>"),
		{name: "RFC 9112 8: a head that ends early", send: "POST / HTTP/1.1\nHost: a.test\nContent-Length: 0\n\n", reply: []string{"HTTP/1.1 200 OK\nConte<close>"},
			sees: "POST / HTTP/1.1\nHost: a.test\nContent-Length: 0\n\n", gets: "[502]"},
		{name: "RFC 9112 8: a client that leaves within its head gets nothing", send: "GET / HTTP/1.1\nHost: a<half>", gets: "<end>"},
		{name: "RFC 9112 9.6: a client that says nothing gets nothing", send: "<half>", gets: "<end>"},
		{name: "RFC 9112 9.6: a client that ends its direction between two requests", send: get + "<ok><half>", reply: []string{ok}, sees: get, gets: answer2 + "<end>"},
	}
}
