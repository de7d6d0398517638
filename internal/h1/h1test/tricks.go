package h1test

// chunks are chunked bodies that readers end at different places.
func chunks() []Message {
	const rule = "RFC 9112 7.1"
	var all []Message
	for _, c := range []struct{ name, body string }{
		{"a size with 0x", "0x2d\r\n" + hidden + "\r\n" + end},
		{"a size with a plus", "+2d\r\n" + hidden + "\r\n" + end},
		{"a size with a minus", "-1\r\n" + hidden + "\r\n" + end},
		{"a space before the size", " 2d\r\n" + hidden + "\r\n" + end},
		{"a space behind the size", "2d \r\n" + hidden + "\r\n" + end},
		{"a tab behind the size", "2d\t\r\n" + hidden + "\r\n" + end},
		{"an underscore before the size", "_2d\r\n" + hidden + "\r\n" + end},
		{"an underscore within the size", "2_d\r\n" + hidden + "\r\n" + end},
		{"a letter behind the size", "2dg\r\n" + hidden + "\r\n" + end},
		{"a NUL behind the size", "2d\x00\r\n" + hidden + "\r\n" + end},
		{"a vertical tab behind the size", "2d\x0b\r\n" + hidden + "\r\n" + end},
		{"a size that overflows 64 bits to 0", "10000000000000000\r\n\r\n" + hidden},
		{"a size that overflows 64 bits to 45", "1000000000000002d\r\n" + hidden + "\r\n" + end},
		{"a size that overflows 32 bits to 0", "100000000\r\n\r\n" + hidden},
		{"a size that is -1", "ffffffffffffffff\r\n" + hidden},
		{"a size with too many zeros", "00000000000000000000\r\n\r\n" + hidden},
		{"no size", "\r\n" + hidden},
		{"a semicolon for the size", ";a=b\r\n" + hidden},
		{"a size that ends with LF", "2d\n" + hidden + "\r\n" + end},
		{"a size that ends with CR", "2d\r" + hidden + "\r\n" + end},
		{"a size that ends with LF CR", "2d\n\r" + hidden + "\r\n" + end},
		{"a size behind an empty line", "\r\n2d\r\n" + hidden + "\r\n" + end},
		{"a last chunk that ends with LF", "0\n\n" + hidden},
		{"a last chunk whose empty line is LF", "0\r\n\n" + hidden},
		{"a last chunk whose empty line is CR", "0\r\n\r" + hidden},
		{"a last chunk without its empty line", "0\r\n" + hidden},
		{"a last chunk with a space", "0 \r\n\r\n" + hidden},
		{"a last chunk in hexadecimal with 0x", "0x0\r\n\r\n" + hidden},
		{"an extension with a LF", "2;\nxx\r\n2d\r\n0\r\n\r\n" + hidden},
		{"an extension with a CR", "2;\rxx\r\n2d\r\n0\r\n\r\n" + hidden},
		{"an extension with a NUL", "2d;\x00\r\n" + hidden + "\r\n" + end},
		{"an extension with a quoted line break", "5;a=\"\r\n0\r\n\r\n" + hidden},
		{"an extension on the last chunk with a LF", "0;\n\r\n" + hidden},
		{"an extension folded onto the next line", "5;a\r\n =b\r\n" + hidden},
		{"more content than the size", "3\r\nabcde\r\n0\r\n\r\n" + hidden},
		{"two bytes of anything behind the content", "3\r\nabcXX0\r\n\r\n" + hidden},
		{"LF behind the content", "3\r\nabc\n0\r\n\r\n" + hidden},
		{"CR behind the content", "3\r\nabc\r0\r\n\r\n" + hidden},
		{"LF CR behind the content", "3\r\nabc\n\r0\r\n\r\n" + hidden},
		{"nothing behind the content", "3\r\nabc0\r\n\r\n" + hidden},
		{"an empty line behind the content", "3\r\nabc\r\n\r\n" + hidden},
		{"less content than the size", "ff\r\nabc\r\n0\r\n\r\n" + hidden},
		{"a request as trailer", "0\r\nX: y\r\n" + hidden},
		{"a trailer with a LF", "0\r\nX: y\n\n" + hidden},
		{"a trailer with a CR", "0\r\nX: y\r\r\n\r\n" + hidden},
		{"a trailer that is folded", "0\r\nX: y\r\n z\r\n\r\n" + hidden},
		{"a trailer with a space before the colon", "0\r\nX : y\r\n\r\n" + hidden},
		{"a trailer with a Content-Length in disguise", "0\r\nContent_Length: 45\r\n\r\n" + hidden},
		{"a request within a chunk", chunk(hidden) + end},
		{"a request within two chunks", chunk(hidden[:7]) + chunk(hidden[7:]) + end},
		{"a size with zeros in front", "002d\r\n" + hidden[:45] + "\r\n" + end},
	} {
		all = append(all, Message{"chunks: " + c.name, post + "Transfer-Encoding: chunked\r\n\r\n" + c.body, rule, 1})
	}
	return all
}

