package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// listen opens a listener that is closed at the test's end.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestEndpoint(t *testing.T) {
	l := listen(t)
	go func() { _ = answerAll(l) }()
	c := &client{address: l.Addr().String()}
	t.Cleanup(c.close)
	body := "POST /large HTTP/1.1\r\nHost: h\r\ncontent-length: 100000\r\n\r\n" + string(make([]byte, 100_000))
	for _, tc := range []struct {
		name, request string
		keeps         bool
	}{
		{"a small answer", string(get("h", "/small", "")), true},
		{"a large answer to a body", body, true},
		{"an answer that closes", string(get("h", "/close", "")), false},
	} {
		if err := c.do([]byte(tc.request)); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if (c.conn != nil) != tc.keeps {
			t.Errorf("%s: connection kept: %v, want %v", tc.name, c.conn != nil, tc.keeps)
		}
	}
}

func TestLosses(t *testing.T) {
	for _, tc := range []struct {
		name, answer string
		want         error
	}{
		{"a fine answer", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", nil},
		{"a status", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", loss("status 503")},
		{"a status without a length", "HTTP/1.1 502 No\r\n\r\n", loss("status 502")},
		{"nothing", "", lossCut},
		{"half a head", "HTTP/1.1 200 OK\r\nContent", lossCut},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok", lossCut},
		{"something else", "SSH-2.0-OpenSSH_9.2\r\n", lossCut},
	} {
		l := listen(t)
		go serveOnce(l, tc.answer)
		c := &client{address: l.Addr().String(), once: true}
		if err := c.do(get("h", "/", "")); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	l := listen(t)
	_ = l.Close()
	if err := (&client{address: l.Addr().String()}).do(get("h", "/", "")); !errors.Is(err, lossConnect) {
		t.Errorf("nobody listens: %v, want %v", err, lossConnect)
	}
}

// serveOnce reads a request's head, answers with a text, and closes.
func serveOnce(l net.Listener, answer string) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	if _, _, err := readRequest(bufio.NewReader(conn)); err == nil {
		_, _ = io.WriteString(conn, answer)
	}
}

func TestClosedConnectionsAreNoticed(t *testing.T) {
	l := listen(t)
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, _ := l.Accept()
		accepted <- conn
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	other := <-accepted
	if isClosed(conn) {
		t.Error("an open connection counts as closed")
	}
	_ = other.Close()
	for deadline := time.Now().Add(5 * time.Second); !isClosed(conn); {
		if time.Now().After(deadline) {
			t.Fatal("a closed connection counts as open")
		}
	}
}

func TestDriveCountsWhatIsAnswered(t *testing.T) {
	l := listen(t)
	go func() { _ = answerAll(l) }()
	clients := []*client{{address: l.Addr().String()}, {address: l.Addr().String()}}
	const every = 5 * time.Millisecond
	o := drive(t.Context(), clients, get("h", "/small", ""), 20*time.Millisecond, every)
	most := len(clients) * int(o.elapsed/every+1) // a busy machine notices the end late
	if o.requests == 0 || o.requests > most || o.errors() > 0 || o.p50 == 0 || o.p99 < o.p50 {
		t.Errorf("%+v, want up to %d requests and no loss", o, most)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if o := drive(cancelled, clients, get("h", "/small", ""), time.Hour, 0); o.requests > 0 {
		t.Errorf("%d requests after an interrupt", o.requests)
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, tc := range []struct {
		sorted []time.Duration
		p      int
		want   time.Duration
	}{{nil, 50, 0}, {hundred[:1], 99, 1}, {hundred[:2], 50, 1}, {hundred, 50, 50}, {hundred, 99, 99}} {
		if got := percentile(tc.sorted, tc.p); got != tc.want {
			t.Errorf("%d%% of %d values: %d, want %d", tc.p, len(tc.sorted), got, tc.want)
		}
	}
}
