package fastcgi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche/internal/cgi"
	"github.com/ruche-project/ruche/internal/fastcgi"
)

// phpFPM starts one with its scripts in root, on a socket that it is handed over, so that nobody has to wait for it.
func phpFPM(t *testing.T, root string) net.Addr {
	t.Helper()
	found, _ := filepath.Glob("/usr/sbin/php-fpm*") // Debian puts its version into the name
	if len(found) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("php-fpm is not installed: run scripts/setup")
		}
		t.Skip("php-fpm is not installed: scripts/setup does that")
	}
	l := listen(t)
	socket, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	config := filepath.Join(t.TempDir(), "fpm.conf")
	text := fmt.Sprintf("[global]\nerror_log = /dev/stderr\nlog_level = warning\n[www]\nlisten = %s\npm = static\npm.max_children = 2\n", l.Addr())
	if os.Getuid() == 0 {
		text += "user = root\n"
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	// -n: no settings but PHP's own, whatever the machine's are.
	cmd := exec.CommandContext(ctx, found[0], "-F", "-n", "-R", "-y", config)
	cmd.Env = append(os.Environ(), fmt.Sprintf("FPM_SOCKETS=%s=3", l.Addr()))
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := cmd.Wait(); t.Failed() {
			t.Logf("php-fpm: %v\n%s", err, log.String())
		}
	})
	return l.Addr()
}