// names are fields whose end or beginning is disputed, with a request behind the empty line that only some readers see.
func names() []Message {
	var all []Message
	for _, f := range []struct{ name, field, rule string }{
		{"a space before the first field", "POST /first HTTP/1.1\r\n X: y\r\n" + host, "RFC 9112 2.2"},
		{"a tab before the first field", "POST /first HTTP/1.1\r\n\tX: y\r\n" + host, "RFC 9112 2.2"},
		{"an empty name", post + ": y\r\n", "RFC 9112 5"},
		{"a name that is not ASCII", post + "Cont\u00e9nt-Length: 45\r\n", "RFC 9110 5.1"},
		{"a name in parentheses", post + "(Content-Length): 45\r\n", "RFC 9110 5.1"},
		{"a name with a slash", post + "Content/Length: 45\r\n", "RFC 9110 5.1"},
		{"a name in brackets", post + "[Content-Length]: 45\r\n", "RFC 9110 5.1"},
		{"a line without a colon", post + "GET /smuggled HTTP/1.1\r\n", "RFC 9112 5"},
		{"a word without a colon", post + "X\r\n", "RFC 9112 5"},
		{"a line of spaces", post + "   \r\n", "RFC 9112 5.2"},
		{"a space for the empty line", post + " \r\n", "RFC 9112 5.2"},
	} {
		all = append(all, Message{"names: " + f.name, f.field + length() + "\r\n" + hidden, f.rule, 0})
	}
	return all
}

// lines are heads whose lines end at disputed places.
func lines() []Message {
	const rule = "RFC 9112 2.2"
	return []Message{
		{"lines: all end with LF", "GET /first HTTP/1.1\nHost: example.com\n\n" + hidden, rule, 0},
		{"lines: the first ends with LF", "GET /first HTTP/1.1\n" + host + "\r\n" + hidden, rule, 0},
		{"lines: all end with CR", "GET /first HTTP/1.1\rHost: example.com\r\r" + hidden, rule, 0},
		{"lines: the last but one ends with LF", get + "X: y\n\r\n" + hidden, rule, 0},
		{"lines: the empty line is LF", get + "\n" + hidden, rule, 0},
		{"lines: the empty line is CR", get + "\r" + hidden, rule, 0},
		{"lines: the empty line is CR CR LF", get + "\r\r\n" + hidden, rule, 0},
		{"lines: LF LF within a value", get + "X: y\n\n" + hidden, rule, 0},
		{"lines: CR LF CR within a value", get + "X: y\r\n\r" + hidden, rule, 0},
		{"lines: a NUL within a value", get + "X: y\x00\r\n\r\n" + hidden, "RFC 9110 5.5", 0},
		{"lines: a NUL for the line break", get + "X: y\x00\x00" + hidden, "RFC 9110 5.5", 0},
		{"lines: a vertical tab for the line break", get + "X: y\x0b" + hidden, "RFC 9110 5.5", 0},
		{"lines: a unit separator within a value", get + "X: \x1f\r\n\r\n" + hidden, "RFC 9110 5.5", 0},
		{"lines: a next line that is not ASCII is no line break", post + length() + "X: \xc2\x85Content-Length: 0\r\n\r\n" + hidden, "RFC 9110 5.5", 1},
		{"lines: a letter whose low byte is LF is no line break", post + length() + "X: \u010aContent-Length: 0\r\n\r\n" + hidden, "RFC 9110 5.5", 1},
	}
}

