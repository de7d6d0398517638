package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/h1/h1test"
)

// None of the ambiguous messages reaches an endpoint as two requests, or as one that it could understand differently; what is refused ends the connection.
func TestNothingIsSmuggled(t *testing.T) {
	t.Parallel()
	const patience = 60 * time.Millisecond
	for _, m := range h1test.Smuggling() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			up := newScripted(t, []string{ok})
			limits := Timeouts{}
			if m.Requests > 0 { // what is no refusal may go on for as long as it likes
				limits = Timeouts{ReadHeader: patience, Body: patience, Idle: patience}
			}
			r := start(t, Config{HTTPSAddr: "off", Timeouts: limits}, site("example.com", up.url), site("a.test", up.url))
			c := r.raw(m.Wire)
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			got, err := io.ReadAll(c)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("%s: the connection does not end: %v, after\n%s", m.Rule, err, got)
			}
			_ = c.Close()
			answers := shown(string(got))
			if m.Requests == 0 && !refusal.MatchString(answers) {
				t.Errorf("%s: the client got\n%s\nwant one refusal that ends the connection", m.Rule, answers)
			}
			r.stop()
			<-r.stopped // so that the endpoint has all it will ever get
			requests := 0
			for _, stream := range up.everything() {
				if requests += requestsIn(t, stream); !bytes.HasPrefix(firstLine(stream), firstLine([]byte(m.Wire))[:4]) {
					t.Errorf("%s: the hidden request came by itself:\n%s", m.Rule, stream)
				}
			}
			if requests > m.Requests {
				t.Errorf("%s: the endpoint got %d requests, want at most %d", m.Rule, requests, m.Requests)
			}
		})
	}
}

// refusal is the only answer to a message that is no request.
var refusal = regexp.MustCompile(`^\[(400|405|414|417|421|431|501|505)( close)?\]$`)

func firstLine(stream []byte) []byte {
	line, _, _ := bytes.Cut(stream, []byte("\r\n"))
	return line
}

// everything is what the endpoint got on each of its connections, when the last has ended.
func (s *scripted) everything() (all [][]byte) {
	until(s.t, "the endpoint's connections have ended", func() bool { return s.open.Load() == 0 })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tape := range s.tapes {
		if tape.Len() > 0 {
			all = append(all, tape.Bytes())
		}
	}
	return all
}

// requestsIn reads what an endpoint got as net/http does, and counts the requests. One that was broken off counts, and must be the last.
func requestsIn(t *testing.T, stream []byte) (n int) {
	t.Helper()
	in := bufio.NewReader(bytes.NewReader(stream))
	for {
		req, err := http.ReadRequest(in)
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Errorf("the endpoint cannot read what it got: %v\n%s", err, stream)
			return n
		}
		n++
		if framing := framings(req); framing > 1 {
			t.Errorf("the endpoint got %d kinds of framing:\n%s", framing, stream)
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return n
		}
	}
}

// framings counts what tells an endpoint how long a request is; net/http has sorted it out already.
func framings(req *http.Request) (n int) {
	n = len(req.Header["Content-Length"]) + len(req.Header["Transfer-Encoding"])
	for name := range req.Header {
		plain := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		if plain != strings.ToLower(name) && (plain == "content-length" || plain == "transfer-encoding") {
			n++
		}
	}
	if len(req.TransferEncoding) > 0 && req.ContentLength > 0 {
		n += 2
	}
	return n
}

