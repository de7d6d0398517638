package fastcgi_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ruche-project/ruche/internal/fastcgi"
)

// wire is a connection whose other side has said all that it will say.
type wire struct {
	io.Reader
	sent   bytes.Buffer
	writes int
	fail   error
}

func (w *wire) Write(p []byte) (int, error) {
	if w.fail != nil {
		return 0, w.fail
	}
	w.writes++
	return w.sent.Write(p)
}

func vars(pairs ...string) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for i := 0; i < len(pairs); i += 2 {
			if !yield([]byte(pairs[i]), []byte(pairs[i+1])) {
				return
			}
		}
	}
}

// record builds one, as programs send them.
func record(kind byte, content string, padding int) string {
	return numbered(1, kind, content, padding)
}

func numbered(id uint16, kind byte, content string, padding int) string {
	head := []byte{1, kind, byte(id >> 8), byte(id), byte(len(content) >> 8), byte(len(content)), byte(padding), 0}
	return string(head) + content + strings.Repeat("#", padding)
}

const (
	stdout = 6
	stderr = 7
)

// end is the record that ends a request.
func end(appStatus, status byte) string {
	return record(3, string([]byte{0, 0, 0, appStatus, status, 0, 0, 0}), 0)
}

// begun is a connection that carries a request whose answer is given.
func begun(t testing.TB, answer io.Reader) (*fastcgi.Conn, *wire) {
	t.Helper()
	w := &wire{Reader: answer}
	c := fastcgi.NewConn(w)
	if err := c.WriteBegin(vars()); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseBody(); err != nil {
		t.Fatal(err)
	}
	return c, w
}