// requestLines are first lines that readers take apart differently.
func requestLines() []Message {
	const rule = "RFC 9112 3"
	var all []Message
	for _, l := range []struct{ name, line, rule string }{
		{"two of them", "GET /first HTTP/1.1 GET /smuggled HTTP/1.1\r\n", rule},
		{"a space within the target", "GET /first /smuggled HTTP/1.1\r\n", "RFC 9112 3.2"},
		{"a tab for a space", "GET\t/first HTTP/1.1\r\n", rule},
		{"a tab before the version", "GET /first\tHTTP/1.1\r\n", rule},
		{"a CR before the version", "GET /first\rHTTP/1.1\r\n", rule},
		{"two spaces before the target", "GET  /first HTTP/1.1\r\n", rule},
		{"two spaces before the version", "GET /first  HTTP/1.1\r\n", rule},
		{"a space behind the version", "GET /first HTTP/1.1 \r\n", rule},
		{"a space before the method", " GET /first HTTP/1.1\r\n", rule},
		{"a NUL before the method", "\x00GET /first HTTP/1.1\r\n", rule},
		{"a colon behind the method", "GET: /first HTTP/1.1\r\n", "RFC 9112 3.1"},
		{"no method", "/first HTTP/1.1\r\n", rule},
		{"no target", "GET HTTP/1.1\r\n", rule},
		{"no version", "GET /first\r\n", rule},
		{"a version in small letters", "GET /first http/1.1\r\n", "RFC 9112 2.3"},
		{"the version 0.9", "GET /first HTTP/0.9\r\n", "RFC 9112 2.3"},
		{"the version 1.2", "GET /first HTTP/1.2\r\n", "RFC 9112 2.3"},
		{"the version 1.10", "GET /first HTTP/1.10\r\n", "RFC 9112 2.3"},
		{"the version 01.1", "GET /first HTTP/01.1\r\n", "RFC 9112 2.3"},
		{"the version 1,1", "GET /first HTTP/1,1\r\n", "RFC 9112 2.3"},
		{"the version +1.1", "GET /first HTTP/+1.1\r\n", "RFC 9112 2.3"},
		{"the version 2.0", "GET /first HTTP/2.0\r\n", "RFC 9112 2.3"},
		{"another protocol", "GET /first ICAP/1.0\r\n", "RFC 9112 2.3"},
		{"a fragment", "GET /first#/../smuggled HTTP/1.1\r\n", "RFC 9112 3.2"},
		{"a DEL in the target", "GET /first\x7f HTTP/1.1\r\n", "RFC 9112 3.2"},
		{"empty lines without end", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET /first HTTP/1.1\r\n", "RFC 9112 2.2"},
		{"an empty line that is LF", "\nGET /first HTTP/1.1\r\n", "RFC 9112 2.2"},
		{"an empty line with a space", " \r\nGET /first HTTP/1.1\r\n", "RFC 9112 2.2"},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "RFC 9113 3.4"},
	} {
		all = append(all, Message{"request line: " + l.name, l.line + host + "\r\n" + hidden, l.rule, 0})
	}
	return all
}

// targets are absolute targets, and what looks like them.
func targets() []Message {
	const rule = "RFC 9112 3.2.2"
	var all []Message
	for _, t := range []struct {
		name, target, rule string
		requests           int
	}{
		{"another host than Host", "http://other.example/first", rule, 1},
		{"another port than Host", "http://example.com:8080/first", rule, 1},
		{"two slashes, which are a path", "//other.example/first", "RFC 9112 3.2.1", 1},
		{"a user before the host", "http://example.com@other.example/first", "RFC 9110 4.2.4", 0},
		{"a password before the host", "http://example.com:80@other.example/first", "RFC 9110 4.2.4", 0},
		{"a backslash within the host", "http://example.com\\@other.example/first", "RFC 9110 4.2.1", 0},
		{"a list of hosts", "http://example.com,other.example/first", "RFC 9110 4.2.1", 0},
		{"no host", "http:///first", "RFC 9110 4.2.1", 0},
		{"no slashes", "http:/first", rule, 0},
		{"one slash too many", "http:////other.example/first", "RFC 9110 4.2.1", 0},
		{"another scheme", "ftp://example.com/first", rule, 0},
		{"a scheme that runs code", "javascript:alert(1)", rule, 0},
		{"a file", "file:///etc/passwd", rule, 0},
		{"no scheme", "example.com/first", rule, 0},
		{"only a user", "@other.example/first", rule, 0},
		{"only a query", "?first", rule, 0},
		{"only a dot", ".", rule, 0},
		{"a backslash for the slash", "\\first", rule, 0},
		{"a host and a port", "example.com:80", "RFC 9112 3.2.3", 0},
		{"a star", "*", "RFC 9112 3.2.4", 0},
		{"a star and a path", "*/first", "RFC 9112 3.2.4", 0},
		{"a port that is none", "http://example.com:80x/first", "RFC 9110 4.2.1", 0},
		{"a port above 65535", "http://example.com:65616/first", "RFC 9110 4.2.1", 0},
		{"an address that is none", "http://[::1/first", "RFC 9110 4.2.1", 0},
		{"an address with something behind it", "http://[::1]other.example/first", "RFC 9110 4.2.1", 0},
	} {
		all = append(all, Message{"target: " + t.name, "POST " + t.target + " HTTP/1.1\r\n" + host + length() + "\r\n" + hidden, t.rule, t.requests})
	}
	return all
}

