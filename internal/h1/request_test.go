package h1

import (
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/h1/h1test"
)

// message is what comes on a connection.
type message struct {
	name, wire string
	method     string // of the request that is answered; "" when the message is a request
	lim        Limits
}

// row is a message and what is read from it: all that reader writes down, or the beginning of its error.
type row struct {
	message
	want string
}

func allMessages() []message {
	var all []message
	for _, rows := range [][]row{requestRows(), targetRows(), headRows(), responseRows(), bodyRows()} {
		for _, r := range rows {
			all = append(all, r.message)
		}
	}
	for _, m := range h1test.Smuggling() {
		all = append(all, message{name: m.Name, wire: m.Wire})
	}
	return all
}

func checkRows(t *testing.T, rows []row, least int) {
	t.Helper()
	names := make(map[string]bool)
	for _, r := range rows {
		if names[r.name] {
			t.Errorf("two rows are named %q", r.name)
		}
		names[r.name] = true
		got := readAll(r.wire, r.method, r.lim, false)
		if r.method == "" {
			got = strings.ReplaceAll(got, "GET / HTTP/1.1 host=a", "GET")
		}
		if got != r.want && (!strings.HasPrefix(r.want, "error ") || !strings.HasPrefix(got, r.want)) {
			t.Errorf("%s: %q\ngives %s\nwant  %s", r.name, r.wire, got, r.want)
		}
	}
	if len(rows) < least {
		t.Errorf("only %d rows", len(rows))
	}
}

// ask is a row for a request.
func ask(name, wire, want string) row { return row{message{name: name, wire: wire}, want} }

// with is a row for a GET of / from host a with more fields.
func with(name, fields, want string) row {
	return ask(name, "GET / HTTP/1.1\r\nHost: a\r\n"+fields+"\r\n", want)
}

func TestRequestLine(t *testing.T) { checkRows(t, requestRows(), 30) }