func TestBytesOnTheWire(t *testing.T) {
	var w wire
	c := fastcgi.NewConn(&w)
	if err := c.WriteBegin(vars("A", "bc", "LONG", strings.Repeat("x", 128), strings.Repeat("N", 128), "")); err != nil {
		t.Fatal(err)
	}
	if w.writes != 0 {
		t.Errorf("WriteBegin writes")
	}
	if err := c.WriteBody(nil); err != nil || w.writes != 0 {
		t.Errorf("an empty piece is sent: %v", err)
	}
	for _, p := range []string{"hello", "12345678"} {
		if err := c.WriteBody([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.CloseBody(); err != nil {
		t.Fatal(err)
	}
	want := "\x01\x01\x00\x01\x00\x08\x00\x00" + "\x00\x01\x00\x00\x00\x00\x00\x00" +
		"\x01\x04\x00\x01\x01\x13\x05\x00" + "\x01\x02Abc" + "\x04\x80\x00\x00\x80LONG" + strings.Repeat("x", 128) +
		"\x80\x00\x00\x80\x00" + strings.Repeat("N", 128) + "\x00\x00\x00\x00\x00" +
		"\x01\x04\x00\x01\x00\x00\x00\x00" +
		"\x01\x05\x00\x01\x00\x05\x03\x00hello\x00\x00\x00" +
		"\x01\x05\x00\x01\x00\x08\x00\x0012345678" +
		"\x01\x05\x00\x01\x00\x00\x00\x00"
	if got := w.sent.String(); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	if w.writes != 3 {
		t.Errorf("%d writes, want 3", w.writes)
	}
}

// A request without a body goes out in one write, and without variables there is no second empty record.
func TestShortestRequest(t *testing.T) {
	_, w := begun(t, strings.NewReader(""))
	want := "\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01\x04\x00\x01\x00\x00\x00\x00\x01\x05\x00\x01\x00\x00\x00\x00"
	if w.sent.String() != want || w.writes != 1 {
		t.Errorf("got %q in %d writes", w.sent.String(), w.writes)
	}
}

func TestFlush(t *testing.T) {
	var w wire
	c := fastcgi.NewConn(&w)
	if err := errors.Join(c.WriteBegin(vars("A", "b")), c.Flush(), c.Flush(), c.CloseBody()); err != nil {
		t.Fatal(err)
	}
	if w.writes != 2 || w.sent.Bytes()[10] != 0 {
		t.Errorf("%d writes of %q", w.writes, w.sent.String())
	}
}

// sentRecords takes what was sent apart, and checks its form.
func sentRecords(t *testing.T, b []byte) (kinds []byte, contents []string) {
	t.Helper()
	for len(b) > 0 {
		n, padding := int(b[4])<<8|int(b[5]), int(b[6])
		if b[0] != 1 || b[2] != 0 || b[3] != 1 || (n+padding)%8 != 0 || n+padding > 65535 {
			t.Fatalf("record %q", b[:8])
		}
		kinds, contents = append(kinds, b[1]), append(contents, string(b[8:8+n]))
		b = b[8+n+padding:]
	}
	return kinds, contents
}

// php-fpm understands no variable that goes over a record's end, and no record of more than 65,535 bytes with its padding.
func TestVariablesThatFillSeveralRecords(t *testing.T) {
	var w wire
	c := fastcgi.NewConn(&w)
	largest := strings.Repeat("x", 65528-4-2)
	if err := errors.Join(c.WriteBegin(vars("A", strings.Repeat("a", 40_000), "B", strings.Repeat("b", 30_000), "C", largest, "D", "")), c.CloseBody()); err != nil {
		t.Fatal(err)
	}
	_, contents := sentRecords(t, w.sent.Bytes())
	var sizes []int
	for _, s := range contents {
		sizes = append(sizes, len(s))
	}
	if want := []int{8, 40_006, 30_006, 65528, 3, 0, 0}; !slices.Equal(sizes, want) {
		t.Errorf("records of %d bytes, want %d", sizes, want)
	}
}

func TestVariableThatIsTooLong(t *testing.T) {
	var w wire
	c := fastcgi.NewConn(&w)
	err := c.WriteBegin(vars("A", "b", "HTTP_COOKIE", strings.Repeat("x", 65_528)))
	if err == nil || !strings.Contains(err.Error(), `"HTTP_COOKIE" has 65528 bytes`) {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(c.WriteBegin(vars("A", "b")), c.CloseBody()); err != nil || len(w.sent.Bytes()) != 48 {
		t.Errorf("the connection is not as it was: %v, %q", err, w.sent.String())
	}
}

func TestLargeBody(t *testing.T) {
	c, w := begun(t, strings.NewReader(""))
	w.sent.Reset()
	body := strings.Repeat("0123456789", 20_000)
	if err := c.WriteBody([]byte(body)); err != nil {
		t.Fatal(err)
	}
	kinds, contents := sentRecords(t, w.sent.Bytes())
	if strings.Join(contents, "") != body || strings.Trim(string(kinds), "\x05") != "" {
		t.Errorf("%d records of the types %q", len(contents), kinds)
	}
}

func TestWriteError(t *testing.T) {
	broken := errors.New("broken")
	w := &wire{Reader: strings.NewReader(end(0, 0)), fail: broken}
	c := fastcgi.NewConn(w)
	if err := c.WriteBegin(vars()); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := c.WriteBody([]byte("x")); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "cannot send") {
			t.Errorf("%d: %v", i, err)
		}
		w.fail = nil // what comes later is not sent: a piece is missing before it
	}
	if err := c.CloseBody(); !errors.Is(err, broken) || w.sent.Len() != 0 {
		t.Errorf("CloseBody: %v, and %d bytes sent", err, w.sent.Len())
	}
}

func TestAnswers(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 4095)
	for _, tt := range []struct {
		name, answer, output, stderr string
		status                       uint32
	}{
		{"plain", record(stdout, "hello", 3) + record(stdout, "", 0) + end(0, 0), "hello", "", 0},
		{"several pieces", record(stdout, "hel", 0) + record(stdout, "lo", 255) + end(0, 0), "hello", "", 0},
		{"long", record(stdout, long, 0) + record(stdout, long, 7) + end(0, 0), long + long, "", 0},
		{"no output", end(0, 0), "", "", 0},
		{"padding behind the end", record(stdout, "x", 1) + record(3, "\x00\x00\x00\x00\x00\x00\x00\x00", 255), "x", "", 0},
		{"messages", record(stderr, "oh ", 5) + record(stdout, "a", 0) + record(stderr, "dear", 0) + record(stdout, "b", 0) + record(stderr, "", 0) + end(0, 0), "ab", "oh dear", 0},
		{"messages without end", strings.Repeat(record(stderr, long, 0), 3) + record(stdout, "x", 0) + end(0, 0), "x", long[:4096], 0},
		{"end of output twice", record(stdout, "", 8) + record(stdout, "", 0) + end(0, 0), "", "", 0},
		{"failed afterwards", record(stdout, "x", 0) + end(3, 0), "x", "", 3},
		{"something behind the end", record(stdout, "x", 0) + end(0, 0) + "y", "x", "", 0},
		{"an answer behind the end", record(stdout, "x", 0) + end(0, 0) + record(stdout, "y", 0) + end(0, 0), "x", "", 0},
	} {
		for way, reader := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "with the end": iotest.DataErrReader,
		} {
			t.Run(tt.name+" "+way, func(t *testing.T) {
				c, _ := begun(t, reader(strings.NewReader(tt.answer)))
				got, err := io.ReadAll(c)
				if err != nil || string(got) != tt.output || string(c.Stderr()) != tt.stderr || c.AppStatus() != tt.status {
					t.Errorf("output %.40q, messages %.40q, status %d, %v", got, c.Stderr(), c.AppStatus(), err)
				}
				if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
					t.Errorf("behind the end: %d, %v", n, err)
				}
			})
		}
	}
}