// hosts are Host fields that lead readers to different places.
func hosts() []Message {
	const rule = "RFC 9112 3.2"
	var all []Message
	for _, h := range []struct{ name, fields string }{
		{"none", ""},
		{"two that differ", host + "Host: other.example\r\n"},
		{"two that agree", host + host},
		{"two in different letters", host + "HOST: other.example\r\n"},
		{"a list", "Host: example.com, other.example\r\n"},
		{"a space within", "Host: example.com other.example\r\n"},
		{"a tab within", "Host: example.com\tother.example\r\n"},
		{"nothing", "Host:\r\n"},
		{"only a port", "Host: :80\r\n"},
		{"a user", "Host: other.example@example.com\r\n"},
		{"a path", "Host: example.com/smuggled\r\n"},
		{"a query", "Host: example.com?smuggled\r\n"},
		{"a fragment", "Host: example.com#smuggled\r\n"},
		{"a scheme", "Host: http://example.com\r\n"},
		{"a backslash", "Host: example.com\\other.example\r\n"},
		{"a percent sign", "Host: example.com%2eother.example\r\n"},
		{"a NUL", "Host: example.com\x00.other.example\r\n"},
		{"a name that is not ASCII", "Host: ex\u00e4mple.com\r\n"},
		{"two ports", "Host: example.com:80:81\r\n"},
		{"a port that is none", "Host: example.com:http\r\n"},
		{"a port with a sign", "Host: example.com:+80\r\n"},
		{"a space before the colon", "Host : example.com\r\n"},
		{"a second one behind a space", host + " Host: other.example\r\n"},
		{"a second one behind a LF", "Host: example.com\nHost: other.example\r\n"},
		{"an address with a zone", "Host: [fe80::1%25eth0]\r\n"},
		{"an address that is none", "Host: [1:2]\r\n"},
	} {
		all = append(all, Message{"Host: " + h.name, "POST /first HTTP/1.1\r\n" + h.fields + length() + "\r\n" + hidden, rule, 0})
	}
	return all
}

// options are requests to change how the connection is used, with another request as their body.
func options() []Message {
	all := []Message{
		{"options: Expect with something else", post + "Expect: 100-continue, x\r\n" + length() + "\r\n" + hidden, "RFC 9110 10.1.1", 0},
		{"options: Expect that is misspelt", post + "Expect: 100-continuex\r\n" + length() + "\r\n" + hidden, "RFC 9110 10.1.1", 0},
	}
	for _, o := range []struct{ name, fields, rule string }{
		{"the length is hop-by-hop", "Connection: Content-Length\r\n", "RFC 9110 7.6.1"},
		{"Host is hop-by-hop", "Connection: Host\r\n", "RFC 9110 7.6.1"},
		{"close and keep-alive", "Connection: close, keep-alive\r\n", "RFC 9112 9.3"},
		{"Expect", "Expect: 100-continue\r\n", "RFC 9110 10.1.1"},
		{"an upgrade to WebSocket", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "RFC 9110 7.8"},
		{"an upgrade to HTTP/2", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", "RFC 9113 3.1"},
		{"an upgrade that Connection does not name", "Upgrade: websocket\r\n", "RFC 9110 7.8"},
		{"another method", "X-HTTP-Method-Override: GET\r\n", "RFC 9112 6"},
		{"a TE that is no Transfer-Encoding", "TE: chunked\r\nConnection: TE\r\n", "RFC 9110 10.1.4"},
		{"a Content-Encoding that is no Transfer-Encoding", "Content-Encoding: chunked\r\n", "RFC 9110 8.4"},
		{"a Trailer", "Trailer: Content-Length\r\n", "RFC 9110 6.6.2"},
	} {
		all = append(all, Message{"options: " + o.name, post + o.fields + length() + "\r\n" + hidden, o.rule, 1})
	}
	return all
}
