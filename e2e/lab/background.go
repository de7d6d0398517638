package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Background is a command that runs on a node while a scenario goes on.
type Background struct{ *process }

// DockerTLS is the environment in which the docker command speaks to an Engine's API over TLS, with the files in a directory: ca.pem, cert.pem and key.pem.
func DockerTLS(address, dir string) []string {
	return []string{"DOCKER_HOST=tcp://" + address, "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=" + dir, "DOCKER_CONFIG=" + filepath.Join(dir, "config")}
}

// TryRun runs a command on the node with an environment, and gives its output.
func (n *Node) TryRun(env []string, command ...string) (string, error) {
	out, err := n.run(n.lab.environ(env...), append(n.enter(), command...)...)
	if err != nil {
		return out, fmt.Errorf("cannot run %v on %s: %w", command, n.Name, err)
	}
	return out, nil
}

// Background starts a command on the node. A name has one at a time.
func (n *Node) Background(name string, env []string, command ...string) *Background {
	n.lab.t.Helper()
	p, err := n.start(name, env, append(n.enter(), command...)...)
	n.lab.must(err)
	n.others = append(n.others, p)
	return &Background{p}
}

// Output is what it has written so far.
func (b *Background) Output() string {
	data, err := os.ReadFile(b.log)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// Running returns an error once it has ended.
func (b *Background) Running() error { return b.running() }

// Stop ends it.
func (b *Background) Stop() error { return b.stop(syscall.SIGTERM, 10*time.Second) }

// Log is what all of the processes of this ruche have logged.
func (r *Ruche) Log() string { return r.log() }

// EngineProcess names the process of the node's Engine, so that a restart is seen.
func (n *Node) EngineProcess() string {
	n.lab.t.Helper()
	pid := n.engine.cmd.Process.Pid
	start, err := startTime(pid)
	n.lab.must(err)
	return fmt.Sprintf("process %d, started at %v", pid, start)
}
