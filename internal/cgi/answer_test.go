package cgi_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ruche-project/ruche/internal/cgi"
)

// show writes a head on one line.
func show(h *cgi.Head) string {
	s := fmt.Sprintf("%d %q %d", h.Status, h.Reason, h.ContentLength)
	for _, f := range h.Fields {
		s += fmt.Sprintf(" %s=%q", f.Name, f.Value)
	}
	return s
}

func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		noBody       bool
		head, body   string
	}{
		{"plain", "Content-Type: text/html\r\n\r\nhi", false, `200 "" -1 Content-Type="text/html"`, "hi"},
		{"LF alone", "Content-Type: text/html\nX: y\n\nhi\n", false, `200 "" -1 Content-Type="text/html" X="y"`, "hi\n"},
		{"line ends of both kinds", "A: b\nX: y\r\n\nhi", false, `200 "" -1 A="b" X="y"`, "hi"},
		{"status", "Status: 404 Not Found\r\nA: b\r\n\r\nno", false, `404 "Not Found" -1 A="b"`, "no"},
		{"status without reason", "status:503\n\n", false, `503 "" -1`, ""},
		{"status in the end", "A: b\nSTATUS: 201 \n\n", false, `201 "" -1 A="b"`, ""},
		{"location", "Location: /x\r\n\r\n", false, `302 "" -1 Location="/x"`, ""},
		{"location with status", "Location: /x\r\nStatus: 201 Created\r\n\r\n", false, `201 "Created" -1 Location="/x"`, ""},
		{"location without value", "Location:\r\n\r\n", false, `200 "" -1 Location=""`, ""},
		{"no fields at all", "\r\nhi", false, `200 "" -1`, "hi"},
		{"no fields and no CR", "\n\nhi", false, `200 "" -1`, "\nhi"},
		{"length", "Content-Length: 2\n\nhi", false, `200 "" 2 Content-Length="2"`, "hi"},
		{"more than its length", "Content-Length: 2\n\nhi and more", false, `200 "" 2 Content-Length="2"`, "hi"},
		{"length of nothing", "Content-Length: 0\n\nhi", false, `200 "" 0 Content-Length="0"`, ""},
		{"the same length twice", "Content-Length: 2\nA: b\ncontent-length: 02\n\nhi", false, `200 "" 2 Content-Length="2" A="b"`, "hi"},
		{"transfer encoding is not its business", "Transfer-Encoding: chunked\nA: b\n\nhi", false, `200 "" -1 A="b"`, "hi"},
		{"white space", "A: \t b c\t \nB:\n\n", false, `200 "" -1 A="b c" B=""`, ""},
		{"bytes beyond ASCII", "A: \xe9\xff\u00e9\n\n", false, `200 "" -1 A="` + `\xe9\xff` + "\u00e9" + `"`, ""},
		{"HEAD", "Content-Length: 5\n\nhello", true, `200 "" 5 Content-Length="5"`, ""},
		{"204", "Status: 204\n\nhello", false, `204 "" -1`, ""},
		{"304", "Status: 304\nContent-Length: 9\n\n", false, `304 "" 9 Content-Length="9"`, ""},
		{"HTTP/1.1", "HTTP/1.1 404 Not Found\r\nA: b\r\n\r\nno", false, `404 "Not Found" -1 A="b"`, "no"},
		{"HTTP/1.0", "HTTP/1.0 200\nStatus: 500\n\nyes", false, `200 "" -1`, "yes"},
		{"HTTP and location", "HTTP/1.1 200 OK\r\nLocation: /x\r\n\r\n", false, `200 "OK" -1 Location="/x"`, ""},
		{"upgrade", "HTTP/1.1 101 Switching\r\nContent-Length: 1\r\n\r\nframes", false, `101 "Switching" 1 Content-Length="1"`, "frames"},
	} {
		for way, reader := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "with the end": iotest.DataErrReader,
		} {
			t.Run(tt.name+" "+way, func(t *testing.T) {
				var a cgi.Answer
				a.Reset(reader(strings.NewReader(tt.answer)))
				h, err := a.ReadHead(tt.noBody)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(&a)
				if err != nil || string(body) != tt.body {
					t.Errorf("body %q, %v; want %q", body, err, tt.body)
				}
				if show(h) != tt.head { // after the body, which must not overwrite it
					t.Errorf("head %s, want %s", show(h), tt.head)
				}
			})
		}
	}
}

