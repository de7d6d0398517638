package h1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzAgainstNetHTTP holds the codec against net/http: what we take, net/http takes too, and finds the same message in the same bytes. What
// we refuse may be anything. Every difference that remains is one of explained.
func FuzzAgainstNetHTTP(f *testing.F) {
	for _, m := range allMessages() {
		if len(m.wire) < 4096 {
			f.Add([]byte(m.wire), m.method)
		}
	}
	f.Add([]byte(browserRequest), "")
	f.Add([]byte(typicalResponse), "GET")
	f.Fuzz(func(t *testing.T, wire []byte, method string) {
		found := ""
		if method == "" {
			found = compareRequest(wire)
		} else {
			found = compareResponse(wire, method)
		}
		if found != "" {
			t.Fatalf("%q\n%s", wire, found)
		}
	})
}

// explained returns why we take a message that net/http refuses with err, or nothing.
func explained(h *Head, target string, wire []byte, err error) string {
	has := func(id ID) bool { return slices.ContainsFunc(h.Fields, func(f Field) bool { return f.ID == id }) }
	switch message := err.Error(); {
	case target != "" && urlFails(target):
		return "net/url decodes the target; here who matches it does, and refuses what cannot be decoded"
	case strings.Contains(message, "bad trailer key") && has(Trailer):
		return "net/http refuses trailers that are announced and must not be; here they are dropped if they come"
	case strings.Contains(message, "invalid byte in chunk length") && bytes.ContainsAny(wire, " \t"):
		return "net/http knows no whitespace before a chunk extension, which RFC 9112 section 7.1.1 asks to be read"
	}
	return ""
}

// urlFails reports whether net/url refuses a target, in absolute form or with http:// before it.
func urlFails(target string) bool {
	if _, err := url.ParseRequestURI(target); err == nil {
		return false
	}
	_, err := url.ParseRequestURI("http://" + target)
	return err != nil
}

// compareRequest describes what net/http finds differently in the first request of wire.
func compareRequest(wire []byte) string {
	var ours Request
	n, err := ours.Parse(wire, Limits{})
	if n == 0 || err != nil {
		return ""
	}
	// net/http leaves empty lines before a request to its server.
	skipped := bytes.TrimLeft(wire, "\r\n")
	in := bufio.NewReaderSize(bytes.NewReader(skipped), len(wire)+16)
	theirs, err := http.ReadRequest(in)
	if err != nil {
		if explained(&ours.Head, string(ours.Target), wire, err) != "" {
			return ""
		}
		return fmt.Sprintf("we read %s, net/http says %v", describeRequest(&ours), err)
	}
	length := ours.ContentLength
	if ours.Framing == Chunked {
		length = -1
	}
	for _, d := range []struct{ what, ours, theirs any }{
		{"method", string(ours.Method), theirs.Method},
		{"target", string(ours.Target), theirs.RequestURI},
		{"host", string(ours.Host), theirs.Host},
		{"version", ours.Minor, theirs.ProtoMinor},
		{"close", ours.Close, theirs.Close},
		{"length", length, theirs.ContentLength},
		{"chunked", ours.Framing == Chunked, slices.Equal(theirs.TransferEncoding, []string{"chunked"})},
		{"fields", describeMap(headMap(&ours.Head, true)), describeMap(theirs.Header)},
	} {
		if d.ours != d.theirs {
			return fmt.Sprintf("%s: ours %#v, theirs %#v", d.what, d.ours, d.theirs)
		}
	}
	return compareBody(&ours.Head, wire, n, theirs.Body, in, &theirs.Trailer)
}

