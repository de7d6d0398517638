package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// commandTimeout bounds every command that a scenario runs.
const commandTimeout = 2 * time.Minute

// run runs a command and returns its standard output without the last line break. The error has its standard error.
func (n *Node) run(env []string, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	return n.runIn(ctx, env, command...)
}

// runIn is run with another bound.
func (n *Node) runIn(ctx context.Context, env []string, command ...string) (string, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &stdout, &stderr, env
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()+" "+stdout.String()))
	}
	return strings.TrimRight(stdout.String(), "\n"), nil
}

// dockerEnviron points Docker's clients at the node's Engine.
func (n *Node) dockerEnviron() []string {
	return n.lab.environ("DOCKER_HOST=unix://"+n.Socket(), "DOCKER_CONFIG="+filepath.Join(n.dir, "docker-config"))
}

// TryDocker runs the docker command against the node's Engine.
func (n *Node) TryDocker(args ...string) (string, error) {
	out, err := n.run(n.dockerEnviron(), append([]string{"docker"}, args...)...)
	if err != nil {
		return out, fmt.Errorf("cannot run docker %s on %s: %w", strings.Join(args, " "), n.Name, err)
	}
	return out, nil
}

// Docker is TryDocker that fails the test.
func (n *Node) Docker(args ...string) string {
	n.lab.t.Helper()
	out, err := n.TryDocker(args...)
	n.lab.must(err)
	return out
}

// Compose runs docker-compose in a directory against the node's Engine.
func (n *Node) Compose(dir string, args ...string) string {
	n.lab.t.Helper()
	command := append([]string{"docker-compose", "--project-directory", dir, "--file", filepath.Join(dir, "compose.yml")}, args...)
	out, err := n.run(n.dockerEnviron(), command...)
	if err != nil {
		n.lab.t.Fatalf("cannot run docker-compose %s on %s: %v", strings.Join(args, " "), n.Name, err)
	}
	return out
}

// Logs gives what a container has written to both of its outputs.
func (n *Node) Logs(container string) string {
	n.lab.t.Helper()
	out, err := n.run(n.dockerEnviron(), "sh", "-c", `docker logs "$1" 2>&1`, "sh", container)
	n.lab.must(err)
	return out
}

// Run starts a container of the site's image, detached, and returns its ID. The arguments are those of
// "docker run" before the image.
func (n *Node) Run(name string, args ...string) string {
	n.lab.t.Helper()
	return n.RunImage(SiteImage, name, args...)
}

// RunImage is Run for another image of the site.
func (n *Node) RunImage(image, name string, args ...string) string {
	n.lab.t.Helper()
	command := []string{"run", "--detach", "--name", name, "--hostname", name, "--env", "SITE_NAME=" + name}
	return n.Docker(append(append(command, args...), image)...)
}

// HasHealth returns an error until the Engine calls the container that: "starting", "healthy", "unhealthy".
func (n *Node) HasHealth(container, want string) error {
	got, err := n.TryDocker("inspect", "--format", "{{.State.Health.Status}}", container)
	if err == nil && got != want {
		err = fmt.Errorf("container %s is %s, want %s", container, got, want)
	}
	return err
}

// ContainerAddress gives the container's address in a network of the node.
func (n *Node) ContainerAddress(container, network string) string {
	n.lab.t.Helper()
	out := n.Docker("inspect", "--format", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", network), container)
	if out == "" {
		n.lab.t.Fatalf("container %s has no address in network %s", container, network)
	}
	return out
}

// StartedAt gives the Engine's time stamp of the container's newest start event.
func (n *Node) StartedAt(container string) time.Time {
	n.lab.t.Helper()
	now := time.Now()
	until := fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond()) // a relative time is cut to whole seconds
	out := n.Docker("events", "--since", "10m", "--until", until, "--filter", "container="+container,
		"--filter", "event=start", "--format", "{{json .}}")
	var event struct {
		TimeNano int64 `json:"timeNano"`
	}
	lines := strings.Split(out, "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &event); err != nil {
		n.lab.t.Fatalf("cannot read the start event of %s: %v: %q", container, err, out)
	}
	return time.Unix(0, event.TimeNano)
}
