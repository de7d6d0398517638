package cgi_test

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/cgi"
)

// headers gives names and values by turns.
func headers(pairs ...string) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for i := 0; i < len(pairs); i += 2 {
			if !yield([]byte(pairs[i]), []byte(pairs[i+1])) {
				return
			}
		}
	}
}

func list(v *cgi.Vars) []string {
	var lines []string
	for name, value := range v.All() {
		lines = append(lines, fmt.Sprintf("%s=%s", name, value))
	}
	return lines
}

// value returns a variable's value, and whether there is one.
func value(v *cgi.Vars, name string) (string, bool) {
	for n, value := range v.All() {
		if string(n) == name {
			return string(value), true
		}
	}
	return "", false
}

func request() *cgi.Request {
	return &cgi.Request{
		Method: "POST", URI: "/a%20b/x.php/info//y?q=1?2", Path: "/a b/x.php/info/y", Proto: "HTTP/1.1", HTTPS: true,
		Host: "a.example:81", ServerName: "a.example", ContentLength: 5,
		Client: netip.MustParseAddrPort("[::ffff:192.0.2.1]:39860"), Server: netip.MustParseAddrPort("[fe80::1%eth0]:443"),
		Headers: headers("X-A", "1", "Content-Type", "text/plain", "Host", "b.example", "Cookie", "a=1", "accept", "*/*", "X-a", "2",
			"Content-Length", "5", "cookie", "b=2", "Proxy", "http://192.0.2.9", "Transfer-Encoding", "chunked", "X_A", "3", "X.A", "4", "X", ""),
	}
}

func wantLines(t *testing.T, v *cgi.Vars, want string) {
	t.Helper()
	if got := strings.Join(list(v), "\n"); got != strings.TrimSpace(want) {
		t.Errorf("got\n%s\nwant\n%s", got, strings.TrimSpace(want))
	}
}

func TestFastCGIVariables(t *testing.T) {
	var v cgi.Vars
	for range 2 { // the second time in used memory
		if err := v.FastCGI(request(), "/srv/www/"); err != nil {
			t.Fatal(err)
		}
		wantLines(t, &v, `
SCRIPT_FILENAME=/srv/www/a b/x.php
QUERY_STRING=q=1?2
REQUEST_METHOD=POST
CONTENT_TYPE=text/plain
CONTENT_LENGTH=5
SCRIPT_NAME=/a b/x.php
PATH_INFO=/info/y
REQUEST_URI=/a%20b/x.php/info//y?q=1?2
DOCUMENT_URI=/a b/x.php/info/y
DOCUMENT_ROOT=/srv/www
SERVER_PROTOCOL=HTTP/1.1
REQUEST_SCHEME=https
HTTPS=on
GATEWAY_INTERFACE=CGI/1.1
SERVER_SOFTWARE=ruche
REMOTE_ADDR=192.0.2.1
REMOTE_PORT=39860
SERVER_PORT=443
SERVER_NAME=a.example
SERVER_ADDR=fe80::1
REDIRECT_STATUS=200
HTTP_HOST=a.example:81
HTTP_ACCEPT=*/*
HTTP_COOKIE=a=1; b=2
HTTP_X=
HTTP_X_A=1, 2`)
	}
}

func TestUWSGIVariables(t *testing.T) {
	var v cgi.Vars
	r := request()
	r.ContentLength, r.HTTPS, r.Headers, r.Host, r.Client = -1, false, nil, "", netip.AddrPort{}
	if err := v.UWSGI(r); err != nil {
		t.Fatal(err)
	}
	wantLines(t, &v, `
QUERY_STRING=q=1?2
REQUEST_METHOD=POST
CONTENT_TYPE=
CONTENT_LENGTH=
REQUEST_URI=/a%20b/x.php/info//y?q=1?2
PATH_INFO=/a b/x.php/info/y
SERVER_PROTOCOL=HTTP/1.1
REQUEST_SCHEME=http
REMOTE_ADDR=
REMOTE_PORT=
SERVER_PORT=443
SERVER_NAME=a.example`)
}

func TestScripts(t *testing.T) {
	for _, tt := range []struct{ path, root, file, name, info string }{
		{"/", "/var/www/public", "/var/www/public/index.php", "/index.php", ""},
		{"/blog/", "/r", "/r/blog/index.php", "/blog/index.php", ""},
		{"/x.php", "/r/", "/r/x.php", "/x.php", ""},
		{"/x.php/", "/r", "/r/x.php", "/x.php", "/"},
		{"/x.php/a/b.php/c", "/r", "/r/x.php", "/x.php", "/a/b.php/c"},
		{"/x.php/a/", "/r", "/r/x.php", "/x.php", "/a/"},
		{"/x.php\n/a", "/r", "/r/x.php\n/a", "/x.php\n/a", ""},
		{"/x.php5/a", "/r", "/r/x.php5/a", "/x.php5/a", ""},
		{"/x.PHP/a", "/r", "/r/x.PHP/a", "/x.PHP/a", ""},
		{"/node/1", "/r", "/r/node/1", "/node/1", ""},
		{"/..x", "/", "/..x", "/..x", ""},
	} {
		t.Run(tt.path, func(t *testing.T) {
			var v cgi.Vars
			if err := v.FastCGI(&cgi.Request{Path: tt.path, ContentLength: -1}, tt.root); err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]string{"SCRIPT_FILENAME": tt.file, "SCRIPT_NAME": tt.name, "PATH_INFO": tt.info, "DOCUMENT_URI": tt.path} {
				if got, ok := value(&v, name); got != want || ok != (want != "") {
					t.Errorf("%s is %q (%v), want %q", name, got, ok, want)
				}
			}
		})
	}
}

func TestPathsThatLeadElsewhere(t *testing.T) {
	for _, path := range []string{"", "*", "x", "/a\x00.php", "/..", "/../etc/passwd", "/a/../b", "/a/.."} {
		var v cgi.Vars
		r := &cgi.Request{Path: path, ContentLength: -1}
		if err := v.FastCGI(r, "/r"); err == nil || !strings.Contains(err.Error(), "path ") {
			t.Errorf("FastCGI with path %q: %v", path, err)
		}
		if err := v.UWSGI(r); err == nil || len(list(&v)) > 0 {
			t.Errorf("UWSGI with path %q: %v, %q", path, err, list(&v))
		}
	}
}

// A client must not be able to say what only the web server says, nor to choose among two programs' readings of a name.
func TestHeadersThatAreNotTold(t *testing.T) {
	for _, name := range []string{"Proxy", "proxy", "PROXY", "Content-Length", "Transfer-Encoding", "Host", "X_Real_Ip", "X-Real_Ip",
		"X.Real.Ip", "X Real", "X\x00", "X-\xc3\xa9", "X\n", "X=Y", ""} {
		var v cgi.Vars
		if err := v.UWSGI(&cgi.Request{Path: "/", ContentLength: -1, Headers: headers("A", "b", name, "told", "C", "d")}); err != nil {
			t.Fatal(err)
		}
		got := list(&v)
		if !slices.Contains(got, "HTTP_A=b") || !slices.Contains(got, "HTTP_C=d") {
			t.Errorf("%q spoils other headers: %q", name, got)
		}
		for _, line := range got {
			if strings.HasSuffix(line, "=told") {
				t.Errorf("%q is told: %s", name, line)
			}
		}
	}
}
