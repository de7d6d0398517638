package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/template"
	"time"
)

//go:embed peers
var templates embed.FS

// setup is what a proxy is told, and what the files in peers/ are filled in with.
type setup struct {
	Dir                string // for its files; its own
	HTTP, HTTPS, Admin string // addresses to listen on
	Endpoint           string // the address behind all routes
	Hosts              []string
	Added              string // one more host, while the table is swapped
	TLS                bool   // whether to serve HTTPS instead of HTTP
	Cert, Key          string // files; the first holds the key, too
	Log                string // the file of the access log
	Connections        int    // to be able to hold
}

// address is where clients connect to.
func (s setup) address() string {
	if s.TLS {
		return s.HTTPS
	}
	return s.HTTP
}

// peer is a reverse proxy.
type peer struct {
	name    string
	program string
	version string // the flag that makes it print its version; empty where its build information has to tell
	// configure writes its files; command then starts it.
	configure func(s setup) error
	command   func(s setup) []string
	// reload brings a changed setup into force.
	reload func(ctx context.Context, s setup, p *process) error
}

func peers() []peer {
	return []peer{
		{"nginx", "nginx", "-v", nginxFiles, nginxCommand, nginxReload},
		{"haproxy", "haproxy", "-v", haproxyFiles, haproxyCommand, haproxyReload},
		{"caddy", "caddy", "", caddyFiles, caddyCommand, caddyReload},
		{"ruche", "ruche", "--version", rucheFiles, rucheCommand, rucheReload},
	}
}

// choosePeers finds the proxies with these names, or all that are installed.
func choosePeers(names string) ([]peer, error) {
	var wanted []string
	if names != "" {
		wanted = strings.Split(names, ",")
	}
	var chosen []peer
	for _, p := range peers() {
		if names != "" && !slices.Contains(wanted, p.name) {
			continue
		}
		program, err := findProgram(p.program)
		if err != nil {
			return nil, err
		}
		p.program = program
		chosen = append(chosen, p)
		wanted = slices.DeleteFunc(wanted, func(name string) bool { return name == p.name })
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("cannot run %q: it is none of nginx, haproxy, caddy, ruche", strings.Join(wanted, ","))
	}
	return chosen, nil
}

// findProgram looks where the build puts programs, then on the PATH.
func findProgram(name string) (string, error) {
	for _, dir := range []string{"bin", ".cache/bin"} {
		if path, err := filepath.Abs(filepath.Join(dir, name)); err == nil {
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("cannot find %s: run this with scripts/bench, which installs it", name)
	}
	return path, nil
}

// fill writes a file of peers/, filled in, under another name. The file is never seen half-written.
func fill(s setup, name, path string) error {
	if s.Added != "" {
		s.Hosts = append(slices.Clone(s.Hosts), s.Added)
	}
	t, err := template.ParseFS(templates, "peers/"+name)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, s); err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(temporary, b.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

func nginxFiles(s setup) error { return fill(s, "nginx.conf", s.Dir+"/nginx.conf") }

func nginxCommand(s setup) []string {
	return []string{"-p", s.Dir, "-e", s.Dir + "/error.log", "-c", s.Dir + "/nginx.conf"}
}

// nginxReload sends the signal that "nginx -s reload" sends.
func nginxReload(_ context.Context, s setup, p *process) error {
	if err := nginxFiles(s); err != nil {
		return err
	}
	return p.cmd.Process.Signal(syscall.SIGHUP)
}

func haproxyFiles(s setup) error {
	if err := fill(s, "hosts.map", s.Dir+"/hosts.map"); err != nil {
		return err
	}
	return fill(s, "haproxy.cfg", s.Dir+"/haproxy.cfg")
}

func haproxyCommand(s setup) []string {
	return []string{"-W", "-db", "-S", s.Dir + "/master.sock", "-f", s.Dir + "/haproxy.cfg"}
}

// haproxyReload asks at the master's socket, for a signal would be lost on a master that is still at the last reload: it
// listens again when that is done.
func haproxyReload(ctx context.Context, s setup, _ *process) error {
	if err := haproxyFiles(s); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	master, err := net.Dial("unix", s.Dir+"/master.sock")
	for err != nil {
		if pause(ctx, time.Millisecond) != nil {
			return fmt.Errorf("cannot reload haproxy: %w", err)
		}
		master, err = net.Dial("unix", s.Dir+"/master.sock")
	}
	defer func() { _ = master.Close() }()
	if _, err := io.WriteString(master, "reload\n"); err != nil {
		return fmt.Errorf("cannot reload haproxy: %w", err)
	}
	// The connection ends when the master starts anew.
	_, _ = io.Copy(io.Discard, master)
	return nil
}

func caddyFiles(s setup) error { return fill(s, "caddy.json", s.Dir+"/caddy.json") }

func caddyCommand(s setup) []string { return []string{"run", "--config", s.Dir + "/caddy.json"} }

func caddyReload(ctx context.Context, s setup, _ *process) error {
	if err := caddyFiles(s); err != nil {
		return err
	}
	config, err := os.Open(s.Dir + "/caddy.json")
	if err != nil {
		return err
	}
	defer func() { _ = config.Close() }()
	return caddyLoad(ctx, s.Admin, config)
}

// caddyLoad gives a running Caddy another configuration.
func caddyLoad(ctx context.Context, admin string, config io.Reader) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+admin+"/load", config)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		reason, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("caddy refuses its new configuration: %s", reason)
	}
	return nil
}

// rucheFiles writes the routes as people do who have many: some hundreds in a file.
func rucheFiles(s setup) error {
	const perFile = 1000
	for _, dir := range []string{"/routes", "/certs"} {
		if err := os.MkdirAll(s.Dir+dir, 0o755); err != nil {
			return err
		}
	}
	if s.TLS {
		for from, to := range map[string]string{s.Cert: ".crt", s.Key: ".key"} {
			if err := os.Symlink(from, s.Dir+"/certs/"+s.Hosts[0]+to); err != nil {
				return err
			}
		}
	}
	n := 0
	for hosts := range slices.Chunk(s.Hosts, perFile) {
		part := s
		part.Hosts = hosts
		if err := fill(part, "routes.yaml", fmt.Sprintf("%s/routes/%02d.yaml", s.Dir, n)); err != nil {
			return err
		}
		n++
	}
	return fill(s, "ruche.yaml", s.Dir+"/ruche.yaml")
}

func rucheCommand(s setup) []string { return []string{"up", "--config", s.Dir + "/ruche.yaml"} }

// rucheReload rewrites one route file; Ruche watches the directory.
func rucheReload(_ context.Context, s setup, _ *process) error {
	s.Hosts = nil
	return fill(s, "routes.yaml", s.Dir+"/routes/added.yaml")
}
