package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func testSite(t *testing.T, env map[string]string) *httptest.Server {
	t.Helper()
	cfg, err := parseConfig(func(key string) string { return env[key] })
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(newSite(cfg, &atomic.Bool{}).handler())
	t.Cleanup(server.Close)
	return server
}

func TestAnswers(t *testing.T) {
	server := testSite(t, map[string]string{"SITE_NAME": "shop"})
	for _, test := range []struct {
		method, path, body string
		status             int
		contains           string
	}{
		{method: "GET", path: "/any/where?x=1", status: 200, contains: `"site": "shop"`},
		{method: "GET", path: "/a%2Fb", status: 200, contains: `"path": "/a%2Fb"`},
		{method: "GET", path: "/status/418", status: 418},
		{method: "GET", path: "/status/99", status: 400, contains: "want a status code"},
		{method: "GET", path: "/slow?ms=1", status: 200, contains: `"path": "/slow"`},
		{method: "GET", path: "/slow?ms=x", status: 400, contains: "want ms"},
		{method: "GET", path: "/stream?count=3&interval=1", status: 200, contains: "line 3\n"},
		{method: "POST", path: "/echo", body: "hello", status: 200, contains: "hello"},
		{method: "GET", path: "/upgrade", status: 426},
		{method: "GET", path: "/healthz", status: 200},
		{method: "POST", path: "/healthz/unhealthy", status: 200},
		{method: "GET", path: "/healthz", status: 503},
		{method: "POST", path: "/healthz/healthy", status: 200},
		{method: "GET", path: "/healthz", status: 200},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			req, err := http.NewRequest(test.method, server.URL+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != test.status || !strings.Contains(string(body), test.contains) {
				t.Errorf("got %d %q, want %d with %q", resp.StatusCode, body, test.status, test.contains)
			}
		})
	}
}

func TestUpgradeEchoes(t *testing.T) {
	server := testSite(t, nil)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", resp, err)
	}
	fmt.Fprint(conn, "ping\n")
	if got, err := in.ReadString('\n'); got != "ping\n" {
		t.Errorf("got %q, %v; want the line back", got, err)
	}
}

func TestBadEnvironmentIsRefused(t *testing.T) {
	for _, test := range []struct{ key, value, want string }{
		{"SITE_ON_TERM", "perhaps", "SITE_ON_TERM"},
		{"SITE_START_DELAY", "soon", "SITE_START_DELAY"},
		{"SITE_IGNORE_FOR", "5", "SITE_IGNORE_FOR"},
	} {
		_, err := parseConfig(func(key string) string {
			if key == test.key {
				return test.value
			}
			return ""
		})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s=%s: got %v, want an error that names the variable", test.key, test.value, err)
		}
	}
}
