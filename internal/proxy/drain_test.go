package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestDrainLetsRunningRequestsEnd(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "finished")
	})
	r := start(t, Config{}, site("a.test", up))
	answer := make(chan string, 1)
	go func() {
		resp, err := r.client().Get("http://a.test/")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-entered
	address := r.HTTPAddr().String()
	r.stop()
	until(t, "new connections are refused", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	select {
	case <-r.stopped:
		t.Fatal("Run returned while a request was running")
	default:
	}
	close(release)
	if got := <-answer; got != "finished" {
		t.Errorf("the running request got %q", got)
	}
	<-r.stopped
	if r.err != nil {
		t.Errorf("Run returned %v", r.err)
	}
}

func TestDrainEndsWhatDoesNotEnd(t *testing.T) {
	release := make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_ = http.NewResponseController(w).Flush()
			<-release
			return
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, Subprotocols: []string{"chat"}})
		if err == nil {
			_, _, _ = c.Read(context.Background())
			_ = c.CloseNow()
		}
	})
	t.Cleanup(func() { close(release) })
	r := start(t, Config{Timeouts: Timeouts{Drain: 50 * time.Millisecond}}, site("a.test", up))
	ws := dialWebSocket(t, r, "ws://a.test/")
	resp, err := r.client().Get("http://a.test/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r.stop()
	<-r.stopped
	if r.err != nil {
		t.Errorf("Run returned %v, want nil", r.err)
	}
	if _, _, err := ws.Read(t.Context()); err == nil {
		t.Error("the upgraded connection is still open")
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the cut-off answer looks whole")
	}
	if n := strings.Count(r.log.String(), "\n"); n != 2 {
		t.Errorf("%d lines in the access log, want both exchanges:\n%s", n, r.log)
	}
}

func TestUpgradedConnectionsHoldAStopForAMomentOnly(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, Subprotocols: []string{"chat"}})
		if err == nil {
			_, _, _ = c.Read(context.Background())
			_ = c.CloseNow()
		}
	})
	r := start(t, Config{Timeouts: Timeouts{Drain: time.Hour}}, site("a.test", up))
	ws := dialWebSocket(t, r, "ws://a.test/")
	began := time.Now()
	r.stop()
	select {
	case <-r.stopped:
	case <-time.After(20 * time.Second):
		t.Fatal("an upgraded connection holds the stop")
	}
	if took := time.Since(began); took < upgradedDrain {
		t.Errorf("the connection was cut off after %s, want it to have %s to end", took, upgradedDrain)
	}
	if _, _, err := ws.Read(t.Context()); err == nil {
		t.Error("the upgraded connection is still open")
	}
}
