package lab

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ruche-project/ruche"
)

// Ruche is a running ruche as a process of a node.
type Ruche struct {
	node    *Node
	process *process
	// RoutesDir and CertsDir are the directories it watches.
	RoutesDir, CertsDir string
	dir                 string
	flags               []string
}

// adminAddress is where ruche is asked on its node's loopback.
const adminAddress = "127.0.0.1:8900"

// StartRuche starts the built ruche on the node and waits until it is ready. Flags are added to those that give it
// directories of its own.
func (n *Node) StartRuche(flags ...string) *Ruche {
	n.lab.t.Helper()
	r := &Ruche{node: n, dir: filepath.Join(n.dir, "ruche"), flags: flags}
	r.RoutesDir, r.CertsDir = filepath.Join(r.dir, "routes.d"), filepath.Join(r.dir, "certs")
	for _, dir := range []string{r.RoutesDir, r.CertsDir} {
		n.lab.must(os.MkdirAll(dir, 0o755))
	}
	n.ruches = append(n.ruches, r)
	r.Start()
	return r
}

// Start starts it again after Stop or Kill, with the same directories.
func (r *Ruche) Start() {
	r.node.lab.t.Helper()
	n := r.node
	command := append(n.enter(), RucheBinary(), "up",
		"--http-addr", ":80", "--https-addr", ":443", "--admin-addr", adminAddress,
		"--data-dir", filepath.Join(r.dir, "data"), "--routes-dir", r.RoutesDir, "--certs-dir", r.CertsDir,
		"--docker-host", "unix://"+n.Socket(), "--access-log", filepath.Join(n.logs, "access.log"), "--log-level", "debug")
	p, err := n.start("ruche", nil, append(command, r.flags...)...)
	n.lab.must(err)
	r.process = p
	n.others = append(n.others, p)
	client := n.LocalClient()
	Eventually(n.lab.t, 30*time.Second, func() error {
		if err := p.running(); err != nil {
			n.lab.t.Fatal(err)
		}
		return client.Answers("http://"+adminAddress+"/readyz", http.StatusOK)
	})
}

// Stop asks it to end with SIGTERM, which lets it drain.
func (r *Ruche) Stop() {
	r.node.lab.t.Helper()
	r.node.lab.must(r.process.stop(syscall.SIGTERM, 45*time.Second))
}

// Kill ends it with SIGKILL.
func (r *Ruche) Kill() {
	r.node.lab.t.Helper()
	r.node.lab.must(r.process.stop(syscall.SIGKILL, 10*time.Second))
}

// Verb runs another verb of the built ruche on the node, pointed at the running one.
func (r *Ruche) Verb(args ...string) (string, error) {
	n := r.node
	command := append(n.enter(), RucheBinary())
	out, err := n.run(n.lab.environ(), append(append(command, args...), "--admin-addr", adminAddress)...)
	if err != nil {
		return out, fmt.Errorf("cannot run ruche %v: %w", args, err)
	}
	return out, nil
}

// Routes gives what "ruche routes --output json" prints.
func (r *Ruche) Routes() (ruche.RouteList, error) {
	var list ruche.RouteList
	out, err := r.Verb("routes", "--output", "json")
	if err != nil {
		return list, err
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return list, fmt.Errorf("cannot read the output of ruche routes: %w: %.300s", err, out)
	}
	return list, nil
}

// Explain gives what "ruche explain URL --output json" prints.
func (r *Ruche) Explain(url string) (ruche.Explanation, error) {
	var e ruche.Explanation
	out, err := r.Verb("explain", url, "--output", "json")
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		return e, fmt.Errorf("cannot read the output of ruche explain: %w: %.300s", err, out)
	}
	return e, nil
}

// WriteRoutes writes a route file.
func (r *Ruche) WriteRoutes(name, content string) {
	r.node.lab.t.Helper()
	r.node.lab.File(r.RoutesDir, name, content)
}