// compareResponse describes what net/http finds differently in the first response of wire.
func compareResponse(wire []byte, method string) string {
	var ours Response
	n, err := ours.Parse(wire, []byte(method), Limits{})
	switch {
	case n == 0 || err != nil:
		return ""
	case method == "CONNECT" || ours.Status < 200:
		return "" // net/http does not leave these to ReadResponse
	case spaceBeforeColon(wire[:n]):
		return "" // which proxies have to remove from responses (RFC 9112 section 5.1); net/http makes it part of the name
	}
	in := bufio.NewReaderSize(bytes.NewReader(wire), len(wire)+16)
	theirs, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		if explained(&ours.Head, "", wire, err) != "" {
			return ""
		}
		return fmt.Sprintf("we read %s, net/http says %v", describeResponse(&ours), err)
	}
	length := ours.ContentLength
	if ours.Framing == Chunked || ours.Framing == UntilClose {
		length = -1
	}
	// How long the body would be is not what we say of one that does not come; that we end the connection after a status 204 that declares a
	// body is our own caution.
	none := ours.Framing == NoBody
	for _, d := range []struct{ what, ours, theirs any }{
		{"status", ours.Status, theirs.StatusCode},
		{"reason", string(ours.Reason), strings.TrimPrefix(theirs.Status[3:], " ")},
		{"version", ours.Minor, theirs.ProtoMinor},
		{"close", ours.Close, theirs.Close || none && ours.Close},
		{"length", length, map[bool]int64{false: theirs.ContentLength, true: length}[none]},
		{"chunked", ours.Framing == Chunked, !none && slices.Equal(theirs.TransferEncoding, []string{"chunked"})},
		{"fields", describeMap(headMap(&ours.Head, false)), describeMap(theirs.Header)},
	} {
		if d.ours != d.theirs {
			return fmt.Sprintf("%s: ours %#v, theirs %#v", d.what, d.ours, d.theirs)
		}
	}
	return compareBody(&ours.Head, wire, n, theirs.Body, in, &theirs.Trailer)
}

// spaceBeforeColon reports whether a line of a head has whitespace between name and colon.
func spaceBeforeColon(head []byte) bool {
	for line := range bytes.Lines(head) {
		if name, _, ok := bytes.Cut(line, []byte(":")); ok && len(name) > 0 && blank(name[len(name)-1]) {
			return true
		}
	}
	return false
}

// compareBody describes what net/http finds differently in the body behind the first n bytes of wire. It compares whole bodies only.
func compareBody(h *Head, wire []byte, n int, theirs io.Reader, in *bufio.Reader, trailer *http.Header) string {
	var d Body
	d.Reset(h.Framing, h.ContentLength)
	var content []byte
	for done := false; !done; {
		data, used, end, err := d.Next(wire[n:])
		if err != nil {
			return ""
		}
		content, n, done = append(content, data...), n+used, end
		if used == 0 && !done {
			if d.EOF() != nil {
				return ""
			}
			break
		}
	}
	got, err := io.ReadAll(theirs)
	if err != nil {
		if explained(h, "", wire, err) != "" {
			return ""
		}
		return fmt.Sprintf("we read the content %q, net/http says %v", content, err)
	}
	if !bytes.Equal(got, content) {
		return fmt.Sprintf("content: ours %q, theirs %q", content, got)
	}
	if rest := len(wire) - n; in.Buffered() != rest {
		return fmt.Sprintf("we leave %d bytes, net/http %d", rest, in.Buffered())
	}
	for name, values := range fieldMap(d.Trailer()) {
		if !slices.Equal((*trailer)[name], values) {
			return fmt.Sprintf("trailer %s: ours %q, theirs %q", name, values, (*trailer)[name])
		}
	}
	return ""
}

func fieldMap(fields []Field) http.Header {
	m := make(http.Header)
	for _, f := range fields {
		m.Add(textproto.CanonicalMIMEHeaderKey(string(f.Name)), string(f.Value))
	}
	return m
}

// headMap makes of a head's fields what net/http makes of them: it takes those away that it gives elsewhere, and adds one.
func headMap(h *Head, request bool) http.Header {
	m := fieldMap(h.Fields)
	if request {
		m.Del("Host")
	} else if h.options&optionClose != 0 && h.Minor == 1 {
		m.Del("Connection")
	}
	m.Del("Transfer-Encoding")
	if h.encodings > 0 {
		m.Del("Trailer")
	}
	if p := m["Pragma"]; len(p) > 0 && p[0] == "no-cache" && m["Cache-Control"] == nil {
		m.Set("Cache-Control", "no-cache")
	}
	return m
}

func describeMap(m http.Header) string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	var s strings.Builder
	for _, name := range names {
		fmt.Fprintf(&s, "%s=%q ", name, m[name])
	}
	return s.String()
}
