package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Node is one machine of the lab: an Engine, and whatever else is started on it.
type Node struct {
	lab     *Lab
	Name    string // "n1", also its host name
	Address string // on the lab's bridge
	id      string // run and name: of its namespace and control group
	net     namespace
	dir     string
	logs    string
	options Options
	number  int
	holder  *process // keeps the node's namespaces while its Engine is down
	engine  *process
	others  []*process
	ruches  []*Ruche
}

func (l *Lab) newNode(number int, options Options) *Node {
	l.t.Helper()
	name := "n" + strconv.Itoa(number)
	n := &Node{
		lab: l, Name: name, Address: nodeAddress(number), id: l.run + "-" + name,
		dir: filepath.Join(l.dir, name), options: options, number: number,
	}
	n.logs = filepath.Join(n.dir, "logs")
	l.must(os.MkdirAll(n.logs, 0o755))
	l.must(n.makeLink())
	return n
}

// Socket is the path of the Engine's socket.
func (n *Node) Socket() string { return filepath.Join(n.dir, "docker.sock") }

// boot makes the node's namespaces and starts its Engine.
func (n *Node) boot() error {
	if err := n.lab.ledger.add(record{Kind: recordCgroup, Name: n.id}); err != nil {
		return err
	}
	// Name look-ups must fail at once: a task start first tries to pull its image, and no registry is there.
	nothing := filepath.Join(n.dir, "resolv.conf")
	if err := os.WriteFile(nothing, nil, 0o644); err != nil {
		return fmt.Errorf("cannot write the node's resolv.conf: %w", err)
	}
	ready := filepath.Join(n.dir, "ready")
	// The private /run keeps the Engines' sandboxes, shims and firewall locks apart and off the host. "ip netns exec"
	// would not do: it mounts /sys anew, and the Engine then finds no control groups.
	// The Engine's socket is found at its usual place too.
	script := fmt.Sprintf(`set -e
hostname %s
mount -t tmpfs none /run
if ! [ -L /var/run ]; then mount -t tmpfs none /var/run; fi
ln -s %s /run/docker.sock
if [ -f /etc/resolv.conf ]; then mount --bind %s /etc/resolv.conf; fi
: > %s
exec sleep infinity`, n.Name, n.Socket(), nothing, ready)
	var err error
	n.holder, err = n.start("holder", nil, "nsenter", "--net="+n.net.path(), "unshare", "--mount", "--uts", "sh", "-c", script)
	if err != nil {
		return err
	}
	err = poll(10*time.Second, func() error {
		if err := n.holder.running(); err != nil {
			return err
		}
		_, err := os.Stat(ready)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot make node %s: %w", n.Name, err)
	}
	return n.startEngine()
}

// enter is the command prefix that runs something on the node.
func (n *Node) enter() []string {
	pid := strconv.Itoa(n.holder.cmd.Process.Pid)
	return []string{"nsenter", "--target=" + pid, "--net", "--mount", "--uts"}
}

func (n *Node) startEngine() error {
	command := append(n.enter(), "dockerd",
		"--host", "unix://"+n.Socket(),
		"--data-root", filepath.Join(n.dir, "data"),
		"--exec-root", filepath.Join(n.dir, "exec"),
		"--pidfile", filepath.Join(n.dir, "docker.pid"),
		"--cgroup-parent", "/"+n.id,
		"--bip", fmt.Sprintf("10.98.%d.1/24", n.number),
		"--live-restore="+strconv.FormatBool(n.options.LiveRestore),
		"--config-file", filepath.Join(n.dir, "daemon.json"),
	)
	// Without a file of its own the Engine would read the host's.
	err := os.WriteFile(filepath.Join(n.dir, "daemon.json"), []byte("{}\n"), 0o644)
	if err != nil {
		return fmt.Errorf("cannot write the engine's configuration: %w", err)
	}
	if n.engine, err = n.start("dockerd", nil, command...); err != nil {
		return err
	}
	if err := poll(60*time.Second, n.engineAnswers); err != nil {
		return fmt.Errorf("cannot start the engine of %s: %w", n.Name, err)
	}
	return nil
}

// engineAnswers asks the Engine's /_ping.
func (n *Node) engineAnswers() error {
	if err := n.engine.running(); err != nil {
		return err
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", n.Socket())
		},
	}}
	resp, err := client.Get("http://engine/_ping")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the engine's ping answers %s", resp.Status)
	}
	return nil
}

// KillEngine ends dockerd and its containerd with SIGKILL. Containers go on where the lab was made with LiveRestore.
func (n *Node) KillEngine() {
	n.lab.t.Helper()
	n.lab.must(n.engine.stop(syscall.SIGKILL, 10*time.Second))
	n.lab.must(n.killContainerd())
}

// killContainerd ends what is left of the Engine. Its pid file goes too: where process 1 reaps late, the next dockerd would
// take the dead containerd for a running one and wait for it.
func (n *Node) killContainerd() error {
	path := filepath.Join(n.dir, "exec", "containerd", "containerd.pid")
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot find the engine's containerd: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	if start, err := startTime(pid); err == nil {
		killIf(pid, func() bool { return hasMark(pid, nodeMark+n.id) })
		err := poll(10*time.Second, func() error {
			if alive(pid, start) && hasMark(pid, nodeMark+n.id) {
				return fmt.Errorf("containerd (process %d) still runs", pid)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("cannot remove the pid file of containerd: %w", err)
	}
	return nil
}

// StartEngine starts the Engine again and waits until it answers.
func (n *Node) StartEngine() {
	n.lab.t.Helper()
	// a pid file of a killed engine keeps the next one from starting if the number was used again
	_ = os.Remove(filepath.Join(n.dir, "docker.pid"))
	n.lab.must(n.startEngine())
}

// Kill ends everything that runs on the node at once, as a power cut does. Boot brings it up again.
func (n *Node) Kill() {
	n.lab.t.Helper()
	n.lab.must(errors.Join(killMarked(nodeMark+n.id), killCgroup(n.id)))
}

// Boot brings a killed node up again with what is on its disk.
func (n *Node) Boot() {
	n.lab.t.Helper()
	for _, name := range []string{"ready", "docker.pid"} {
		if err := os.Remove(filepath.Join(n.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			n.lab.t.Fatal(err)
		}
	}
	n.lab.must(os.RemoveAll(filepath.Join(n.dir, "exec")))
	n.lab.must(n.unlink())
	n.lab.must(n.boot())
}

// stopAll ends the node's processes in order, so that a failed removal shows in the Engine's log and not in leftovers.
func (n *Node) stopAll() {
	for _, p := range n.others {
		if p.running() == nil {
			// what does not end is killed by the clean-up that follows
			_ = p.stop(syscall.SIGKILL, time.Second)
		}
	}
}

// Exec runs a command in the node's namespaces and returns its output.
func (n *Node) Exec(command ...string) string {
	n.lab.t.Helper()
	out, err := n.run(n.lab.environ(), append(n.enter(), command...)...)
	if err != nil {
		n.lab.t.Fatalf("cannot run %s on %s: %v", strings.Join(command, " "), n.Name, err)
	}
	return out
}