func TestBadHeads(t *testing.T) {
	for _, tt := range []struct{ answer, want string }{
		{"hello\n\n", `line 1: "hello" has no colon`},
		{"A: b\n<html>\n\n", `line 2: "<html>" has no colon`},
		{"<b>: c\n\n", `"<b>" is no name`},
		{": c\n\n", `"" is no name`},
		{"A : c\n\n", `"A " is no name`},
		{" A: c\n\n", `" A" is no name`},
		{"A: b\n c: d\n\n", `line 2: " c" is no name`},
		{"A: b\n c\n\n", `line 2: " c" has no colon`},
		{"A: b\rB: c\n\n", "0x0d"},
		{"A: b\r\r\n\r\n", "0x0d"},
		{"A: b\r\n\r\r\n\r\n", `line 2: "\r" has no colon`},
		{"A: b\x00\n\n", "0x00"},
		{"A: b\x7f\n\n", "0x7f"},
		{"A\x00: b\n\n", "is no name"},
		{"Status: 200 a\x01b\n\n", "0x01"},
		{"Status: OK\n\n", "no status"},
		{"Status: 20\n\n", "no status"},
		{"Status: 2000\n\n", "no status"},
		{"Status: +20\n\n", "no status"},
		{"Status:\n\n", "no status"},
		{"Status: 100 Continue\n\n", "from 200 on"},
		{"Status: 200\nStatus: 200\n\n", "line 2: there is a second status"},
		{"Content-Length: 1\nContent-Length: 2\n\n", "second Content-Length, 2 instead of 1"},
		{"Content-Length: -1\n\n", "no Content-Length"},
		{"Content-Length: +1\n\n", "no Content-Length"},
		{"Content-Length: 1, 1\n\n", "no Content-Length"},
		{"Content-Length:\n\n", "no Content-Length"},
		{"Content-Length: 9999999999999999999\n\n", "no Content-Length"},
		{"HTTP/2 200\n\n", "no status line"},
		{"HTTP/1.2 200 OK\n\n", "no status line"},
		{"HTTP/1.1  200 OK\n\n", "no status"},
		{"HTTP/1.1 099 OK\n\n", "no status"},
		{"A: b\nHTTP/1.1 200 OK\n\n", "line 2"},
		{strings.Repeat("A: b\n", 129) + "\n", "line 129: there are more than 128"},
		{strings.Repeat("x", 70_000), "more than 65536 bytes"},
		{"A: " + strings.Repeat("x", 70_000) + "\n\n", "more than 65536 bytes"},
		{strings.Repeat("y", 200) + "\n\n", strings.Repeat("y", 60) + `" has`},
	} {
		var a cgi.Answer
		a.Reset(strings.NewReader(tt.answer))
		if _, err := a.ReadHead(false); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "cannot read the head") {
			t.Errorf("%.40q: %v, want %q", tt.answer, err, tt.want)
		}
		if n, err := a.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%.40q has a body: %v", tt.answer, err)
		}
	}
}

// The longest head that is taken, so that the limit is where it is said to be.
func TestLongestHead(t *testing.T) {
	value := strings.Repeat("x", 64<<10-len("A: \n\n"))
	var a cgi.Answer
	for range 2 {
		a.Reset(strings.NewReader("A: " + value + "\n\nbody"))
		h, err := a.ReadHead(false)
		if err != nil || string(h.Fields[0].Value) != value {
			t.Fatalf("cannot read 64 KiB: %v", err)
		}
		if body, err := io.ReadAll(&a); string(body) != "body" || err != nil {
			t.Errorf("body %q, %v", body, err)
		}
	}
}

func TestInterimAnswers(t *testing.T) {
	var a cgi.Answer
	a.Reset(iotest.HalfReader(strings.NewReader("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")))
	for _, want := range []string{`103 "Early Hints" -1 Link="</x>"`, `100 "" -1`, `200 "OK" 2 Content-Length="2"`} {
		h, err := a.ReadHead(false)
		if err != nil || show(h) != want {
			t.Fatalf("%v, %v; want %s", h, err, want)
		}
	}
	if body, err := io.ReadAll(&a); string(body) != "hi" || err != nil {
		t.Errorf("body %q, %v", body, err)
	}
}

