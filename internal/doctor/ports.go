package doctor

import (
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/ruche-project/ruche"
)

// Dial is a connection over TCP to try.
type Dial struct {
	// Address is where, as host:port; Node is whose, and For is what listens there.
	Address, Node, For string
	// TLS tells that a handshake belongs to it: who listens there counts what hangs up before as refused.
	TLS bool
	// Failure says why it failed; empty when it did not.
	Failure string
}

const (
	// gossip is the port by which all nodes of a Swarm tell each other of networks, management that of its managers unless they were given another.
	gossip     = "7946"
	management = "2377"
)

// Dials gives the connections by which this node has to reach the others.
func Dials(f Facts) []Dial {
	var list []Dial
	add := func(address, node, what string, tls bool) {
		if address != "" && !slices.ContainsFunc(list, func(d Dial) bool { return d.Address == address }) {
			list = append(list, Dial{Address: address, Node: node, For: what, TLS: tls})
		}
	}
	for _, n := range f.Nodes {
		if n.Name != f.Node && slices.Contains(n.Roles, "control") {
			add(n.Address, n.Name, "mesh", true)
		}
	}
	for _, m := range f.State.Members {
		// Those that are healthy have answered there just now.
		if u, err := url.Parse(m.Peer); err == nil && u.Scheme == "https" && m.Name != f.Node && !m.Healthy {
			add(u.Host, m.Name, "state", false)
		}
	}
	for _, n := range f.SwarmNodes {
		if n.ID == f.Engine.Swarm.NodeID {
			continue
		}
		if n.Manager != nil {
			add(n.Manager.Address, n.Name, "managers", false)
		}
		if n.Address.IsValid() {
			add(net.JoinHostPort(n.Address.String(), gossip), n.Name, "networks of the Swarm", false)
		}
	}
	if len(f.SwarmNodes) == 0 { // it does not answer, or the Engine is a worker: that knows the managers, too
		for _, address := range f.Engine.Swarm.Managers {
			if address != f.Engine.Swarm.Address {
				add(net.JoinHostPort(address, management), address, "managers", false)
			}
		}
	}
	return list
}

// firewallHint has every port that nodes of the same installation use.
const firewallHint = "see whether the node is up, and what a firewall between the nodes lets through: 2377/tcp, 7946/tcp, 7946/udp, 4789/udp (Swarm), 8901/tcp, 8902/tcp (Ruche)"

// ports looks which nodes cannot be reached, one finding for each host.
func ports(f Facts, n *notes) {
	var hosts []string
	failed, names := map[string][]string{}, map[string]string{}
	for _, d := range f.Dials {
		host, port, _ := net.SplitHostPort(d.Address)
		if _, known := names[host]; !known {
			hosts = append(hosts, host)
		}
		names[host] = d.Node // the last is the Swarm's name for it, where there is one
		if d.Failure != "" {
			failed[host] = append(failed[host], port+"/tcp for "+d.For+": "+d.Failure)
		}
	}
	for _, host := range hosts {
		if list := failed[host]; len(list) > 0 {
			n.add(ruche.LevelError, names[host], firewallHint, "%s does not reach it at %s: %s", f.Node, host, strings.Join(list, "; "))
		}
	}
	if len(f.Dials) == 0 {
		n.fine("not looked at: there is no other node")
	}
	n.fine("%s on %s answered; UDP is not tried", count(len(f.Dials), "port"), count(len(hosts), "node"))
}
