package proxy

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
)

// An endpoint that neither reads nor answers must not hold a request for ever, whatever it speaks.
func TestEndpointThatDoesNotReadTheBody(t *testing.T) {
	stop := make(chan struct{})
	deafEars := rude(t, func(_ int, c net.Conn) {
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		<-stop
	})
	unread := backend2(t, ruche.SchemeH2C, func(http.ResponseWriter, *http.Request) { <-stop })
	t.Cleanup(func() { close(stop) }) // before the endpoints are waited for
	for _, url := range []string{deafEars, speaks(ruche.SchemeFastCGI, deafEars), speaks(ruche.SchemeUWSGI, deafEars), unread} {
		name, _, _ := strings.Cut(url, ":")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Long enough for a busy machine: the client has the same time for each piece, and must not be the one that is too slow.
			r := start(t, Config{Timeouts: Timeouts{Body: time.Second, ResponseHeader: time.Second}}, fastcgiSite(url))
			for _, scheme := range []string{"http", "https"} {
				req := r.request("POST", scheme+"://a.test/", io.LimitReader(zeroBytes{}, 32<<20))
				req.ContentLength = 32 << 20
				resp, err := r.client().Do(req)
				if err != nil {
					continue // it was cut off while it sent; the log tells the rest
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusGatewayTimeout {
					t.Errorf("%s: got %d, want 504", scheme, resp.StatusCode)
				}
			}
			until(t, "both have ended", func() bool { return strings.Count(r.log.String(), "\n") == 2 })
			if got := r.log.String(); strings.Count(got, `"status":504`) != 2 {
				t.Errorf("the access log has %s, want 504", got)
			}
		})
	}
}

// Calls of gRPC may be silent for longer than other requests.
func TestGRPCMayBeSilent(t *testing.T) {
	up := backend2(t, ruche.SchemeGRPC, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		if r.Header.Get("Content-Type") == "text/plain" {
			<-r.Context().Done() // it is given up, sooner or later
			return
		}
		<-time.After(200 * time.Millisecond)
		_, _ = w.Write(grpcMessage("late"))
	})
	r := start(t, Config{Timeouts: Timeouts{Body: 50 * time.Millisecond}}, site("a.test", up))
	for contentType, late := range map[string]bool{"application/grpc+proto": true, "text/plain": false} {
		content, say := io.Pipe() // nothing comes from the client either
		req := r.request("POST", "https://a.test/", content)
		req.Header.Set("Content-Type", contentType)
		resp, err := r.client().Do(req)
		if err != nil {
			t.Fatalf("%s: %v", contentType, err)
		}
		text, err := readMessage(resp.Body)
		if (text == "late" && err == nil) != late {
			t.Errorf("%s: %q, %v", contentType, text, err)
		}
		_ = resp.Body.Close()
		_ = say.Close()
	}
}

// http2Frame is a frame (RFC 9113 section 4.1).
func http2Frame(kind, flags byte, stream uint32, payload string) []byte {
	n := len(payload)
	head := []byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags}
	return append(binary.BigEndian.AppendUint32(head, stream), payload...)
}

func TestHTTP2RefusedStreamGoesToAnotherEndpoint(t *testing.T) {
	const headers, reset, settings = 1, 3, 4
	refusing := speaks(ruche.SchemeH2C, rude(t, func(_ int, c net.Conn) {
		_, _ = c.Write(http2Frame(settings, 0, 0, ""))
		if _, err := io.CopyN(io.Discard, c, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
			return
		}
		for head := make([]byte, 9); ; {
			if _, err := io.ReadFull(c, head); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, c, int64(head[0])<<16|int64(head[1])<<8|int64(head[2])); err != nil {
				return
			}
			if head[3] == headers {
				_, _ = c.Write(http2Frame(reset, 0, binary.BigEndian.Uint32(head[5:]), "\x00\x00\x00\x07"))
			}
		}
	}))
	good := backend2(t, ruche.SchemeH2C, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	r := start(t, Config{}, site("a.test", good, refusing))
	for _, scheme := range []string{"http", "https"} {
		for range 2 {
			if resp, body := r.do(r.request("POST", scheme+"://a.test/", nil)); resp.StatusCode != 200 || body != "ok" {
				t.Errorf("%s: got %d %q", scheme, resp.StatusCode, body)
			}
		}
	}
	until(t, "one was tried twice", func() bool { return strings.Contains(r.log.String(), `"retries":1`) })
}

// A stop lets answers of all kinds of endpoints end, and then ends them.
func TestDrainWithOtherEndpoints(t *testing.T) {
	begun := make(chan struct{}, 8)
	endless := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		begun <- struct{}{}
		<-r.Context().Done()
	}
	stop := make(chan struct{})
	urls := map[string]string{
		"h2c": backend2(t, ruche.SchemeH2C, endless),
		"fastcgi": responder(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "begun")
			w.(http.Flusher).Flush()
			begun <- struct{}{}
			<-stop
		}),
	}
	t.Cleanup(func() { close(stop) }) // before the endpoints are waited for
	for name, url := range urls {
		for _, scheme := range []string{"http", "https"} {
			t.Run(scheme+" to "+name, func(t *testing.T) {
				r := start(t, Config{Timeouts: Timeouts{Drain: 50 * time.Millisecond}}, fastcgiSite(url))
				resp, err := r.client().Get(scheme + "://a.test/")
				if err != nil {
					t.Fatal(err)
				}
				<-begun
				r.stop()
				if rest, err := io.ReadAll(resp.Body); err == nil {
					t.Errorf("the client took %q for a whole answer", rest)
				}
				_ = resp.Body.Close()
				select {
				case <-r.stopped:
				case <-time.After(10 * time.Second):
					t.Error("the stop does not end")
				}
			})
		}
	}
}

// Clients of HTTP/1.1 get each piece of an HTTP/2 endpoint's answer as it comes, and its failure.
func TestHTTP2PiecesAreNotHeldBack(t *testing.T) {
	next := make(chan struct{})
	up := backend2(t, ruche.SchemeH2C, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "%d", i)
			w.(http.Flusher).Flush()
			<-next
		}
		panic(http.ErrAbortHandler)
	})
	r := start(t, Config{}, site("a.test", up))
	for _, scheme := range []string{"http", "https"} {
		resp, err := r.client().Do(r.request("GET", scheme+"://a.test/", nil).WithContext(context.Background()))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			p := make([]byte, 1)
			if _, err := io.ReadFull(resp.Body, p); err != nil || p[0] != byte('0'+i) {
				t.Fatalf("%s: %q, %v", scheme, p, err)
			}
			next <- struct{}{}
		}
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: the client took a broken answer for a whole one", scheme)
		}
		_ = resp.Body.Close()
	}
}