func requestRows() []row {
	line := func(name, line, want string) row { return ask(name, line+"\r\nHost: a\r\n\r\n", want) }
	return []row{
		line("RFC 9112 3: a request", "GET / HTTP/1.1", "GET"),
		line("RFC 9112 3.1: any token is a method", "!#$%&'*+-.^_`|~09azAZ / HTTP/1.1", "!#$%&'*+-.^_`|~09azAZ / HTTP/1.1 host=a"),
		line("RFC 9112 3.1: methods are case-sensitive", "get / HTTP/1.1", "get / HTTP/1.1 host=a"),
		line("RFC 9112 3.1: a method in brackets", "[GET] / HTTP/1.1", "error 400 a method that is no token"),
		line("RFC 9112 3.1: a method that is not ASCII", "G\u00c9T / HTTP/1.1", "error 400 a method that is no token"),
		line("RFC 9112 3.1: no method", " / HTTP/1.1", "error 400 a method that is no token"),
		line("RFC 9112 3.1: a quoted method", "\"GET\" / HTTP/1.1", "error 400 a method that is no token"),
		line("RFC 9112 3: only a method", "GET", "error 400 a method that is no token"),
		line("RFC 9112 3: a method and a space", "GET ", "error 400 a request line that does not end with a version"),
		line("RFC 9112 3: two spaces before the version", "GET /  HTTP/1.1", "error 400 whitespace"),
		line("RFC 9112 3: two spaces before the target", "GET  / HTTP/1.1", "error 400 whitespace"),
		line("RFC 9112 3: no target", "GET  HTTP/1.1", "error 400 no target"),
		line("RFC 9112 3: a space behind the version", "GET / HTTP/1.1 ", "error 400 a request line that does not end with a version"),
		line("RFC 9112 2.2: HTTP/0.9", "GET /", "error 400 a request line that does not end with a version"),
		line("RFC 9112 2.3: a version in small letters", "GET / http/1.1", "error 400 a request line that does not end with a version"),
		line("RFC 9112 2.3: a version of one digit", "GET / HTTP/1", "error 400 a request line that does not end with a version"),
		line("RFC 9112 2.3: a version of four digits", "GET / HTTP/11.11", "error 400 a request line that does not end with a version"),
		line("RFC 9112 2.3: a version with letters", "GET / HTTP/1.x", "error 400 a request line that does not end with a version"),
		line("RFC 9110 15.6.6: HTTP/0.9 by name", "GET / HTTP/0.9", "error 505"),
		line("RFC 9110 15.6.6: HTTP/1.2", "GET / HTTP/1.2", "error 505"),
		line("RFC 9110 15.6.6: HTTP/2.0", "GET / HTTP/2.0", "error 505 a version other"),
		line("RFC 9110 15.6.6: HTTP/3.0", "GET / HTTP/3.0", "error 505"),
		ask("RFC 9113 3.4: the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "error 505 HTTP/2 where"),
		ask("RFC 9112 2.2: empty lines before the request", "\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET"),
		ask("RFC 9112 2.2: too many empty lines", "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "error 400 empty lines"),
		ask("RFC 9112 2.2: an empty line that is LF", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "error 400 a line that ends with LF alone"),
		ask("RFC 9112 2.2: an empty line between requests", "GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET\nGET"),
		ask("RFC 9112 2.2: a first line that ends with LF", "GET / HTTP/1.1\nHost: a\r\n\r\n", "error 400 a line that ends with LF alone"),
		ask("RFC 9112 2.2: a first line that ends with CR", "GET / HTTP/1.1\rHost: a\r\n\r\n", "error 400 a CR without LF"),
		ask("RFC 9112 2.2: TLS", "\x16\x03\x01\x02\x00\x01", "error 400 TLS where"),
		ask("RFC 9112 2.2: something binary", "GET\x00", "error 400 a control byte in the first line"),
		ask("RFC 9112 2.2: another protocol", "SSH-2.0-OpenSSH_9.2\r\n", "error 400 a method that is no token"),
		ask("RFC 9112 9.3.2: pipelining", "GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.1\r\nHost: a\r\n\r\n",
			"GET\nPOST /2 HTTP/1.1 host=a length=1\ncontent \"x\"\nGET"),
		ask("RFC 9112 8: a request line that is cut off", "GET / HT", "more needed"),
		ask("RFC 9112 8: a head that is cut off", "GET / HTTP/1.1\r\nHost: a\r\n", "more needed"),
		{message{"RFC 9110 15.5.15: a request line that is too long", "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: a\r\n\r\n", "", Limits{HeadBytes: 40}}, "error 414"},
		{message{"RFC 9110 15.5.15: a request line without end", "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "", Limits{HeadBytes: 40}}, "error 414"},
		{message{"RFC 6585 5: fields that are too long", "GET / HTTP/1.1\r\nHost: a\r\nX: aaaaaaaaaaaaaaaaa\r\n\r\n", "", Limits{HeadBytes: 40}}, "error 431"},
		{message{"RFC 6585 5: a head as long as it may be", "GET / HTTP/1.1\r\nHost: a\r\nX: aaaaaaa\r\n\r\n", "", Limits{HeadBytes: 39}}, "GET [(other) X: aaaaaaa]"},
		{message{"RFC 6585 5: a head that is one byte too long", "GET / HTTP/1.1\r\nHost: a\r\nX: aaaaaaaa\r\n\r\n", "", Limits{HeadBytes: 39}}, "error 431"},
		{message{"RFC 6585 5: as many fields as may be", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\nX: b\r\n\r\n", "", Limits{Fields: 3}}, "GET [(other) X: a] [(other) X: b]"},
		{message{"RFC 6585 5: too many fields", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\nX: b\r\nX: c\r\n\r\n", "", Limits{Fields: 3}}, "error 431 too many"},
		ask("RFC 6585 5: 64 KiB by default", "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("a", 64<<10)+"\r\n\r\n", "error 431"),
		ask("RFC 6585 5: 128 fields by default", "GET / HTTP/1.1\r\nHost: a\r\n"+strings.Repeat("X: y\r\n", 128)+"\r\n", "error 431 too many"),
	}
}

func TestTarget(t *testing.T) { checkRows(t, targetRows(), 50) }

func targetRows() []row {
	target := func(name, target, want string) row {
		return ask(name, "GET "+target+" HTTP/1.1\r\nHost: a\r\n\r\n", strings.ReplaceAll(want, "T", "GET "+target+" HTTP/1.1"))
	}
	host := func(name, host, want string) row {
		return ask(name, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n", strings.ReplaceAll(want, "OK", "GET / HTTP/1.1 host="+host))
	}
	const badTarget, badHost, badURI = "error 400 whitespace, a control byte or a fragment", "error 400 a Host that is not", "error 400 a target whose authority"
	return []row{
		target("RFC 9112 3.2.1: path and query", "/where?q=now&x=/y?z", "T host=a"),
		target("RFC 9112 3.2.1: two slashes", "//b/c", "T host=a"),
		target("RFC 9112 3.2.1: dots stay", "/a/../b/./c", "T host=a"),
		target("RFC 9112 3.2.1: what URIs have only encoded", "/\"<>\\^`{|}?\"<>\\^`{|}", "T host=a"),
		target("RFC 9112 3.2.1: bytes that are not ASCII", "/\u00e4\xff", "T host=a"),
		target("RFC 9112 3.2.1: percent encoding is not looked at", "/%zz%00%2e%", "T host=a"),
		target("RFC 9112 3.2: a fragment", "/a#b", badTarget),
		target("RFC 9112 3.2: a tab", "/a\tb", badTarget),
		target("RFC 9112 3.2: a space", "/a b", badTarget),
		target("RFC 9112 3.2: a control byte", "/a\x01b", "error 400 a control byte in the first line"),
		target("RFC 9112 3.2: DEL", "/a\x7fb", "error 400 a control byte in the first line"),
		target("RFC 9112 3.2: no slash", "a", "error 400 a target that is neither"),
		target("RFC 9112 3.2: only a query", "?a", "error 400 a target that is neither"),
		target("RFC 9112 3.2.2: an absolute target replaces Host", "http://b/c?d", "T path=/c?d host=b"),
		target("RFC 9112 3.2.2: with a port", "http://b:81/c", "T path=/c host=b:81"),
		target("RFC 9112 3.2.2: https", "https://b/c", "T path=/c host=b"),
		target("RFC 9112 3.2.2: the scheme in large letters", "HTTPS://B/c", "T path=/c host=B"),
		target("RFC 9112 3.2.2: no path", "http://b", "T path=/ host=b"),
		target("RFC 9112 3.2.2: no path but a query", "http://b?c=/d", "T path=/?c=/d host=b"),
		target("RFC 9112 3.2.2: an address", "http://[::1]:81/c", "T path=/c host=[::1]:81"),
		target("RFC 9112 3.2.2: another scheme", "ftp://b/c", "error 400 a target that is neither"),
		target("RFC 9112 3.2.2: only a scheme", "http://", "error 400 a target that is neither"),
		target("RFC 9110 4.2.1: no host", "http:///c", badURI),
		target("RFC 9110 4.2.1: no host but a port", "http://:80/c", badURI),
		target("RFC 9110 4.2.4: a user", "http://u@b/c", badURI),
		target("RFC 9110 4.2.4: a user and a password", "http://u:p@b/c", badURI),
		ask("RFC 9112 3.2.2: an absolute target does not replace a missing Host", "GET http://b/ HTTP/1.1\r\n\r\n", "error 400 no Host"),
		ask("RFC 9112 3.2.2: an absolute target does not excuse a malformed Host", "GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n", badHost),
		ask("RFC 9112 3.2.2: an absolute target in HTTP/1.0", "GET http://b/ HTTP/1.0\r\n\r\n", "GET http://b/ HTTP/1.0 path=/ host=b close"),
		ask("RFC 9112 3.2.3: CONNECT", "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", "CONNECT b:443 HTTP/1.1 path= host=b:443"),
		ask("RFC 9112 3.2.3: CONNECT with a path", "CONNECT / HTTP/1.1\r\nHost: b\r\n\r\n", "error 400 a CONNECT"),
		ask("RFC 9110 9.3.6: CONNECT without a port", "CONNECT b HTTP/1.1\r\nHost: b\r\n\r\n", "error 400 a CONNECT"),
		ask("RFC 9110 9.3.6: CONNECT with an empty port", "CONNECT b: HTTP/1.1\r\nHost: b\r\n\r\n", "error 400 a CONNECT"),
		ask("RFC 9110 9.3.6: CONNECT with a body", "CONNECT b:1 HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n\r\n", "error 400 a CONNECT with a body"),
		ask("RFC 9110 9.3.6: CONNECT with chunks", "CONNECT b:1 HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n", "error 400 a CONNECT with a body"),
		ask("RFC 9112 3.2.4: OPTIONS of the server", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1 host=a"),
		ask("RFC 9112 3.2.4: OPTIONS with an absolute target without a path", "OPTIONS http://b:8001 HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS http://b:8001 HTTP/1.1 path=* host=b:8001"),
		ask("RFC 9112 3.2.4: OPTIONS with an absolute target and a path", "OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS http://b/ HTTP/1.1 path=/ host=b"),
		target("RFC 9112 3.2.4: * with another method", "*", "error 400 the target *"),
		target("RFC 9112 3.2.4: * with something behind it", "*a", "error 400 a target that is neither"),
		ask("RFC 9112 3.2: no Host", "GET / HTTP/1.1\r\n\r\n", "error 400 no Host"),
		ask("RFC 9112 3.2: no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0 host= close"),
		ask("RFC 9112 3.2: Host in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / HTTP/1.0 host=a close"),
		ask("RFC 9112 3.2: two Host", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "error 400 several Host"),
		ask("RFC 9112 3.2: two Host in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "error 400 several Host"),
		host("RFC 9110 7.2: a name and a port", "b.example:8080", "OK"),
		host("RFC 9110 7.2: an empty port", "b.example:", "OK"),
		host("RFC 9110 7.2: a dot at the end", "b.example.", "OK"),
		host("RFC 9110 7.2: underscores, dashes and tildes", "b_c-d~.example", "OK"),
		host("RFC 9110 7.2: an IPv4 address", "192.0.2.1:80", "OK"),
		host("RFC 9110 7.2: an IPv6 address", "[2001:db8::1]", "OK"),
		host("RFC 9110 7.2: an IPv6 address and a port", "[2001:db8::192.0.2.1]:80", "OK"),
		host("RFC 9110 7.2: nothing", "", badHost),
		host("RFC 9110 7.2: only a port", ":80", badHost),
		host("RFC 9110 7.2: a port above 65535", "b:65536", badHost),
		host("RFC 9110 7.2: a port of six digits", "b:000080", badHost),
		host("RFC 9110 7.2: a port that is none", "b:8o", badHost),
		host("RFC 9110 7.2: an IPv6 address without brackets", "::1", badHost),
		host("RFC 9110 7.2: brackets that do not end", "[::1", badHost),
		host("RFC 9110 7.2: brackets with something behind", "[::1]b", badHost),
		host("RFC 9110 7.2: brackets with a name", "[b]", badHost),
		host("RFC 9110 7.2: an IPv6 address with a zone", "[fe80::1%25eth0]", badHost),
		host("RFC 9110 7.2: a list", "a,b", badHost),
		host("RFC 9110 7.2: a path", "a/b", badHost),
		host("RFC 9110 7.2: a user", "u@a", badHost),
		host("RFC 9110 7.2: a space", "a b", badHost),
		host("RFC 9110 7.2: percent encoding", "%61", badHost),
		host("RFC 9110 7.2: other characters of RFC 3986", "a!b", badHost),
		host("RFC 9110 7.2: not ASCII", "\u00e4", badHost),
	}
}