func TestAnswersThatAreCutOff(t *testing.T) {
	const head, body = "Content-Length: 5\r\n\r\n", "hello"
	broken := errors.New("broken")
	for n := range len(head + body) {
		for _, end := range []error{io.EOF, broken} {
			var a cgi.Answer
			a.Reset(io.MultiReader(strings.NewReader((head + body)[:n]), iotest.ErrReader(end)))
			want := end
			switch {
			case errors.Is(end, broken):
			case n == 0:
				want = cgi.ErrEmpty
			default:
				want = io.ErrUnexpectedEOF
			}
			_, err := a.ReadHead(false)
			if n >= len(head) && err == nil {
				var got []byte
				got, err = io.ReadAll(&a)
				if string(got) != body[:n-len(head)] {
					t.Errorf("%d bytes: body %q", n, got)
				}
			}
			if !errors.Is(err, want) {
				t.Errorf("%d bytes and %v: %v, want %v", n, end, err, want)
			}
		}
	}
}

// A body is over when its length is: the program may go on running for long.
func TestTheEndIsNotWaitedFor(t *testing.T) {
	var a cgi.Answer
	a.Reset(io.MultiReader(strings.NewReader("Content-Length: 5\n\nhe"), strings.NewReader("llo"), iotest.ErrReader(errors.New("asked for more"))))
	if _, err := a.ReadHead(false); err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(&a); string(body) != "hello" || err != nil {
		t.Errorf("body %q, %v", body, err)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"Content-Type: text/html\r\n\r\nhi", "Status: 404 Not Found\nA: b\n\nno", "Location: /x\n\n", "\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
		"Content-Length: 1\nContent-Length: 1\n\nx", "A: b\rc\n\n", " A: b\n\n", "HTTP/1.1 101 x\n\nx", "Transfer-Encoding: chunked\n\n0\r\n\r\n"} {
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, answer []byte, noBody bool) {
		read := func(r io.Reader) (string, []byte, error) {
			var a cgi.Answer
			a.Reset(r)
			h, err := a.ReadHead(noBody)
			if err != nil {
				return "", nil, err
			}
			checkHead(t, h)
			head := show(h)
			body, err := io.ReadAll(&a)
			if h.ContentLength >= 0 && h.Status != 101 && int64(len(body)) > h.ContentLength {
				t.Fatalf("the body has %d bytes instead of %d", len(body), h.ContentLength)
			}
			if !bytes.HasSuffix(answer, body) && h.ContentLength < 0 {
				t.Fatalf("the body %q is not the end of the answer", body)
			}
			return head, body, err
		}
		head, body, err := read(bytes.NewReader(answer))
		head1, body1, err1 := read(iotest.OneByteReader(bytes.NewReader(answer)))
		if head != head1 || !bytes.Equal(body, body1) || fmt.Sprint(err) != fmt.Sprint(err1) {
			t.Fatalf("in pieces it is another answer: %s %q %v, %s %q %v", head, body, err, head1, body1, err1)
		}
	})
}

// checkHead holds what the proxy writes out without another look.
func checkHead(t *testing.T, h *cgi.Head) {
	t.Helper()
	if h.Status < 100 || h.Status > 999 || h.ContentLength < -1 {
		t.Fatalf("status %d, length %d", h.Status, h.ContentLength)
	}
	lengths := 0
	for _, f := range append(h.Fields, cgi.Field{Name: []byte("Reason"), Value: h.Reason}) {
		if len(f.Name) == 0 || bytes.ContainsAny(f.Name, " \t\r\n:\x00\x7f") || bytes.ContainsAny(f.Value, "\r\n\x00\x7f") {
			t.Fatalf("field %q: %q", f.Name, f.Value)
		}
		switch strings.ToLower(string(f.Name)) {
		case "transfer-encoding", "status":
			t.Fatalf("field %q is given away", f.Name)
		case "content-length":
			lengths++
		}
	}
	if lengths > 1 || (lengths == 1) != (h.ContentLength >= 0) {
		t.Fatalf("%d lengths, and %d", lengths, h.ContentLength)
	}
}
