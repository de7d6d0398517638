package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/ruche-project/ruche"
)

// NextRucheImage is another name of RucheImage, which a node has after LoadRuche: what an upgrade is made to.
const NextRucheImage = "ruche-lab/ruche:next"

// upgradeTimeout bounds an upgrade of the whole stack, which waits for each node in turn.
const upgradeTimeout = 10 * time.Minute

// StackInit runs "ruche stack init" against the node's Engine and returns the stack file.
func (n *Node) StackInit(flags ...string) string {
	n.lab.t.Helper()
	// Not the default directory for a state that is to go on: it is the machine's, and not the node's.
	command := []string{RucheBinary(), "stack", "init", "--image", RucheImage, "--data-dir", filepath.Join(n.dir, "no-ruche-up")}
	out, err := n.run(n.dockerEnviron(), append(command, flags...)...)
	if err != nil {
		n.lab.t.Fatalf("cannot begin a stack on %s: %v", n.Name, err)
	}
	return out
}

// StackInitInContainer is StackInit in a container of the node, as on a machine without a ruche.
func (n *Node) StackInitInContainer() string {
	n.lab.t.Helper()
	return n.Docker("run", "--rm", "--volume", n.Socket()+":/var/run/docker.sock", RucheImage, "stack", "init", "--image", RucheImage)
}

// StackDeploy deploys the stack "ruche" from a stack file.
func (n *Node) StackDeploy(file string) {
	n.lab.t.Helper()
	path := n.lab.File(n.lab.Dir("stack"), "stack.yml", file)
	n.Docker("stack", "deploy", "--resolve-image", "never", "--compose-file", path, "ruche") // there is no registry
}

// StackUpgrade runs "ruche stack upgrade" and returns what it prints.
func (n *Node) StackUpgrade(image string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), upgradeTimeout)
	defer cancel()
	return n.runIn(ctx, n.dockerEnviron(), "sh", "-c", `exec "$0" stack upgrade "$1" 2>&1`, RucheBinary(), image)
}

// ControlState asks the control node of the stack on this node for its state.
func (n *Node) ControlState() (ruche.StateStatus, error) {
	var s ruche.StateStatus
	out, err := n.TryDocker("exec", n.WaitTask("ruche_control"), "/ruche", "state", "status", "--output", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	return s, err
}

// connectTimeout is how long a balanced client waits for a node to take a connection. Long enough for a busy machine, and two of them shorter than a client waits.
const connectTimeout = 4 * time.Second

// BalancedClient makes a client that does what a load balancer in front does: it asks the node, and where that takes no connection the others, in their order.
func (n *Node) BalancedClient(others ...*Node) *Client {
	return n.clientBy(func(ctx context.Context, network, target string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(target)
		if err != nil {
			return nil, fmt.Errorf("cannot read address %q: %w", target, err)
		}
		var errs []error
		for _, at := range append([]*Node{n}, others...) {
			limited, cancel := context.WithTimeout(ctx, connectTimeout)
			conn, err := n.lab.net.dial(limited, network, net.JoinHostPort(at.Address, port))
			cancel()
			if err == nil {
				return conn, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	})
}
