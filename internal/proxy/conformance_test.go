package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rule is one rule of HTTP, shown by what passes on both sides of a proxy. In all texts a line break stands for CRLF.
type rule struct {
	// name begins with the section that has the rule.
	name string
	// send is what the client sends. "<text>" within it waits until the client has got the text, "<endpoint: text>" until the
	// endpoint has; "<half>" ends the client's direction.
	send string
	// reply is what the endpoint answers to each request that it gets, the last one again and again: "<read>" within it reads the request's content, which else is
	// read before everything; "<early>" at its beginning has it not read; "<close>" and "<half>" end the connection, or the direction to the proxy.
	reply []string
	// sees is what the endpoint gets, without what Ruche adds about the client; "<new>" is where another connection begins.
	sees string
	// gets is what the client gets. "Date: now" is a recent date, [503] an answer of Ruche's own, [503 close] one that announces the end. "<end>" at its end says that
	// the proxy then closes the connection, which else takes a further request.
	gets string
}

// The requests and answers of most rules.
const (
	get     = "GET / HTTP/1.1\nHost: a.test\n\n"
	ok      = "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"
	answer2 = "HTTP/1.1 200 OK\nDate: now\nContent-Length: 2\n\nok"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	total, names := 0, map[string]bool{}
	for _, rules := range [][]rule{
		hopByHopRules(), forwardedRules(), hostRules(), targetRules(), lengthRules(), chunkRules(), trailerRules(), bodylessRules(),
		continueRules(), informationalRules(), upgradeRules(), persistenceRules(), pipelineRules(), answerRules(), refusalRules(), brokenRules(),
	} {
		for _, r := range rules {
			if total++; names[r.name] {
				t.Errorf("two rules are named %q", r.name)
			}
			names[r.name] = true
			t.Run(r.name, r.check)
		}
	}
	if total < 100 {
		t.Errorf("only %d rules", total)
	}
	t.Logf("%d rules", total)
}

func (r rule) check(t *testing.T) {
	t.Parallel()
	up := newScripted(t, r.reply)
	p := start(t, Config{HTTPSAddr: "off"}, site("a.test", up.url))
	c := p.raw("")
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	in := collect(c)
	for i, part := range strings.Split(r.send, "<") {
		if i > 0 {
			mark, rest, _ := strings.Cut(part, ">")
			seen, behind := strings.CutPrefix(mark, "endpoint: ")
			if part = rest; mark == "half" {
				_ = c.(*net.TCPConn).CloseWrite()
			} else if behind && !up.until(func(got string) bool { return strings.Contains(got, seen) }) {
				t.Fatalf("the client waits until the endpoint has %q, and it has got\n%s", seen, up.seen())
			} else if !behind && !in.until(func(got string) bool { return strings.Contains(got, wired(mark)) }) {
				t.Fatalf("the client waits for %q and has got\n%s", mark, shown(in.got()))
			}
		}
		if part == "" {
			continue
		}
		if _, err := io.WriteString(c, wired(part)); err != nil {
			t.Fatal(err)
		}
	}
	want, end := strings.CutSuffix(r.gets, "<end>")
	if !in.until(func(got string) bool { return shown(got) == want }) {
		t.Errorf("the client got\n%s\nwant\n%s", shown(in.got()), want)
	}
	r.checkEnd(t, c, in, end)
	if !up.until(func(got string) bool { return got == r.sees }) {
		t.Errorf("the endpoint got\n%s\nwant\n%s", up.seen(), r.sees)
	}
}

// checkEnd sees whether the connection has ended or takes another request.
func (r rule) checkEnd(t *testing.T, c net.Conn, in *collected, end bool) {
	t.Helper()
	before := in.got()
	if !end {
		_, _ = io.WriteString(c, wired("GET /probe HTTP/1.1\nHost: probe.test\nConnection: close\n\n"))
	}
	if in.untilEnd(); end {
		if more := strings.TrimPrefix(in.got(), before); more != "" {
			t.Errorf("the client then got\n%s\nwant the end", shown(more))
		}
		return
	}
	if more := shown(strings.TrimPrefix(in.got(), before)); more != "[503 close]" {
		t.Errorf("the next request of the connection got\n%s\nwant an answer of Ruche's own", more)
	}
}