// What an endpoint says beyond its answer is nobody's: not the answer to the next request, whoever sends that.
func TestAnswersAreNotPoisoned(t *testing.T) {
	t.Parallel()
	const evil = "HTTP/1.1 200 OK\nContent-Length: 4\n\nevil"
	refused, broken := "[502]", "the connection breaks off"
	for _, tt := range []struct{ name, reply, first string }{
		{"extra bytes behind the length", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok" + evil, answer2},
		{"a line break behind the length", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok\n", answer2},
		{"another answer behind chunks", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n" + evil, "HTTP/1.1 200 OK\nDate: now\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n"},
		{"another answer behind a 204", "HTTP/1.1 204 No Content\n\n" + evil, "HTTP/1.1 204 No Content\nDate: now\n\n"},
		{"another answer behind a 304", "HTTP/1.1 304 Not Modified\n\n" + evil, "HTTP/1.1 304 Not Modified\nDate: now\n\n"},
		{"content behind a 304 with its length", "HTTP/1.1 304 Not Modified\nContent-Length: " + "43\n\n" + evil, "HTTP/1.1 304 Not Modified\nContent-Length: 43\nDate: now\n\n"},
		{"another answer behind one without content", "HTTP/1.1 200 OK\nContent-Length: 0\n\n" + evil, "HTTP/1.1 200 OK\nDate: now\nContent-Length: 0\n\n"},
		{"both lengths", "HTTP/1.1 200 OK\nContent-Length: 2\nTransfer-Encoding: chunked\n\n0\n\n" + evil, refused},
		{"two lengths", "HTTP/1.1 200 OK\nContent-Length: 0\nContent-Length: 2\n\n" + evil, refused},
		{"a list of lengths", "HTTP/1.1 200 OK\nContent-Length: 0, 2\n\n" + evil, refused},
		{"a negative length", "HTTP/1.1 200 OK\nContent-Length: -1\n\n" + evil, refused},
		{"two codings", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nTransfer-Encoding: identity\n\n0\n\n" + evil, refused},
		{"chunked in HTTP/1.0", "HTTP/1.0 200 OK\nConnection: keep-alive\nTransfer-Encoding: chunked\n\n0\n\n" + evil, refused},
		{"a length in disguise", "HTTP/1.1 200 OK\nContent_Length: 0\n\n" + evil, refused},
		{"a bare CR", "HTTP/1.1 200 OK\nX: y\rContent-Length: 0\n\n" + evil, refused},
		{"a chunk size that is none", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n0x0\n\n" + evil, broken},
		{"a chunk that is longer than its size", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n1\nabc\n0\n\n" + evil, broken},
		{"a chunk size that overflows", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n10000000000000000\n\n" + evil, broken},
		{"an informational answer with content", "HTTP/1.1 103 Early Hints\nContent-Length: 43\n\n" + evil, refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			up := newScripted(t, []string{tt.reply, ok})
			r := start(t, Config{HTTPSAddr: "off"}, site("a.test", up.url))
			c := r.raw(wired(get))
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			in := collect(c)
			if tt.first == broken {
				in.untilEnd()
			} else if !in.until(func(got string) bool { return shown(got) == tt.first }) {
				t.Errorf("the first client got\n%s\nwant\n%s", shown(in.got()), tt.first)
			}
			for range 3 {
				other := collect(r.raw(wired(get)))
				if !other.until(func(got string) bool { return shown(got) == answer2 }) {
					t.Errorf("another client got\n%s\nwant\n%s", shown(other.got()), answer2)
				}
			}
			if strings.Contains(in.got(), "evil") {
				t.Errorf("the first client got\n%s", in.got())
			}
		})
	}
}

// An endpoint that says something on a connection which nobody uses does not answer the next request with it.
func TestUnaskedAnswersAreNobodys(t *testing.T) {
	said := make(chan struct{})
	up := rude(t, func(n int, c net.Conn) {
		in := bufio.NewReader(c)
		for readHead(in) == nil {
			_, _ = io.WriteString(c, wired(ok))
			if n == 0 {
				_, _ = io.WriteString(c, wired("HTTP/1.1 200 OK\nContent-Length: 4\n\nevil"))
				close(said)
			}
		}
	})
	r := start(t, Config{HTTPSAddr: "off"}, site("a.test", up))
	for range 4 {
		in := collect(r.raw(wired(get)))
		if !in.until(func(got string) bool { return shown(got) == answer2 }) {
			t.Errorf("a client got\n%s\nwant\n%s", shown(in.got()), answer2)
		}
		<-said
	}
}
