package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// succeeded begins the stop of a proxy whose place another process has taken.
func (r *rig) succeeded() {
	r.t.Helper()
	address := r.HTTPAddr().String()
	r.Succeeded()
	r.stop()
	until(r.t, "new connections are refused", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}

// Clients that wait with their next request do not meet a closed connection.
func TestASucceededProxyAnswersOnceMoreOnIdleConnections(t *testing.T) {
	r := start(t, Config{Timeouts: Timeouts{Drain: time.Hour}}, site("a.test", says(t, "hello")))
	c := r.raw("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	reader := bufio.NewReader(c)
	answer := func(closes bool) {
		t.Helper()
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "hello" || resp.Close != closes {
			t.Errorf("got %q, %v, close %v, want hello and close %v", body, err, resp.Close, closes)
		}
	}
	answer(false)
	browser := r.client()
	shared := func() {
		t.Helper()
		resp, err := browser.Get("https://a.test/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hello" || resp.ProtoMajor != 2 {
			t.Errorf("HTTP/%d got %q, %v, want hello by HTTP/2", resp.ProtoMajor, body, err)
		}
	}
	shared()
	r.succeeded()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer(true)
	shared()
	<-r.stopped
	if r.err != nil {
		t.Errorf("Run returned %v", r.err)
	}
}

func TestASucceededProxyLetsUpgradedConnectionsLive(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, Subprotocols: []string{"chat"}})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	})
	r := start(t, Config{Timeouts: Timeouts{Drain: time.Hour}}, site("a.test", up))
	ws := dialWebSocket(t, r, "ws://a.test/")
	r.succeeded()
	until(t, "the proxy has parted from its other clients", r.parted.Load)
	<-time.After(upgradedDrain + 100*time.Millisecond) // which is all that another stop would leave it
	if err := ws.Write(t.Context(), websocket.MessageText, []byte("still here")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := ws.Read(t.Context()); err != nil || string(got) != "still here" {
		t.Errorf("the connection says %q, %v", got, err)
	}
	_ = ws.CloseNow()
	<-r.stopped
}