func TestBadAnswers(t *testing.T) {
	for _, tt := range []struct{ name, answer, output, want string }{
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n", "", "seems to speak HTTP"},
		{"short HTTP", "HTTP", "", "seems to speak HTTP"},
		{"garbage", "SSH-2.0-OpenSSH", "", `"SSH-2.0-" is no FastCGI record`},
		{"garbage later", record(stdout, "x", 0) + "\x00\x00\x00\x00\x00\x00\x00\x00", "x", "is no FastCGI record of version 1"},
		{"another request", numbered(2, stdout, "x", 0), "", "about request 2"},
		{"the connection itself", numbered(0, 11, "\x05\x00\x00\x00\x00\x00\x00\x00", 0), "", "a record of type 11 is about request 0"},
		{"unknown type", record(12, "x", 0), "", "the type 12"},
		{"input", record(5, "x", 0), "", "the type 5"},
		{"output behind its end", record(stdout, "x", 0) + record(stdout, "", 0) + record(stdout, "y", 0), "x", "behind the end of its output"},
		{"short end", record(3, "\x00\x00\x00\x00", 0), "", "has 4 bytes instead of 8"},
		{"long end", record(3, "\x00\x00\x00\x00\x00\x00\x00\x00\x00", 0), "", "has 9 bytes instead of 8"},
		{"failed", record(stderr, "why", 0) + end(3, 0), "", "ended with status 3 and without an answer"},
		{"mixing", end(0, 1), "", "another one on this connection"},
		{"overloaded", end(0, 2), "", "it is overloaded"},
		{"role", end(0, 3), "", "no responder"},
		{"overloaded in the middle", record(stdout, "x", 0) + end(0, 2), "x", "gives up in the middle: it is overloaded"},
		{"unknown reason", end(0, 4), "", "unknown reason 4"},
	} {
		for way, reader := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader} {
			c, _ := begun(t, reader(strings.NewReader(tt.answer)))
			got, err := io.ReadAll(c)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "cannot read the FastCGI answer: ") || string(got) != tt.output {
				t.Errorf("%s, %s: output %q, %v", tt.name, way, got, err)
			}
			refused := tt.output == "" && (strings.HasPrefix(tt.name, "overloaded") || tt.name == "mixing" || tt.name == "role")
			if errors.Is(err, fastcgi.ErrRefused) != refused {
				t.Errorf("%s, %s: refused is not %v: %v", tt.name, way, refused, err)
			}
			if _, again := c.Read(make([]byte, 1)); again == nil || errors.Is(again, io.EOF) {
				t.Errorf("%s, %s: the error does not last: %v", tt.name, way, again)
			}
		}
	}
}

func TestCutAtAnyByte(t *testing.T) {
	const output = "hello"
	answer := record(stderr, "oh dear", 1) + record(stdout, output, 3) + record(stdout, "", 0) + end(0, 0)
	for n := range len(answer) {
		for _, fail := range []error{io.EOF, errors.New("broken")} {
			c, _ := begun(t, io.MultiReader(strings.NewReader(answer[:n]), iotest.ErrReader(fail)))
			got, err := io.ReadAll(c)
			want := fail
			if errors.Is(fail, io.EOF) {
				want = io.ErrUnexpectedEOF
			}
			if !errors.Is(err, want) || !strings.HasPrefix(output, string(got)) {
				t.Errorf("%d bytes: %q, %v", n, got, err)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(record(stderr, "oh", 6)+record(stdout, "hello", 3)+record(stdout, "", 0)+end(0, 0)), uint8(3))
	f.Add([]byte(record(stdout, "x", 255)+end(1, 2)+"more"), uint8(255))
	f.Add([]byte(numbered(2, stdout, "x", 0)), uint8(0))
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"), uint8(0))
	f.Fuzz(func(t *testing.T, answer []byte, size uint8) {
		read := func(r io.Reader, size int) ([]byte, string) {
			c, _ := begun(t, r)
			var got []byte
			p := make([]byte, size)
			for {
				n, err := c.Read(p)
				got = append(got, p[:n]...)
				if len(got) > len(answer) || len(c.Stderr()) > 4096 {
					t.Fatalf("%d bytes of output, %d of messages", len(got), len(c.Stderr()))
				}
				if err != nil {
					return got, fmt.Sprint(err, c.AppStatus(), string(c.Stderr()))
				}
				if n == 0 {
					t.Fatal("nothing read, and no error")
				}
			}
		}
		got, end := read(bytes.NewReader(answer), 4096)
		got1, end1 := read(iotest.OneByteReader(bytes.NewReader(answer)), int(size)+1)
		if !bytes.Equal(got, got1) || end != end1 {
			t.Fatalf("in pieces it is another answer: %q %s, %q %s", got, end, got1, end1)
		}
	})
}
