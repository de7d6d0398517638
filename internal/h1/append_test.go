package h1

import "testing"

func TestAppend(t *testing.T) {
	name, value := []byte("X-A"), []byte("b")
	for _, tc := range []struct{ name, got, want string }{
		{"a request line", string(AppendRequestLine(nil, []byte("GET"), []byte("/a?b"))), "GET /a?b HTTP/1.1\r\n"},
		{"a status line", string(AppendStatusLine(nil, 404, nil)), "HTTP/1.1 404 Not Found\r\n"},
		{"a status line with a reason", string(AppendStatusLine(nil, 404, []byte("Gone Fishing"))), "HTTP/1.1 404 Gone Fishing\r\n"},
		{"a status line with an empty reason", string(AppendStatusLine(nil, 404, []byte{})), "HTTP/1.1 404 \r\n"},
		{"a status line that nobody knows", string(AppendStatusLine(nil, 999, nil)), "HTTP/1.1 999 \r\n"},
		{"a field of bytes", string(AppendField(nil, name, value)), "X-A: b\r\n"},
		{"a field of strings", string(AppendField(nil, "X-A", "b")), "X-A: b\r\n"},
		{"a field of both", string(AppendField(nil, "X-A", value)), "X-A: b\r\n"},
		{"a field with a number", string(AppendIntField(nil, "Content-Length", 1<<40)), "Content-Length: 1099511627776\r\n"},
		{"a chunk size", string(AppendChunkSize(nil, 0xabc)), "abc\r\n"},
		{"no trailer", string(AppendTrailer(nil, nil)), LastChunk},
		{"a trailer", string(AppendTrailer(nil, []Field{{Name: name, Value: value}})), "0\r\nX-A: b\r\n\r\n"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, tc.got, tc.want)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	request := []byte(browserRequest)
	chunked := []byte("POST / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\nTransfer-Encoding: chunked\r\nX_Forwarded_For: x\r\nTE: trailers\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n")
	absolute := []byte("GET http://example.com?a HTTP/1.1\r\nHost: a\r\nConnection: x-a, upgrade\r\nUpgrade: b\r\nX-A: b\r\n\r\n")
	response := []byte(typicalResponse)
	var r Request
	var p Response
	var d Body
	out := make([]byte, 0, 4096)
	name := "x-forwarded-" + string(out) + "for"
	for _, tc := range []struct {
		name string
		do   func()
	}{
		{"a request", func() { _, _ = r.Parse(request, Limits{}) }},
		{"a request in pieces", func() { _, _ = r.Parse(request[:70], Limits{}); _, _ = r.Parse(request, Limits{}) }},
		{"a request with chunks and a trailer", func() {
			n, _ := r.Parse(chunked, Limits{})
			d.Reset(r.Framing, r.ContentLength)
			for done := false; !done; {
				var used int
				_, used, done, _ = d.Next(chunked[n:])
				n += used
			}
			_ = d.Trailer()
		}},
		{"a request with an absolute target", func() { _, _ = r.Parse(absolute, Limits{}); _ = r.ConnectionNames([]byte("x-b")) }},
		{"a response", func() { _, _ = p.Parse(response, nil, Limits{}) }},
		{"a name", func() { _ = IdentifyString(name) }},
		{"a message that is written", func() {
			out = AppendRequestLine(out[:0], r.Method, r.Target)
			out = AppendStatusLine(out, 503, nil)
			out = AppendField(out, "Server", response)
			out = AppendIntField(out, "Content-Length", 1<<50)
			out = AppendChunkSize(out, 1<<20)
			out = AppendTrailer(out, r.Fields)
		}},
	} {
		if n := testing.AllocsPerRun(100, tc.do); n != 0 {
			t.Errorf("%s: %v allocations", tc.name, n)
		}
	}
}