func TestPHP(t *testing.T) {
	root := t.TempDir()
	for name, script := range map[string]string{
		"index.php":   `<?php header('X-Script: index'); echo json_encode($_SERVER);`,
		"a.php":       `<?php echo json_encode($_SERVER);`,
		"post.php":    `<?php http_response_code(201); echo $_POST['a'] ?? '', '|', strlen(file_get_contents('php://input'));`,
		"login.php":   `<?php header('Location: /in'); setcookie('a', '1'); setcookie('b', '2');`,
		"broken.php":  `<?php ini_set('log_errors', 1); ini_set('display_errors', 0); error_log('oh dear'); nobody();`,
		"large.php":   `<?php for ($i = 0; $i < 40; $i++) { echo str_repeat(chr(65 + $i % 26), 50000); flush(); }`,
		"length.php":  `<?php header('Content-Length: 5'); echo 'hello';`,
		"nothing.php": `<?php header_remove(); ini_set('default_mimetype', '');`,
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := phpFPM(t, root)
	run := func(name string, f func(t *testing.T, c *fastcgi.Conn)) {
		t.Run(name, func(t *testing.T) { f(t, dial(t, address)) })
	}
	run("index", func(t *testing.T, c *fastcgi.Conn) {
		h, body := exchange(t, c, ask("GET", "/?q=1", "", "X-A", "1", "X-A", "2", "Proxy", "evil"), root, "")
		if h.Status != 200 || field(h, "X-Script") != "index" || !strings.HasPrefix(field(h, "Content-Type"), "text/html") {
			t.Errorf("%d %q", h.Status, h.Fields)
		}
		wantVars(t, body, map[string]any{"SCRIPT_NAME": "/index.php", "SCRIPT_FILENAME": root + "/index.php", "DOCUMENT_ROOT": root,
			"QUERY_STRING": "q=1", "HTTP_HOST": "a.example:8080",
			"REQUEST_METHOD": "GET", "REQUEST_URI": "/?q=1", "HTTP_X_A": "1, 2", "HTTP_PROXY": nil, "REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "1234",
			"PHP_SELF": "/index.php", "PATH_INFO": nil})
	})
	run("path behind the script", func(t *testing.T, c *fastcgi.Conn) {
		_, body := exchange(t, c, ask("GET", "/a.php/b/c?d", ""), root, "")
		wantVars(t, body, map[string]any{"SCRIPT_NAME": "/a.php", "PATH_INFO": "/b/c", "PHP_SELF": "/a.php/b/c", "REQUEST_URI": "/a.php/b/c?d"})
	})
	run("many variables", func(t *testing.T, c *fastcgi.Conn) {
		var headers []string
		for i := range 3 {
			headers = append(headers, fmt.Sprintf("X-%d", i), strings.Repeat("x", 40_000))
		}
		_, body := exchange(t, c, ask("GET", "/a.php", "", headers...), root, "")
		wantVars(t, body, map[string]any{"HTTP_X_0": headers[1], "HTTP_X_1": headers[1], "HTTP_X_2": headers[1], "SCRIPT_NAME": "/a.php"})
	})
	run("form", func(t *testing.T, c *fastcgi.Conn) {
		h, body := exchange(t, c, ask("POST", "/post.php", "a=b", "Content-Type", "application/x-www-form-urlencoded"), root, "a=b")
		if h.Status != 201 || body != "b|3" {
			t.Errorf("%d %q", h.Status, body)
		}
	})
	run("large body", func(t *testing.T, c *fastcgi.Conn) {
		large := strings.Repeat("0123456789", 300_000)
		_, body := exchange(t, c, ask("POST", "/post.php", large, "Content-Type", "application/octet-stream"), root, large)
		if body != "|3000000" {
			t.Errorf("got %q", body)
		}
	})
	run("body that nobody reads", func(t *testing.T, c *fastcgi.Conn) {
		exchange(t, c, ask("POST", "/a.php", "hello", "Content-Type", "text/plain"), root, "hello")
	})
	run("location", func(t *testing.T, c *fastcgi.Conn) {
		h, _ := exchange(t, c, ask("GET", "/login.php", ""), root, "")
		cookies := slices.DeleteFunc(slices.Clone(h.Fields), func(f cgi.Field) bool { return !strings.EqualFold(string(f.Name), "Set-Cookie") })
		if h.Status != 302 || field(h, "Location") != "/in" || len(cookies) != 2 {
			t.Errorf("%d %q %q", h.Status, field(h, "Location"), cookies)
		}
	})
	run("error", func(t *testing.T, c *fastcgi.Conn) {
		h, _ := exchange(t, c, ask("GET", "/broken.php", ""), root, "")
		if h.Status != 500 || !strings.Contains(string(c.Stderr()), "oh dear") || !strings.Contains(string(c.Stderr()), "undefined function nobody") {
			t.Errorf("%d, messages %q", h.Status, c.Stderr())
		}
	})
	run("no such script", func(t *testing.T, c *fastcgi.Conn) {
		h, body := exchange(t, c, ask("GET", "/none.php", ""), root, "")
		if h.Status != 404 || !strings.Contains(body, "File not found") || !strings.Contains(string(c.Stderr()), "Primary script unknown") {
			t.Errorf("%d %q, messages %q", h.Status, body, c.Stderr())
		}
	})
	run("large answer", func(t *testing.T, c *fastcgi.Conn) {
		_, body := exchange(t, c, ask("GET", "/large.php", ""), root, "")
		if len(body) != 2_000_000 || body[50_000*27] != 'B' {
			t.Errorf("%d bytes", len(body))
		}
	})
	run("HEAD", func(t *testing.T, c *fastcgi.Conn) {
		h, body := exchange(t, c, ask("HEAD", "/length.php", ""), root, "")
		if h.Status != 200 || h.ContentLength != 5 || body != "" {
			t.Errorf("%d, length %d, %q", h.Status, h.ContentLength, body)
		}
	})
	run("length", func(t *testing.T, c *fastcgi.Conn) {
		if h, body := exchange(t, c, ask("GET", "/length.php", ""), root, ""); h.ContentLength != 5 || body != "hello" {
			t.Errorf("length %d, %q", h.ContentLength, body)
		}
	})
	run("no header at all", func(t *testing.T, c *fastcgi.Conn) {
		if h, body := exchange(t, c, ask("GET", "/nothing.php", ""), root, ""); h.Status != 200 || body != "" {
			t.Errorf("%d %q", h.Status, body)
		}
	})
}

// wantVars compares what PHP says of $_SERVER; nil stands for a variable that must not be there.
func wantVars(t *testing.T, body string, want map[string]any) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s is %.80v, want %.80v", name, got[name], want[name])
		}
	}
}
