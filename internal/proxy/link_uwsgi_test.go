package proxy

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// uwsgiVars reads the packet that describes a request.
func uwsgiVars(c net.Conn) (map[string]string, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(c, head); err != nil {
		return nil, err
	}
	data := make([]byte, binary.LittleEndian.Uint16(head[1:]))
	if _, err := io.ReadFull(c, data); err != nil {
		return nil, err
	}
	vars := map[string]string{}
	text := func() string {
		n := int(binary.LittleEndian.Uint16(data))
		s := string(data[2 : 2+n])
		data = data[2+n:]
		return s
	}
	for len(data) > 0 {
		name := text()
		vars[name] = text()
	}
	return vars, nil
}

func TestUWSGI(t *testing.T) {
	up := speaks("uwsgi", rude(t, func(_ int, c net.Conn) {
		vars, err := uwsgiVars(c)
		if err != nil {
			return
		}
		n, _ := strconv.ParseInt(vars["CONTENT_LENGTH"], 10, 64)
		body, _ := io.ReadAll(io.LimitReader(c, n))
		switch vars["PATH_INFO"] {
		case "/silent":
			return
		case "/cut":
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 201 Created\r\nX-Seen: "+strings.Join([]string{vars["REQUEST_METHOD"], vars["REQUEST_URI"], vars["PATH_INFO"],
			vars["HTTP_HOST"], vars["REMOTE_ADDR"], vars["REQUEST_SCHEME"], vars["CONTENT_LENGTH"]}, " ")+"\r\n\r\n")
		_, _ = c.Write(body)
	}))
	r := start(t, Config{}, site("a.test", up))
	for _, scheme := range []string{"http", "https"} {
		tests := []struct {
			name, method, path, body string
			unknown                  bool
			status                   int
			seen                     string
		}{
			{"GET", "GET", "/a%20b?x", "", false, 201, "GET /a%20b?x /a b a.test 127.0.0.1 " + scheme + " "},
			{"POST", "POST", "/", "hello", false, 201, "POST / / a.test 127.0.0.1 " + scheme + " 5"},
			{"unknown length", "POST", "/", strings.Repeat("x", 70_000), true, 201, "POST / / a.test 127.0.0.1 " + scheme + " 70000"},
			{"large", "PUT", "/", strings.Repeat("x", 3<<20), false, 201, "PUT / / a.test 127.0.0.1 " + scheme + " 3145728"},
			{"no answer", "POST", "/silent", "", false, 502, ""},
		}
		for _, tt := range tests {
			t.Run(scheme+" "+tt.name, func(t *testing.T) {
				var body io.Reader
				if tt.body != "" {
					body = strings.NewReader(tt.body)
				}
				if tt.unknown {
					body = struct{ io.Reader }{body}
				}
				resp, got := r.do(r.request(tt.method, scheme+"://a.test"+tt.path, body))
				if seen := strings.TrimSpace(tt.seen); resp.StatusCode != tt.status || resp.Header.Get("X-Seen") != seen {
					t.Errorf("%d, the program was told %q; want %d, %q", resp.StatusCode, resp.Header.Get("X-Seen"), tt.status, seen)
				}
				if tt.status == 201 && got != tt.body {
					t.Errorf("got %d bytes back, want %d", len(got), len(tt.body))
				}
			})
		}
		resp, err := r.client().Get(scheme + "://a.test/cut")
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the client took a broken answer for a whole one", scheme)
		}
	}
}

func TestUWSGIHeadThatDoesNotFit(t *testing.T) {
	up := speaks("uwsgi", rude(t, func(_ int, c net.Conn) { _, _ = io.Copy(io.Discard, c) }))
	r := start(t, Config{}, site("a.test", up))
	req := r.request("GET", "http://a.test/?"+strings.Repeat("x", 35_000), nil) // told twice
	if resp, _ := r.do(req); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d, want 431", resp.StatusCode)
	}
	if failed, _ := r.current.Load().routes[0].all[0].failure(); failed != "" {
		t.Errorf("the endpoint is blamed: %s", failed)
	}
}
