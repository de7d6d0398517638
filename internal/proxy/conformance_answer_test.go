package proxy

import "strings"

// bodylessRules are about answers without content.
func bodylessRules() []rule {
	head := "HEAD / HTTP/1.1\nHost: a.test\n\n"
	answered := func(name, send, reply, gets string) rule {
		return rule{name: name, send: send, reply: []string{reply}, sees: send, gets: gets}
	}
	return []rule{
		answered("RFC 9110 9.3.2: HEAD is told the length", head, "HTTP/1.1 200 OK\nContent-Length: 5\n\n", "HTTP/1.1 200 OK\nContent-Length: 5\nDate: now\n\n"),
		answered("RFC 9110 9.3.2: HEAD without a length", head, "HTTP/1.1 200 OK\nX: 1\n\n", "HTTP/1.1 200 OK\nX: 1\nDate: now\n\n"),
		answered("RFC 9112 6.1: HEAD of an answer in chunks", head, "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", "HTTP/1.1 200 OK\nDate: now\n\n"),
		answered("RFC 9110 15.3.5: 204 has no content", get, "HTTP/1.1 204 No Content\nX: 1\n\n", "HTTP/1.1 204 No Content\nX: 1\nDate: now\n\n"),
		answered("RFC 9110 8.6: 204 has no length", get, "HTTP/1.1 204 No Content\nContent-Length: 0\n\n", "HTTP/1.1 204 No Content\nDate: now\n\n"),
		answered("RFC 9112 6.3: content behind a 204 is nobody's answer", get, "HTTP/1.1 204 No Content\nContent-Length: 5\n\nhello", "HTTP/1.1 204 No Content\nDate: now\n\n"),
		answered("RFC 9110 15.4.5: 304 may tell the length of what it stands for", get, "HTTP/1.1 304 Not Modified\nContent-Length: 5\nETag: \"x\"\n\n",
			"HTTP/1.1 304 Not Modified\nContent-Length: 5\nETag: \"x\"\nDate: now\n\n"),
		answered("RFC 9110 15.4.5: 304 without a length", get, "HTTP/1.1 304 Not Modified\n\n", "HTTP/1.1 304 Not Modified\nDate: now\n\n"),
		answered("RFC 9110 15.3.6: 205 with the length 0", get, "HTTP/1.1 205 Reset Content\nContent-Length: 0\n\n", "HTTP/1.1 205 Reset Content\nDate: now\nContent-Length: 0\n\n"),
		answered("RFC 9112 6.2: an answer of the length 0", get, "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "HTTP/1.1 200 OK\nDate: now\nContent-Length: 0\n\n"),
		{name: "RFC 9110 9.3.2: HEAD of what is not here", send: "HEAD / HTTP/1.1\nHost: a.test\n\n",
			reply: []string{"HTTP/1.1 404 Not Found\nContent-Length: 9\n\n", ok}, sees: head, gets: "HTTP/1.1 404 Not Found\nContent-Length: 9\nDate: now\n\n"},
	}
}

// continueRules are about Expect.
func continueRules() []rule {
	const head = "POST / HTTP/1.1\nHost: a.test\nContent-Length: 5\nExpect: 100-continue\n\n"
	const seen = "POST / HTTP/1.1\nHost: a.test\nExpect: 100-continue\nContent-Length: 5\n\n"
	return []rule{
		{name: "RFC 9110 10.1.1: 100 of the endpoint is passed on", send: head + "<100 Continue\n\n>hello", reply: []string{"HTTP/1.1 100 Continue\n\n<read>" + ok},
			sees: seen + "hello", gets: "HTTP/1.1 100 Continue\n\n" + answer2},
		{name: "RFC 9110 10.1.1: 100 for content in chunks", send: "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\nExpect: 100-Continue\n\n<100 Continue\n\n>2\nhi\n0\n\n",
			reply: []string{"HTTP/1.1 100 Continue\n\n<read>" + ok}, sees: "POST / HTTP/1.1\nHost: a.test\nExpect: 100-continue\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n",
			gets: "HTTP/1.1 100 Continue\n\n" + answer2},
		{name: "RFC 9110 10.1.1: a final answer instead of 100 ends the connection", send: head, reply: []string{"<early>HTTP/1.1 403 Forbidden\nContent-Length: 0\n\n"},
			sees: seen, gets: "HTTP/1.1 403 Forbidden\nDate: now\nContent-Length: 0\nConnection: close\n\n<end>"},
		{name: "RFC 9110 10.1.1: an endpoint that never says 100", send: head + "<endpoint: Expect>hello", reply: []string{ok}, sees: seen + "hello", gets: answer2},
		{name: "RFC 9110 10.1.1: a client that does not wait", send: head + "hello", reply: []string{ok},
			sees: "POST / HTTP/1.1\nHost: a.test\nContent-Length: 5\n\nhello", gets: answer2},
		{name: "RFC 9110 10.1.1: HTTP/1.0 has no Expect", send: strings.Replace(head, "1.1", "1.0", 1) + "hello", reply: []string{ok},
			sees: "POST / HTTP/1.1\nHost: a.test\nContent-Length: 5\n\nhello", gets: "HTTP/1.1 200 OK\nDate: now\nContent-Length: 2\nConnection: close\n\nok<end>"},
		{name: "RFC 9110 10.1.1: an expectation that nobody knows", send: strings.Replace(head, "100-continue", "200-ok", 1), gets: "[417 close]<end>"},
		{name: "RFC 9110 10.1.1: Expect without content is nothing", send: with("Expect: 100-continue\n"), reply: []string{ok}, sees: get, gets: answer2},
		{name: "RFC 9110 10.1.1: no 100 for a host that is not here", send: strings.Replace(head, "a.test", "b.test", 1), gets: "[503 close]<end>"},
	}
}

// informationalRules are about 1xx.
func informationalRules() []rule {
	const hints = "HTTP/1.1 103 Early Hints\nLink: x.css; rel=preload\n\n"
	answered := func(name, send, reply, gets string) rule {
		return rule{name: name, send: send, reply: []string{reply}, sees: get, gets: gets}
	}
	return []rule{
		answered("RFC 8297 2: 103 is passed on", get, hints+ok, hints+answer2),
		answered("RFC 2518 10.1: 102 is passed on", get, "HTTP/1.1 102 Processing\n\n"+ok, "HTTP/1.1 102 Processing\n\n"+answer2),
		answered("RFC 9110 15.2: several are passed on", get, hints+"HTTP/1.1 102 Processing\n\n"+hints+ok, hints+"HTTP/1.1 102 Processing\n\n"+hints+answer2),
		answered("RFC 9110 15.2: one that nobody knows is passed on", get, "HTTP/1.1 199 Odd\n\n"+ok, "HTTP/1.1 199 \n\n"+answer2),
		answered("RFC 9110 15.2: their hop-by-hop fields end here", get, "HTTP/1.1 103 Early Hints\nConnection: X-A\nX-A: 1\nX-B: 2\nKeep-Alive: 1\n\n"+ok,
			"HTTP/1.1 103 Early Hints\nX-B: 2\n\n"+answer2),
		answered("RFC 9110 15.2: HTTP/1.0 has none", "GET / HTTP/1.0\nHost: a.test\n\n", hints+"HTTP/1.1 100 Continue\n\n"+ok,
			"HTTP/1.1 200 OK\nDate: now\nContent-Length: 2\nConnection: close\n\nok<end>"),
		answered("RFC 9110 15.2.2: 101 that was not asked for", get, "HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: websocket\n\n", "[502]"),
		answered("RFC 9110 15.2: one with content", get, "HTTP/1.1 103 Early Hints\nContent-Length: 2\n\nhi", "[502]"),
		answered("RFC 9110 15.2: 100 that was not asked for is passed on too", get, "HTTP/1.1 100 Continue\n\n"+ok, "HTTP/1.1 100 Continue\n\n"+answer2),
	}
}

// upgradeRules are about other protocols.
func upgradeRules() []rule {
	ask := with("Connection: keep-alive, Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: x\n")
	sees := with("Sec-WebSocket-Key: x\nConnection: Upgrade\nUpgrade: websocket\n")
	const switched = "HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Accept: y\n\n"
	const got = "HTTP/1.1 101 Switching Protocols\nSec-WebSocket-Accept: y\nConnection: Upgrade\nUpgrade: websocket\n\n"
	return []rule{
		{name: "RFC 9110 7.8: an upgrade, and what the client says then", send: ask + "<101 Switching>hello<half>", reply: []string{switched}, sees: sees + "hello", gets: got + "<end>"},
		{name: "RFC 9110 7.8: data that comes with the 101", send: ask + "<welcome>bye<half>", reply: []string{switched + "welcome"}, sees: sees + "bye", gets: got + "welcome<end>"},
		{name: "RFC 9110 7.8: data that comes with the request", send: ask + "early<101 Switching><half>", reply: []string{switched}, sees: sees + "early", gets: got + "<end>"},
		{name: "RFC 9110 7.8: the endpoint need not upgrade", send: ask, reply: []string{ok}, sees: sees, gets: answer2},
		{name: "RFC 9110 7.8: an upgrade to another protocol than asked for", send: ask, reply: []string{strings.Replace(switched, "websocket", "evil", 1)}, sees: sees, gets: "[502]"},
		{name: "RFC 9110 7.8: Upgrade without Connection is nothing", send: with("Upgrade: websocket\n"), reply: []string{ok}, sees: get, gets: answer2},
		{name: "RFC 9110 7.8: HTTP/1.0 cannot upgrade", send: strings.Replace(ask, "1.1", "1.0", 1), reply: []string{ok}, sees: with("Sec-WebSocket-Key: x\n"),
			gets: "HTTP/1.1 200 OK\nDate: now\nContent-Length: 2\nConnection: keep-alive\n\nok"},
		{name: "RFC 9113 3.1: an upgrade to HTTP/2 is not passed on", send: with("Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABk\n"),
			reply: []string{ok}, sees: get, gets: answer2},
		{name: "RFC 9110 15.5.22: 426 tells what to upgrade to", send: get, reply: []string{"HTTP/1.1 426 Upgrade Required\nConnection: Upgrade\nUpgrade: x\nContent-Length: 0\n\n"},
			sees: get, gets: "HTTP/1.1 426 Upgrade Required\nDate: now\nContent-Length: 0\n\n"},
		{name: "RFC 9110 7.8: no upgrade before the content is complete", send: strings.Replace(with("Connection: Upgrade\nUpgrade: websocket\nContent-Length: 5\n"), "GET", "POST", 1) + "he",
			reply: []string{"<early>" + switched},
			sees:  strings.Replace(with("Connection: Upgrade\nUpgrade: websocket\nContent-Length: 5\n"), "GET", "POST", 1) + "he", gets: "[502 close]<end>"},
	}
}
