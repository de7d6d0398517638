package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// namespace is a named network namespace (ip-netns(8)).
type namespace string

func (n namespace) path() string { return filepath.Join("/run/netns", string(n)) }

// dial connects from inside the namespace. The address must be a literal one: look-ups may happen on
// other threads, which stay in the host's namespace.
func (n namespace) dial(ctx context.Context, network, address string) (net.Conn, error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("cannot open the thread's network namespace: %w", err)
	}
	defer home.Close() //nolint:errcheck // opened for reading
	there, err := os.Open(n.path())
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("cannot open network namespace %s: %w", n, err)
	}
	defer there.Close() //nolint:errcheck // opened for reading
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("cannot enter network namespace %s: %w", n, err)
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, dialErr := dialer.DialContext(ctx, network, address)
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		// The thread stays locked and ends with its goroutine: no other may run on it.
		return nil, fmt.Errorf("cannot leave network namespace %s: %w", n, err)
	}
	runtime.UnlockOSThread()
	return conn, dialErr
}

// ip runs the ip command with the arguments of each line.
func ip(lines ...string) error {
	for _, line := range lines {
		out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("cannot run ip %s: %w: %s", line, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// bridgeAddress is the lab's own address on the bridge, the nodes' default gateway.
const bridgeAddress = "10.99.0.254"

func nodeAddress(number int) string { return fmt.Sprintf("10.99.0.%d", number) }

// makeBridge makes the namespace of the lab with its bridge.
func (l *Lab) makeBridge() error {
	l.net = namespace(l.run + "-net")
	if err := l.ledger.add(record{Kind: recordNamespace, Name: string(l.net)}); err != nil {
		return err
	}
	n := string(l.net)
	return ip(
		"netns add "+n,
		"-n "+n+" link set lo up",
		"-n "+n+" link add lab type bridge",
		"-n "+n+" address add "+bridgeAddress+"/24 dev lab",
		"-n "+n+" link set lab up",
	)
}

// makeLink makes the namespace of a node and joins it to the bridge.
func (n *Node) makeLink() error {
	n.net = namespace(n.id)
	if err := n.lab.ledger.add(record{Kind: recordNamespace, Name: n.id}); err != nil {
		return err
	}
	bridge := string(n.lab.net)
	return ip(
		"netns add "+n.id,
		"-n "+bridge+" link add "+n.Name+" type veth peer name eth0 netns "+n.id,
		"-n "+bridge+" link set "+n.Name+" master lab up",
		"-n "+n.id+" link set lo up",
		"-n "+n.id+" address add "+n.Address+"/24 dev eth0",
		"-n "+n.id+" link set eth0 up",
		"-n "+n.id+" route add default via "+bridgeAddress,
	)
}

// unlink removes the interfaces that an Engine has made, which do not outlive a power cut either: a dead container's would go on to refuse connections in the name of the
// next one with its address. Some go by themselves meanwhile, with a namespace that the kernel takes away, so it lists them anew until there are none.
func (n *Node) unlink() error {
	return poll(10*time.Second, func() error {
		out, err := exec.Command("ip", "-n", n.id, "-oneline", "link", "show").CombinedOutput()
		if err != nil {
			return fmt.Errorf("cannot list the interfaces of %s: %w: %s", n.Name, err, out)
		}
		var left []error
		for line := range strings.Lines(string(out)) {
			name, _, _ := strings.Cut(strings.Fields(line)[1], "@") // "7: veth0@if6: <...>"
			if name = strings.TrimSuffix(name, ":"); name != "lo" && name != "eth0" {
				left = append(left, ip("-n "+n.id+" link delete "+name))
			}
		}
		return errors.Join(left...)
	})
}

// Cut takes the node off the network.
func (n *Node) Cut() {
	n.lab.t.Helper()
	n.lab.must(ip("-n " + string(n.lab.net) + " link set " + n.Name + " down"))
}

// Heal joins the node to the network again.
func (n *Node) Heal() {
	n.lab.t.Helper()
	n.lab.must(ip("-n " + string(n.lab.net) + " link set " + n.Name + " up"))
}