func wired(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

var (
	dates = regexp.MustCompile(`Date: ([^\r\n]*)`)
	own   = regexp.MustCompile(`HTTP/1\.1 (\d+) [A-Za-z -]+\nContent-Type: text/plain; charset=utf-8\nX-Content-Type-Options: nosniff\nCache-Control: no-store\n` +
		`(?:Retry-After: 5\n)?X-Request-Id: [0-9a-f]{32}\nDate: now\nContent-Length: \d+\n(?:Connection: (close|keep-alive)\n)?\n` +
		`\d+ [A-Za-z -]+\n\n[^\n]+\n\nRequest ID: [0-9a-f]{32}\n`)
)

// shown is what the client got, in the words of rules.
func shown(got string) string {
	got = dates.ReplaceAllStringFunc(got, func(line string) string {
		at, err := http.ParseTime(line[len("Date: "):])
		if err != nil || time.Since(at).Abs() > time.Minute {
			return line
		}
		return "Date: now"
	})
	got = strings.ReplaceAll(got, "\r\n", "\n")
	return own.ReplaceAllStringFunc(got, func(whole string) string {
		part := own.FindStringSubmatch(whole)
		return "[" + strings.TrimSpace(part[1]+" "+part[2]) + "]"
	})
}

// collected is what was read off a connection so far.
type collected struct {
	mu    sync.Mutex
	all   []byte
	ended bool
	news  chan struct{}
}

// collect reads a connection until it ends.
func collect(c net.Conn) *collected {
	s := &collected{news: make(chan struct{}, 1)}
	go func() {
		defer close(s.news)
		b := make([]byte, 32<<10)
		for {
			n, err := c.Read(b)
			s.mu.Lock()
			s.all, s.ended = append(s.all, b[:n]...), err != nil
			s.mu.Unlock()
			if err != nil {
				return
			}
			select {
			case s.news <- struct{}{}:
			default:
			}
		}
	}()
	return s
}

func (s *collected) got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.all)
}

// until waits for a condition of what has come, and reports false when it does not come true until the connection ends or 5 s are over.
func (s *collected) until(holds func(got string) bool) bool {
	patience := time.After(5 * time.Second)
	for {
		if holds(s.got()) {
			return true
		}
		select {
		case _, open := <-s.news:
			if !open {
				return holds(s.got())
			}
		case <-patience:
			return false
		}
	}
}

func (s *collected) untilEnd() { s.until(func(string) bool { return false }) }

// scripted is an endpoint that records what it gets, byte by byte, and answers as told.
type scripted struct {
	t     testing.TB
	url   string
	reply []string
	open  atomic.Int64 // connections

	mu     sync.Mutex
	tapes  []*bytes.Buffer
	served int
}

func newScripted(t testing.TB, reply []string) *scripted {
	s := &scripted{t: t, reply: reply}
	s.url = rude(t, s.serve)
	return s
}

func (s *scripted) serve(_ int, c net.Conn) {
	s.open.Add(1)
	defer s.open.Add(-1)
	s.mu.Lock()
	tape := &bytes.Buffer{}
	s.tapes = append(s.tapes, tape)
	s.mu.Unlock()
	in := bufio.NewReader(io.TeeReader(c, lockedWriter{&s.mu, tape}))
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		s.mu.Lock()
		reply := ""
		if len(s.reply) > 0 {
			reply = s.reply[min(s.served, len(s.reply)-1)]
		}
		s.served++
		s.mu.Unlock()
		if early, ok := strings.CutPrefix(reply, "<early>"); ok {
			reply = early
		} else if !strings.Contains(reply, "<read>") {
			reply = "<read>" + reply
		}
		if !s.play(c, in, req, reply) {
			return
		}
	}
}

// play answers one request. It reports whether the connection goes on.
func (s *scripted) play(c net.Conn, in *bufio.Reader, req *http.Request, reply string) bool {
	upgraded := strings.Contains(reply, " 101 ")
	for i, part := range strings.Split(reply, "<") {
		if i > 0 {
			mark, rest, _ := strings.Cut(part, ">")
			switch part = rest; mark {
			case "read":
				if !upgraded {
					_, _ = io.Copy(io.Discard, req.Body)
				}
			case "half":
				_ = c.(*net.TCPConn).CloseWrite()
			case "close":
				return false
			}
		}
		if _, err := io.WriteString(c, wired(part)); err != nil {
			return false
		}
	}
	if upgraded {
		_, _ = io.Copy(io.Discard, in)
	}
	return !upgraded
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// added are the fields that Ruche adds, as they are for a client on loopback that nobody trusts.
var added = regexp.MustCompile(`X-Forwarded-For: 127\.0\.0\.1\nX-Real-IP: 127\.0\.0\.1\n(?:X-Forwarded-Host: [^\n]+\n)?X-Forwarded-Proto: http\nX-Forwarded-Port: \d+\n` +
	`X-Forwarded-Ssl: off\nX-Original-URI: [^\n]+\nX-Request-Id: [0-9a-f]{32}\nRuche-Hop: [A-Z2-7]{26}\n`)

// seen is what the endpoint got, in the words of rules. The fields that Ruche adds have to be there, once.
func (s *scripted) seen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, tape := range s.tapes {
		text := strings.ReplaceAll(tape.String(), "\r\n", "\n")
		if text == "" {
			continue
		}
		if requests, fields := strings.Count(text, " HTTP/1.1\n"), added.FindAllString(text, -1); len(fields) != requests {
			return fmt.Sprintf("(%d of %d requests have the fields that Ruche adds)\n%s", len(fields), requests, text)
		}
		all = append(all, added.ReplaceAllString(text, ""))
	}
	return strings.Join(all, "<new>")
}

func (s *scripted) until(holds func(got string) bool) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Second); !holds(s.seen()); <-tick.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
