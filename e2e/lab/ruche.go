package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	role                string // the verb that starts it
	admin               string // where it is asked, on its node's loopback
}

// adminAddress is where a ruche is asked that has its node to itself, or is an edge.
const adminAddress = "127.0.0.1:8900"

// StartRuche starts the built ruche on the node with all roles, and waits until it is ready. Flags are added to those that give it
// directories of its own.
func (n *Node) StartRuche(flags ...string) *Ruche {
	n.lab.t.Helper()
	r := n.ruche("up", "ruche", adminAddress, flags)
	r.Start()
	return r
}

// Role makes a ruche with one role (control, edge, agent), which does not run yet.
func (n *Node) Role(role string, flags ...string) *Ruche {
	n.lab.t.Helper()
	admin := map[string]string{"control": "127.0.0.1:8910", "edge": adminAddress, "agent": "127.0.0.1:8920"}[role]
	return n.ruche(role, role, admin, append([]string{"--node-name", n.Name + "-" + role}, flags...))
}

func (n *Node) ruche(role, dir, admin string, flags []string) *Ruche {
	n.lab.t.Helper()
	r := &Ruche{node: n, role: role, admin: admin, dir: filepath.Join(n.dir, dir), flags: flags}
	r.RoutesDir, r.CertsDir = filepath.Join(r.dir, "routes.d"), filepath.Join(r.dir, "certs")
	for _, dir := range []string{r.RoutesDir, r.CertsDir} {
		n.lab.must(os.MkdirAll(dir, 0o755))
	}
	n.ruches = append(n.ruches, r)
	return r
}

// Start starts it, or starts it again after Stop or Kill with the same directories, and waits until it is ready.
func (r *Ruche) Start() {
	r.node.lab.t.Helper()
	r.Launch()
	r.AwaitReady()
}

// DataDir is where it keeps its state.
func (r *Ruche) DataDir() string { return filepath.Join(r.dir, "data") }

// Launch starts it without waiting.
func (r *Ruche) Launch() {
	r.node.lab.t.Helper()
	r.process = r.launch(r.flags...)
}

// AwaitReady waits until it is ready. A control node may first have to become a member of the state, which waits for the others.
func (r *Ruche) AwaitReady() {
	r.node.lab.t.Helper()
	client := r.node.LocalClient()
	Eventually(r.node.lab.t, 2*time.Minute, func() error {
		if err := r.process.running(); err != nil {
			r.node.lab.t.Fatal(err)
		}
		return client.Answers("http://"+r.admin+"/readyz", http.StatusOK)
	})
}

// launch starts a process with the same directories and addresses.
func (r *Ruche) launch(flags ...string) *process {
	r.node.lab.t.Helper()
	n := r.node
	command := append(n.enter(), RucheBinary(), r.role, "--admin-addr", r.admin, "--data-dir", r.DataDir(), "--log-level", "debug")
	if r.role == "up" || r.role == "edge" {
		command = append(command, "--http-addr", ":80", "--https-addr", ":443", "--certs-dir", r.CertsDir, "--access-log", r.accessLog())
	}
	if r.role != "edge" {
		command = append(command, "--docker-host", "unix://"+n.Socket())
	}
	if r.role == "up" || r.role == "agent" {
		command = append(command, "--routes-dir", r.RoutesDir)
	}
	name := "ruche"
	if r.role != "up" {
		name = r.role
	}
	p, err := n.start(name, nil, append(command, flags...)...)
	n.lab.must(err)
	n.others = append(n.others, p)
	return p
}

// Upgrade starts another process beside the one that runs, and waits until that one has handed over and ended.
func (r *Ruche) Upgrade() {
	r.node.lab.t.Helper()
	old := r.process
	r.process = r.launch(r.flags...)
	Eventually(r.node.lab.t, time.Minute, func() error {
		if err := r.process.running(); err != nil {
			r.node.lab.t.Fatal(err)
		}
		if old.running() == nil {
			return errors.New("the old process still runs")
		}
		return nil
	})
	if code := old.cmd.ProcessState.ExitCode(); code != 0 {
		r.node.lab.t.Errorf("the old process ended with status %d, want 0: %s", code, tail(old.log))
	}
}

// FailUpgrade starts another process that cannot serve, because of its flags, and waits until it has ended.
func (r *Ruche) FailUpgrade(flags ...string) {
	r.node.lab.t.Helper()
	p := r.launch(append(slices.Clone(r.flags), flags...)...)
	<-p.done
	if p.cmd.ProcessState.ExitCode() == 0 {
		r.node.lab.t.Errorf("ruche %v ended with status 0, want that it fails: %s", flags, tail(p.log))
	}
	r.node.lab.must(r.process.running())
}

// KillUpgrade starts another process and kills it as soon as it has begun to take over.
func (r *Ruche) KillUpgrade() {
	r.node.lab.t.Helper()
	before := strings.Count(r.log(), takingOver)
	p := r.launch(r.flags...)
	Eventually(r.node.lab.t, 30*time.Second, func() error {
		if strings.Count(r.log(), takingOver) == before {
			return errors.New("it has not begun to take over")
		}
		return nil
	})
	r.node.lab.must(p.stop(syscall.SIGKILL, 10*time.Second))
	r.node.lab.must(r.process.running())
}

// takingOver is what a process logs when it has the store and the sockets of the one before.
const takingOver = "taking over from process"

// log is what all of its processes have logged.
func (r *Ruche) log() string {
	data, err := os.ReadFile(r.process.log)
	r.node.lab.must(err)
	return string(data)
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
	out, err := n.run(n.lab.environ(), append(append(command, args...), "--admin-addr", r.admin)...)
	if err != nil {
		return out, fmt.Errorf("cannot run ruche %v: %w", args, err)
	}
	return out, nil
}

// LeadsCertificates reports whether it is the control node that has certificates issued.
func (r *Ruche) LeadsCertificates() bool {
	answer, err := r.node.LocalClient().Get("http://" + r.admin + "/metrics")
	return err == nil && strings.Contains(answer.Body, "\nruche_certificates_leading 1\n")
}

// AccessLine is what a line of the access log says.
type AccessLine struct {
	Time     time.Time `json:"time"` // when the request came
	Status   int       `json:"status"`
	Millis   float64   `json:"duration_ms"`
	Endpoint string    `json:"endpoint"`
	Retries  int       `json:"retries"`
}

// AccessLog gives the requests so far.
func (r *Ruche) AccessLog() []AccessLine {
	r.node.lab.t.Helper()
	data, err := os.ReadFile(r.accessLog())
	r.node.lab.must(err)
	var lines []AccessLine
	for text := range bytes.Lines(data) {
		var line AccessLine
		r.node.lab.must(json.Unmarshal(text, &line))
		lines = append(lines, line)
	}
	return lines
}

func (r *Ruche) accessLog() string { return filepath.Join(r.node.logs, "access.log") }

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

// State gives what "ruche state status --output json" prints.
func (r *Ruche) State() (ruche.StateStatus, error) {
	var s ruche.StateStatus
	out, err := r.Verb("state", "status", "--output", "json")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return s, fmt.Errorf("cannot read the output of ruche state status: %w: %.300s", err, out)
	}
	return s, nil
}
