package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Artifacts is where a failed scenario leaves what is worth reading.
func Artifacts() string { return filepath.Join(moduleDir(), "e2e", "artifacts") }

// keepArtifacts copies logs, the Engines' view and ruche's view to the scenario's directory of artifacts.
func (l *Lab) keepArtifacts() {
	dir := filepath.Join(Artifacts(), strings.ReplaceAll(l.t.Name(), "/", "-"))
	if err := os.RemoveAll(dir); err != nil {
		l.t.Logf("cannot empty %s: %v", dir, err)
	}
	for _, n := range l.Nodes {
		if err := n.keepArtifacts(filepath.Join(dir, n.Name)); err != nil {
			l.t.Logf("cannot keep the artifacts of %s: %v", n.Name, err)
		}
	}
	l.t.Logf("logs are kept in %s", dir)
}

func (n *Node) keepArtifacts(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make %s: %w", dir, err)
	}
	if err := os.CopyFS(dir, os.DirFS(n.logs)); err != nil {
		return fmt.Errorf("cannot copy the logs: %w", err)
	}
	keep := func(name, out string, err error) {
		if err != nil {
			out += "\n" + err.Error()
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(out+"\n"), 0o644); err != nil {
			n.lab.t.Logf("cannot keep %s: %v", name, err)
		}
	}
	if n.engine != nil && n.engineAnswers() == nil {
		out, err := n.TryDocker("ps", "--all", "--no-trunc")
		keep("docker-ps.txt", out, err)
		out, err = n.TryDocker("events", "--since", "1h", "--until", "0s")
		keep("docker-events.txt", out, err)
		n.keepContainerLogs(keep)
	}
	for _, r := range n.ruches {
		if r.process != nil && r.process.running() == nil {
			out, err := r.Verb("routes")
			keep("ruche-routes.txt", out, err)
		}
	}
	return nil
}

func (n *Node) keepContainerLogs(keep func(name, out string, err error)) {
	names, err := n.TryDocker("ps", "--all", "--format", "{{.Names}}")
	if err != nil {
		return
	}
	for name := range strings.FieldsSeq(names) {
		out, err := n.run(n.dockerEnviron(), "sh", "-c", `exec docker logs --timestamps "$0" 2>&1`, name)
		keep("container-"+name+".log", out, err)
	}
}
